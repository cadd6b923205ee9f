//! Whether a container is well: its health check, and what the last ones have shown.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::Result;
use super::folder::Record;
use super::parse::invalid;
use crate::image::Healthcheck;

const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;
/// The shortest time of a check, as docker has it.
const LEAST: Duration = Duration::from_millis(1);
/// How many checks are remembered.
const REMEMBERED: usize = 5;

/// Whether a container is well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// No check has passed yet, and not enough have failed.
    #[default]
    Starting,
    /// A check has passed, and not enough have failed since.
    Healthy,
    /// So many checks have failed in a row as make it so.
    Unhealthy,
}

/// Writes the word that docker uses.
impl fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        })
    }
}

/// How a container's checks have gone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Health {
    /// Whether it is well.
    pub status: HealthStatus,
    /// How many checks have failed since the last one that passed.
    pub failing_streak: u32,
    /// The last few checks, the oldest first.
    pub log: Vec<Checked>,
}

/// One check that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Checked {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// The exit code of its command; -1 where that did not start, or took too long.
    pub exit_code: i32,
    /// What it wrote, up to 4096 bytes.
    pub output: String,
}

/// A check with nothing left open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) argv: Vec<String>,
    pub(crate) timeout: Duration,
    interval: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: u32,
}

/// The check that counts: what the user says, and where that leaves something open, the image.
pub(crate) fn healthcheck(record: &Record) -> Option<Healthcheck> {
    let (own, image) = (record.options.health.as_ref(), record.config.healthcheck.as_ref());
    let (Some(own), Some(image)) = (own, image) else {
        return own.or(image).cloned();
    };
    let or = |own: i64, image: i64| if own == 0 { image } else { own };
    Some(Healthcheck {
        test: if own.test.is_empty() { image.test.clone() } else { own.test.clone() },
        interval: or(own.interval, image.interval),
        timeout: or(own.timeout, image.timeout),
        start_period: or(own.start_period, image.start_period),
        start_interval: or(own.start_interval, image.start_interval),
        retries: or(own.retries, image.retries),
    })
}

/// Refuses times that no check can have.
pub(crate) fn check(health: &Healthcheck) -> Result<()> {
    let least = |option, nanoseconds: i64| {
        let time = duration(nanoseconds);
        match nanoseconds {
            0 => Ok(()),
            _ if time.is_some_and(|time| time >= LEAST) => Ok(()),
            _ => Err(invalid(option, &format!("{nanoseconds}ns"), "1ms is the least")),
        }
    };
    least("health-interval", health.interval)?;
    least("health-timeout", health.timeout)?;
    least("health-start-period", health.start_period)?;
    least("health-start-interval", health.start_interval)?;
    match health.retries {
        0.. => Ok(()),
        less => Err(invalid("health-retries", &less.to_string(), "it cannot be negative")),
    }
}

fn duration(nanoseconds: i64) -> Option<Duration> {
    u64::try_from(nanoseconds).ok().map(Duration::from_nanos)
}

impl Check {
    /// The check of a container that has one.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        let check = healthcheck(record)?;
        let usual_shell = || vec!["/bin/sh".to_owned(), "-c".to_owned()];
        let argv = match check.test.split_first() {
            Some((kind, arguments)) if kind == "CMD" => arguments.to_vec(),
            Some((kind, arguments)) if kind == "CMD-SHELL" => {
                let shell = &record.config.shell;
                let shell = if shell.is_empty() { usual_shell() } else { shell.clone() };
                [shell, arguments.to_vec()].concat()
            }
            _ => return None,
        };
        // What an image says has been checked by nobody.
        let or = |time: i64, usual| {
            let said = duration(time).filter(|time| !time.is_zero());
            said.map_or(usual, |time| time.max(LEAST))
        };
        (!argv.is_empty()).then(|| Self {
            argv,
            interval: or(check.interval, INTERVAL),
            timeout: or(check.timeout, TIMEOUT),
            start_period: or(check.start_period, Duration::ZERO),
            start_interval: or(check.start_interval, START_INTERVAL),
            retries: u32::try_from(check.retries).ok().filter(|n| *n > 0).unwrap_or(RETRIES),
        })
    }

    /// How long to wait before the next check of a container that runs for so long.
    pub(crate) fn pause(&self, status: HealthStatus, running: Duration) -> Duration {
        let is_starting = status == HealthStatus::Starting && running < self.start_period;
        if is_starting { self.start_interval } else { self.interval }
    }
}

