//! `cache du` and `cache why-kept`: what the store takes, and for whom.

use rbuild::space::{self, Entry, Filter, User};
use serde_json::{Value, json};

use super::{DONE, Outcome, Session, now, print};
use crate::args::{DuArgs, WhyKeptArgs};
use crate::failure::Failure;
use crate::format::Format;
use crate::table::{ago, shorten, size, span, time};

const TABLE: &str = "table {{.ID}}\t{{.Reclaimable}}\t{{.Size}}\t{{.LastUsedSince}}\t{{.Brief}}";
/// How much of an id and of a description a table shows.
const SHORT: usize = 25;
const BRIEF: usize = 48;

pub(super) fn du(args: &DuArgs, session: &Session) -> Outcome {
    let filters = filters(&args.filter)?;
    let usage = space::usage(&session.store()?)?;
    let passes = |entry: &&Entry| filters.iter().all(|filter| filter.passes(entry));
    let mut entries: Vec<&Entry> = usage.entries.iter().filter(passes).collect();
    // The largest first, as docker has it; the rest of the store is no entry.
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.bytes));
    if let Some(format) = args.format.as_deref().filter(|format| *format != "table") {
        let rows: Vec<_> = entries.iter().map(|entry| row(entry, args.no_trunc)).collect();
        print(&Format::parse(format)?.rows(&titles(), &rows)?)?;
        return Ok(DONE);
    }
    if args.verbose {
        print(&entries.iter().map(|entry| verbose(entry)).collect::<String>())?;
    } else {
        print(&listed(&entries, args.no_trunc)?)?;
    }
    let bytes = |keep: &dyn Fn(&Entry) -> bool| -> u64 {
        entries.iter().filter(|entry| keep(entry)).map(|entry| entry.bytes).sum()
    };
    let rest = if args.filter.is_empty() { usage.rest } else { 0 };
    print(&format!(
        "Shared:\t\t{}\nPrivate:\t{}\nReclaimable:\t{}\nTotal:\t\t{}\n",
        size(bytes(&Entry::is_shared)),
        size(bytes(&|entry| !entry.is_shared()) + rest),
        size(bytes(&|entry| entry.is_reclaimable)),
        size(bytes(&|_| true) + rest),
    ))?;
    Ok(DONE)
}

/// Reads filters.
pub(super) fn filters(typed: &[String]) -> Result<Vec<Filter>, Failure> {
    Ok(typed.iter().map(|text| Filter::parse(text)).collect::<Result<_, _>>()?)
}

/// A table of things.
pub(super) fn listed(entries: &[&Entry], whole: bool) -> Result<String, Failure> {
    let rows: Vec<_> = entries.iter().map(|entry| row(entry, whole)).collect();
    Ok(Format::parse(TABLE)?.rows(&titles(), &rows)?)
}

fn row(entry: &Entry, whole: bool) -> Value {
    let id = entry.item.to_string();
    let shown = if whole || id.len() <= SHORT { id.clone() } else { id[..SHORT].to_owned() };
    let star = if entry.is_mutable() { "*" } else { "" };
    let brief = if whole { entry.description.clone() } else { shorten(&entry.description, BRIEF) };
    json!({
        "Brief": brief,
        "CreatedAt": time(entry.created),
        "CreatedSince": ago(entry.created, now()),
        "Description": entry.description,
        "FullID": id,
        "ID": format!("{shown}{star}"),
        "InUse": !entry.is_reclaimable,
        "LastUsedAt": time(entry.last_used),
        "LastUsedSince": ago(entry.last_used, now()),
        "Mutable": entry.is_mutable(),
        "Parents": entry.below.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "Reclaimable": entry.is_reclaimable,
        "Shared": entry.is_shared(),
        "Size": size(entry.bytes),
        "SizeBytes": entry.bytes,
        "CostMilliseconds": entry.cost_ms,
        "Type": space::kind(entry),
        "Users": entry.users.iter().map(user).collect::<Vec<_>>(),
    })
}

