//! What exporters write into an ONNX file's metadata: Ultralytics' keys `names`, `imgsz`, `task`, `end2end`, `license`.

use peregrine_proto::Size;

use super::ModelError;

/// The metadata that is of use here; whatever cannot be read counts as absent.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Metadata {
    /// Class names by class id.
    pub names: Option<Vec<String>>,
    /// Size of the input.
    pub input: Option<Size>,
    /// What the model was made for.
    pub task: Option<String>,
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
            names: value("names").and_then(|text| names(&text)),
            input: value("imgsz").and_then(|text| size(&text)),
            task: value("task"),
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

/// A Python dictionary of numbers to texts, a Python list of texts, or their JSON forms.
fn names(text: &str) -> Option<Vec<String>> {
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
        if keyed {
            // Ids run from 0 without gaps, in this order, in every export there is.
            let id = rest.key()?;
            if id != names.len() || !rest.eat(':') {
                return None;
            }
        }
        names.push(rest.text()?);
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
        let wanted = Some(vec!["person".to_owned(), "driver's cab".to_owned(), "größe: {x}, [y]".to_owned()]);
        for text in [
            r#"{0: 'person', 1: "driver's cab", 2: 'größe: {x}, [y]'}"#,
            r#"['person', 'driver\'s cab', 'größe: {x}, [y]',]"#,
            r#"{"0": "person", "1": "driver's cab", "2": "gr\u00f6\u00dfe: {x}, [y]"}"#,
        ] {
            assert_eq!(names(text), wanted, "{text}");
        }
        assert_eq!(names("{}"), Some(Vec::new()));
    }

    #[test]
    fn broken_names_count_as_absent() {
        for text in [
            "",
            "{",
            "person",
            "{0: person}",
            "{1: 'a'}",
            "{0: 'a' 1: 'b'}",
            "['a",
            r"['\u00",
            "{0: 'a', 2: 'b'}",
        ] {
            assert_eq!(names(text), None, "{text}");
        }
    }

    #[test]
    fn the_size_is_height_first() {
        assert_eq!(size("[384, 640]"), Some(Size { width: 640, height: 384 }));
        assert_eq!(size("640"), Some(Size { width: 640, height: 640 }));
        assert_eq!(size("[a, b]"), None);
        assert_eq!(size("[1, 2, 3]"), None);
    }
}
