/// Hides the credentials of every address in a text: `rtsp://user:secret@host/` becomes `rtsp://***@host/`.
///
/// For whatever reaches a log, a listing or an error. Text without credentials comes back unchanged.
pub fn mask(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        masked.push_str(before);
        // Passwords in the wild hold `@`, `/` and `#` unescaped: up to the last `@` before a space counts as secret, or before
        // the quote that ends a JSON string.
        let mut escaped = false;
        let ends = |c: char| {
            let end = c.is_whitespace() || (c == '"' && !escaped);
            escaped = c == '\\' && !escaped;
            end
        };
        let end = after.find(ends).unwrap_or(after.len());
        // Not beyond the next address of a list.
        let end = after[..end].find("://").map_or(end, |next| next);
        rest = match after[..end].rfind('@') {
            Some(last) => {
                masked.push_str("***");
                &after[last..]
            }
            None => after,
        };
    }
    masked.push_str(rest);
    masked
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn credentials_survive_masking() {
        for (text, expected) in [
            ("rtsp://user:secret@cam/1", "rtsp://***@cam/1"),
            ("rtsp://user@cam", "rtsp://***@cam"),
            ("redis://:secret@localhost:6379/0", "redis://***@localhost:6379/0"),
            ("cannot open `rtsp://u:p@ss@cam/1`: timed out", "cannot open `rtsp://***@cam/1`: timed out"),
            ("rtsp://u:p/w@cam/1 and http://a:b@c", "rtsp://***@cam/1 and http://***@c"),
            (
                "opencv:rtspsrc location=rtsp://u:p@h ! decodebin",
                "opencv:rtspsrc location=rtsp://***@h ! decodebin",
            ),
        ] {
            assert_eq!(mask(text), expected);
        }
    }

    #[test]
    fn text_without_credentials_changes() {
        for text in
            ["clip.mp4", "rtsp://cam/1", "someone@example.org", "redis+unix:///run/redis.sock", "://", ""]
        {
            assert_eq!(mask(text), text);
        }
    }
}
