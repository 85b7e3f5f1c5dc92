use std::borrow::Cow;

/// The text without the credentials of any address in it.
pub fn mask(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(text)
}
