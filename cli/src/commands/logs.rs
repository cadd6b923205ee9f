//! `logs`: what a container wrote.

use std::io::{self, Write};

use jiff::{SignedDuration, Timestamp};
use rbuild::container::{self, LogOptions, LogStream};

use super::{DONE, Outcome, Session};
use crate::args::LogsArgs;
use crate::failure::Failure;

pub(super) fn run(args: &LogsArgs, session: &Session) -> Outcome {
    let time = |typed: &Option<String>| typed.as_deref().map(parse_time).transpose();
    let options = LogOptions {
        follow: args.follow,
        timestamps: args.timestamps,
        tail: tail(args.tail.as_deref())?,
        since: time(&args.since)?,
        until: time(&args.until)?,
    };
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let mut write = |stream: LogStream, bytes: &[u8]| match stream {
        LogStream::Stdout => out.write_all(bytes).and_then(|()| out.flush()),
        LogStream::Stderr => err.write_all(bytes),
    };
    container::logs(&session.store()?, &args.container, &options, &mut write)?;
    Ok(DONE)
}

fn tail(typed: Option<&str>) -> Result<Option<usize>, Failure> {
    match typed {
        // As with docker, a negative number is all of them.
        None | Some("all") => Ok(None),
        Some(text) if text.starts_with('-') => Ok(None),
        Some(text) => match text.parse() {
            Ok(lines) => Ok(Some(lines)),
            Err(_) => Err(Failure::usage(format!("`--tail {text}` is no number of lines"))),
        },
    }
}

/// A time (`2026-11-24T08:31:33Z`), seconds since 1970, or how long ago (`1h30m`).
pub(super) fn parse_time(text: &str) -> Result<Timestamp, Failure> {
    let wrong = || Failure::usage(format!("`{text}` is no time"));
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Some(seconds) = text.split('.').next().and_then(|whole| whole.parse::<i64>().ok()) {
        return Timestamp::from_second(seconds).map_err(|_| wrong());
    }
    if let Ok(date) = text.parse::<jiff::civil::DateTime>() {
        let zone = jiff::tz::TimeZone::system();
        let zoned = date.to_zoned_datetime(zone).map_err(|_| wrong())?;
        return Ok(zoned.timestamp());
    }
    let ago: SignedDuration = text.parse().map_err(|_| wrong())?;
    Timestamp::now().checked_sub(ago).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_each_form() {
        assert_eq!(parse_time("1970-01-01T00:01:00Z").unwrap().as_second(), 60);
        assert_eq!(parse_time("60.5").unwrap().as_second(), 60);
        assert!(parse_time("10m").unwrap() < Timestamp::now());
        assert!(parse_time("2026-11-24").is_ok());
        assert!(parse_time("soon").is_err());
        assert_eq!(tail(Some("all")).unwrap(), None);
        assert_eq!(tail(Some("5")).unwrap(), Some(5));
        assert!(tail(Some("x")).is_err());
    }
}
