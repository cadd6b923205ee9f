//! `history`: how an image was made, the last step first.

use rbuild::images::{self, Found};
use rbuild::{Layer, Store};
use serde_json::{Value, json};

use super::{DONE, Outcome, Session, now, print, typed_platform};
use crate::args::HistoryArgs;
use crate::format::Format;
use crate::table::{ago, short_id, shorten, size};

const TABLE: &str = "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
/// How much of an instruction is shown.
const CREATED_BY: usize = 45;
/// Only the last step has an id: that of the image.
const MISSING: &str = "<missing>";

pub(super) fn run(args: &HistoryArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let platform = typed_platform(args.platform.as_deref())?;
    let found = images::find(&store, &args.image)?.only(&store, platform.as_ref())?;
    let rows = rows(args, &store, &found);
    if args.quiet && args.format.is_none() {
        let ids = rows.iter().filter_map(|row| Some(row["ID"].as_str()?.to_owned() + "\n"));
        print(&ids.collect::<String>())?;
        return Ok(DONE);
    }
    let format = args.format.as_deref().filter(|format| *format != "table").unwrap_or(TABLE);
    let titles = json!({
        "ID": "IMAGE", "CreatedAt": "CREATED AT",
        "CreatedSince": if args.human { "CREATED" } else { "CREATED AT" },
        "CreatedBy": "CREATED BY", "Size": "SIZE", "Comment": "COMMENT",
    });
    print(&Format::parse(format)?.rows(&titles, &rows)?)?;
    Ok(DONE)
}

fn rows(args: &HistoryArgs, store: &Store, found: &Found) -> Vec<Value> {
    let now = now();
    let mut layers = found.entry.layers.iter();
    let mut rows = Vec::new();
    for entry in &found.config.history {
        let layer = if entry.empty_layer { None } else { layers.next() };
        let bytes = layer.map_or(0, |layer| layer_size(store, layer));
        let created = entry.created.map_or(0, jiff::Timestamp::as_second);
        let by = entry.created_by.replace(['\t', '\n'], " ");
        rows.push(json!({
            "ID": MISSING,
            "CreatedAt": date(entry.created),
            "CreatedSince": match entry.created {
                None => "N/A".to_owned(),
                Some(_) if args.human => ago(created, now),
                created => date(created),
            },
            "CreatedBy": if args.no_trunc { by } else { shorten(&by, CREATED_BY) },
            "Size": if args.human { size(bytes) } else { bytes.to_string() },
            "Comment": entry.comment,
        }));
    }
    rows.reverse();
    if let Some(last) = rows.first_mut() {
        let id = found.entry.config.to_string();
        last["ID"] = if args.no_trunc { id } else { short_id(&id).to_owned() }.into();
    }
    rows
}

/// A time as docker writes it here, unlike elsewhere.
fn date(time: Option<jiff::Timestamp>) -> String {
    let zoned = time.map(|time| time.to_zoned_datetime(jiff::tz::TimeZone::system()));
    zoned.map(|time| time.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()).unwrap_or_default()
}

/// The size of a layer; of one that was never unpacked, that of its compressed form.
fn layer_size(store: &Store, layer: &Layer) -> u64 {
    store.layer_size(layer).ok().flatten().unwrap_or_else(|| layer.compressed_size())
}
