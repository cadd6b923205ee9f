//! `printf`: Go's verbs, with flags, widths and precisions.

use serde_json::Value;

use super::eval::text_of;

/// No padding is wider.
pub(super) const WIDEST: usize = 1 << 12;

/// What stands between a percent sign and its verb.
#[derive(Default)]
struct Spec {
    left: bool,
    zeros: bool,
    sharp: bool,
    /// What stands before a number that is not negative.
    sign: &'static str,
    width: usize,
    precision: Option<usize>,
}

/// A text with values in place of its verbs. As in Go, what doesn't fit is told in the text.
pub(super) fn printf(shape: &str, arguments: &[Value]) -> String {
    let mut arguments = arguments.iter();
    let mut text = String::new();
    let mut rest = shape;
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        let (spec, after) = spec(after);
        let mut characters = after.chars();
        let shown = match characters.next() {
            None => "%!(NOVERB)".to_owned(),
            Some('%') => "%".to_owned(),
            Some(verb) => match arguments.next() {
                Some(value) => spec.show(verb, value),
                None => format!("%!{verb}(MISSING)"),
            },
        };
        text.push_str(&shown);
        rest = characters.as_str();
    }
    text.push_str(rest);
    let extra: Vec<_> = arguments.map(typed).collect();
    if extra.is_empty() { text } else { format!("{text}%!(EXTRA {})", extra.join(", ")) }
}

/// Reads flags, width and precision.
fn spec(text: &str) -> (Spec, &str) {
    let mut spec = Spec::default();
    let behind = text.trim_start_matches(['-', '+', '#', ' ', '0']);
    let flags = &text[..text.len() - behind.len()];
    spec.left = flags.contains('-');
    spec.zeros = flags.contains('0') && !spec.left;
    spec.sign = match flags {
        _ if flags.contains('+') => "+",
        _ if flags.contains(' ') => " ",
        _ => "",
    };
    spec.sharp = flags.contains('#');
    let (width, behind) = number(behind);
    spec.width = width;
    let Some(behind) = behind.strip_prefix('.') else { return (spec, behind) };
    let (precision, behind) = number(behind);
    spec.precision = Some(precision);
    (spec, behind)
}

fn number(text: &str) -> (usize, &str) {
    let behind = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &text[..text.len() - behind.len()];
    let most = if digits.is_empty() { 0 } else { WIDEST };
    (digits.parse().unwrap_or(most).min(WIDEST), behind)
}

impl Spec {
    fn show(&self, verb: char, value: &Value) -> String {
        match value {
            _ if verb == 'T' => self.pad(kind(value).to_owned()),
            Value::Null if verb == 'v' => self.pad("<nil>".to_owned()),
            Value::Array(items) => {
                let items: Vec<_> = items.iter().map(|item| self.show(verb, item)).collect();
                format!("[{}]", items.join(" "))
            }
            Value::Object(fields) => {
                let name = |name: &String| self.show(verb, &Value::from(name.as_str()));
                let fields: Vec<_> = fields
                    .iter()
                    .map(|(key, value)| format!("{}:{}", name(key), self.show(verb, value)))
                    .collect();
                format!("map[{}]", fields.join(" "))
            }
            _ => self.plain(verb, value).unwrap_or_else(|| format!("%!{verb}({})", typed(value))),
        }
    }

    /// A value that is not made of others, if the verb is for it.
    fn plain(&self, verb: char, value: &Value) -> Option<String> {
        if let Value::String(text) = value {
            return self.text(verb, text).map(|text| self.pad(text));
        }
        if let (Value::Bool(truth), 't' | 'v') = (value, verb) {
            return Some(self.pad(truth.to_string()));
        }
        let number = value.as_number()?;
        let whole = number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
        match whole {
            Some(whole) => self.whole(verb, whole),
            None => self.float(verb, number.as_f64()?),
        }
    }

    fn text(&self, verb: char, text: &str) -> Option<String> {
        let cut: String = text.chars().take(self.precision.unwrap_or(usize::MAX)).collect();
        let hex = |digits: fn(&u8) -> String| {
            let bytes = &text.as_bytes()[..text.len().min(self.precision.unwrap_or(usize::MAX))];
            bytes.iter().map(digits).collect()
        };
        Some(match verb {
            'v' if self.sharp => format!("{cut:?}"),
            's' | 'v' => cut,
            'q' => format!("{cut:?}"),
            'x' => hex(|byte| format!("{byte:02x}")),
            'X' => hex(|byte| format!("{byte:02X}")),
            _ => return None,
        })
    }

    fn whole(&self, verb: char, number: i128) -> Option<String> {
        let character =
            || u32::try_from(number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
        let size = number.unsigned_abs();
        let (prefix, digits) = match verb {
            'd' | 'v' => ("", size.to_string()),
            'x' => ("0x", format!("{size:x}")),
            'X' => ("0X", format!("{size:X}")),
            'o' => ("0", format!("{size:o}")),
            'b' => ("0b", format!("{size:b}")),
            'c' => return Some(self.pad(character().to_string())),
            'q' => return Some(self.pad(format!("{:?}", character()))),
            'U' => return Some(self.pad(format!("U+{size:04X}"))),
            _ => return None,
        };
        let digits = format!("{digits:0>0$}", self.precision.unwrap_or(0));
        let prefix = if self.sharp { prefix } else { "" };
        Some(self.signed(number < 0, &(prefix.to_owned() + &digits)))
    }

    fn float(&self, verb: char, number: f64) -> Option<String> {
        let size = number.abs();
        let digits = match (verb, self.precision) {
            ('f' | 'F', precision) => format!("{size:.0$}", precision.unwrap_or(6)),
            ('v' | 'g', None) => size.to_string(),
            _ => return None,
        };
        Some(self.signed(number < 0.0, &digits))
    }

    /// A number with its sign, and with zeros before it if they are asked for.
    fn signed(&self, negative: bool, digits: &str) -> String {
        let sign = if negative { "-" } else { self.sign };
        if !self.zeros || self.precision.is_some() {
            return self.pad(format!("{sign}{digits}"));
        }
        let width = self.width.saturating_sub(sign.len());
        format!("{sign}{digits:0>width$}")
    }

    fn pad(&self, text: String) -> String {
        let width = self.width;
        match self.left {
            _ if width == 0 => text,
            true => format!("{text:<width$}"),
            false => format!("{text:>width$}"),
        }
    }
}

/// What Go calls a value.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]string",
        Value::Object(_) => "map[string]string",
    }
}

/// `int=42`, as Go tells of a value that it has no use for.
fn typed(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        other => format!("{}={}", kind(other), text_of(other)),
    }
}
