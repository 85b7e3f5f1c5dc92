//! Configuration: defaults < file < environment < flags, complete and checked before anything is started.

mod environment;
mod layer;
mod sections;

use std::{collections::BTreeMap, ffi::OsString, fmt, path::PathBuf, time::Duration};

use figment::{
    error::{Actual, Kind},
    value::{Dict, Value},
};
use serde::{Serialize, de::DeserializeOwned};

use peregrine_proto::mask;

use crate::telemetry;
use environment::{Environment, Keys};
use layer::Layer;
pub use sections::{
    AdminSection, DaemonSection, LogFormat, LogSection, MetricsSection, RedisSection, SpansSection,
};

/// The flags that every daemon has. Flatten it into the daemon's own.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct CommonArgs {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Sets one key of the configuration, such as `redis.url=redis://localhost`; may be repeated.
    ///
    /// The environment does the same: PEREGRINE_REDIS__URL=redis://localhost.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// How log lines are written; `log.format` in the configuration.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Least level that is logged, such as `debug` or `info,peregrine_streams=debug`; `log.level` in the configuration.
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,
    /// Where /metrics, /healthz and /readyz are served, port 0 for any free one; `admin.listen` in the configuration.
    #[arg(long, value_name = "HOST:PORT")]
    pub admin: Option<String>,
    /// Prints the effective configuration, secrets masked, and leaves.
    #[arg(long)]
    pub check_config: bool,
}

/// A daemon's own configuration: raw as it is written, then built and validated into one without doubts.
///
/// The sections of [`ShellConfig`] (`[daemon]`, `[log]`, `[admin]`, `[metrics]`, `[spans]`) are handled here, and are no part of `Raw`.
pub trait DaemonConfig: Sized {
    /// As it is written. All of its structs need `#[serde(deny_unknown_fields, default)]`: unknown keys are errors.
    type Raw: Serialize + DeserializeOwned + Default;
    /// The daemon's name.
    const NAME: &'static str;
    /// Where health and metrics are served unless configured.
    const ADMIN: &'static str = "127.0.0.1:0";
    /// Checks the raw configuration; everything wrong goes to `problems`. What it returns beside problems is not used.
    fn build(raw: Self::Raw, problems: &mut Problems) -> Option<Self>;
    /// Where it announces the address of its metrics; none for a daemon without Redis.
    fn redis(&self) -> Option<&RedisSection> {
        None
    }
}

/// What the shell itself needs.
#[derive(Debug, Clone, PartialEq)]
pub struct ShellConfig {
    /// How and how much is logged.
    pub log: LogSection,
    /// Where health and metrics are served.
    pub admin: AdminSection,
    /// Whether anything is measured.
    pub metrics: MetricsSection,
    /// Whether, and where, frames' spans are sent.
    pub spans: SpansSection,
    /// This process among its peers.
    pub worker: String,
    /// How long draining may take.
    pub grace: Duration,
}

/// A configuration without problems.
#[derive(Debug)]
pub struct Loaded<C> {
    /// The daemon's own.
    pub config: C,
    /// The shell's.
    pub shell: ShellConfig,
    /// All of it as TOML, secrets masked.
    pub effective: String,
    /// Environment variables that begin with `PEREGRINE_` and that nobody reads.
    pub unread: Vec<String>,
}

/// One thing wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, `section.key`; empty where none can be named.
    pub key: String,
    /// Where its value comes from: `peregrine.toml:3`, an environment variable, a flag; none for a default.
    pub origin: Option<String>,
    /// What is wrong and the way out.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.key.as_str(), &self.origin) {
            ("", None) => {}
            ("", Some(origin)) => write!(f, "{origin}: ")?,
            (key, None) => write!(f, "{key}: ")?,
            (key, Some(origin)) => write!(f, "{key} ({origin}): ")?,
        }
        f.write_str(&mask(&self.text))
    }
}

/// Collects everything that is wrong, so that it can be said at once.
#[derive(Debug, Default)]
pub struct Problems {
    found: Vec<Problem>,
    layers: Vec<Layer>,
}

impl Problems {
    /// Notes a problem of a key (`section.key`); where its value comes from is added.
    pub fn add(&mut self, key: &str, text: impl Into<String>) {
        let origin = self.origin(key);
        self.found.push(Problem { key: key.into(), origin, text: text.into() });
    }