impl Health {
    /// Takes note of a check of a container that was started then; returns whether the status is
    /// another one now.
    pub(crate) fn take(&mut self, check: &Check, checked: Checked, started: Timestamp) -> bool {
        let before = self.status;
        if checked.exit_code == 0 {
            (self.status, self.failing_streak) = (HealthStatus::Healthy, 0);
        } else {
            let running = Duration::try_from(checked.start.duration_since(started));
            let is_young = running.unwrap_or_default() < check.start_period;
            if !(before == HealthStatus::Starting && is_young) {
                self.failing_streak += 1;
                if self.failing_streak >= check.retries {
                    self.status = HealthStatus::Unhealthy;
                }
            }
        }
        self.log.push(checked);
        let surplus = self.log.len().saturating_sub(REMEMBERED);
        self.log.drain(..surplus);
        self.status != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::sample::record;

    const SECOND: i64 = 1_000_000_000;

    fn with_test(test: &[&str]) -> Record {
        let mut record = record();
        let test = test.iter().map(|&word| word.to_owned()).collect();
        record.config.healthcheck = Some(Healthcheck { test, ..Healthcheck::default() });
        record
    }

    fn checked(at: i64, exit_code: i32) -> Checked {
        let time = Timestamp::from_second(at).unwrap();
        Checked { start: time, end: time, exit_code, output: String::new() }
    }

    #[test]
    fn a_check_is_the_users_where_he_says_something() {
        let mut record = with_test(&["CMD-SHELL", "true"]);
        let check = Check::of(&record).unwrap();
        assert_eq!(check.argv, ["/bin/sh", "-c", "true"]);
        assert_eq!((check.interval, check.timeout, check.retries), (INTERVAL, TIMEOUT, 3));
        record.options.health =
            Some(Healthcheck { retries: 7, interval: SECOND, ..Healthcheck::default() });
        let check = Check::of(&record).unwrap();
        assert_eq!((check.interval, check.retries), (Duration::from_secs(1), 7));
        record.config.shell = vec!["/bin/ash".into(), "-ec".into()];
        assert_eq!(Check::of(&record).unwrap().argv, ["/bin/ash", "-ec", "true"]);
        record.options.health =
            Some(Healthcheck { test: vec!["NONE".into()], ..Healthcheck::default() });
        assert_eq!(Check::of(&record), None);
        assert_eq!(Check::of(&with_test(&["CMD", "a", "b"])).unwrap().argv, ["a", "b"]);
        for none in [&[][..], &["NONE"], &["CMD"], &["OTHER", "x"]] {
            assert_eq!(Check::of(&with_test(none)), None, "{none:?}");
        }
    }

    #[test]
    fn times_that_cannot_be_are_refused() {
        let of = |interval, retries| Healthcheck { interval, retries, ..Healthcheck::default() };
        assert!(check(&of(0, 0)).is_ok() && check(&of(1_000_000, 1)).is_ok());
        assert!(check(&of(999_999, 0)).is_err() && check(&of(-1, 0)).is_err());
        assert!(check(&of(0, -1)).is_err());
    }

    #[test]
    fn an_image_cannot_have_checks_without_a_pause() {
        let mut record = with_test(&["CMD", "x"]);
        let image = record.config.healthcheck.as_mut().unwrap();
        (image.interval, image.timeout, image.start_interval) = (1, 999_999, -1);
        let check = Check::of(&record).unwrap();
        assert_eq!((check.interval, check.timeout), (LEAST, LEAST));
        assert_eq!((check.start_interval, check.start_period), (START_INTERVAL, Duration::ZERO));
    }

    #[test]
    fn failures_count_in_a_row_and_not_at_the_start() {
        use HealthStatus::{Healthy, Starting, Unhealthy};
        let mut record = with_test(&["CMD", "x"]);
        record.options.health = Some(Healthcheck {
            start_period: 10 * SECOND,
            start_interval: SECOND,
            retries: 2,
            ..Healthcheck::default()
        });
        let check = Check::of(&record).unwrap();
        let started = Timestamp::from_second(100).unwrap();
        let mut health = Health::default();
        let mut after = |at, code| {
            let changed = health.take(&check, checked(at, code), started);
            (health.status, health.failing_streak, changed, health.log.len())
        };
        assert_eq!(after(101, 1), (Starting, 0, false, 1), "the start period forgives");
        assert_eq!(after(111, 1), (Starting, 1, false, 2));
        assert_eq!(after(112, 0), (Healthy, 0, true, 3));
        assert_eq!(after(113, 1), (Healthy, 1, false, 4));
        assert_eq!(after(114, -1), (Unhealthy, 2, true, 5));
        assert_eq!(after(115, 9), (Unhealthy, 3, false, 5), "five are remembered");
        assert_eq!(after(116, 0), (Healthy, 0, true, 5));
        assert_eq!(after(102, 1), (Healthy, 1, false, 5), "once it was well, all count");
        let (young, old) = (Duration::from_secs(3), Duration::from_secs(10));
        assert_eq!(check.pause(Starting, young), Duration::from_secs(1));
        assert_eq!(check.pause(Starting, old), INTERVAL);
        assert_eq!(check.pause(Healthy, young), INTERVAL);
    }
}
