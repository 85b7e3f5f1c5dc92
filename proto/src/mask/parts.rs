//! The parts of an address, and which of them are hidden.

use std::{collections::BTreeMap, ops::Range};

use super::{
    HIDDEN,
    words::{CREDENTIALS, HARMLESS},
};

/// A part of a path from so many characters on is taken for a token where it mixes letters and digits.
const TOKEN: usize = 16;
/// A shorter credential says nothing when it is found elsewhere.
const TELLING: usize = 4;
/// Most digits of a number that may be shown.
const MOST_DIGITS: usize = 8;
/// Most digits of a value that may be shown.
const MOST_DIGITS_TOGETHER: usize = 12;
/// So often an address may be percent-encoded.
const MOST_ENCODINGS: usize = 4;

/// Schemes after which `//` may be forgotten.
const NETWORK: [&str; 10] = ["http", "https", "mms", "rtmp", "rtmps", "rtp", "rtsp", "rtsps", "srt", "udp"];

/// Where a part stands: by this an address that was edited finds what is hidden in the one before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    User,
    Place,
    /// The value of a setting, by its name.
    Value(String),
    Segment,
    Fragment,
    Pipeline,
}

#[derive(Debug, Clone)]
struct Part {
    range: Range<usize>,
    slot: Slot,
    hidden: bool,
}

/// An address, taken apart.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    text: &'a str,
    /// Those that are or could be hidden, in the order of the address. What lies between them is shown.
    parts: Vec<Part>,
    /// Scheme, host and port; none where they cannot be told.
    place: Option<(String, String)>,
}

impl<'a> Parts<'a> {
    /// Takes an address apart; what it is need not be known.
    pub(crate) fn of(text: &'a str) -> Self {
        let mut parts = Self { text, parts: Vec::new(), place: None };
        parts.address(0..text.len());
        parts.repeated();
        parts
    }

    /// The address as people may see it.
    pub(crate) fn masked(&self) -> String {
        let mut out = String::with_capacity(self.text.len());
        let mut copied = 0;
        for part in self.parts.iter().filter(|part| part.hidden) {
            out.push_str(&self.text[copied..part.range.start]);
            out.push_str(HIDDEN);
            copied = part.range.end;
        }
        out.push_str(&self.text[copied..]);
        out
    }

