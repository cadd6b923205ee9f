//! `cache prune`, `image prune`, `container prune` and `system prune`: removes what nobody will
//! miss.

use std::collections::BTreeSet;

use rbuild::images::{self, Removed};
use rbuild::space::{self, Item, Prune, Pruned, User};
use rbuild::{Digest, Store, container};

use super::cache::{filters, listed, verbose};
use super::images::{Filters, has_label, until};
use super::{DONE, Outcome, Session, confirm, print, volume};
use crate::args::{CachePruneArgs, PruneArgs, PruneUnusedArgs, SystemPruneArgs};
use crate::failure::Failure;
use crate::table::size;

/// How the last line of a prune begins, as docker's verbs have it.
const RECLAIMED: &str = "Total reclaimed space: ";
const BUILDX: &str = "Total:\t";

/// `cache prune` and `builder prune`.
pub(super) fn cache(args: &CachePruneArgs, session: &Session) -> Outcome {
    cache_with(args, session, RECLAIMED)
}

/// `buildx prune`, which has another last line.
pub(super) fn buildx(args: &CachePruneArgs, session: &Session) -> Outcome {
    cache_with(args, session, BUILDX)
}

fn cache_with(args: &CachePruneArgs, session: &Session, total: &str) -> Outcome {
    let bytes = |size: Option<crate::args::Size>| size.map(|size| size.0);
    let prune = Prune {
        all: args.all,
        filters: filters(&args.filter)?,
        reserved: bytes(args.reserved_space),
        max_used: bytes(args.max_used_space),
        min_free: bytes(args.min_free_space),
        only: None,
    };
    let store = session.store()?;
    let what = if args.all { "and what was pulled for bases" } else { "but what was pulled" };
    let question = format!("This removes all of the cache that nobody uses, {what}. Go on?");
    if !args.dry_run && !args.force && !confirm(&question) {
        return Ok(DONE);
    }
    let pruned = if args.dry_run {
        space::would_prune(&store, &prune)?
    } else {
        space::prune(&store, &prune)?
    };
    let entries: Vec<_> = pruned.entries.iter().collect();
    if args.verbose {
        print(&entries.iter().map(|entry| verbose(entry)).collect::<String>())?;
    } else if !entries.is_empty() {
        print(&listed(&entries, false)?)?;
    }
    let total = if args.dry_run { "Total that would be reclaimed: " } else { total };
    print(&format!("{total}{}\n", size(pruned.bytes())))?;
    Ok(DONE)
}

pub(super) fn containers(args: &PruneUnusedArgs, session: &Session) -> Outcome {
    let passes = passes(&args.filter)?;
    let question = "This removes all containers that have stopped. Go on?";
    if !args.force && !confirm(question) {
        return Ok(DONE);
    }
    let bytes = remove_containers(&session.store()?, passes)?;
    print(&format!("{RECLAIMED}{}\n", size(bytes)))?;
    Ok(DONE)
}

pub(super) fn images(args: &PruneArgs, session: &Session) -> Outcome {
    let what = if args.all { "that no container uses" } else { "that have no name" };
    if !args.force && !confirm(&format!("This removes all images {what}. Go on?")) {
        return Ok(DONE);
    }
    let bytes = remove_images(&session.store()?, args.all, &args.filter)?;
    print(&format!("{RECLAIMED}{}\n", size(bytes)))?;
    Ok(DONE)
}

pub(super) fn system(args: &SystemPruneArgs, session: &Session) -> Outcome {
    let what = if args.all { "all images that no container uses" } else { "images without a name" };
    let volumes = if args.volumes { ", volumes without a name that no container uses" } else { "" };
    let question = format!(
        "This removes all containers that have stopped, {what}{volumes}, and all of the cache that \
         nobody uses. Go on?"
    );
    if !args.force && !confirm(&question) {
        return Ok(DONE);
    }
    let store = session.store()?;
    // Of the filters, `until` means the same for all.
    let spans: Vec<String> =
        args.filter.iter().filter(|text| text.starts_with("until=")).cloned().collect();
    if spans.len() < args.filter.len() {
        return Err(Failure::usage("the one filter of `system prune` is `until=SPAN`"));
    }
    if args.volumes && !spans.is_empty() {
        return Err(Failure::usage("`until` is not for `--volumes`, which have no time of use"));
    }
    let mut bytes = remove_containers(&store, passes(&spans)?)?;
    if args.volumes {
        bytes += volume::remove_unused(&store, container::Volume::is_anonymous)?;
    }
    bytes += remove_images(&store, args.all, &spans)?;
    let prune = Prune { all: args.all, filters: filters(&spans)?, ..Prune::default() };
    let pruned = space::prune(&store, &prune)?;
    deleted("build cache objects", pruned.entries.iter().map(|entry| entry.item.to_string()))?;
    print(&format!("{RECLAIMED}{}\n", size(bytes + pruned.bytes())))?;
    Ok(DONE)
}

