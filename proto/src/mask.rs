//! Credentials are for whoever opens a source or a connection, never for a log, a listing or an error.
//!
//! An address is masked by its structure ([`Parts`]): what is not known to be harmless is hidden. Of any other text the
//! addresses in it are masked, and values of settings with names such as `password` ([`mask`]).

mod parts;
mod words;

use std::borrow::Cow;

pub(crate) use parts::Parts;

use words::CREDENTIALS;

/// What stands where credentials were.
pub const HIDDEN: &str = "***";

/// No address is longer, bytes. Who writes one that is makes us look no further.
const LONGEST_ADDRESS: usize = 8192;
/// So often a text is looked at again.
const MOST_PASSES: usize = 4;

/// The text without the credentials of any address in it: `rtsp://user:secret@host/path` becomes `rtsp://***@host/path`,
/// `…?pwd=secret` becomes `…?pwd=***`, a pipeline's `user-pw=secret` becomes `user-pw=***`.
///
/// When in doubt it hides: a password with a raw space, `/`, `?`, `#` or `@` in it is no valid address, but people write
/// such. Where an address is at hand, its [`SourceUri`](crate::SourceUri) masks better: it knows where it ends.
pub fn mask(text: &str) -> Cow<'_, str> {
    let mut masked = masked_once(text);
    // Of an odd text more may be seen once some of it is hidden.
    for _ in 0..MOST_PASSES {
        if matches!(masked, Cow::Borrowed(_)) {
            break;
        }
        let Cow::Owned(more) = masked_once(&masked) else { break };
        masked = Cow::Owned(more);
    }
    masked
}

fn masked_once(text: &str) -> Cow<'_, str> {
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let hidden = if rest.starts_with("://") {
            address(text, at, copied)
        } else if let Some((start, length)) = secret_value(text, at) {
            Some((start, start + length, HIDDEN.to_owned()))
        } else {
            None
        };
        match hidden {
            Some((start, end, masked)) => {
                if masked != text[start..end] {
                    out.push_str(&text[copied..start]);
                    out.push_str(&masked);
                    copied = end;
                }
                at = end.max(at + 1);
            }
            None => at += rest.chars().next().map_or(1, char::len_utf8),
        }
    }
    if copied == 0 {
        return without_scheme(Cow::Borrowed(text));
    }
    out.push_str(&text[copied..]);
    without_scheme(Cow::Owned(out))
}

/// The address around the `://` at `at` of a text, not before `from`: where it begins and ends, and its masked form.
fn address(text: &str, at: usize, from: usize) -> Option<(usize, usize, String)> {
    let before = &text[from..at];
    let scheme = before.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    let start = from + scheme.len();
    let after = &text[at + 3..];
    let near = &after[..after.floor_char_boundary(LONGEST_ADDRESS)];
    let line = &near[..quoted_end(near, |c| c == '\n')];
    let line = &line[..next_address(line)];
    // A space belongs to the address where an `@` follows: then it is one of a user's name or of a password.
    let user = line
        .rmatch_indices('@')
        .map(|(last, _)| last + 1)
        .find(|last| begins_host(&line[*last..]))
        .unwrap_or(0);
    let word = user + quoted_end(&line[user..], char::is_whitespace);
    let end = at
        + 3
        + line[..word]
            .trim_end_matches(['\'', '`', '"', ',', '.', ';', ':', ')', ']', '}', '>', '!', '\\'])
            .len();
    let end = end.max(at + 3);
    Some((start, end, Parts::of(&text[start..end]).masked()))
}

/// Whether a host may stand there.
fn begins_host(text: &str) -> bool {
    text.starts_with(|c: char| !c.is_whitespace())
}

/// Where a word or a line ends, at the latest at the quote that ends a string of JSON.
fn quoted_end(text: &str, ends: impl Fn(char) -> bool) -> usize {
    let mut escaped = false;
    let ends = |c: char| {
        let end = ends(c) || (c == '"' && !escaped);
        escaped = c == '\\' && !escaped;
        end
    };
    text.find(ends).unwrap_or(text.len())
}

/// Where another address begins on the same line, as in `redis://a,redis://b`: it has credentials of its own.
fn next_address(line: &str) -> usize {
    let begins = |(at, _): (usize, &str)| {
        let before =
            line[..at].trim_end_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        let apart = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '|' | '(' | '`' | '\'' | '"');
        (before.len() < at && before.ends_with(apart)).then_some(before.len())
    };
    line.match_indices("://").find_map(begins).unwrap_or(line.len())
}

/// Masks `user:password@host`, as it stands where the scheme was forgotten.
fn without_scheme(text: Cow<'_, str>) -> Cow<'_, str> {
    if !text.contains('@') {
        return text;
    }
    let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '(' | ')' | '{' | '}' | ',');
    let mut out = String::new();
    let mut copied = 0;
    for word in text.split(ends) {
        let start = word.as_ptr() as usize - text.as_ptr() as usize;
        if let Some(last) = word.rfind('@')
            && !word.contains("://")
            && word[..last].contains(':')
        {
            out.push_str(&text[copied..start]);
            out.push_str(HIDDEN);
            copied = start + last;
        }
    }
    if copied == 0 {
        return text;
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// Start and length of the value when a setting that is a credential begins at `at`.
fn secret_value(text: &str, at: usize) -> Option<(usize, usize)> {
    let before = text[..at].chars().next_back();
    if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '-' | '_')) {
        return None;
    }
    let rest = &text[at..];
    let name = rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')).count();
    let value = rest[name..].strip_prefix('=').filter(|value| !value.starts_with('='))?;
    if CREDENTIALS.binary_search(&rest[..name].to_ascii_lowercase().as_str()).is_err() {
        return None;
    }
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    let length = match quote {
        Some(quote) => value[1..].find(quote).map_or(value.len(), |end| end + 2),
        None => value
            .find(|c: char| {
                c.is_whitespace()
                    || matches!(c, '&' | ';' | ',' | '#' | '!' | '"' | '\'' | '`' | '<' | '>' | '|')
            })
            .unwrap_or(value.len()),
    };
    (length > 0).then_some((at + name + 1, length))
}

/// The words of a parser without the values that it quotes, as in `invalid type: string "…", expected a map`: a value may be
/// an address that stands in the wrong place.
pub fn without_values(error: &str) -> Cow<'_, str> {
    const QUOTED: &str = "string \"";
    let Some(at) = error.find(QUOTED) else { return mask(error) };
    // What follows the value has no quotes of its own.
    let value = &error[at + QUOTED.len()..];
    let end = value.rfind('"').map_or(value.len(), |end| end + 1);
    let rest = format!("{}a text{}", &error[..at], &value[end..]);
    Cow::Owned(mask(&rest).into_owned())
}

#[cfg(test)]
mod tests;