fn titles() -> Value {
    json!({
        "Brief": "DESCRIPTION", "CreatedAt": "CREATED AT", "CreatedSince": "CREATED",
        "Description": "DESCRIPTION", "FullID": "ID", "ID": "ID", "InUse": "IN USE",
        "LastUsedAt": "LAST ACCESSED", "LastUsedSince": "LAST ACCESSED", "Mutable": "MUTABLE",
        "Parents": "PARENTS", "Reclaimable": "RECLAIMABLE", "Shared": "SHARED", "Size": "SIZE",
        "SizeBytes": "SIZE", "CostMilliseconds": "COST", "Type": "TYPE", "Users": "USERS",
    })
}

/// All that is known of a thing, in lines as those of `buildx du --verbose`.
pub(super) fn verbose(entry: &Entry) -> String {
    let mut lines = vec![("ID:\t", entry.item.to_string())];
    lines.extend(entry.below.last().map(|parent| ("Parent:\t", parent.to_string())));
    lines.extend([
        ("Created at:", time(entry.created)),
        ("Mutable:", entry.is_mutable().to_string()),
        ("Reclaimable:", entry.is_reclaimable.to_string()),
        ("Shared:\t", entry.is_shared().to_string()),
        ("Size:\t", size(entry.bytes)),
        ("Description:", entry.description.replace('\n', " ")),
        ("Cost:\t", cost(entry.cost_ms)),
        ("Last used:", ago(entry.last_used, now())),
    ]);
    lines.extend(entry.users.iter().map(|name| ("Used by:", user(name))));
    lines.push(("Type:\t", space::kind(entry).to_owned()));
    let lines: String =
        lines.iter().flat_map(|(title, value)| [title, "\t", value, "\n"]).collect();
    lines + "\n"
}

fn cost(milliseconds: u64) -> String {
    format!("{}.{}s", milliseconds / 1000, milliseconds % 1000 / 100)
}

/// Who uses something, in words.
pub(super) fn user(user: &User) -> String {
    match user {
        User::Image(name) if user.is_unnamed() => {
            let id = name.split_once("sha256:").map_or(name.as_str(), |(_, digits)| digits);
            format!("the image {}, which has no name", id.get(..12).unwrap_or(id))
        }
        User::Image(name) => format!("the image {name}"),
        User::Reference(name) => format!("what `{name}` stands for"),
        User::Container(id) => format!("the container {}", id.get(..12).unwrap_or(id)),
        User::Process { pid: 0, .. } => "a process that has just begun".to_owned(),
        User::Process { pid, since } => {
            format!("the process {pid}, at work since {}", ago(*since, now()))
        }
        _ => "somebody".to_owned(),
    }
}

pub(super) fn why_kept(args: &WhyKeptArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    super::each(&args.ids, |id| {
        let why = space::why_kept(&store, id)?;
        let entry = &why.entry;
        let what = shorten(&entry.description, 72);
        let mut lines = vec![format!("{} {}: {what}", entry.item, size(entry.bytes))];
        lines.extend(entry.users.iter().map(|name| format!("  kept for {}", user(name))));
        for above in &why.above {
            let users: Vec<_> = above.users.iter().map(user).collect();
            let (item, what) = (&above.item, shorten(&above.description, BRIEF));
            let users = users.join(", ");
            lines.push(format!("  kept since {item} ({what}) stands on it, kept for {users}"));
        }
        if let Some(rank) = why.rank {
            lines.push(format!(
                "  nobody uses it: it can go, as number {} of {} when space is short",
                rank + 1,
                why.of
            ));
            let idle = span(now() - entry.last_used).to_lowercase();
            lines.push(format!(
                "  making it takes about {}, and it was used last {idle} ago",
                cost(entry.cost_ms)
            ));
        }
        Ok(lines.join("\n") + "\n")
    })
}
