//! Names of devices: `vendor/class`, `vendor/class=device`.

/// What a name asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selection<'a> {
    /// `vendor/class`.
    pub(super) kind: &'a str,
    /// A device, a class of an annotation, or `*`; none is any.
    pub(super) device: Option<&'a str>,
}

impl<'a> Selection<'a> {
    /// Reads a name; `None` when it is none.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (kind, device) = match text.split_once('=') {
            Some((kind, device)) => (kind, Some(device).filter(|device| !device.is_empty())),
            None => (text, None),
        };
        is_kind(kind).then_some(Self { kind, device })
    }
}

/// Whether this is `vendor/class`.
pub(super) fn is_kind(text: &str) -> bool {
    let Some((vendor, class)) = text.split_once('/') else {
        return false;
    };
    is_name(vendor, ".-_")
        && is_name(class, ".-_")
        && vendor.starts_with(letter)
        && class.starts_with(letter)
}

/// Whether this can be the name of a device of a kind.
pub(super) fn is_device(text: &str) -> bool {
    is_name(text, ".-_:")
}

/// Whether a text has only letters, digits and, between them, these characters.
fn is_name(text: &str, between: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(plain)
        && text.ends_with(plain)
        && text.chars().all(|c| plain(c) || between.contains(c))
}

fn letter(c: char) -> bool {
    c.is_ascii_alphabetic()
}