    /// The hidden parts, as they stand and decoded, whole and in pieces, longest first; without those too short or harmless to tell anything.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let mut secrets = Vec::new();
        for part in self.parts.iter().filter(|part| part.hidden) {
            let text = &self.text[part.range.clone()];
            for text in [text, decoded(text).as_str()] {
                secrets.push(text.to_owned());
                secrets.extend(text.split(':').map(str::to_owned));
                secrets.extend(text.split(|c: char| !c.is_alphanumeric()).map(str::to_owned));
            }
        }
        secrets.retain(|secret| secret.chars().count() >= TELLING && !is_harmless(secret));
        secrets.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        secrets.dedup();
        secrets
    }

    /// This address with what is hidden in another one put in where it has [`HIDDEN`]; none where that is another place, or
    /// does not have it.
    pub(crate) fn filled_from(&self, other: &Parts<'_>) -> Option<String> {
        let from = |parts: &Parts<'_>| {
            let mut slots: BTreeMap<Slot, Vec<Range<usize>>> = BTreeMap::new();
            for part in parts.parts.iter().filter(|part| part.hidden) {
                slots.entry(part.slot.clone()).or_default().push(part.range.clone());
            }
            slots
        };
        let (place, had) = (self.place.as_ref()?, from(other));
        if other.place.as_ref() != Some(place) {
            return None;
        }
        let mut filled = Vec::new();
        for (slot, ranges) in from(self) {
            let wanting = ranges.iter().any(|range| self.text[range.clone()].contains(HIDDEN));
            if !wanting {
                continue;
            }
            // With one more or less it could not be told which is which.
            let had = had.get(&slot).filter(|had| had.len() == ranges.len())?;
            for (range, had) in ranges.into_iter().zip(had) {
                let text = &self.text[range.clone()];
                if text == HIDDEN {
                    filled.push((range, &other.text[had.clone()]));
                } else if text.contains(HIDDEN) {
                    return None;
                }
            }
        }
        filled.sort_by_key(|(range, _)| range.start);
        let mut out = String::new();
        let mut copied = 0;
        for (range, text) in filled {
            out.push_str(&self.text[copied..range.start]);
            out.push_str(text);
            copied = range.end;
        }
        out.push_str(&self.text[copied..]);
        Some(out)
    }

    fn note(&mut self, range: Range<usize>, slot: Slot, hidden: bool) {
        if !range.is_empty() {
            self.parts.push(Part { range, slot, hidden });
        }
    }

    /// A credential that stands in the address a second time is hidden there, too.
    fn repeated(&mut self) {
        let secrets = self.secrets();
        let text = self.text;
        for part in self.parts.iter_mut().filter(|part| part.slot != Slot::Place) {
            let (raw, plain) = (&text[part.range.clone()], decoded(&text[part.range.clone()]));
            let shows = |secret: &String| raw.contains(secret.as_str()) || plain.contains(secret.as_str());
            part.hidden = part.hidden || secrets.iter().any(shows);
        }
    }

    fn address(&mut self, at: Range<usize>) {
        let text = &self.text[at.clone()];
        let scheme = text.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
        let after = |length: usize| at.start + length + 1..at.end;
        match scheme.as_deref() {
            Some(scheme @ "opencv") => self.capture(after(scheme.len())),
            Some(scheme @ ("file" | "images" | "v4l2")) => self.local(after(scheme.len())),
            Some(scheme @ "synthetic") => self.tail(after(scheme.len()), false),
            Some("ingest") if text.len() == "ingest:".len() => {}
            Some(scheme) if NETWORK.contains(&scheme) => {
                let after = after(scheme.len());
                let slashes = self.text[after.clone()].bytes().take_while(|b| *b == b'/').count().min(2);
                self.network(scheme.to_owned(), after.start + slashes..after.end);
            }
            _ => match text.find("://") {
                Some(length) => {
                    let scheme = text[..length].to_ascii_lowercase();
                    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
                    if scheme.len() > TOKEN || !scheme.chars().all(plain) {
                        self.note(at.start..at.start + length, Slot::Place, true);
                    }
                    self.network(scheme, at.start + length + 3..at.end);
                }
                None if is_path(text) => self.local(at),
                None => self.network(String::new(), at),
            },
        }
    }

    /// Something on this machine: a file or a folder has its name, whatever that is.
    fn local(&mut self, at: Range<usize>) {
        let text = &self.text[at.clone()];
        if let Some(scheme) = text.find("://") {
            let before = text[..scheme]
                .trim_end_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
            self.tail(at.start..at.start + before.len(), true);
            return self.address(at.start + before.len()..at.end);
        }
        match text.rfind('@') {
            Some(last) if text[..last].contains(':') && !is_time(&text[..last]) => {
                self.note(at.start..at.start + last, Slot::User, true);
                self.tail(at.start + last + 1..at.end, true);
            }
            _ => self.tail(at, true),
        }
    }

    /// Something that OpenCV opens: a pipeline, a number, a path or an address.
    fn capture(&mut self, at: Range<usize>) {
        let text = &self.text[at.clone()];
        let start = at.start + (text.len() - text.trim_start().len());
        let at = start..at.end;
        let text = &self.text[at.clone()];
        let first = text.split_whitespace().next().unwrap_or_default();
        let is_pipeline = text.contains(" ! ")
            || (first.len() < text.trim_end().len() && text.contains('=') && !first.contains(':'));
        if is_pipeline { self.pipeline(at) } else { self.address(at) }
    }

    /// The text behind `scheme://`. Everything before the last `@` is the user's.
    fn network(&mut self, scheme: String, at: Range<usize>) {
        let text = &self.text[at.clone()];
        let user = text.rfind('@');
        if let Some(user) = user {
            self.note(at.start..at.start + user, Slot::User, true);
        }
        let start = at.start + user.map_or(0, |user| user + 1);
        let text = &self.text[start..at.end];
        let place = &text[..text.find(['/', '?', '#', '\\']).unwrap_or(text.len())];
        let is_token = is_token(place) && place.chars().all(char::is_alphanumeric);
        if !is_token && place.split(',').all(is_place) {
            self.place = Some((scheme, place.to_ascii_lowercase()));
            self.note(start..start + place.len(), Slot::Place, false);
            self.tail(start + place.len()..at.end, false);
        } else if scheme.is_empty() {
            self.tail(start..at.end, false);
        } else {
            self.note(start..start + place.len(), Slot::Place, true);
            self.tail(start + place.len()..at.end, false);
        }
    }

    /// Path, query and fragment.
    fn tail(&mut self, at: Range<usize>, local: bool) {
        let text = &self.text[at.clone()];
        let fragment = text.find('#').filter(|_| !local).unwrap_or(text.len());
        let query = text[..fragment].find('?').unwrap_or(fragment);
        let mut named = false;
        for (start, segment) in pieces(&text[..query], &['/', '\\']) {
            let range = at.start + start..at.start + start + segment.len();
            if named && !segment.is_empty() {
                self.note(range, Slot::Segment, true);
                named = false;
            } else {
                self.segment(range, local);
                named = is_credential(segment);
            }
        }
        if query < fragment {
            for (start, setting) in pieces(&text[query + 1..fragment], &['&', ';']) {
                let start = at.start + query + 1 + start;
                self.setting(start..start + setting.len());
            }
        }
        if fragment < text.len() {
            let range = at.start + fragment + 1..at.end;
            let hidden = !is_harmless(&self.text[range.clone()]);
            self.note(range, Slot::Fragment, hidden);
        }
    }

    /// A part of a path.
    fn segment(&mut self, at: Range<usize>, local: bool) {
        let text = &self.text[at.clone()];
        let plain = decoded(text);
        let is_encoded = plain != text && plain.contains(['=', ':', '@', '&', ';', '?', '#', '/', '\\']);
        if text == HIDDEN || is_encoded {
            self.note(at, Slot::Segment, true);
        } else if text.contains('=') {
            self.settings(at);
        } else if text.contains(':') && !(local && is_time(text)) {
            self.named(at, ':');
        } else {
            let hidden =
                (!local || text.contains('@')) && (is_token(text) || is_token(&plain)) && !is_harmless(text);
            self.note(at, Slot::Segment, hidden);
        }
    }

    /// A setting of a query.
    fn setting(&mut self, at: Range<usize>) {
        let text = &self.text[at.clone()];
        if text.contains('=') {
            self.named(at, '=');
        } else {
            let hidden = !is_harmless(text);
            self.note(at, Slot::Value(String::new()), hidden);
        }
    }

    /// `name=value`, or with another sign between them. A name that is not known is hidden as well: it may be the rest of a
    /// password.
    fn named(&mut self, at: Range<usize>, sign: char) {
        let text = &self.text[at.clone()];
        let (name, value) = text.split_once(sign).unwrap_or((text, ""));
        let from = at.start + name.len() + sign.len_utf8();
        let key = name.to_ascii_lowercase();
        if is_word(&key) {
            let hidden = !is_harmless(value);
            self.note(from..at.end, Slot::Value(key), hidden);
        } else if is_credential(&key) {
            self.note(from..at.end, Slot::Value(key), true);
        } else {
            self.note(at, Slot::Value(String::new()), true);
        }
    }

    /// Settings in one part of a path, as in `user=admin_password=secret_channel=1`: each begins behind a sign that stands
    /// in no name.
    fn settings(&mut self, at: Range<usize>) {
        let text = &self.text[at.clone()];
        let in_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let mut names: Vec<Range<usize>> = Vec::new();
        let mut behind = 0;
        for (equals, _) in text.match_indices('=') {
            let start = behind + text[behind..equals].trim_end_matches(in_name).len();
            if start < equals && (start > behind || names.is_empty()) {
                names.push(start..equals);
                behind = equals + 1;
            }
        }
        let is_known =
            |name: &Range<usize>| is_word(&text[name.clone()]) || is_credential(&text[name.clone()]);
        let before = names.first().map_or(text, |name| &text[..name.start]);
        let before_is_harmless =
            !before.contains(HIDDEN) && is_harmless(before.trim_end_matches(|c: char| !c.is_alphanumeric()));
        if !before_is_harmless || !names.iter().all(is_known) {
            return self.note(at, Slot::Segment, true);
        }
        for (i, name) in names.iter().enumerate() {
            // The sign before the next name is no part of the value.
            let end = names.get(i + 1).map_or(text.len(), |next| {
                text[..next.start].char_indices().next_back().map_or(0, |(at, _)| at)
            });
            self.named(at.start + name.start..at.start + end, '=');
        }
    }

    /// A pipeline of GStreamer.
    fn pipeline(&mut self, at: Range<usize>) {
        let text = &self.text[at.clone()];
        let mut begins = true;
        for (start, word) in words(text) {
            let range = at.start + start..at.start + start + word.len();
            let element = std::mem::replace(&mut begins, word == "!");
            if word == "!" || (element && is_element(word)) {
                continue;
            }
            let property = word.split_once('=').filter(|(name, _)| {
                name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
            });
            match property {
                Some((name @ ("location" | "uri" | "url"), value)) => {
                    let quotes =
                        usize::from(value.len() > 1 && value.starts_with('"') && value.ends_with('"'));
                    let from = range.start + name.len() + 1 + quotes;
                    self.address(from..range.end - quotes);
                }
                Some((_, value)) if value.starts_with('"') => self.named(range, '='),
                _ if word.contains('=') => self.settings(range),
                _ => {
                    let hidden = !is_harmless(word.trim_end_matches('.'));
                    self.note(range, Slot::Pipeline, hidden);
                }
            }
        }
        // Only the very same pipeline keeps what is hidden in it.
        self.place = None;
    }
}

