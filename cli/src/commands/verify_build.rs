//! `verify`: whether a build gives the same image each time.

use std::fmt::Write as _;

use rbuild::diff::{self, Verified};
use serde_json::json;

use super::diff::{aspect, config_lines, file_lines, files};
use super::{DONE, FAILED, Outcome, Session, build, print};
use crate::args::VerifyBuildArgs;
use crate::failure::Failure;
use crate::interrupt::block_on;
use crate::progress::Progress;

pub(super) fn run(args: &VerifyBuildArgs, session: &Session) -> Outcome {
    if let Some(flag) = args.build.refused() {
        return Err(Failure::unsupported(flag));
    }
    let store = session.store()?;
    let described = build::describe(&args.build, session)?;
    let progress = Progress::start(build::mode(&args.build)?, session.config.look());
    let described = described.on_event(progress.sink());
    let verified = block_on(async { Ok(diff::verify(described, &store).await) });
    progress.finish();
    let verified = verified??;
    let passes = verified.is_same() || (args.ignore_times && verified.is_same_but_for_times());
    if args.format.is_some() {
        print(&format!("{:#}\n", as_json(&verified, passes)))?;
    } else {
        print(&lines(&verified, passes))?;
    }
    Ok(if passes { DONE } else { FAILED })
}

fn as_json(verified: &Verified, passes: bool) -> serde_json::Value {
    let layers = verified.layers.iter().map(|layer| {
        json!({
            "Platform": layer.platform,
            "Layer": layer.number,
            "Step": layer.step,
            "Files": files(&layer.files),
        })
    });
    json!({
        "Reproducible": passes,
        "TimesOnly": !verified.is_same() && verified.is_same_but_for_times(),
        "Images": verified.ids.iter().map(|(first, second)| [first, second]).collect::<Vec<_>>(),
        "SourceDateEpoch": verified.epoch,
        "Layers": layers.collect::<Vec<_>>(),
        "Config": verified.config.iter().map(aspect).collect::<Vec<_>>(),
    })
}

fn lines(verified: &Verified, passes: bool) -> String {
    let mut text = String::new();
    let several = verified.ids.len() > 1;
    for layer in &verified.layers {
        let platform = if several { format!(" of {}", layer.platform) } else { String::new() };
        let first = if text.is_empty() { "The first layer that differs" } else { "Also" };
        let _ = writeln!(text, "{first}: layer {}{platform}, {}", layer.number, layer.step);
        text += &file_lines(&layer.files);
        text.push('\n');
    }
    if !verified.config.is_empty() {
        let _ = writeln!(text, "The configs differ:\n{}", config_lines(&verified.config));
    }
    text += match (verified.is_same(), verified.is_same_but_for_times()) {
        (true, _) if verified.ids.iter().all(|(first, second)| first == second) => {
            "Reproducible: both builds gave the same image."
        }
        (true, _) => {
            "Reproducible where `rewrite-timestamp=true` writes the times of files: only these \
             differ, and all that do are later than SOURCE_DATE_EPOCH."
        }
        (_, true) if passes => "Reproducible but for times.",
        (_, true) if verified.epoch.is_none() => {
            "Not reproducible: only times differ. SOURCE_DATE_EPOCH sets one for all, and \
             `rewrite-timestamp=true` of an output those of files."
        }
        (_, true) => "Not reproducible: only times differ.",
        _ => "Not reproducible.",
    };
    text.push('\n');
    text
}
