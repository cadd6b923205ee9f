//! `volume`: the volumes of the store.

use std::collections::BTreeMap;

use rbuild::Store;
use rbuild::container::{self, NewVolume, Volume};
use serde_json::{Value, json};

use super::images::has_label;
use super::{DONE, Outcome, Session, confirm, each, filters, print};
use crate::args::{
    Pair, VolumeCreateArgs, VolumeInspectArgs, VolumeLsArgs, VolumePruneArgs, VolumeRmArgs, Volumes,
};
use crate::failure::Failure;
use crate::format::Format;
use crate::table::size;

const TABLE: &str = "table {{.Driver}}\t{{.Name}}";
const DRIVER: &str = "local";

pub(super) fn run(verb: &Volumes, session: &Session) -> Outcome {
    match verb {
        Volumes::Create(args) => create(args, session),
        Volumes::Ls(args) => ls(args, session),
        Volumes::Inspect(args) => inspect(args, session),
        Volumes::Rm(args) => rm(args, session),
        Volumes::Prune(args) => prune(args, session),
    }
}

fn create(args: &VolumeCreateArgs, session: &Session) -> Outcome {
    known_driver(&args.driver)?;
    let map = |pairs: &[Pair]| -> BTreeMap<_, _> {
        let pair = |pair: &Pair| (pair.name.clone(), pair.value.clone().unwrap_or_default());
        pairs.iter().map(pair).collect()
    };
    let name = args.name.clone().or(args.named.clone());
    let new = NewVolume { name, labels: map(&args.label), options: map(&args.opt) };
    let name = container::create_volume(&session.store()?, new)?;
    print(&format!("{name}\n"))?;
    Ok(DONE)
}

/// Refuses drivers that are not there.
pub(super) fn known_driver(driver: &str) -> Result<(), Failure> {
    if matches!(driver, DRIVER | "") {
        return Ok(());
    }
    let message = format!("there is no volume driver `{driver}`");
    Err(Failure::usage(message).hint("the only driver is `local`"))
}

fn ls(args: &VolumeLsArgs, session: &Session) -> Outcome {
    let mut volumes = container::volumes(&session.store()?)?;
    for (key, value) in filters(&args.filter)? {
        match key {
            "dangling" => {
                let wanted = matches!(value, "true" | "1");
                volumes.retain(|volume| volume.users.is_empty() == wanted);
            }
            "name" => volumes.retain(|volume| volume.name.contains(value)),
            "label" => volumes.retain(|volume| has_label(&volume.labels, value)),
            "driver" => volumes.retain(|_| value == DRIVER),
            _ => return Err(Failure::usage(format!("there is no filter `{key}`"))),
        }
    }
    if args.quiet && args.format.is_none() {
        print(&volumes.iter().flat_map(|volume| [&*volume.name, "\n"]).collect::<String>())?;
        return Ok(DONE);
    }
    let rows: Vec<Value> = volumes.iter().map(row).collect();
    let format = args.format.as_deref().filter(|format| *format != "table").unwrap_or(TABLE);
    print(&Format::parse(format)?.rows(&titles(), &rows)?)?;
    Ok(DONE)
}

fn inspect(args: &VolumeInspectArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let format = args.format.as_deref().map(Format::parse).transpose()?;
    let mut found = Vec::new();
    let code = each(&args.volumes, |name| {
        found.push(find(&store, name)?);
        Ok(String::new())
    })?;
    match format {
        Some(format) => {
            for value in &found {
                print(&(format.one(value)? + "\n"))?;
            }
        }
        None => print(&format!("{:#}\n", Value::Array(found)))?,
    }
    Ok(code)
}

/// A volume as docker describes it.
pub(super) fn find(store: &Store, name: &str) -> Result<Value, Failure> {
    let all = container::volumes(store)?;
    let volume = all.iter().find(|volume| volume.name == name);
    Ok(volume.map(described).ok_or_else(|| container::Error::NoVolume(name.to_owned()))?)
}

fn rm(args: &VolumeRmArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    each(&args.volumes, |name| match container::remove_volume(&store, name) {
        Err(container::Error::NoVolume(_)) if args.force => Ok(String::new()),
        removed => Ok(removed.map(|()| format!("{name}\n"))?),
    })
}

fn prune(args: &VolumePruneArgs, session: &Session) -> Outcome {
    let filters = filters(&args.filter)?;
    let typed_all = filters.contains(&("all", "true")) || filters.contains(&("all", "1"));
    let all = args.all || typed_all;
    let which = if all { "all volumes" } else { "all volumes without a name" };
    let question = format!("WARNING! This will remove {which} that no container uses. Continue?");
    if !args.force && !confirm(&question) {
        return Ok(DONE);
    }
    for (key, _) in &filters {
        if !matches!(*key, "all" | "label" | "label!") {
            return Err(Failure::usage(format!("there is no filter `{key}`")));
        }
    }
    let bytes = remove_unused(&session.store()?, |volume| {
        let fits = |(key, value): &(&str, &str)| match *key {
            "label" => has_label(&volume.labels, value),
            "label!" => !has_label(&volume.labels, value),
            _ => true,
        };
        (all || volume.is_anonymous()) && filters.iter().all(fits)
    })?;
    print(&format!("Total reclaimed space: {}\n", size(bytes)))?;
    Ok(DONE)
}

/// Removes the volumes that no container uses and of which `wanted` is true; returns their bytes.
pub(super) fn remove_unused(
    store: &Store,
    wanted: impl Fn(&Volume) -> bool,
) -> Result<u64, Failure> {
    let (mut removed, mut bytes) = (String::new(), 0);
    for volume in container::volumes(store)? {
        if !volume.users.is_empty() || !wanted(&volume) {
            continue;
        }
        bytes += container::volume_size(&volume)?;
        container::remove_volume(store, &volume.name)?;
        removed.extend([&*volume.name, "\n"]);
    }
    if !removed.is_empty() {
        print(&format!("Deleted Volumes:\n{removed}\n"))?;
    }
    Ok(bytes)
}

fn row(volume: &Volume) -> Value {
    let labels: Vec<_> =
        volume.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    json!({
        "Availability": "N/A",
        "Driver": DRIVER,
        "Group": "N/A",
        "Label": volume.labels,
        "Labels": labels.join(","),
        "Links": "N/A",
        "Mountpoint": volume.path,
        "Name": volume.name,
        "Scope": "local",
        "Size": "N/A",
        "Status": "N/A",
    })
}

fn titles() -> Value {
    json!({
        "Driver": "DRIVER", "Name": "VOLUME NAME", "Label": "LABEL", "Labels": "LABELS",
        "Scope": "SCOPE",
        "Mountpoint": "MOUNTPOINT", "Size": "SIZE", "Links": "LINKS",
        "Availability": "AVAILABILITY", "Group": "GROUP", "Status": "STATUS",
    })
}

fn described(volume: &Volume) -> Value {
    json!({
        "CreatedAt": volume.created,
        "Driver": DRIVER,
        "Labels": volume.labels,
        "Mountpoint": volume.path,
        "Name": volume.name,
        "Options": if volume.options.is_empty() { Value::Null } else { json!(volume.options) },
        "Scope": "local",
    })
}
