//! Which environment variables are configuration, and which are mistakes.

use std::{collections::BTreeSet, ffi::OsString, net::IpAddr};

use figment::value::{Dict, Value};

use super::{Problem, layer::Layer};

/// Sections of all daemons: the environment of one machine may configure them all. What is wrong inside of a section is said by
/// the daemons that have it.
const SECTIONS: &[&str] = &[
    "admin",
    "allow",
    "camera",
    "daemon",
    "gateway",
    "log",
    "metrics",
    "model",
    "processor",
    "producer",
    "redis",
    "spans",
    "web",
];

/// Variables of the project that are no configuration of a daemon: of compose, of tools and of tests.
const OURS: &[&str] = &[
    "CAMERA",
    "CAMERAS",
    "CI",
    "FOLDER",
    "IMAGES",
    "MEDIA",
    "MODEL",
    "PORT",
    "PYTHON",
    "ROOT",
    "SCHEMATHESIS",
    "SHARED",
    "STACK_CONTROL",
    "TEST_OPENING",
    "TEST_PASSWORD",
    "THREADS",
    "TOKENS",
    "URL",
];

const PREFIX: &str = "PEREGRINE_";

/// What a daemon can be configured with.
#[derive(Debug, Default)]
pub(super) struct Keys {
    sections: BTreeSet<String>,
    /// Each as `section.key`.
    keys: BTreeSet<String>,
}

impl Keys {
    /// The keys of these sections, by their defaults.
    pub(super) fn add(&mut self, defaults: &Dict) {
        self.sections.extend(defaults.keys().cloned());
        self.add_inside(defaults, "");
    }

    fn add_inside(&mut self, values: &Dict, section: &str) {
        for (key, value) in values {
            let path = format!("{section}{key}");
            if let Value::Dict(_, inner) = value {
                self.add_inside(inner, &format!("{path}."));
            }
            self.keys.insert(path);
        }
    }
}

/// The environment, by what its variables are to a daemon.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// `PEREGRINE_<SECTION>__<KEY>` of the daemon's own sections, and of those that nobody has.
    pub(super) layer: Layer,
    /// Variables that were meant to be configuration, and are none.
    pub(super) problems: Vec<Problem>,
    /// Names that begin with `PEREGRINE_` and that nobody reads.
    pub(super) unread: Vec<String>,
}

impl Environment {
    pub(super) fn new(variables: impl Iterator<Item = (OsString, OsString)>, own: &Keys) -> Self {
        let mut environment = Self::default();
        let mut variables: Vec<_> =
            variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect();
        variables.sort();
        for (name, value) in variables {
            if let Some(rest) = name.strip_prefix(PREFIX) {
                environment.take(&name, rest, value, own);
            }
        }
        environment
    }

    fn take(&mut self, name: &str, rest: &str, value: OsString, own: &Keys) {
        let mut problem = |text: String| {
            self.problems.push(Problem { key: String::new(), origin: Some(name.into()), text });
        };
        let is_key = rest.contains("__");
        let path = path(rest);
        let section = path.split('.').next().unwrap_or_default();
        if is_key && SECTIONS.contains(&section) && !own.sections.contains(section) {
            return;
        }
        match value.into_string() {
            Ok(text) if is_key => self.layer.set(&path, &text, name.into()),
            Err(_) if is_key => problem("is no UTF-8: give it as UTF-8, or in the configuration file".into()),
            Ok(text) if OURS.contains(&rest) || is_of_kubernetes(rest, &text) => {}
            _ => match doubled(rest).find(|meant| own.keys.contains(&self::path(meant))) {
                Some(meant) => problem(format!("nobody reads this; did you mean `{PREFIX}{meant}`?")),
                None => self.unread.push(name.into()),
            },
        }
    }
}

/// `section.key` of a variable's name without its prefix.
fn path(rest: &str) -> String {
    rest.to_ascii_lowercase().replace("__", ".")
}

/// The name with each of its underscores twice, one at a time.
fn doubled(rest: &str) -> impl Iterator<Item = String> {
    rest.match_indices('_').map(|(at, _)| format!("{}_{}", &rest[..at], &rest[at..]))
}

/// Whether Kubernetes gave this to every pod beside a service whose name begins with `peregrine-`.
fn is_of_kubernetes(rest: &str, value: &str) -> bool {
    let is_url = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let is_part = value.parse::<IpAddr>().is_ok()
        || value.parse::<u16>().is_ok()
        || ["tcp", "udp", "sctp"].contains(&value);
    let named = |part: &str| rest.contains(part);
    (is_url && (rest.ends_with("_PORT") || named("_PORT_")))
        || (is_part && (named("_SERVICE_HOST") || named("_SERVICE_PORT") || named("_PORT_")))
}