    /// Whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// What was found so far.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.found.iter()
    }

    fn origin(&self, key: &str) -> Option<String> {
        self.layers.iter().rev().find_map(|layer| layer.origin(key))
    }

    /// The text that the winning layer was given for a key, where that was text to be interpreted (environment, flags).
    fn text(&self, key: &str) -> Option<&str> {
        self.layers.iter().rev().find(|layer| layer.origin(key).is_some())?.text(key)
    }
}

/// Everything wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub struct ConfigErrors {
    /// The daemon that was to be configured.
    pub daemon: &'static str,
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, s) = (self.problems.len(), if self.problems.len() == 1 { "" } else { "s" });
        write!(f, "{}: {count} problem{s} with the configuration", self.daemon)?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// Loads and validates a daemon's configuration.
///
/// # Errors
/// With everything that is wrong with it.
pub fn load<C: DaemonConfig>(args: &CommonArgs) -> Result<Loaded<C>, ConfigErrors> {
    load_from(args, std::env::vars_os())
}

fn load_from<C: DaemonConfig>(
    args: &CommonArgs,
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Loaded<C>, ConfigErrors> {
    let mut problems = Problems::default();
    let file = args.config.as_deref().map(|path| layer::file(path, &mut problems.found));
    let mut own = Keys::default();
    own.add(&defaults_of::<C::Raw>());
    own.add(&defaults_of::<sections::Raw>());
    let Environment { layer: environment, problems: mistakes, unread } = Environment::new(variables, &own);
    problems.found.extend(mistakes);
    let flags = layer::flags(args, &mut problems.found);
    problems.layers = file.into_iter().chain([environment, flags]).collect();

    let mut tree = Dict::new();
    for layer in &problems.layers {
        merge(&mut tree, layer.values.clone());
    }
    let mut shell = Dict::new();
    for &section in sections::NAMES {
        if let Some(values) = tree.remove(section) {
            shell.insert(section.into(), values);
        }
    }
    let raw: Option<C::Raw> = extract(tree, sections::NAMES, &mut problems);
    let shell: Option<sections::Raw> = extract(shell, &[], &mut problems);
    let effective = effective(&shell, &raw, C::ADMIN);
    let shell = shell.map(|raw| raw.build(C::ADMIN, &mut problems));
    let config = raw.and_then(|raw| C::build(raw, &mut problems));
    match (config, shell, problems.found) {
        (Some(config), Some(shell), found) if found.is_empty() => {
            Ok(Loaded { config, shell, effective, unread })
        }
        (_, _, mut found) => {
            if found.is_empty() {
                found.push(Problem { key: String::new(), origin: None, text: "cannot be used".into() });
            }
            Err(ConfigErrors { daemon: C::NAME, problems: found })
        }
    }
}

/// Later values win; sections are merged key by key, lists are replaced.
fn merge(under: &mut Dict, over: Dict) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Dict(_, under)), Value::Dict(_, over)) => merge(under, over),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

fn defaults_of<T: Serialize + Default>() -> Dict {
    Value::serialize(T::default()).ok().and_then(Value::into_dict).unwrap_or_default()
}

