//! `cache du`, `cache why-kept` and `cache verify`: what the store takes, for whom, and whether it
//! is whole.

use rbuild::space::{self, Entry, Filter, Finding, Thing, User};
use serde_json::{Value, json};

use super::{DONE, FAILED, Outcome, Session, now, print};
use crate::args::{DuArgs, VerifyArgs, WhyKeptArgs};
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
    let entries: Vec<&Entry> = usage.entries.iter().filter(passes).collect();
    // The largest first, as docker has it; the rest of the store is no entry.
    let mut entries = entries;
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
    let mut text = format!("ID:\t\t{}\n", entry.item);
    if let Some(parent) = entry.below.last() {
        text += &format!("Parent:\t\t{parent}\n");
    }
    text += &format!("Created at:\t{}\n", time(entry.created));
    text += &format!("Mutable:\t{}\n", entry.is_mutable());
    text += &format!("Reclaimable:\t{}\n", entry.is_reclaimable);
    text += &format!("Shared:\t\t{}\n", entry.is_shared());
    text += &format!("Size:\t\t{}\n", size(entry.bytes));
    text += &format!("Description:\t{}\n", entry.description.replace('\n', " "));
    text += &format!("Cost:\t\t{}\n", cost(entry.cost_ms));
    text += &format!("Last used:\t{}\n", ago(entry.last_used, now()));
    for name in entry.users.iter().map(user) {
        text += &format!("Used by:\t{name}\n");
    }
    text += &format!("Type:\t\t{}\n\n", space::kind(entry));
    text
}

fn cost(milliseconds: u64) -> String {
    format!("{}.{}s", milliseconds / 1000, milliseconds % 1000 / 100)
}

/// Who uses something, in words.
fn user(user: &User) -> String {
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
        let mut text =
            format!("{} {}: {}\n", entry.item, size(entry.bytes), shorten(&entry.description, 72));
        for name in entry.users.iter().map(user) {
            text += &format!("  kept for {name}\n");
        }
        for above in &why.above {
            let users: Vec<_> = above.users.iter().map(user).collect();
            let what = shorten(&above.description, 48);
            text += &format!(
                "  kept since {} ({what}) stands on it, kept for {}\n",
                above.item,
                users.join(", ")
            );
        }
        if let Some(rank) = why.rank {
            let idle = span(now() - entry.last_used).to_lowercase();
            text += &format!(
                "  nobody uses it: it can go, as number {} of {} when space is short\n  making it \
                 takes about {}, and it was used last {idle} ago\n",
                rank + 1,
                why.of,
                cost(entry.cost_ms)
            );
        }
        Ok(text)
    })
}

pub(super) fn verify(args: &VerifyArgs, session: &Session) -> Outcome {
    let verified = space::verify(&session.store()?, args.repair)?;
    let findings = &verified.findings;
    let code = if findings.is_empty() || args.repair { DONE } else { FAILED };
    if let Some(format) = &args.format {
        let rows: Vec<_> = findings.iter().map(finding).collect();
        let titles = json!({
            "Thing": "THING", "Problem": "PROBLEM", "Remedy": "REMEDY", "Aside": "SET ASIDE",
            "Users": "USERS",
        });
        print(&Format::parse(format)?.rows(&titles, &rows)?)?;
        return Ok(code);
    }
    for found in findings {
        let mut text = format!("{}: {}\n", thing(&found.thing), found.problem);
        for name in found.users.iter().map(user) {
            text += &format!("  {name} needs it\n");
        }
        if let Some(aside) = &found.aside {
            text += &format!("  it was set aside: {}\n", aside.display());
        }
        text += &format!("  {}\n", remedy(found, args.repair));
        print(&text)?;
    }
    print(&format!(
        "{} blobs, {} layers ({} packed again), {} names and {} rows: {}\n",
        verified.blobs,
        verified.layers,
        verified.packed,
        verified.names,
        verified.rows,
        match findings.len() {
            0 => "all well".to_owned(),
            1 => "one finding".to_owned(),
            many => format!("{many} findings"),
        }
    ))?;
    Ok(code)
}

fn thing(thing: &Thing) -> String {
    match thing {
        Thing::Item(item) => item.to_string(),
        Thing::Name(path) => path.display().to_string(),
        Thing::Image(name) => format!("the image {name}"),
        Thing::Index => "the index of results".to_owned(),
        _ => "something".to_owned(),
    }
}

fn finding(found: &Finding) -> Value {
    json!({
        "Thing": thing(&found.thing),
        "Problem": found.problem,
        "Remedy": remedy(found, found.aside.is_some()),
        "Aside": found.aside,
        "Users": found.users.iter().map(user).collect::<Vec<_>>(),
    })
}

/// What to do about a finding.
fn remedy(found: &Finding, repaired: bool) -> String {
    let images: Vec<&str> = found
        .users
        .iter()
        .filter_map(|user| match user {
            User::Image(name) | User::Reference(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    let again = match images[..] {
        [] => "it is made or fetched again when a build needs it".to_owned(),
        _ => format!("build or pull {} again", images.join(", ")),
    };
    match &found.thing {
        Thing::Index if repaired => "it was made again from the layers' records".to_owned(),
        Thing::Index => "`rbuild cache verify --repair` makes it again".to_owned(),
        Thing::Image(name) if User::Image(name.clone()).is_unnamed() => {
            if repaired { "it was removed" } else { "`rbuild cache verify --repair` removes it" }
                .to_owned()
        }
        Thing::Image(name) => format!("build or pull {name} again, or remove it with `rbuild rmi`"),
        Thing::Name(_) if repaired => "name the image again".to_owned(),
        _ if repaired => again,
        _ => format!("`rbuild cache verify --repair` sets it aside; then {again}"),
    }
}
