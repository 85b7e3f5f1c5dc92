//! Credentials are for whoever opens a source or a connection, never for a log, a listing or an error.

use std::borrow::Cow;

/// What stands where credentials were.
const HIDDEN: &str = "***";

/// Names of settings whose values are credentials, in the query of an address or in a pipeline. Sorted; lower case.
const SECRET_KEYS: [&str; 25] = [
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "auth",
    "pass",
    "passwd",
    "password",
    "passwort",
    "proxy-pw",
    "pw",
    "pwd",
    "secret",
    "sentinel_pass",
    "sentinel_password",
    "sentinel_user",
    "sentinel_username",
    "sig",
    "signature",
    "token",
    "user",
    "user-id",
    "user-pw",
    "username",
    "usr",
];

/// The text without the credentials of any address in it: `rtsp://user:secret@host/path` becomes `rtsp://***@host/path`,
/// `…?pwd=secret` becomes `…?pwd=***`, a pipeline's `user-pw=secret` becomes `user-pw=***`.
///
/// When in doubt it hides: a password with a raw `/`, `?`, `#` or `@` in it is no valid address, but people write such.
pub fn mask(text: &str) -> Cow<'_, str> {
    let mut out: Option<String> = None;
    let mut copied = 0;
    let mut hide = |from: usize, to: usize, copied: &mut usize| {
        let out = out.get_or_insert_with(|| String::with_capacity(text.len()));
        out.push_str(&text[*copied..from]);
        out.push_str(HIDDEN);
        *copied = to;
    };
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if let Some(after) = rest.strip_prefix("://") {
            let start = at + 3;
            if let Some(length) = userinfo(after) {
                hide(start, start + length, &mut copied);
                at = start + length;
            } else {
                at = start;
            }
        } else if let Some((value, length)) = secret_value(text, at) {
            hide(value, value + length, &mut copied);
            at = value + length;
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    match out {
        Some(mut out) => {
            out.push_str(&text[copied..]);
            Cow::Owned(out)
        }
        None => Cow::Borrowed(text),
    }
}

/// No address is longer, bytes. Who writes one that is makes us look no further: each `://` of an endless word would else
/// cost as much as the word is long.
const LONGEST_ADDRESS: usize = 8192;

/// Bytes of the credentials in what follows `://`, up to the `@`; none where there are none.
fn userinfo(after: &str) -> Option<usize> {
    let near = &after[..after.floor_char_boundary(LONGEST_ADDRESS)];
    let token = &near[..gap(near)];
    let token = &token[..next_address(token)];
    let last = token.rfind('@')?;
    if token[..last].contains(':') {
        return Some(last);
    }
    let authority = &token[..token.find(['/', '?', '#']).unwrap_or(token.len())];
    authority.rfind('@')
}

/// Where an address ends in running text, at the latest: a space, or the quote that ends a string of JSON.
fn gap(text: &str) -> usize {
    let mut escaped = false;
    let ends = |c: char| {
        let end = c.is_whitespace() || (c == '"' && !escaped);
        escaped = c == '\\' && !escaped;
        end
    };
    text.find(ends).unwrap_or(text.len())
}

/// Where another address begins in the same word, as in `rtsp://a/?next=http://b`: it has credentials of its own.
fn next_address(token: &str) -> usize {
    let begins = |(at, _): (usize, &str)| {
        let before =
            token[..at].trim_end_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
        (before.len() < at && before.ends_with(['=', ',', ';', '&', '|', '('])).then_some(before.len())
    };
    token.match_indices("://").find_map(begins).unwrap_or(token.len())
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
    if SECRET_KEYS.binary_search(&rest[..name].to_ascii_lowercase().as_str()).is_err() {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn credentials_remain_in_the_text() {
        for (text, masked) in [
            ("rtsp://user:secret@10.0.0.5:554/ch1", "rtsp://***@10.0.0.5:554/ch1"),
            ("rtsp://user:p%40ss%2Fw@host/a", "rtsp://***@host/a"),
            ("rtsp://user:p@ss/w?r#d@host/a", "rtsp://***@host/a"),
            ("https://token@host/a?b=c", "https://***@host/a?b=c"),
            ("from rtsp://a:b@h to http://c:d@i.", "from rtsp://***@h to http://***@i."),
            ("http://cam/video?user=admin&pwd=x1&ch=2", "http://cam/video?user=***&pwd=***&ch=2"),
            (
                "rtspsrc location=rtsp://h/a user-id=me user-pw=\"my own\" ! appsink",
                "rtspsrc location=rtsp://h/a user-id=*** user-pw=*** ! appsink",
            ),
            ("redis://:secret@host:6379/0", "redis://***@host:6379/0"),
            ("http://a/?next=http://b:c@d/", "http://a/?next=http://***@d/"),
            ("redis://a:b@h,redis://c:d@i", "redis://***@h,redis://***@i"),
            ("rtsp://:://p@h", "rtsp://***@h"),
            ("{\"uri\":\"rtsp://u:p\\\"w@h\"}", "{\"uri\":\"rtsp://***@h\"}"),
            ("cannot open `rtsp://u:p@ss@cam/1`: timed out", "cannot open `rtsp://***@cam/1`: timed out"),
        ] {
            assert_eq!(mask(text), masked);
        }
    }

    #[test]
    fn harmless_text_is_changed() {
        for text in [
            "",
            "clip.mp4",
            "rtsp://host:554/path",
            "http://host/pic@2x.png",
            "mail someone@example.org",
            "a == b",
            "monkey=5 tokens=3",
            "grüße://",
            "redis+unix:///run/redis.sock",
        ] {
            assert!(
                matches!(mask(text), Cow::Borrowed(same) if same == text),
                "{text} became {}",
                mask(text)
            );
        }
    }

    proptest! {
        #[test]
        fn password_shines_through(
            before in "[ a-zé]{0,8}",
            user in "[a-zA-Z0-9._%-]{0,8}",
            password in "[a-zA-Z0-9!$%&()*+,;=:@/?#._~-]{0,12}",
            host in "[a-z]{1,8}(:[0-9]{1,5})?",
            after in "( [ -~é]{0,12})?",
        ) {
            let text = format!("{before} rtsp://{user}:{password}hunter2{password}@{host}/path{after}");
            let masked = mask(&text);
            prop_assert!(!masked.contains("hunter2"), "{masked}");
            prop_assert!(masked.contains(&host) || after.contains('@'), "{masked}");
        }

        #[test]
        fn any_text_panics(text in "\\PC{0,60}") {
            let once = mask(&text).into_owned();
            // Masking again changes nothing more.
            prop_assert_eq!(mask(&once).into_owned(), once.clone());
        }
    }
}