/// Prints a list of what was removed, unless it is empty.
fn deleted(what: &str, names: impl Iterator<Item = String>) -> Result<(), Failure> {
    let lines: String = names.map(|name| name + "\n").collect();
    if lines.is_empty() { Ok(()) } else { print(&format!("Deleted {what}:\n{lines}\n")) }
}

/// Docker's filters of `container prune`: `label`, `label!` and `until`.
fn passes(filter: &[String]) -> Result<impl Fn(&container::Listed) -> bool, Failure> {
    let (mut labels, mut before) = (Vec::new(), i64::MAX);
    for (key, value) in super::filters(filter)? {
        match key {
            "label" => labels.push((value, true)),
            "label!" => labels.push((value, false)),
            "until" => before = before.min(until(value)?),
            _ => return Err(Failure::usage(format!("there is no filter `{key}`"))),
        }
    }
    Ok(move |one: &container::Listed| {
        let fits = |(label, has): &(&str, bool)| has_label(&one.labels, label) == *has;
        labels.iter().all(fits) && one.created.as_second() < before
    })
}

/// Removes the containers that have stopped and pass; returns the bytes of what they had written.
fn remove_containers(
    store: &Store,
    passes: impl Fn(&container::Listed) -> bool,
) -> Result<u64, Failure> {
    let stopped = container::list(store, true)?;
    let sizes: Vec<(String, u64)> = stopped
        .into_iter()
        .map(|known| (container::size(store, &known.id).unwrap_or(0), known.id))
        .map(|(bytes, id)| (id, bytes))
        .collect();
    let removed = container::prune(store, passes)?;
    let bytes = sizes.iter().filter(|(id, _)| removed.contains(id)).map(|(_, bytes)| bytes).sum();
    deleted("Containers", removed.into_iter())?;
    Ok(bytes)
}

/// Removes images that are not in use, and what only they needed of what was pulled; what steps
/// made stays in the cache. Returns the bytes that this frees.
fn remove_images(store: &Store, all: bool, filter: &[String]) -> Result<u64, Failure> {
    let used: Vec<Digest> =
        container::images_in_use(store)?.into_iter().map(|(_, image)| image).collect();
    let filters = Filters::read(store, filter)?;
    let before = space::usage(store)?;
    let mut gone = BTreeSet::new();
    let mut lines = Vec::new();
    for image in images::list(store)? {
        if used.contains(&image.id) || (image.name.is_some() && !all) {
            continue;
        }
        if !filters.pass(store, &image) {
            continue;
        }
        let name = image.name.clone().unwrap_or_else(|| image.id.to_string());
        gone.insert(image.name.clone().unwrap_or_else(|| format!("<none>@{}", image.id)));
        let removed = images::remove(store, &name, false, &|_| None)?;
        lines.extend(removed.into_iter().map(|removed| match removed {
            Removed::Untagged(name) => format!("untagged: {name}"),
            Removed::Deleted(id) => format!("deleted: {id}"),
        }));
    }
    deleted("Images", lines.into_iter())?;
    let is_theirs = |user: &User| matches!(user, User::Image(name) if gone.contains(name));
    let only: BTreeSet<Item> = before
        .entries
        .into_iter()
        .filter(|entry| entry.is_pulled && entry.users.iter().any(is_theirs))
        .map(|entry| entry.item)
        .collect();
    let pruned: Pruned =
        space::prune(store, &Prune { all: true, only: Some(only), ..Prune::default() })?;
    Ok(pruned.bytes())
}
