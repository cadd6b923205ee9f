//! `system df`: what images, containers, volumes and the cache take, in docker's table.

use rbuild::container::Volume;
use rbuild::space::{self, Entry};
use rbuild::{Digest, container, images};
use serde_json::{Value, json};

use super::cache::listed;
use super::{DONE, Outcome, Session, now, print};
use crate::args::DfArgs;
use crate::format::Format;
use crate::table::{ago, short_id, shorten, size};

const TABLE: &str = "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";

/// One line of the table.
struct Line {
    kind: &'static str,
    total: usize,
    active: usize,
    bytes: u64,
    reclaimable: u64,
}

pub(super) fn run(args: &DfArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let usage = space::usage(&store)?;
    // What images need is told with them, all else is the cache.
    let (of_images, cache): (Vec<&Entry>, Vec<&Entry>) =
        usage.entries.iter().partition(|entry| is_of_image(entry));
    let bytes = |entries: &[&Entry]| entries.iter().map(|entry| entry.bytes).sum::<u64>();
    let named = images::list(&store)?;
    let used = container::images_in_use(&store)?;
    let in_use = named.iter().filter(|image| used.iter().any(|(_, id)| *id == image.id));
    let all = container::list(&store, true)?;
    let size_of = |id: &str| container::size(&store, id).unwrap_or(0);
    let is_alive = |one: &&container::Listed| one.state.status.is_alive();
    let stopped = all.iter().filter(|one| !is_alive(one));
    let unused: Vec<&Entry> =
        of_images.iter().copied().filter(|entry| !is_of_container(entry)).collect();
    let can_go: Vec<&Entry> = cache.iter().copied().filter(|entry| entry.is_reclaimable).collect();
    let measured = |volume: Volume| (container::volume_size(&volume).unwrap_or(0), volume);
    let volumes: Vec<_> = container::volumes(&store)?.into_iter().map(measured).collect();
    let lines = [
        Line {
            kind: "Images",
            total: named.len(),
            active: in_use.count(),
            bytes: bytes(&of_images),
            reclaimable: bytes(&unused),
        },
        Line {
            kind: "Containers",
            total: all.len(),
            active: all.iter().filter(is_alive).count(),
            bytes: all.iter().map(|one| size_of(&one.id)).sum(),
            reclaimable: stopped.map(|one| size_of(&one.id)).sum(),
        },
        volume_line(&volumes),
        Line {
            kind: "Build Cache",
            total: cache.len(),
            active: cache.len() - can_go.len(),
            bytes: bytes(&cache) + usage.rest,
            reclaimable: bytes(&can_go),
        },
    ];
    let rows: Vec<Value> = lines.iter().map(Line::row).collect();
    let format = args.format.as_deref().filter(|format| *format != "table").unwrap_or(TABLE);
    print(&Format::parse(format)?.rows(&titles(), &rows)?)?;
    if args.verbose && args.format.is_none() {
        let tables = [
            table("Images", &verbose_images(&named, &used)),
            table("Containers", &verbose_containers(&all, size_of)),
            table("Local Volumes", &verbose_volumes(&volumes)),
            format!("\nBuild cache usage: {}\n\n{}", size(bytes(&cache)), listed(&cache, false)?),
        ];
        print(&tables.concat())?;
    }
    Ok(DONE)
}

fn volume_line(volumes: &[(u64, Volume)]) -> Line {
    let unused = || volumes.iter().filter(|(_, volume)| volume.users.is_empty());
    Line {
        kind: "Local Volumes",
        total: volumes.len(),
        active: volumes.len() - unused().count(),
        bytes: volumes.iter().map(|(bytes, _)| bytes).sum(),
        reclaimable: unused().map(|(bytes, _)| bytes).sum(),
    }
}

/// One of the tables of `--verbose`: its titles first.
fn table(what: &str, rows: &[Vec<String>]) -> String {
    format!("\n{what} space usage:\n\n{}", crate::table::table(rows))
}

fn verbose_images(images: &[images::Listed], used: &[(String, Digest)]) -> Vec<Vec<String>> {
    let mut rows = vec![words("REPOSITORY TAG IMAGE_ID CREATED SIZE CONTAINERS")];
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "<none>".to_owned());
    rows.extend(images.iter().map(|image| {
        let containers = used.iter().filter(|(_, id)| *id == image.id).count();
        vec![
            or_none(&image.repository),
            or_none(&image.tag),
            short_id(&image.id.to_string()).to_owned(),
            ago(image.created, now()),
            size(image.size),
            containers.to_string(),
        ]
    }));
    rows
}

fn verbose_containers(
    containers: &[container::Listed],
    size_of: impl Fn(&str) -> u64,
) -> Vec<Vec<String>> {
    let mut rows =
        vec![words("CONTAINER_ID IMAGE COMMAND LOCAL_VOLUMES SIZE CREATED STATUS NAMES")];
    rows.extend(containers.iter().map(|one| {
        let volumes = one.mounts.iter().filter(|mount| !mount.starts_with('/')).count();
        vec![
            short_id(&one.id).to_owned(),
            one.image.clone(),
            format!("\"{}\"", shorten(&one.command, 20)),
            volumes.to_string(),
            size(size_of(&one.id)),
            ago(one.created.as_second(), now()),
            one.state.status.to_string(),
            one.names.join(","),
        ]
    }));
    rows
}

fn verbose_volumes(volumes: &[(u64, Volume)]) -> Vec<Vec<String>> {
    let mut rows = vec![words("VOLUME_NAME LINKS SIZE")];
    rows.extend(volumes.iter().map(|(bytes, volume)| {
        vec![volume.name.clone(), volume.users.len().to_string(), size(*bytes)]
    }));
    rows
}

/// Titles, in which `_` is a space.
fn words(titles: &str) -> Vec<String> {
    titles.split(' ').map(|title| title.replace('_', " ")).collect()
}

fn is_of_image(entry: &Entry) -> bool {
    entry.users.iter().any(|user| matches!(user, space::User::Image(_)))
}

fn is_of_container(entry: &Entry) -> bool {
    entry.users.iter().any(|user| matches!(user, space::User::Container(_)))
}

impl Line {
    fn row(&self) -> Value {
        let percent = (self.reclaimable * 100).checked_div(self.bytes);
        let share = percent.map_or(String::new(), |percent| format!(" ({percent}%)"));
        json!({
            "Type": self.kind,
            "TotalCount": self.total,
            "Active": self.active,
            "Size": size(self.bytes),
            "Reclaimable": format!("{}{share}", size(self.reclaimable)),
        })
    }
}

fn titles() -> Value {
    json!({
        "Type": "TYPE", "TotalCount": "TOTAL", "Active": "ACTIVE", "Size": "SIZE",
        "Reclaimable": "RECLAIMABLE",
    })
}
