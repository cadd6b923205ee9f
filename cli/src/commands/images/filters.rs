//! Docker's filters of images: of `images`, and of `image prune`.

use std::collections::BTreeMap;

use rbuild::images::{self, Listed};
use rbuild::{Digest, Store};

use super::has_name;
use crate::commands::{self, now};
use crate::failure::Failure;

/// Filters that were typed. Of one key it is enough that one passes; but every label must be there.
#[derive(Debug, Default)]
pub(in crate::commands) struct Filters {
    names: Vec<String>,
    dangling: Vec<bool>,
    labels: Vec<String>,
    lacks: Vec<String>,
    /// The time of an image before which, and after which, others are to have been made.
    before: Vec<(i64, Digest)>,
    since: Vec<(i64, Digest)>,
    /// The time before which images are to have been made.
    until: Vec<i64>,
}

impl Filters {
    /// Reads `key=value` filters.
    pub(in crate::commands) fn read(store: &Store, typed: &[String]) -> Result<Self, Failure> {
        let mut filters = Self::default();
        for (key, value) in commands::filters(typed)? {
            match key {
                "reference" => filters.names.push(value.to_owned()),
                "dangling" => filters.dangling.push(truth(value)?),
                "label" => filters.labels.push(value.to_owned()),
                "label!" => filters.lacks.push(value.to_owned()),
                "before" => filters.before.push(made(store, value)?),
                "since" => filters.since.push(made(store, value)?),
                "until" => filters.until.push(until(value)?),
                _ => {
                    let message = format!("there is no filter `{key}`");
                    let hint =
                        "the filters are reference, dangling, label, before, since and until";
                    return Err(Failure::usage(message).hint(hint));
                }
            }
        }
        Ok(filters)
    }

    /// Whether an image passes all of them.
    pub(in crate::commands) fn pass(&self, store: &Store, image: &Listed) -> bool {
        let order = (image.created, image.id);
        any(&self.names, |name| has_name(image, name))
            && any(&self.dangling, |wanted| *wanted == image.name.is_none())
            && any(&self.before, |other| order < *other)
            && any(&self.since, |other| order > *other)
            && any(&self.until, |time| image.created <= *time)
            && self.pass_labels(store, image)
    }

    fn pass_labels(&self, store: &Store, image: &Listed) -> bool {
        if self.labels.is_empty() && self.lacks.is_empty() {
            return true;
        }
        let found = images::find(store, &image.id.to_string());
        let labels = found.map(|found| found.config.config.labels).unwrap_or_default();
        self.labels.iter().all(|wanted| has_label(&labels, wanted))
            && !self.lacks.iter().any(|wanted| has_label(&labels, wanted))
    }
}

/// Whether one of several passes, or there is none that would have to.
fn any<T>(filters: &[T], passes: impl Fn(&T) -> bool) -> bool {
    filters.is_empty() || filters.iter().any(passes)
}

/// `NAME` or `NAME=VALUE`.
pub(in crate::commands) fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((name, value)) => labels.get(name).is_some_and(|known| known == value),
        None => labels.contains_key(wanted),
    }
}

fn truth(value: &str) -> Result<bool, Failure> {
    match value {
        "true" | "1" | "t" | "T" | "TRUE" | "True" => Ok(true),
        "false" | "0" | "f" | "F" | "FALSE" | "False" => Ok(false),
        _ => Err(Failure::usage(format!("`dangling={value}` is neither true nor false"))),
    }
}

/// When an image was made; of several made at once the id tells the order.
fn made(store: &Store, image: &str) -> Result<(i64, Digest), Failure> {
    let found = images::find(store, image)?;
    let created = found.config.created.map_or(0, jiff::Timestamp::as_second);
    Ok((created, found.entry.config))
}

/// A span before now, a time, or seconds since 1970; as seconds since 1970.
pub(in crate::commands) fn until(value: &str) -> Result<i64, Failure> {
    if let Ok(span) = rbuild::dockerfile::value::duration(value) {
        return Ok(now() - i64::try_from(span.as_secs()).unwrap_or(i64::MAX));
    }
    let time = value.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_second);
    let seconds = value.parse::<i64>();
    let day = value
        .parse::<jiff::civil::DateTime>()
        .and_then(|time| time.to_zoned_datetime(jiff::tz::TimeZone::system()))
        .map(|time| time.timestamp().as_second());
    let wrong = || {
        Failure::usage(format!(
            "`until={value}` is neither a span of time such as `24h` nor a time"
        ))
    };
    time.or(day).ok().or(seconds.ok()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_spans_or_dates() {
        let a_day_ago = until("24h").unwrap();
        assert!((now() - a_day_ago - 86_400).abs() < 60);
        assert_eq!(until("1970-01-02T00:00:00Z").unwrap(), 86_400);
        assert_eq!(until("1234567890").unwrap(), 1_234_567_890);
        assert!(until("2020-01-01").is_ok() && until("2020-01-01T10:00:00").is_ok());
        assert!(until("soon").is_err());
        assert!(truth("yes").is_err());
    }

    #[test]
    fn labels_have_values_or_not() {
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        assert!(has_label(&labels, "a") && has_label(&labels, "a=1"));
        assert!(!has_label(&labels, "a=2") && !has_label(&labels, "b"));
    }
}
