//! What happens to containers, for the journal.

use super::folder::{Folder, Record};
use super::mounts::Source;
use super::names;
use super::network::Endpoint;
use crate::journal::{self, Entry, Kind};

/// Writes down what has happened to a container.
pub(crate) fn note(
    folder: &Folder,
    record: &Record,
    action: impl Into<String>,
    more: &[(&str, String)],
) {
    journal::note(&folder.store, &[entry(folder, record, action, more)]);
}

/// What has happened to a container: with its name, its image and its labels.
pub(crate) fn entry(
    folder: &Folder,
    record: &Record,
    action: impl Into<String>,
    more: &[(&str, String)],
) -> Entry {
    let mut entry = Entry::new(Kind::Container, action, &folder.id);
    entry.attributes.extend(record.config.labels.clone());
    entry.attributes.extend(record.options.labels.clone());
    let name = names::name(folder).unwrap_or_default();
    entry = entry.with("image", &record.reference).with("name", name);
    more.iter().fold(entry, |entry, (name, value)| entry.with(name, value))
}

/// That a container comes to its networks and volumes, or goes from them.
pub(crate) fn places(
    folder: &Folder,
    record: &Record,
    endpoints: &[Endpoint],
    comes: bool,
) -> Vec<Entry> {
    let mut entries: Vec<_> = endpoints
        .iter()
        .map(|endpoint| network(&endpoint.network_id, &endpoint.network, folder, comes))
        .collect();
    for mount in &record.options.mounts {
        if let Source::Volume(volume) = &mount.source
            && let Some(name) = &volume.name
        {
            let action = if comes { "mount" } else { "unmount" };
            let mut entry = Entry::new(Kind::Volume, action, name)
                .with("container", &folder.id)
                .with("driver", "local");
            if comes {
                entry = entry
                    .with("destination", &mount.target)
                    .with("read/write", (!mount.read_only).to_string())
                    .with("propagation", "");
            }
            entries.push(entry);
        }
    }
    entries
}

/// That a container comes into a network, or leaves it.
pub(crate) fn network(id: &str, name: &str, folder: &Folder, comes: bool) -> Entry {
    let action = if comes { "connect" } else { "disconnect" };
    Entry::new(Kind::Network, action, id)
        .with("container", &folder.id)
        .with("name", name)
        .with("type", "bridge")
}