/// The pieces of a text between some signs, each with where it begins.
fn pieces<'a>(text: &'a str, signs: &'a [char]) -> impl Iterator<Item = (usize, &'a str)> {
    text.split(signs).map(|piece| (piece.as_ptr() as usize - text.as_ptr() as usize, piece))
}

/// The words of a pipeline, each with where it begins; quotes hold a word together.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut words = Vec::new();
    let (mut start, mut quote, mut escaped) = (None, None, false);
    for (at, c) in text.char_indices() {
        if c.is_whitespace() && quote.is_none() {
            words.extend(start.take().map(|start| (start, &text[start..at])));
            continue;
        }
        start.get_or_insert(at);
        match quote {
            Some(open) if c == open && !escaped => quote = None,
            None if matches!(c, '"' | '\'') => quote = Some(c),
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    words.extend(start.map(|start| (start, &text[start..])));
    words
}

/// Whether a text without a scheme is a path beyond doubt.
fn is_path(text: &str) -> bool {
    text.starts_with(['/', '.', '~']) || !text.contains(['@', ':', '=', '?', '%', '&', '#'])
}

/// Whether it may be a host with or without a port; an empty one is that of an address without a host.
fn is_place(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => {
            if !host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, ':' | '.' | '%')) {
                return false;
            }
            ("", port)
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    let fine = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    let port_is_fine = port.is_empty()
        || port
            .strip_prefix(':')
            .is_some_and(|digits| digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit()));
    host.chars().all(fine) && port_is_fine
}

