//! Reads the text form of metrics, as Prometheus does.

use std::collections::BTreeMap;

/// The labels of a series by their names.
pub type Labels = BTreeMap<String, String>;

/// One answer of `/metrics`: by name, by labels, the value.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Samples(BTreeMap<String, BTreeMap<Labels, f64>>);

impl Samples {
    /// Reads the text form; a line that makes no sense is left out.
    pub fn parse(text: &str) -> Self {
        let mut samples = Self::default();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((name, labels, value)) = sample(line) {
                samples.0.entry(name.to_owned()).or_default().insert(labels, value);
            }
        }
        samples
    }

    /// The series of this name that have these labels, whatever others they have.
    pub fn with<'a>(
        &'a self,
        name: &str,
        wanted: &'a [(&str, &str)],
    ) -> impl Iterator<Item = (&'a Labels, f64)> {
        let has = |labels: &Labels| wanted.iter().all(|(k, v)| labels.get(*k).is_some_and(|l| l == v));
        let series = self.0.get(name).into_iter().flatten();
        series.filter(move |(labels, _)| has(labels)).map(|(labels, value)| (labels, *value))
    }

    /// All series of this name that have these labels, together; none where there is no such series.
    pub fn sum(&self, name: &str, wanted: &[(&str, &str)]) -> Option<f64> {
        self.with(name, wanted).map(|(_, value)| value).reduce(|a, b| a + b)
    }

    /// The one series with exactly these labels.
    pub fn value(&self, name: &str, labels: &Labels) -> Option<f64> {
        self.0.get(name)?.get(labels).copied()
    }
}

/// `name{label="value",…} 1.5`.
fn sample(line: &str) -> Option<(&str, Labels, f64)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(label.trim_start_matches(',').to_owned(), value);
            rest = after;
        }
        rest = &rest[1..];
    }
    Some((name, labels, rest.split_whitespace().next()?.parse().ok()?))
}

/// A label's value to its closing quote, and what follows that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    loop {
        match letters.next()? {
            (at, '"') => return Some((value, &text[at + 1..])),
            (_, '\\') => value.push(match letters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            (_, other) => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_with_quotes_or_braces_breaks_the_line() {
        let text = "# TYPE a counter\na{x=\"1,2}\\\"\\\\\\n\",y=\"\"} 2.5\na 3\nnonsense\nb{x=\"open} 1\nc{} 1e3 1700000000\n";
        let samples = Samples::parse(text);
        let odd: Vec<_> = samples.with("a", &[("x", "1,2}\"\\\n"), ("y", "")]).collect();
        assert_eq!(odd.len(), 1);
        assert_eq!(odd[0].1, 2.5);
        assert_eq!(samples.with("a", &[]).count(), 2);
        assert_eq!(samples.with("c", &[]).next().unwrap().1, 1000.0);
        assert_eq!(samples.0.len(), 2, "{samples:?}");
    }
}
