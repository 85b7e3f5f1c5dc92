//! The metrics' documentation is generated; their names follow the rules.

use std::{collections::HashSet, env, fs, path::Path};

use peregrine_daemon::metrics::{Kind, Metric, document};

#[test]
fn metrics_documentation_drifts() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    if env::var_os("UPDATE_GENERATED").is_some() {
        fs::write(&path, document()).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == document(),
        "docs/metrics.md is out of date: UPDATE_GENERATED=1 cargo test -p peregrine-daemon"
    );
}

#[test]
fn metric_name_breaks_the_rules() {
    const UNITS: [&str; 4] = ["seconds", "bytes", "frames", "info"];
    let mut seen = HashSet::new();
    for metric in Metric::ALL {
        let name = metric.name();
        assert!(seen.insert(name), "{name} twice");
        assert!(name.starts_with("peregrine_"), "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
        assert_eq!(name.ends_with("_total"), metric.kind() == Kind::Counter, "{name}");
        assert!(metric.help().ends_with('.'), "{name} has no sentence");
        if let Kind::Histogram(buckets) = metric.kind() {
            assert!(UNITS.iter().any(|unit| name.ends_with(unit)), "{name} says no unit");
            assert!(buckets.bounds.is_sorted() && buckets.why.ends_with('.'), "{name}");
        }
    }
}

#[test]
fn label_is_unbounded() {
    const BOUNDED: [&str; 17] = [
        "camera",
        "danger",
        "daemon",
        "end",
        "head",
        "kind",
        "model",
        "operation",
        "outcome",
        "provider",
        "reason",
        "role",
        "route",
        "server",
        "stage",
        "status",
        "what",
    ];
    for label in Metric::ALL.iter().flat_map(|metric| metric.labels()) {
        assert!(BOUNDED.contains(label) || *label == "version", "`{label}`: is it bounded by configuration?");
    }
}
