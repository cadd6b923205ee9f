//! `system df`: what images, containers, volumes and the cache take, in docker's table.

use rbuild::space::{self, Entry};
use rbuild::{container, images};
use serde_json::{Value, json};

use super::cache::listed;
use super::{DONE, Outcome, Session, print};
use crate::args::DfArgs;
use crate::format::Format;
use crate::table::size;

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
        print(&format!(
            "\nBuild cache usage: {}\n\n{}",
            size(bytes(&cache)),
            listed(&cache, false)?
        ))?;
    }
    Ok(DONE)
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
