//! Reads of Redis answers, by hand so that payloads move instead of being copied.

use bytes::Bytes;
use peregrine_proto::FrameId;
use redis::Value;

use crate::StreamError;

pub(crate) fn unexpected(what: &'static str, value: &Value) -> StreamError {
    let mut found = format!("{value:?}");
    if found.len() > 200 {
        found = found.chars().take(200).chain(['…']).collect();
    }
    StreamError::Answer { what, found }
}

pub(crate) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        Value::Okay => Some("OK"),
        _ => None,
    }
}

pub(crate) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int(n) => Some(*n),
        _ => text(value)?.parse().ok(),
    }
}

pub(crate) fn unsigned(value: &Value) -> Option<u64> {
    integer(value).and_then(|n| u64::try_from(n).ok())
}

pub(crate) fn frame_id(value: &Value) -> Option<FrameId> {
    text(value)?.parse().ok()
}

pub(crate) fn bytes(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(bytes) => Some(bytes.into()),
        _ => None,
    }
}

pub(crate) fn list(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(values) => Some(values),
        Value::Nil => Some(Vec::new()),
        _ => None,
    }
}

pub(crate) fn time_us(value: &Value) -> Option<i64> {
    match value {
        Value::Array(parts) if parts.len() == 2 => {
            Some(integer(&parts[0])?.checked_mul(1_000_000)?.checked_add(integer(&parts[1])?)?)
        }
        _ => None,
    }
}

/// Field and value pairs of an entry or a hash, in either protocol's form.
pub(crate) fn pairs(value: Value) -> Option<Vec<(String, Value)>> {
    let named = |name: Value| text(&name).map(str::to_owned);
    match value {
        Value::Map(pairs) => pairs.into_iter().map(|(k, v)| Some((named(k)?, v))).collect(),
        Value::Array(flat) if flat.len().is_multiple_of(2) => {
            let mut flat = flat.into_iter();
            let mut pairs = Vec::with_capacity(flat.len() / 2);
            while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
                pairs.push((named(name)?, value));
            }
            Some(pairs)
        }
        Value::Nil => Some(Vec::new()),
        _ => None,
    }
}

/// An entry of a stream: its id and its fields.
pub(crate) struct Entry {
    pub(crate) id: FrameId,
    pub(crate) fields: Vec<(String, Value)>,
}

impl Entry {
    /// Takes the bytes of a field out.
    pub(crate) fn take(&mut self, name: &str) -> Option<Bytes> {
        let at = self.fields.iter().position(|(field, _)| field == name)?;
        bytes(self.fields.swap_remove(at).1)
    }
}

/// The entries of XRANGE, XREVRANGE or one stream of XREAD. Field names that are no text make an entry without
/// fields: it is garbage to whoever reads it, not a reason to stop reading.
pub(crate) fn entries(value: Value) -> Option<Vec<Entry>> {
    let entry = |value: Value| -> Option<Entry> {
        let mut parts = list(value)?.into_iter();
        let id = frame_id(&parts.next()?)?;
        Some(Entry { id, fields: parts.next().and_then(pairs).unwrap_or_default() })
    };
    list(value)?.into_iter().map(entry).collect()
}

/// The answer of XREAD: key → entries, in order; nothing after a timeout.
pub(crate) fn streams(value: Value) -> Option<Vec<(String, Vec<Entry>)>> {
    let name = |key: &Value| text(key).map(str::to_owned);
    match value {
        Value::Nil => Some(Vec::new()),
        Value::Map(pairs) => {
            pairs.into_iter().map(|(key, list)| Some((name(&key)?, entries(list)?))).collect()
        }
        Value::Array(streams) => streams
            .into_iter()
            .map(|stream| {
                let mut parts = list(stream)?.into_iter();
                Some((name(&parts.next()?)?, entries(parts.next()?)?))
            })
            .collect(),
        _ => None,
    }
}
