//! Which things a `prune` or `du` is about, as `buildx` has it: `until=24h`, `type=regular`.

use std::time::SystemTime;

use rbuild_cache::{Entry, Item};
use regex::Regex;

use crate::error::{Error, Result};

/// The keys of filters.
const KEYS: &str = "`until`, `id`, `parents`, `description`, `type`, `inuse`, `mutable`, \
                    `immutable`, `shared`, `private`";

/// One condition on things of the store.
#[derive(Debug, Clone)]
pub struct Filter {
    subject: Subject,
    test: Test,
    is_negated: bool,
}

#[derive(Debug, Clone, Copy)]
enum Subject {
    Id,
    Parents,
    Description,
    Kind,
    InUse,
    Mutable,
    Immutable,
    Shared,
    Private,
    LastUsed,
}

#[derive(Debug, Clone)]
enum Test {
    /// A beginning of an id, or the whole text of all else.
    Is(String),
    Like(Regex),
    Flag(bool),
    /// At this second or earlier.
    NotAfter(i64),
}

impl Filter {
    /// Reads a filter: `KEY=VALUE`, `KEY==VALUE`, `KEY!=VALUE`, or `KEY~=REGEX`; of the keys that
    /// are switches, the key alone will do.
    ///
    /// # Errors
    /// A key that there is not, or a value that does not fit it.
    pub fn parse(text: &str) -> Result<Self> {
        let (key, operator, value) = split(text);
        let wrong = |expected: &str| {
            Error::Usage(format!("the filter `{text}` is not valid: expected {expected}"))
        };
        let subject = match key {
            "id" => Subject::Id,
            "parents" | "parent" => Subject::Parents,
            "description" => Subject::Description,
            "type" => Subject::Kind,
            "inuse" => Subject::InUse,
            "mutable" => Subject::Mutable,
            "immutable" => Subject::Immutable,
            "shared" => Subject::Shared,
            "private" => Subject::Private,
            "until" | "unused-for" => Subject::LastUsed,
            _ => return Err(wrong(&format!("one of {KEYS}"))),
        };
        let test = match subject {
            Subject::LastUsed if matches!(operator, "=" | "==") => {
                let until = until(value).ok_or_else(|| wrong("a time or a span such as `24h`"))?;
                Test::NotAfter(until)
            }
            Subject::LastUsed => return Err(wrong("`until=SPAN`")),
            Subject::Id | Subject::Parents | Subject::Description | Subject::Kind => match operator
            {
                "" => return Err(wrong(&format!("`{key}=VALUE`"))),
                "~=" => Test::Like(Regex::new(value).map_err(|_| wrong("a valid pattern"))?),
                _ => Test::Is(value.to_owned()),
            },
            _ => Test::Flag(match value {
                "" | "1" | "true" => true,
                "0" | "false" => false,
                _ => return Err(wrong(&format!("`{key}=true` or `{key}=false`"))),
            }),
        };
        Ok(Self { subject, test, is_negated: operator == "!=" })
    }

    /// Whether a thing passes.
    pub fn passes(&self, entry: &Entry) -> bool {
        let text = |text: &str| match &self.test {
            Test::Is(wanted) => text == wanted,
            Test::Like(pattern) => pattern.is_match(text),
            Test::Flag(_) | Test::NotAfter(_) => false,
        };
        let id = |item: &Item| {
            let whole = item.to_string();
            let bare = whole.split_once(':').map_or("", |(_, bare)| bare);
            match &self.test {
                Test::Is(wanted) => {
                    !wanted.is_empty() && (whole.starts_with(wanted) || bare.starts_with(wanted))
                }
                _ => text(&whole),
            }
        };
        let flag = |is_set: bool| matches!(self.test, Test::Flag(wanted) if wanted == is_set);
        let passes = match self.subject {
            Subject::Id => id(&entry.item),
            Subject::Parents => entry.below.last().is_some_and(id),
            Subject::Description => text(&entry.description),
            Subject::Kind => text(kind(entry)),
            Subject::InUse => flag(!entry.is_reclaimable),
            Subject::Mutable => flag(entry.is_mutable()),
            Subject::Immutable => flag(!entry.is_mutable()),
            Subject::Shared => flag(entry.is_shared()),
            Subject::Private => flag(!entry.is_shared()),
            Subject::LastUsed => {
                matches!(self.test, Test::NotAfter(time) if entry.last_used <= time)
            }
        };
        passes != self.is_negated
    }
}