/// Turns the tree into `T`. Each value that does not fit is noted, replaced by its default, and the rest is tried again: so all
/// problems are found at once. None only where even that leads nowhere.
fn extract<T>(mut given: Dict, elsewhere: &[&'static str], problems: &mut Problems) -> Option<T>
where
    T: Serialize + DeserializeOwned + Default,
{
    let defaults = defaults_of::<T>();
    loop {
        let mut tree = defaults.clone();
        merge(&mut tree, given.clone());
        let error = match Value::from(tree.clone()).deserialize::<T>() {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let mut path = error.path.clone();
        if let Kind::UnknownField(name, _) = &error.kind
            && path.last() != Some(name)
        {
            path.push(name.clone());
        }
        let key = path.join(".");
        if let (Kind::InvalidType(_, expected), Some(text)) = (&error.kind, problems.text(&key))
            && expected.contains("string")
        {
            // Text from the environment that happens to look like a number.
            replace(&mut given, &path, Value::from(text.to_owned()));
            continue;
        }
        problems.add(&key, explain(&error.kind, &path, elsewhere, &defaults));
        if !remove(&mut given, &path) {
            return None;
        }
    }
}

/// What is wrong, in words.
fn explain(kind: &Kind, path: &[String], elsewhere: &[&'static str], defaults: &Dict) -> String {
    match kind {
        Kind::UnknownField(name, known) => {
            let section = &path[..path.len().saturating_sub(1)];
            let mut known: Vec<&str> = known.to_vec();
            if section.is_empty() {
                known.extend(elsewhere);
            }
            let full =
                |key: &str| section.iter().map(String::as_str).chain([key]).collect::<Vec<_>>().join(".");
            if let Some(near) = nearest(name, known.iter().copied()) {
                format!("unknown key; did you mean `{}`?", full(near))
            } else if let Some(other) = find_leaf(defaults, name, "") {
                format!("unknown key; did you mean `{other}`?")
            } else {
                format!("unknown key; known here: {}", known.join(", "))
            }
        }
        Kind::UnknownVariant(name, known) => match nearest(name, known.iter().copied()) {
            Some(near) => format!("`{name}` is none of {}; did you mean `{near}`?", known.join(", ")),
            None => format!("`{name}` is none of {}", known.join(", ")),
        },
        Kind::InvalidType(Actual::Str(text), expected) if let Some(why) = layer::why_no_list(text) => {
            format!("{expected} is wanted, and what is given {why}")
        }
        Kind::MissingField(name) => format!("`{name}` is missing"),
        other => other.to_string(),
    }
}

/// The candidate that was probably meant.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let most = (name.len() / 3).clamp(1, 3);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= most || candidate.starts_with(name))
        .min()
        .map(|(_, candidate)| candidate)
}

/// A key of that name in another section.
fn find_leaf(values: &Dict, name: &str, section: &str) -> Option<String> {
    values.iter().find_map(|(key, value)| {
        let path = if section.is_empty() { key.clone() } else { format!("{section}.{key}") };
        match value {
            Value::Dict(_, inner) => find_leaf(inner, name, &path),
            _ => (key == name).then_some(path),
        }
    })
}

fn replace(values: &mut Dict, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => {
            values.insert(key.clone(), value);
        }
        [key, rest @ ..] => {
            if let Some(Value::Dict(_, inner)) = values.get_mut(key) {
                replace(inner, rest, value);
            }
        }
    }
}

/// Takes a value away, or the innermost thing around it that can be taken away; false where there is none.
fn remove(values: &mut Dict, path: &[String]) -> bool {
    match path {
        [] => false,
        [key, rest @ ..] => {
            let inside = match values.get_mut(key) {
                Some(Value::Dict(_, inner)) => remove(inner, rest),
                _ => false,
            };
            inside || values.remove(key).is_some()
        }
    }
}

fn effective<R: Serialize>(shell: &Option<sections::Raw>, raw: &Option<R>, admin: &str) -> String {
    let mut tree = BTreeMap::new();
    let mut shell = shell.clone().unwrap_or_default();
    shell.admin.listen.get_or_insert_with(|| admin.into());
    for value in [Value::serialize(shell), Value::serialize(raw)] {
        if let Ok(Value::Dict(_, mut values)) = value {
            values.values_mut().for_each(|value| hide(value, ""));
            tree.extend(values);
        }
    }
    tree.retain(|_, value| !matches!(value, Value::Empty(..)));
    toml::to_string_pretty(&tree)
        .unwrap_or_else(|problem| format!("# cannot be written as TOML: {problem}\n"))
}

/// Masks what nobody should read; takes away what is not set, which TOML cannot say.
fn hide(value: &mut Value, key: &str) {
    match value {
        Value::String(_, text)
            if !text.is_empty() && ["password", "secret", "token", "token_sha256"].contains(&key) =>
        {
            *text = "***".into();
        }
        Value::String(_, text) => *text = mask(text).into_owned(),
        Value::Array(_, values) => values.iter_mut().for_each(|value| hide(value, key)),
        Value::Dict(_, values) => {
            values.retain(|_, value| !matches!(value, Value::Empty(..)));
            values.iter_mut().for_each(|(key, value)| hide(value, key));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
