//! Values with a grammar of their own: booleans, durations and sizes.

use std::time::Duration;

/// The nanoseconds in a unit of [`duration`].
const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("μs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];

/// Parses a boolean as Go does: `1 t T TRUE true True` and their opposites.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Parses a duration as Go writes it: `1h30m`, `1.5s`, `300ms`, `0`. The error is one line.
pub fn duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("invalid duration `{text}`");
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut nanoseconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            let missing = if unit.is_empty() { "missing".to_owned() } else { format!("`{unit}`") };
            return Err(format!("invalid duration `{text}`: unit {missing}"));
        };
        nanoseconds += number * scale;
        rest = after;
    }
    // The range of Go's durations, about 292 years.
    if nanoseconds >= 9.223e18 {
        return Err(invalid());
    }
    // The fraction of a nanosecond is dropped; the sum is positive and below 2^63.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    Ok(Duration::from_nanos(nanoseconds.round() as u64))
}

/// Parses a size in bytes: `100`, `64m`, `1.5GB`, `2GiB`; a unit is a power of 1024.
pub fn size(text: &str) -> Result<u64, String> {
    let invalid = || format!("invalid size `{text}`");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start().to_ascii_lowercase();
    let power = match unit.as_str() {
        "" | "b" => 0,
        _ => {
            let rest = unit.get(1..).unwrap_or_default();
            let power = "kmgtp".find(|c| unit.starts_with(c)).ok_or_else(invalid)? + 1;
            matches!(rest, "" | "b" | "ib").then_some(power).ok_or_else(invalid)?
        }
    };
    let scale = 1u64 << (10 * power);
    if let Ok(number) = number.parse::<u64>() {
        return number.checked_mul(scale).ok_or_else(invalid);
    }
    let number: f64 = number.parse().map_err(|_| invalid())?;
    // At most 2^50, which a float holds exactly.
    #[allow(clippy::cast_precision_loss)]
    let bytes = number * scale as f64;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    if bytes < 9.2e18 { Ok(bytes as u64) } else { Err(invalid()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        assert_eq!(duration("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for text in ["", "5", "5x", "s", "-1s", "1.2.3s", "999999999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_count_in_powers_of_1024() {
        assert_eq!(size("100"), Ok(100));
        assert_eq!(size("64m"), Ok(64 << 20));
        assert_eq!(size("1.5GB"), Ok(3 << 29));
        assert_eq!(size("2GiB"), Ok(2 << 30));
        for text in ["", "m", "1x", "1.2.3", "99999999p", "1kk"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
