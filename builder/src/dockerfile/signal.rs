//! Signals by name and number.

/// The signals by name, at the place of their number on Linux.
const SIGNALS: [&str; 32] = [
    "", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Other names of the same signals.
const ALIASES: [(&str, i32); 5] =
    [("IOT", 6), ("CLD", 17), ("POLL", 29), ("UNUSED", 31), ("RTMIN", RT_MIN)];

/// The first and the last real-time signal that programs may use.
const RT_MIN: i32 = 34;
const RT_MAX: i32 = 64;

/// Parses a signal, as a number or as a name with or without `SIG`, in any case. Returns its
/// number on Linux.
pub fn parse(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=RT_MAX).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(number) = (1..).zip(&SIGNALS[1..]).find(|(_, signal)| **signal == name) {
        return Some(number.0);
    }
    if let Some((_, number)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
        return Some(*number);
    }
    let offset = |text: &str| text.parse::<i32>().ok().filter(|offset| (0..=30).contains(offset));
    if name == "RTMAX" {
        Some(RT_MAX)
    } else if let Some(rest) = name.strip_prefix("RTMIN+") {
        offset(rest).map(|offset| RT_MIN + offset)
    } else if let Some(rest) = name.strip_prefix("RTMAX-") {
        offset(rest).map(|offset| RT_MAX - offset)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        assert_eq!(parse("SIGTERM"), Some(15));
        assert_eq!(parse("kill"), Some(9));
        assert_eq!(parse("9"), Some(9));
        assert_eq!(parse("SIGRTMIN+3"), Some(37));
        assert_eq!(parse("RTMAX-1"), Some(63));
        for text in ["", "0", "65", "SIGNOPE", "SIG", "RTMIN+31"] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