/// The kind of a thing by `BuildKit`'s names.
pub fn kind(entry: &Entry) -> &'static str {
    match entry.item {
        Item::Layer(_) => "regular",
        Item::Blob(_) | Item::Partial(_) => "internal",
        Item::CacheMount(_) => "exec.cachemount",
        Item::Repository(_) => "source.git.checkout",
        Item::StatCache(_) => "source.local",
    }
}

/// Takes a filter apart.
fn split(text: &str) -> (&str, &str, &str) {
    let Some(place) = text.find(['=', '!', '~']) else {
        return (text, "", "");
    };
    let (key, rest) = text.split_at(place);
    let operator = ["==", "!=", "~=", "="].into_iter().find(|known| rest.starts_with(known));
    match operator {
        Some(operator) => (key, operator, &rest[operator.len()..]),
        None => (text, "", ""),
    }
}

/// A time, or the time so long ago, in seconds since 1970.
fn until(text: &str) -> Option<i64> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(time.as_second());
    }
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    Some(now - span(text)?)
}

/// A span as Go writes it, `1h30m`, and in days, in whole seconds.
fn span(text: &str) -> Option<i64> {
    let mut seconds = 0.0;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let units = [("ms", 0.001), ("d", 86_400.0), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];
        let (unit, length) = units.into_iter().find(|(unit, _)| after.starts_with(unit))?;
        seconds += number.parse::<f64>().ok()? * length;
        rest = &after[unit.len()..];
    }
    #[expect(clippy::cast_possible_truncation, reason = "a span beyond all time is all time")]
    Some(seconds as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let id = "0123456789abcdef0123456789abcdef";
        Entry {
            item: id.parse().unwrap(),
            bytes: 1,
            created: 0,
            last_used: 1000,
            cost_ms: 1,
            description: "RUN make".to_owned(),
            is_pulled: false,
            below: vec!["ff".repeat(16).parse().unwrap()],
            is_stranded: false,
            users: Vec::new(),
            is_reclaimable: true,
            keys: Vec::new(),
        }
    }

    #[test]
    fn filters_pass_what_they_say() {
        let passes = |text: &str| Filter::parse(text).unwrap().passes(&entry());
        for filter in [
            "id=0123456789ab",
            "id!=77",
            "id~=cdef$",
            "parents=ffffffff",
            "description=RUN make",
            "description~=^RUN ",
            "description!=RUN",
            "type=regular",
            "type==regular",
            "type!=exec.cachemount",
            "inuse=false",
            "inuse!=true",
            "immutable",
            "immutable=1",
            "mutable=0",
            "private",
            "shared=false",
            "until=24h",
            "until=1h30m",
            "until=1970-01-01T00:16:40Z",
        ] {
            assert!(passes(filter), "{filter}");
        }
        for filter in [
            "id=1",
            "id=",
            "description=make",
            "type=internal",
            "inuse",
            "mutable",
            "shared",
            "until=1970-01-01T00:16:39Z",
            "until=900000h",
        ] {
            assert!(!passes(filter), "{filter}");
        }
    }

    #[test]
    fn wrong_filters_are_refused() {
        for filter in
            ["", "x=1", "id", "inuse=x", "until", "until=x", "until!=1h", "until=1", "id~=("]
        {
            let error = Filter::parse(filter).unwrap_err().to_string();
            assert!(error.starts_with(&format!("the filter `{filter}` is not valid")), "{error}");
        }
    }

    #[test]
    fn spans_are_read_as_go_writes_them() {
        assert_eq!(span("1h30m"), Some(5400));
        assert_eq!(span("2d"), Some(172_800));
        assert_eq!(span("1.5h"), Some(5400));
        assert_eq!(span("1500ms"), Some(1));
        for wrong in ["", "h", "1", "1y", "-1h"] {
            assert_eq!(span(wrong), None, "{wrong}");
        }
    }
}
