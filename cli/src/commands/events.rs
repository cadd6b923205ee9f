//! `events`: what happens to containers, images, networks and volumes.

use std::io::{self, Write};

use rbuild::journal::{self, Entry, Filters, Wanted};

use super::logs::parse_time;
use super::{DONE, Outcome, Session, filters};
use crate::args::EventsArgs;
use crate::failure::Failure;
use crate::format::Format;

pub(super) fn run(args: &EventsArgs, session: &Session) -> Outcome {
    let mut wanted = Wanted {
        since: args.since.as_deref().map(parse_time).transpose()?,
        until: args.until.as_deref().map(parse_time).transpose()?,
        filters: Filters::default(),
    };
    for (key, value) in filters(&args.filter)? {
        wanted.filters.add(key, value).map_err(|error| Failure::usage(error.to_string()))?;
    }
    let format = args.format.as_deref().map(Format::parse).transpose()?;
    let mut wrong = None;
    let mut out = |entry: &Entry| {
        let text = match &format {
            None => format!("{}\n", line(entry)),
            Some(format) => match format.one(&entry.json()) {
                Ok(text) => text,
                Err(error) => {
                    wrong = Some(error);
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
            },
        };
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    };
    let followed = journal::follow(&session.store()?, &wanted, &mut out);
    followed.map_err(Failure::io("read what has happened"))?;
    wrong.map_or(Ok(DONE), |error| Err(error.into()))
}

/// The line that docker prints, with the time in the machine's own zone.
fn line(entry: &Entry) -> String {
    let time = entry.time.to_zoned_datetime(jiff::tz::TimeZone::system());
    let zone = if time.offset().is_zero() { "Z" } else { "%:z" };
    let form = format!("%Y-%m-%dT%H:%M:%S.%9f{zone}");
    let time = time.strftime(&form);
    let line = format!("{time} {} {} {}", entry.kind, entry.action, entry.id);
    let attributes: Vec<_> =
        entry.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if attributes.is_empty() { line } else { format!("{line} ({})", attributes.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rbuild::journal::Kind;

    #[test]
    fn a_line_is_docker_s() {
        let entry = Entry {
            kind: Kind::Container,
            action: "die".to_owned(),
            id: "abc".to_owned(),
            attributes: [("name", "web"), ("exitCode", "3")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            time: jiff::Timestamp::from_second(1_700_000_000).unwrap(),
        };
        let told = line(&entry);
        assert!(told.ends_with(" container die abc (exitCode=3, name=web)"), "{told}");
        assert!(told.starts_with("2023-11-1") && told.contains("0.000000000"), "{told}");
        let bare = Entry { attributes: std::collections::BTreeMap::new(), ..entry };
        assert!(line(&bare).ends_with(" container die abc"));
    }
}
