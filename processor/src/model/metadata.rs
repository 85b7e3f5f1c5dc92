//! What exporters write into an ONNX file's metadata: Ultralytics' keys `names`, `imgsz`, `task`, `head`, `end2end`, `license`.

use std::collections::BTreeMap;

use peregrine_proto::Size;

use super::ModelError;

/// The metadata that is of use here; whatever cannot be read counts as absent, names excepted: without them, those of other
/// classes might be taken.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Metadata {
    /// Class names by class id; or what is wrong with them.
    pub names: Option<Result<Vec<String>, UnusableNames>>,
    /// Size of the input.
    pub input: Option<Size>,
    /// What the model was made for.
    pub task: Option<String>,
    /// The exporter's name for the model's last layer.
    pub head: Option<String>,
    /// Whether suppression is part of the graph.
    pub end_to_end: Option<bool>,
    /// The model's licence.
    pub licence: Option<String>,
}

impl Metadata {
    /// Reads a loaded model's metadata.
    pub(super) fn read(session: &ort::session::Session) -> Result<Self, ModelError> {
        let Ok(metadata) = session.metadata() else { return Ok(Self::default()) };
        Ok(Self::from_keys(|key| metadata.custom(key)))
    }

    fn from_keys(value: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            names: value("names").filter(|text| !text.trim().is_empty()).map(|text| names(&text)),
            input: value("imgsz").and_then(|text| size(&text)),
            task: value("task"),
            head: value("head"),
            end_to_end: value("end2end").map(|text| text.eq_ignore_ascii_case("true")),
            licence: value("license"),
        }
    }
}

/// `[height, width]`, or one number for both.
fn size(text: &str) -> Option<Size> {
    let inner = text.trim().trim_matches(['[', ']', '(', ')']);
    let sides = inner.split(',').map(|side| side.trim().parse().ok()).collect::<Option<Vec<u32>>>()?;
    match sides[..] {
        [side] => Some(Size { width: side, height: side }),
        [height, width] => Some(Size { width, height }),
        _ => None,
    }
}

/// Names that cannot be given to classes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnusableNames {
    /// What is wrong with them.
    pub why: String,
    /// Those that could be read, in the order of their numbers.
    pub found: Vec<String>,
}

/// A Python dictionary of numbers to texts, a Python list of texts, or their JSON forms: the names of classes, which are
/// numbered from 0 without gaps.
fn names(text: &str) -> Result<Vec<String>, UnusableNames> {
    let unreadable = || {
        let some: String = text.chars().take(60).collect();
        UnusableNames {
            why: format!("`{some}` is neither a list of names nor a dictionary of numbers and names"),
            found: Vec::new(),
        }
    };
    let named = numbered_names(text).ok_or_else(unreadable)?;
    let count = named.len();
    let by_number: BTreeMap<usize, String> = named.into_iter().collect();
    let (first, last) = (by_number.keys().next().copied(), by_number.keys().next_back().copied());
    let distinct = by_number.len();
    let found: Vec<String> = by_number.into_values().collect();
    let why = match (first, last) {
        (Some(0), Some(last)) if last + 1 == count && distinct == count => return Ok(found),
        (None, _) | (_, None) => "it is empty".to_owned(),
        _ if distinct < count => "two names have the same number".to_owned(),
        (Some(0), Some(last)) => format!("{count} names have numbers from 0 to {last}: some are left out"),
        (Some(first), _) => format!("their numbers begin at {first}, but classes are numbered from 0"),
    };
    Err(UnusableNames { why, found })
}

/// The names with their numbers, in the order of the text.
fn numbered_names(text: &str) -> Option<Vec<(usize, String)>> {
    let mut rest = Literal { rest: text };
    let keyed = match rest.next()? {
        '{' => true,
        '[' => false,
        _ => return None,
    };
    let mut names = Vec::new();
    loop {
        if rest.eat(if keyed { '}' } else { ']' }) {
            break;
        }
        let number = if keyed {
            let number = rest.key()?;
            if !rest.eat(':') {
                return None;
            }
            number
        } else {
            names.len()
        };
        names.push((number, rest.text()?));
        if !rest.eat(',') && !rest.starts_with(if keyed { '}' } else { ']' }) {
            return None;
        }
    }
    Some(names)
}

/// Reads the literals of Python and JSON, as far as names need.
struct Literal<'a> {
    rest: &'a str,
}

impl Literal<'_> {
    fn starts_with(&mut self, wanted: char) -> bool {
        self.rest = self.rest.trim_start();
        self.rest.starts_with(wanted)
    }

    fn eat(&mut self, wanted: char) -> bool {
        let there = self.starts_with(wanted);
        if there {
            self.rest = &self.rest[wanted.len_utf8()..];
        }
        there
    }

    fn next(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        let mut chars = self.rest.chars();
        let first = chars.next();
        self.rest = chars.as_str();
        first
    }

    /// A number, which JSON puts in quotes.
    fn key(&mut self) -> Option<usize> {
        if self.starts_with('"') || self.starts_with('\'') {
            return self.text()?.parse().ok();
        }
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits.parse().ok()
    }

    /// A text in single or double quotes.
    fn text(&mut self) -> Option<String> {
        let quote = self.next().filter(|c| matches!(c, '\'' | '"'))?;
        let mut text = String::new();
        let mut chars = self.rest.chars();
        loop {
            match chars.next()? {
                '\\' => text.push(match chars.next()? {
                    'n' => '\n',
                    't' => '\t',
                    'u' => {
                        let digits: String = chars.by_ref().take(4).collect();
                        char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?
                    }
                    other => other,
                }),
                c if c == quote => break,
                c => text.push(c),
            }
        }
        self.rest = chars.as_str();
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_from_python_and_json() {
        let wanted = Ok(vec!["person".to_owned(), "driver's cab".to_owned(), "größe: {x}, [y]".to_owned()]);
        for text in [
            r#"{0: 'person', 1: "driver's cab", 2: 'größe: {x}, [y]'}"#,
            r#"['person', 'driver\'s cab', 'größe: {x}, [y]',]"#,
            r#"{"0": "person", "1": "driver's cab", "2": "gr\u00f6\u00dfe: {x}, [y]"}"#,
            r#"{2: 'größe: {x}, [y]', 0: 'person', 1: "driver's cab"}"#,
        ] {
            assert_eq!(names(text), wanted, "{text}");
        }
    }

    #[test]
    fn names_that_fit_no_classes_are_taken_for_absent() {
        for (text, said) in [
            ("{", "neither a list"),
            ("person", "neither a list"),
            ("{0: person}", "neither a list"),
            ("{0: 'a' 1: 'b'}", "neither a list"),
            ("['a", "neither a list"),
            (r"['\u00", "neither a list"),
            ("{}", "empty"),
            ("{1: 'a', 2: 'b'}", "begin at 1"),
            ("{0: 'a', 2: 'b'}", "0 to 2"),
            ("{0: 'a', 0: 'b'}", "same number"),
        ] {
            let unusable = names(text).unwrap_err();
            assert!(unusable.why.contains(said), "{text}: {}", unusable.why);
        }
        assert_eq!(names("{2: 'b', 1: 'a'}").unwrap_err().found, ["a", "b"]);
        assert_eq!(Metadata::from_keys(|_| Some("  ".into())).names, None);
    }

    #[test]
    fn the_size_is_height_first() {
        assert_eq!(size("[384, 640]"), Some(Size { width: 640, height: 384 }));
        assert_eq!(size("640"), Some(Size { width: 640, height: 640 }));
        assert_eq!(size("[a, b]"), None);
        assert_eq!(size("[1, 2, 3]"), None);
    }
}
