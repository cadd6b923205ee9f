//! `images` and `tag`: what the store has, and under which names.

mod filters;

use rbuild::images::{self, Listed};
use serde_json::{Value, json};

use super::{DONE, Outcome, Session, now, print};
use crate::args::{ImagesArgs, TagArgs};
use crate::format::Format;
use crate::pattern;
use crate::table::{ago, short_id, size, time};
pub(super) use filters::{Filters, has_label, until};

const TABLE: &str = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
const DIGESTS: &str =
    "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
/// What stands for a name that an image lacks.
const NONE: &str = "<none>";

pub(super) fn run(args: &ImagesArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let mut listed = images::list(&store)?;
    if let Some(name) = &args.name {
        listed.retain(|image| has_name(image, name));
    }
    let filters = Filters::read(&store, &args.filter)?;
    listed.retain(|image| filters.pass(&store, image));
    if args.quiet && args.format.is_none() {
        let mut ids: Vec<_> = listed.iter().map(|image| id(image, args.no_trunc)).collect();
        ids.dedup();
        print(&ids.into_iter().map(|id| id + "\n").collect::<String>())?;
        return Ok(DONE);
    }
    let usual = if args.digests { DIGESTS } else { TABLE };
    let format = args.format.as_deref().filter(|format| *format != "table").unwrap_or(usual);
    let now = now();
    let rows: Vec<_> = listed.iter().map(|image| row(image, args.no_trunc, now)).collect();
    print(&Format::parse(format)?.rows(&titles(), &rows)?)?;
    Ok(DONE)
}

pub(super) fn tag(args: &TagArgs, session: &Session) -> Outcome {
    images::tag(&session.store()?, &args.source, &args.target)?;
    Ok(DONE)
}

fn id(image: &Listed, whole: bool) -> String {
    let id = image.id.to_string();
    if whole { id } else { short_id(&id).to_owned() }
}

fn row(image: &Listed, whole: bool, now: i64) -> Value {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| NONE.to_owned());
    json!({
        "Containers": "N/A",
        "CreatedAt": time(image.created),
        "CreatedSince": if image.created == 0 { "N/A".to_owned() } else { ago(image.created, now) },
        "Digest": image.digest.map_or_else(|| NONE.to_owned(), |digest| digest.to_string()),
        "ID": id(image, whole),
        "Repository": or_none(&image.repository),
        "SharedSize": "N/A",
        "Size": size(image.size),
        "Tag": or_none(&image.tag),
        "UniqueSize": "N/A",
        "VirtualSize": size(image.size),
    })
}

fn titles() -> Value {
    json!({
        "Containers": "CONTAINERS", "CreatedAt": "CREATED AT", "CreatedSince": "CREATED",
        "Digest": "DIGEST", "ID": "IMAGE ID", "Repository": "REPOSITORY",
        "SharedSize": "SHARED SIZE", "Size": "SIZE", "Tag": "TAG", "UniqueSize": "UNIQUE SIZE",
        "VirtualSize": "SIZE",
    })
}

/// Whether a name, which may have stars, means an image.
fn has_name(image: &Listed, name: &str) -> bool {
    let Some(repository) = &image.repository else {
        return false;
    };
    let with_tag = format!("{repository}:{}", image.tag.as_deref().unwrap_or_default());
    let full = image.name.as_deref().unwrap_or_default();
    let bare = full.rsplit_once(':').map_or(full, |(name, _)| name);
    [repository.as_str(), &with_tag, full, bare].iter().any(|known| pattern::matches(name, known))
}
