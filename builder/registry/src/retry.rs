//! When a failed request is tried again, and after how long.

use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

use crate::error::Error;

/// How often a request that failed for the moment is tried again.
///
/// Tried again are broken and refused connections, stalls, and the statuses 408, 429 and 5xx;
/// never a refused credential (401, 403) and never what is not there (404).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// How many times after the first; 0 tries once.
    pub count: u32,
    /// The first pause; each further one is twice as long, less up to a half at random.
    pub delay: Duration,
    /// The longest pause. A server that asks for a longer one (`Retry-After`) is believed: its
    /// refusal is reported at once instead of being asked for again too early.
    pub longest: Duration,
}

/// How many times more a server is called that has not been reached at all: one that restarts is
/// back soon, and for a name or port that is wrong nobody should wait long.
const UNREACHABLE: u32 = 2;

impl Default for Retry {
    fn default() -> Self {
        Self { count: 5, delay: Duration::from_secs(1), longest: Duration::from_mins(1) }
    }
}

impl Retry {
    /// How long to wait after that many failures in a row, or nothing to give up.
    pub(crate) fn pause(&self, failures: u32, error: &Error) -> Option<Duration> {
        self.pause_at(failures, error, random())
    }

    /// `random` stretches over the whole range of u64.
    fn pause_at(&self, failures: u32, error: &Error, random: u64) -> Option<Duration> {
        let count = if error.is_unreachable() { self.count.min(UNREACHABLE) } else { self.count };
        if failures > count || !error.is_transient() {
            return None;
        }
        if let Some(asked) = error.retry_after() {
            return (asked <= self.longest).then_some(asked);
        }
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let full = self.delay.saturating_mul(doubled).min(self.longest);
        let less = (full / 2).mul_f64(f64::from((random >> 32) as u32) / f64::from(u32::MAX));
        Some(full.saturating_sub(less))
    }
}

fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

/// Reads how long a server asks to wait: seconds, or a date seen from the server's own clock.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = httpdate::parse_http_date(text).ok()?;
    let date =
        headers.get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    Some(then.duration_since(date.unwrap_or_else(SystemTime::now)).unwrap_or_default())
}

/// What waits. Tests put their own in its place, so that none waits for real.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>);

impl Clock {
    pub(crate) fn new(
        wait: impl Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(wait))
    }

    pub(crate) async fn sleep(&self, time: Duration) {
        (self.0)(time).await;
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(|time| Box::pin(tokio::time::sleep(time)))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;
    use crate::error::Task;

    fn status(status: u16, retry_after: Option<u64>) -> Error {
        Error::Status {
            task: Box::new(Task::new("fetch blob", "x", "y")),
            status,
            said: String::new(),
            hint: None,
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_then_end() {
        let retry = Retry { count: 9, ..Retry::default() };
        let pauses = |random| {
            let seconds = |failures| {
                retry
                    .pause_at(failures, &status(503, None), random)
                    .map(|pause| pause.as_secs_f64())
            };
            (1..=10).map(seconds).collect::<Vec<_>>()
        };
        let full = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0].map(Some);
        assert_eq!(pauses(0), [&full[..], &[None]].concat());
        let half = full.map(|pause| pause.map(|seconds| seconds / 2.0));
        assert_eq!(pauses(u64::MAX), [&half[..], &[None]].concat());
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let tried: Vec<u16> = (400..600)
            .filter(|&code| Retry::default().pause(1, &status(code, None)).is_some())
            .collect();
        assert!(
            [408, 429, 500, 502, 503, 504].iter().all(|code| tried.contains(code)),
            "{tried:?}"
        );
        assert!([400, 401, 403, 404, 405, 416, 501].iter().all(|code| !tried.contains(code)));
    }

    #[test]
    fn the_server_is_waited_for_as_long_as_it_asks() {
        let retry = Retry::default();
        assert_eq!(retry.pause(1, &status(429, Some(7))), Some(Duration::from_secs(7)));
        assert_eq!(retry.pause(1, &status(429, Some(3600))), None);
        assert_eq!(retry.pause(6, &status(429, Some(7))), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let read = |value: &'static str, date: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
            if let Some(date) = date {
                headers.insert(DATE, HeaderValue::from_static(date));
            }
            retry_after(&headers).map(|time| time.as_secs())
        };
        assert_eq!(read("120", None), Some(120));
        let date = "Wed, 21 Oct 2026 07:28:00 GMT";
        assert_eq!(read("Wed, 21 Oct 2026 07:28:30 GMT", Some(date)), Some(30));
        assert_eq!(read("Wed, 21 Oct 2015 07:28:30 GMT", None), Some(0));
        assert_eq!(read("soon", None), None);
        assert_eq!(read("-1", None), None);
    }
}
