//! `cache verify`: whether the store is whole, and what to do where it is not.

use rbuild::space::{self, Finding, Thing, User};
use serde_json::{Value, json};

use super::cache::user;
use super::{DONE, FAILED, Outcome, Session, print};
use crate::args::VerifyArgs;
use crate::format::Format;

pub(super) fn run(args: &VerifyArgs, session: &Session) -> Outcome {
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
        let mut lines = vec![format!("{}: {}", thing(&found.thing), found.problem)];
        lines.extend(found.users.iter().map(|name| format!("  {} needs it", user(name))));
        let aside = found.aside.as_ref();
        lines.extend(aside.map(|aside| format!("  it was set aside: {}", aside.display())));
        lines.push(format!("  {}\n", remedy(found, args.repair)));
        print(&lines.join("\n"))?;
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
