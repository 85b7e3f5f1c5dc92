//! Where values come from.

use std::{collections::BTreeMap, fs, path::Path};

use figment::value::{Dict, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{CommonArgs, LogFormat, Problem};

/// Values of one origin.
#[derive(Debug, Default)]
pub(super) struct Layer {
    pub(super) values: Dict,
    /// Where each key was given.
    origins: BTreeMap<String, String>,
    /// What each key was given as, where that was text without a type.
    texts: BTreeMap<String, String>,
}

impl Layer {
    /// Where this layer gives the key, the nearest thing around it, or something inside it.
    pub(super) fn origin(&self, key: &str) -> Option<String> {
        let mut around = Some(key);
        while let Some(key) = around {
            if let Some(origin) = self.origins.get(key) {
                return Some(origin.clone());
            }
            around = key.rsplit_once('.').map(|(section, _)| section);
        }
        let inside = format!("{key}.");
        let (first, origin) = self.origins.range(inside.clone()..).next()?;
        first.starts_with(&inside).then(|| origin.clone())
    }

    /// The text that was given for a key.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.texts.get(key).map(String::as_str)
    }

    pub(super) fn set(&mut self, key: &str, text: &str, origin: String) {
        // A value is read as TOML or as a list or an object of JSON where it is that; else it is text.
        let value = of_toml(text).or_else(|_| of_json(text));
        let mut nested = value.unwrap_or_else(|_| Value::from(text.to_owned()));
        for part in key.rsplit('.') {
            nested = Value::from(Dict::from([(part.to_owned(), nested)]));
        }
        if let Some(values) = nested.into_dict() {
            super::merge(&mut self.values, values);
        }
        self.origins.insert(key.into(), origin);
        self.texts.insert(key.into(), text.into());
    }
}

fn of_toml(text: &str) -> Result<Value, String> {
    let mut parsed = toml::from_str::<BTreeMap<String, toml::Value>>(&format!("v = {text}"))
        .map_err(|error| error.message().replace('\n', ", "))?;
    let value = parsed.remove("v").filter(|_| parsed.is_empty()).ok_or("more than one value")?;
    Value::serialize(value).map_err(|error| error.to_string())
}

fn of_json(text: &str) -> Result<Value, String> {
    let parsed: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if !parsed.is_array() && !parsed.is_object() {
        return Err("no list or object".into());
    }
    Value::serialize(parsed).map_err(|error| error.to_string())
}

/// Why a text that looks like a list or a table is none; none where it does not look so. The text itself is not repeated: it may
/// hold secrets.
pub(super) fn why_no_list(text: &str) -> Option<String> {
    if !text.trim_start().starts_with(['[', '{']) {
        return None;
    }
    let (toml, json) = (of_toml(text).err()?, of_json(text).err()?);
    Some(format!("is neither TOML ({toml}) nor JSON ({json})"))
}

/// A TOML file; what cannot be read or parsed goes to `problems`.
pub(super) fn file(path: &Path, problems: &mut Vec<Problem>) -> Layer {
    let mut layer = Layer::default();
    let mut problem = |origin: String, text: String| {
        problems.push(Problem { key: String::new(), origin: Some(origin), text });
    };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            problem(path.display().to_string(), format!("cannot be read: {error}: check --config"));
            return layer;
        }
    };
    let line = |offset: usize| 1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
    let origin = |offset: usize| format!("{}:{}", path.display(), line(offset));
    let (parsed, errors) = DeTable::parse_recoverable(&text);
    for error in &errors {
        problem(origin(error.span().map_or(0, |span| span.start)), error.message().replace('\n', ", "));
    }
    note_lines(parsed.get_ref(), "", &origin, &mut layer.origins);
    if errors.is_empty()
        && let Ok(Some(values)) = toml::from_str::<toml::Table>(&text)
            .map(|table| Value::serialize(table).ok().and_then(Value::into_dict))
    {
        layer.values = values;
    }
    layer
}

fn note_lines(
    table: &DeTable<'_>,
    section: &str,
    origin: &dyn Fn(usize) -> String,
    origins: &mut BTreeMap<String, String>,
) {
    for (key, value) in table {
        let path = match section {
            "" => key.get_ref().to_string(),
            section => format!("{section}.{}", key.get_ref()),
        };
        origins.insert(path.clone(), origin(key.span().start));
        note_value(value, &path, origin, origins);
    }
}

fn note_value(
    value: &Spanned<DeValue<'_>>,
    path: &str,
    origin: &dyn Fn(usize) -> String,
    origins: &mut BTreeMap<String, String>,
) {
    match value.get_ref() {
        DeValue::Table(table) => note_lines(table, path, origin, origins),
        DeValue::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                let path = format!("{path}.{index}");
                origins.insert(path.clone(), origin(value.span().start));
                note_value(value, &path, origin, origins);
            }
        }
        _ => {}
    }
}

/// `--set` in the order given, then the flags that have a name of their own.
pub(super) fn flags(args: &CommonArgs, problems: &mut Vec<Problem>) -> Layer {
    let mut layer = Layer::default();
    for setting in &args.set {
        match setting.split_once('=') {
            Some((key, text)) if !key.trim().is_empty() => {
                let key = key.trim();
                layer.set(key, text.trim(), format!("--set {key}"));
            }
            _ => problems.push(Problem {
                key: String::new(),
                origin: Some("--set".into()),
                text: format!("`{setting}` is no setting: write section.key=value"),
            }),
        }
    }
    let format = args.log_format.map(|format| match format {
        LogFormat::Human => "human",
        LogFormat::Json => "json",
    });
    let named = [
        ("log.format", "--log-format", format),
        ("log.level", "--log", args.log.as_deref()),
        ("admin.listen", "--admin", args.admin.as_deref()),
    ];
    for (key, flag, text) in named {
        if let Some(text) = text {
            layer.set(key, text, flag.into());
        }
    }
    layer
}
