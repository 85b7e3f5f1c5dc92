/// Whether people see a text as it is: one line of at most so many characters, with none that is invisible or turns the order of
/// those around it. With such characters one name looks like another (Boucher and Anderson 2021, "Trojan Source: Invisible
/// Vulnerabilities"). The joiners that Persian and emoji need are allowed.
pub fn is_readable_line(text: &str, most: usize) -> bool {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c,
                '\u{061c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    text.chars().count() <= most && !text.chars().any(hidden)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_all_scripts_are_readable_and_what_hides_is_not() {
        for text in ["", "Gate 2", "ورودی", "می\u{200c}روم", "👩\u{200d}🚒", "入口"] {
            assert!(is_readable_line(text, 10), "{text}");
        }
        for text in [
            "a\nb",
            "a\u{0}",
            "\u{202e}live",
            "a\u{200b}b",
            "\u{2066}x\u{2069}",
            "a\u{feff}",
            "a\u{2028}b",
            "eleven long",
        ] {
            assert!(!is_readable_line(text, 10), "{text:?}");
        }
    }
}
