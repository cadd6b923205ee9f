//! Docker's filters of events.

use std::collections::BTreeMap;

use super::{Entry, Kind};

/// Which entries are wanted: of one key it is enough that one value fits, but every label must be
/// there, and every key must fit.
#[derive(Debug, Clone, Default)]
pub struct Filters(BTreeMap<String, Vec<String>>);

/// A filter that there is not.
#[derive(Debug, thiserror::Error)]
#[error("there is no filter `{0}`")]
pub struct UnknownFilter(String);

impl Filters {
    /// Adds a filter, such as `event` with `start`.
    ///
    /// # Errors
    /// A key that is none of docker's.
    pub fn add(&mut self, key: &str, value: &str) -> Result<(), UnknownFilter> {
        let known = matches!(
            key,
            "container"
                | "daemon"
                | "event"
                | "image"
                | "label"
                | "network"
                | "scope"
                | "type"
                | "volume"
        );
        if !known {
            return Err(UnknownFilter(key.to_owned()));
        }
        self.0.entry(key.to_owned()).or_default().push(value.to_owned());
        Ok(())
    }

    /// Whether an entry is wanted.
    pub(super) fn pass(&self, entry: &Entry) -> bool {
        self.0.iter().all(|(key, values)| {
            let fits = |value: &String| fits(entry, key, value);
            if key == "label" { values.iter().all(fits) } else { values.iter().any(fits) }
        })
    }
}

fn fits(entry: &Entry, key: &str, value: &str) -> bool {
    let attribute = |name: &str| entry.attributes.get(name).map(String::as_str);
    let is_it = || entry.id.starts_with(value) || attribute("name") == Some(value);
    match key {
        "container" => entry.kind == Kind::Container && is_it(),
        "network" => entry.kind == Kind::Network && is_it(),
        "volume" => entry.kind == Kind::Volume && is_it(),
        "image" => match entry.kind {
            Kind::Image => is_it() || without_tag(&entry.id) == value,
            _ => attribute("image")
                .is_some_and(|image| image == value || without_tag(image) == value),
        },
        "event" => {
            entry.action == value
                || entry.action.split_once(": ").is_some_and(|(action, _)| action == value)
        }
        "label" => match value.split_once('=') {
            Some((name, value)) => attribute(name) == Some(value),
            None => attribute(value).is_some(),
        },
        "type" => entry.kind.to_string() == value,
        "scope" => value == "local",
        // There is none.
        _ => false,
    }
}

fn without_tag(image: &str) -> &str {
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_all_needed_and_values_are_not() {
        let entry = Entry::new(Kind::Container, "exec_create: sh -c x", "abcdef")
            .with("name", "web")
            .with("image", "host:5000/app:1")
            .with("tier", "front");
        let passes = |typed: &[(&str, &str)]| {
            let mut filters = Filters::default();
            for (key, value) in typed {
                filters.add(key, value).unwrap();
            }
            filters.pass(&entry)
        };
        assert!(passes(&[]));
        assert!(passes(&[("event", "start"), ("event", "exec_create"), ("container", "web")]));
        assert!(passes(&[("container", "abc"), ("label", "tier"), ("label", "tier=front")]));
        assert!(!passes(&[("label", "tier"), ("label", "no")]), "every label must be there");
        assert!(passes(&[("image", "host:5000/app"), ("type", "container")]));
        assert!(!passes(&[("event", "exec_create"), ("container", "db")]));
        assert!(!passes(&[("volume", "web")]) && !passes(&[("label", "tier=back")]));
        assert!(!passes(&[("event", "exec")]) && !passes(&[("daemon", "x")]));
        assert!(Filters::default().add("colour", "red").is_err());
    }
}
