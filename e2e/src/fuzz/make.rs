//! Values of wire types after their declarations, mostly such as they should be.

use std::{collections::HashMap, sync::LazyLock};

use peregrine_proto::{
    SCHEMA,
    describe::{Body, Declaration, WireType, declarations},
};
use rand::{Rng, rngs::StdRng};
use serde::{Serialize, Serializer, ser::SerializeMap};

static DECLARATIONS: LazyLock<HashMap<&'static str, Declaration>> =
    LazyLock::new(|| declarations().into_iter().map(|declared| (declared.name, declared)).collect());

/// Deepest nest: deeper ones come from [`damage`](super::damage).
const DEEPEST: u32 = 24;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// MessagePack with structs as arrays, as between the daemons.
    Positional,
    /// MessagePack with structs as maps, as clients write it.
    Named,
    /// JSON.
    Json,
}

impl Form {
    fn write(self, value: &Value) -> Vec<u8> {
        let written = match self {
            Self::Positional | Self::Named => rmp_serde::to_vec(value).ok(),
            Self::Json => serde_json::to_vec(value).ok(),
        };
        written.unwrap_or_default()
    }
}

/// A value of the wire type of this name.
pub(super) fn value(random: &mut StdRng, name: &'static str, form: Form) -> Vec<u8> {
    let mut maker = Maker::new(random, form);
    form.write(&maker.value(&WireType::Named(name), ""))
}

/// A list of up to four such values.
pub(super) fn values(random: &mut StdRng, name: &'static str, form: Form) -> Vec<u8> {
    let mut maker = Maker::new(random, form);
    let count = maker.random.random_range(0..=4);
    form.write(&Value::List((0..count).map(|_| maker.value(&WireType::Named(name), "")).collect()))
}

enum Value {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Single(f32),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nil => to.serialize_none(),
            Self::Bool(value) => to.serialize_bool(*value),
            Self::Unsigned(value) => to.serialize_u64(*value),
            Self::Signed(value) => to.serialize_i64(*value),
            Self::Single(value) => to.serialize_f32(*value),
            Self::Double(value) => to.serialize_f64(*value),
            Self::Text(value) => to.serialize_str(value),
            Self::Bytes(value) => to.serialize_bytes(value),
            Self::List(values) => to.collect_seq(values),
            Self::Map(entries) => {
                let mut map = to.serialize_map(Some(entries.len()))?;
                entries.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                map.end()
            }
        }
    }
}

struct Maker<'a> {
    random: &'a mut StdRng,
    form: Form,
    /// One value in so many is not what it should be; 0 for none.
    odd_in: u32,
}

impl<'a> Maker<'a> {
    fn new(random: &'a mut StdRng, form: Form) -> Self {
        let odd_in = [0, 0, 10, 60][random.random_range(0..4)];
        Self { random, form, odd_in }
    }

    fn value(&mut self, wire: &WireType, field: &str) -> Value {
        if self.odd_in > 0 && self.random.random_range(0..self.odd_in) == 0 {
            return self.odd();
        }
        match wire {
            WireType::Bool => Value::Bool(self.random.random()),
            WireType::Int(kind) => self.integer(kind, field),
            WireType::Float("f32") => Value::Single(self.random.random_range(0..800) as f32 / 8.0),
            WireType::Float(_) => Value::Double(f64::from(self.random.random_range(0..800)) / 8.0),
            WireType::Text => Value::Text(self.text(field)),
            WireType::Bytes => Value::Bytes(vec![0xff; self.random.random_range(0..40)]),
            WireType::Optional(_) if self.random.random() => Value::Nil,
            WireType::Optional(inner) => self.value(inner, field),
            WireType::List(inner) => {
                let count = self.random.random_range(0..4);
                self.list(inner, field, count)
            }
            WireType::Array(inner, length) => self.list(inner, field, *length),
            WireType::Map(inner) => {
                let count = self.random.random_range(0..4);
                let entry = |i: usize| (format!("name-{i}"), self.value(inner, field));
                Value::Map((0..count).map(entry).collect())
            }
            WireType::Named(name) => {
                DECLARATIONS.get(name).map_or(Value::Nil, |declared| self.declared(declared))
            }
        }
    }

    fn list(&mut self, inner: &WireType, field: &str, count: usize) -> Value {
        Value::List((0..count).map(|_| self.value(inner, field)).collect())
    }

    fn declared(&mut self, declared: &Declaration) -> Value {
        match &declared.body {
            Body::Struct(fields) => {
                let values =
                    fields.iter().map(|field| (field.name.to_owned(), self.value(&field.wire, field.name)));
                let values: Vec<(String, Value)> = values.collect();
                match self.form {
                    Form::Positional => Value::List(values.into_iter().map(|(_, value)| value).collect()),
                    Form::Named | Form::Json => Value::Map(values),
                }
            }
            Body::Enum(variants) => {
                let variant = &variants[self.random.random_range(0..variants.len())];
                // One in sixteen is of a later release.
                let later = (self.random.random_range(0..16) == 0).then(|| self.random.random::<u8>());
                match (self.form, later) {
                    (Form::Positional | Form::Named, _) => {
                        Value::Unsigned(later.unwrap_or(variant.code).into())
                    }
                    (Form::Json, None) => Value::Text(variant.name.to_owned()),
                    (Form::Json, Some(code)) => Value::Text(format!("other:{code}")),
                }
            }
            Body::Union(variants) => {
                let variant = &variants[self.random.random_range(0..variants.len())];
                Value::Map(vec![(variant.name.to_owned(), self.value(&variant.wire, variant.name))])
            }
        }
    }

    fn integer(&mut self, kind: &str, field: &str) -> Value {
        let small = self.random.random_range(0..200);
        match field {
            "schema" => Value::Unsigned(SCHEMA.into()),
            "rotation" => Value::Unsigned(small % 4 * 90),
            _ if kind == "u64" && self.random.random() => Value::Unsigned(1_700_000_000_000_000 + small),
            _ => Value::Unsigned(small),
        }
    }

    /// Ids are told by the names of their fields.
    fn text(&mut self, field: &str) -> String {
        let number = self.random.random_range(0..20);
        match field {
            "id" | "at" | "to" | "after" | "first" | "last" | "resume_after" => {
                format!("17000000000{number:02}-{number}")
            }
            _ => ["gate", "yard-2", "car", "worker.1"][number % 4].to_owned(),
        }
    }

    /// Something else than what should be here.
    fn odd(&mut self) -> Value {
        match self.random.random_range(0..12) {
            0 => Value::Nil,
            1 => Value::Bool(true),
            2 => Value::Unsigned(u64::MAX),
            3 => Value::Signed(i64::MIN),
            4 => Value::Single(f32::NAN),
            5 => Value::Double([f64::INFINITY, f64::MAX, -0.0, 1e-320][self.random.random_range(0..4)]),
            6 => Value::Text("\u{0}\u{202e}é".repeat(self.random.random_range(0..40))),
            7 => Value::Text(
                ["", "-", "1-", "__proto__", "18446744073709551615-18446744073709551615"]
                    [self.random.random_range(0..5)]
                .to_owned(),
            ),
            8 => Value::Bytes(vec![0x91; self.random.random_range(0..300)]),
            9 => Value::List(Vec::new()),
            10 => Value::Map(Vec::new()),
            _ => (0..self.random.random_range(0..DEEPEST))
                .fold(Value::Nil, |inner, _| Value::List(vec![inner])),
        }
    }
}
