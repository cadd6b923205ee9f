//! Values with a grammar of their own: booleans, durations, sizes, ports and signals.

use std::net::IpAddr;
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
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            let missing = if unit.is_empty() {
                "missing".to_owned()
            } else {
                format!("`{unit}`")
            };
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
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start().to_ascii_lowercase();
    let power = match unit.as_str() {
        "" | "b" => 0,
        _ => {
            let rest = unit.get(1..).unwrap_or_default();
            let power = "kmgtp".find(|c| unit.starts_with(c)).ok_or_else(invalid)? + 1;
            matches!(rest, "" | "b" | "ib")
                .then_some(power)
                .ok_or_else(invalid)?
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
    if bytes < 9.2e18 {
        Ok(bytes as u64)
    } else {
        Err(invalid())
    }
}

/// One word of `EXPOSE`, expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports {
    /// The first port of the range.
    pub first: u16,
    /// The last port of the range.
    pub last: u16,
    /// The protocol in lower case: `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Whether the protocol was written in lower case, or not at all.
    pub lower_case: bool,
    /// Whether an address or a port of the host was given, which mean nothing here.
    pub published: bool,
}

/// Parses a word of `EXPOSE`: `PORT[-PORT][/PROTOCOL]`, or with `[ADDRESS:]HOST:` before it.
/// The error is one line.
pub fn ports(text: &str) -> Result<Ports, String> {
    let invalid = |why: &str| format!("invalid port `{text}`: {why}");
    let (ports, protocol) = text.split_once('/').unwrap_or((text, ""));
    let lower = protocol.to_ascii_lowercase();
    let name = if lower.is_empty() {
        "tcp"
    } else {
        lower.as_str()
    };
    if !matches!(name, "tcp" | "udp" | "sctp") {
        return Err(invalid("the protocol is tcp, udp or sctp"));
    }
    let (host, container) = ports
        .rsplit_once(':')
        .map_or((None, ports), |(host, container)| (Some(host), container));
    if container.is_empty() {
        return Err(invalid("no port is given"));
    }
    let (first, last) = range(container).map_err(invalid)?;
    if let Some(host) = host {
        check_host(host, last - first).map_err(invalid)?;
    }
    Ok(Ports {
        first,
        last,
        protocol: name.to_owned(),
        lower_case: lower == protocol,
        published: host.is_some(),
    })
}

/// Checks `[ADDRESS:]HOST`, where the host's range is as long as the container's.
fn check_host(host: &str, length: u16) -> Result<(), &'static str> {
    let (address, port) = host
        .rsplit_once(':')
        .map_or((None, host), |(address, port)| (Some(address), port));
    if let Some(address) = address.filter(|address| !address.is_empty()) {
        let plain = address
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let address: Result<IpAddr, _> = plain.unwrap_or(address).parse();
        address.map_err(|_| "the address is not one")?;
    }
    if port.is_empty() {
        return Ok(());
    }
    let (first, last) = range(port)?;
    // A range of the host for one port of the container lets the runtime choose.
    if last - first != length && length != 0 {
        return Err("the ranges differ in length");
    }
    Ok(())
}

fn range(text: &str) -> Result<(u16, u16), &'static str> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse::<u16>().ok()).flatten();
        number.ok_or("ports are numbers from 0 to 65535")
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        Err("the range ends before it starts")
    } else {
        Ok((first, last))
    }
}

/// The signals by name, at the place of their number on Linux.
const SIGNALS: [&str; 32] = [
    "", "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// Other names of the same signals.
const ALIASES: [(&str, i32); 5] = [
    ("IOT", 6),
    ("CLD", 17),
    ("POLL", 29),
    ("UNUSED", 31),
    ("RTMIN", RT_MIN),
];

/// The first and the last real-time signal that programs may use.
const RT_MIN: i32 = 34;
const RT_MAX: i32 = 64;

/// Parses a signal, as a number or as a name with or without `SIG`, in any case. Returns its
/// number on Linux; the error is one line.
pub fn signal(text: &str) -> Result<i32, String> {
    let invalid = || format!("invalid signal `{text}`");
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=RT_MAX).contains(&number) {
            Ok(number)
        } else {
            Err(invalid())
        };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(number) = (1..)
        .zip(&SIGNALS[1..])
        .find(|(_, signal)| **signal == name)
    {
        return Ok(number.0);
    }
    if let Some((_, number)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
        return Ok(*number);
    }
    let offset = |text: &str| {
        text.parse::<i32>()
            .ok()
            .filter(|offset| (0..=30).contains(offset))
    };
    let number = if name == "RTMAX" {
        Some(RT_MAX)
    } else if let Some(rest) = name.strip_prefix("RTMIN+") {
        offset(rest).map(|offset| RT_MIN + offset)
    } else if let Some(rest) = name.strip_prefix("RTMAX-") {
        offset(rest).map(|offset| RT_MAX - offset)
    } else {
        None
    };
    number.ok_or_else(invalid)
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

    #[test]
    fn ports_of_every_form() {
        let port = |text| ports(text).map(|p| (p.first, p.last, p.protocol));
        assert_eq!(port("80"), Ok((80, 80, "tcp".into())));
        assert_eq!(port("80-82/UDP"), Ok((80, 82, "udp".into())));
        assert_eq!(port("127.0.0.1:8080:80/tcp"), Ok((80, 80, "tcp".into())));
        assert_eq!(port("[::1]:8080:80"), Ok((80, 80, "tcp".into())));
        assert!(ports("1.2.3.4::80").is_ok_and(|ports| ports.published));
        assert!(!ports("80/Tcp").is_ok_and(|ports| ports.lower_case));
        for text in [
            "",
            "x",
            "65536",
            "82-80",
            "80/icmp",
            "80:",
            "nohost:1:80",
            "-1",
            "1-3:1-2",
        ] {
            assert!(ports(text).is_err(), "{text}");
        }
    }

    #[test]
    fn signals_by_name_and_number() {
        assert_eq!(signal("SIGTERM"), Ok(15));
        assert_eq!(signal("kill"), Ok(9));
        assert_eq!(signal("9"), Ok(9));
        assert_eq!(signal("SIGRTMIN+3"), Ok(37));
        assert_eq!(signal("RTMAX-1"), Ok(63));
        for text in ["", "0", "65", "SIGNOPE", "SIG", "RTMIN+31"] {
            assert!(signal(text).is_err(), "{text}");
        }
    }
}