fn is_element(word: &str) -> bool {
    word.len() <= 32
        && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
}

/// Whether it is long and mixed enough for a token.
fn is_token(text: &str) -> bool {
    text.chars().count() >= TOKEN
        && text.chars().any(char::is_alphabetic)
        && text.chars().any(|c| c.is_ascii_digit())
}

/// Whether every `:` stands between digits, as in a time.
fn is_time(text: &str) -> bool {
    let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    text.match_indices(':')
        .all(|(at, _)| digit(text[..at].chars().next_back()) && digit(text[at + 1..].chars().next()))
}

fn is_word(text: &str) -> bool {
    HARMLESS.binary_search(&text.to_ascii_lowercase().as_str()).is_ok()
}

fn is_credential(text: &str) -> bool {
    CREDENTIALS.binary_search(&text.to_ascii_lowercase().as_str()).is_ok()
}

/// Whether a value is made of numbers, sizes and words of the list.
fn is_harmless(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    !value.contains(HIDDEN)
        && (is_word(value)
            || (digits <= MOST_DIGITS_TOGETHER
                && value
                    .split(|c: char| {
                        c.is_whitespace() || matches!(c, '.' | ',' | '-' | '_' | '*' | '/' | '+' | '(' | ')')
                    })
                    .all(|piece| piece.is_empty() || is_harmless_piece(piece))))
}

/// `25`, `640x480`, `main`, `h264`, `ch01`.
fn is_harmless_piece(piece: &str) -> bool {
    let is_number =
        |text: &str| (1..=MOST_DIGITS).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let is_size = || piece.split_once(['x', 'X']).is_some_and(|(w, h)| is_number(w) && is_number(h));
    let word = piece.trim_end_matches(|c: char| c.is_ascii_digit());
    let numbered = || piece.len() - word.len() <= 4 && word.len() > 1 && is_word(word);
    is_number(piece) || is_word(piece) || is_size() || numbered()
}

/// Without any percent-encoding, however often it was applied.
fn decoded(text: &str) -> String {
    let mut text = text.to_owned();
    for _ in 0..MOST_ENCODINGS {
        let next = decoded_once(&text);
        if next == text {
            break;
        }
        text = next;
    }
    text
}

fn decoded_once(text: &str) -> String {
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match (byte, hex(bytes.get(at + 1)), hex(bytes.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
