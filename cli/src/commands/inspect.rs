//! `inspect`: all that is known of containers, images, networks and volumes, as JSON.

mod known;

use rbuild::images::{self, Found};
use rbuild::{Reference, Store, container};
use serde_json::{Value, json};

use super::{Outcome, Session, print, tell, typed_platform, volume};
use crate::args::InspectArgs;
use crate::failure::Failure;
use crate::format::Format;

pub(super) fn run(args: &InspectArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let format = args.format.as_deref().map(Format::parse).transpose()?;
    let mut found = Vec::new();
    let mut code = super::DONE;
    for name in &args.names {
        match look_up(args, &store, name) {
            Ok(value) => found.push(value),
            Err(failure) => {
                tell(&failure.render());
                code = failure.code();
            }
        }
    }
    match format {
        Some(format) => {
            for value in &mut found {
                // As docker has it, `json` leaves empty fields out.
                if args.format.as_deref() != Some("json") {
                    known::complete(value);
                }
                print(&format.one(value)?)?;
            }
        }
        None => print(&format!("{:#}\n", Value::from(found)))?,
    }
    Ok(code)
}

fn look_up(args: &InspectArgs, store: &Store, name: &str) -> Result<Value, Failure> {
    let image = || {
        let platform = typed_platform(args.platform.as_deref())?;
        Ok(image(store, &images::find(store, name)?.only(store, platform.as_ref())?))
    };
    let container = || match container::inspect(store, name) {
        Ok(mut value) => {
            if args.size {
                let (own, all) = container::sizes(store, name)?;
                value["SizeRw"] = own.into();
                value["SizeRootFs"] = all.into();
            }
            Ok(value)
        }
        Err(error) => Err(error),
    };
    let network = || container::network::inspect(store, name);
    match args.kind.as_deref() {
        Some("image") => return image(),
        Some("network") => return Ok(network()?),
        Some("volume") => return volume::find(store, name),
        Some(_) => return Ok(container()?),
        None => {}
    }
    match container() {
        Err(container::Error::NotFound(_)) => {}
        found => return Ok(found?),
    }
    // Whatever is wrong with one kind, the name may be another's.
    let found = image().or_else(|_| network().map_err(Failure::from));
    let found = found.or_else(|_| volume::find(store, name));
    found.map_err(|_| Failure::failed(format!("no such object: {name}")))
}

/// An image as docker describes it.
fn image(store: &Store, found: &Found) -> Value {
    let Found { names, entry, config } = found;
    let references = || names.iter().filter_map(|name| name.parse::<Reference>().ok());
    let tags: Vec<_> = references().map(|name| name.familiar()).collect();
    let digests = entry.manifest.map(|digest| {
        let bare = |name: Reference| {
            let familiar = name.familiar();
            let tag = name.tag().map_or(0, |tag| tag.len() + 1);
            format!("{}@{digest}", &familiar[..familiar.len() - tag])
        };
        references().map(bare).collect::<Vec<_>>()
    });
    let sizes = entry.layers.iter().map(|layer| store.layer_size(layer).ok().flatten());
    let size = sizes.sum::<Option<u64>>().unwrap_or(entry.size);
    json!({
        "Id": entry.config.to_string(),
        "RepoTags": tags,
        "RepoDigests": digests.unwrap_or_default(),
        "Comment": config.history.last().map(|last| last.comment.as_str()).unwrap_or_default(),
        "Created": config.created,
        "Author": config.author.as_deref().unwrap_or_default(),
        "Config": config.config,
        "Architecture": config.architecture,
        "Variant": config.variant.as_deref().unwrap_or_default(),
        "Os": config.os,
        "Size": size,
        "RootFS": { "Type": "layers", "Layers": config.rootfs.diff_ids },
        "Metadata": { "LastTagTime": jiff::Timestamp::from_second(entry.created).ok() },
    })
}
