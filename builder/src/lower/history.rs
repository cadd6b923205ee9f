//! The lines of an image's history, in the shapes that `BuildKit` writes.

use std::fmt::Write;

use crate::image::{Healthcheck, History, ImageConfig};

/// The comment of every line.
const COMMENT: &str = "buildkit.dockerfile.v0";

/// Adds a line for an instruction that makes a layer of files.
pub(super) fn file_step(config: &mut ImageConfig, text: &str) {
    push(config, format!("{text} # buildkit"), false);
}

/// Adds a line for an instruction; `layer` says whether it makes one.
pub(super) fn step(config: &mut ImageConfig, text: String, layer: bool) {
    push(config, text, !layer);
}

fn push(config: &mut ImageConfig, created_by: String, empty_layer: bool) {
    let comment = COMMENT.to_owned();
    config.history.push(History { created_by, comment, empty_layer, ..History::default() });
}

/// `RUN |2 A=1 B=2 /bin/sh -c command`: the arguments in scope come before the command.
pub(super) fn run(args: &[String], arguments: &[(String, String)]) -> String {
    let mut words = vec!["RUN".to_owned()];
    if !arguments.is_empty() {
        words.push(format!("|{}", arguments.len()));
        words.extend(arguments.iter().map(|(name, value)| format!("{name}={value}")));
    }
    words.extend_from_slice(args);
    words.join(" ")
}

/// `["a" "b"]`: a list as Go prints it with `%q`.
pub(super) fn quoted(words: &[String]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| quote(word)).collect();
    format!("[{}]", quoted.join(" "))
}

/// `[a b]`: a list as Go prints it with `%v`.
pub(super) fn plain(words: &[String]) -> String {
    format!("[{}]", words.join(" "))
}

/// A string as Go's `strconv.Quote` writes it.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0b' => quoted.push_str("\\v"),
            '\x0c' => quoted.push_str("\\f"),
            c if (c as u32) < 0x20 || c == '\x7f' => {
                let _ = write!(quoted, "\\x{:02x}", c as u32);
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A health check as Go prints the struct with `%+v`.
pub(super) fn healthcheck(check: &Healthcheck) -> String {
    let [interval, timeout, start_period, start_interval] =
        [check.interval, check.timeout, check.start_period, check.start_interval].map(go_duration);
    format!(
        "{{Test:{} Interval:{interval} Timeout:{timeout} StartPeriod:{start_period} \
         StartInterval:{start_interval} Retries:{}}}",
        plain(&check.test),
        check.retries
    )
}

/// A time span as Go's `time.Duration` prints it: `1m30s`, `500ms`, `0s`.
fn go_duration(nanoseconds: i64) -> String {
    let total = nanoseconds.unsigned_abs();
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let fraction = |value: u64, unit: u64| {
        let rest = value % unit;
        let digits = unit.ilog10() as usize;
        let text = format!("{rest:0digits$}");
        match text.trim_end_matches('0') {
            "" => (value / unit).to_string(),
            digits => format!("{}.{digits}", value / unit),
        }
    };
    match total {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{total}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", fraction(total, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", fraction(total, 1_000_000)),
        _ => {
            let (minutes, rest) = (total / 60_000_000_000, total % 60_000_000_000);
            let seconds = fraction(rest, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_go_s() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (30_000_000_000, "30s"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (1_500_000, "1.5ms"),
            (2_500_000_000, "2.5s"),
        ] {
            assert_eq!(go_duration(nanoseconds), text);
        }
    }

    #[test]
    fn a_health_check_is_printed_as_go_prints_the_struct() {
        let check = Healthcheck {
            test: vec!["CMD-SHELL".to_owned(), "curl \"x\"".to_owned()],
            interval: 30_000_000_000,
            retries: 3,
            ..Healthcheck::default()
        };
        assert_eq!(
            healthcheck(&check),
            "{Test:[CMD-SHELL curl \"x\"] Interval:30s Timeout:0s StartPeriod:0s \
             StartInterval:0s Retries:3}"
        );
    }

    #[test]
    fn run_lists_the_arguments_in_scope() {
        let arguments = [("A".to_owned(), "1".to_owned())];
        let args = ["/bin/sh".to_owned(), "-c".to_owned(), "x".to_owned()];
        assert_eq!(run(&args, &arguments), "RUN |1 A=1 /bin/sh -c x");
        assert_eq!(run(&args, &[]), "RUN /bin/sh -c x");
    }
}
