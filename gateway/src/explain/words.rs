//! Numbers as people read them.

/// Three digits at most: more would only look exact.
pub(super) fn number(value: f64) -> String {
    let rounded = if value < 10.0 { (value * 10.0).round() / 10.0 } else { value.round() };
    format!("{rounded}")
}

/// Seconds as milliseconds.
pub(super) fn ms(seconds: f64) -> String {
    if seconds > 0.0 && seconds < 0.001 {
        format!("{:.2} ms", seconds * 1e3)
    } else {
        format!("{} ms", number(seconds * 1e3))
    }
}

pub(super) fn percent(share: f64) -> String {
    format!("{:.0}%", (share * 100.0).min(100.0))
}

pub(super) fn cores(count: f64) -> String {
    plural(count, "core", "cores")
}

/// `1 core`, `2.5 cores`.
pub(super) fn plural(count: f64, one: &str, many: &str) -> String {
    let text = number(count);
    let word = if text == "1" { one } else { many };
    format!("{text} {word}")
}

/// `a, b and c`; of many, the first few.
pub(super) fn list(words: &[impl AsRef<str>]) -> String {
    const MOST: usize = 5;
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match &words[..] {
        [] => "nobody".into(),
        [only] => (*only).into(),
        _ if words.len() > MOST => format!("{} and {} others", words[..MOST].join(", "), words.len() - MOST),
        [some @ .., last] => format!("{} and {last}", some.join(", ")),
    }
}
