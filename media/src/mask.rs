use std::borrow::Cow;

/// What stands where credentials were.
const HIDDEN: &str = "***";

/// Names of settings whose values are credentials, in the query of an address or in a pipeline. Sorted; lower case.
const SECRET_KEYS: [&str; 22] = [
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "auth",
    "key",
    "pass",
    "passwd",
    "password",
    "passwort",
    "proxy-pw",
    "pw",
    "pwd",
    "secret",
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

/// Bytes of the credentials in what follows `://`, up to the `@`; none where there are none.
fn userinfo(after: &str) -> Option<usize> {
    let token = &after[..after.find(is_gap).unwrap_or(after.len())];
    // Another address in the same token (`rtsp://a/?next=http://b`) has credentials of its own.
    let token = token.find("://").map_or(token, |next| &token[..next]);
    let authority = &token[..token.find(['/', '?', '#']).unwrap_or(token.len())];
    match authority.rfind('@') {
        Some(_) if authority.len() < token.len() && authority.contains(':') => token.rfind('@'),
        Some(at) => Some(at),
        None if authority.contains(':') && !authority.starts_with('[') => token.rfind('@'),
        None => None,
    }
}

/// Where an address ends in running text.
fn is_gap(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | '|')
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
        None => value.find(|c| is_gap(c) || matches!(c, '&' | ';' | ',' | '#' | '!')).unwrap_or(value.len()),
    };
    (length > 0).then_some((at + name + 1, length))
}
