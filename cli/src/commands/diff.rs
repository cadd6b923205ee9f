//! `diff`: what differs between two images, or what a container changed.

use std::fmt::Write as _;

use rbuild::diff::{self, Aspect, Change, Difference, FileChange, Touched};
use serde_json::{Value, json};

use super::{DONE, FAILED, Outcome, Session, platform, print};
use crate::args::DiffArgs;
use crate::failure::Failure;
use crate::format::Format;
use crate::interrupt::block_on;
use crate::table::short_id;

pub(super) fn run(args: &DiffArgs, session: &Session) -> Outcome {
    match &args.second {
        Some(second) => images(args, second, session).map_err(Failure::of_diff),
        None => container(args, session),
    }
}

fn images(args: &DiffArgs, second: &str, session: &Session) -> Outcome {
    let (store, registries) = (session.store()?, session.registries()?);
    let platform = platform(args.platform.as_deref())?;
    let both = (args.first.as_str(), second);
    let difference = block_on(async {
        Ok(diff::images(&store, &registries, both, platform.as_ref(), args.times).await?)
    })?;
    match &args.format {
        Some(format) => {
            let whole = json!({
                "Files": files(&difference.files),
                "Config": difference.config.iter().map(aspect).collect::<Vec<_>>(),
            });
            print(&Format::parse(format)?.one(&whole)?)?;
        }
        None => print(&lines(&difference))?,
    }
    Ok(if difference.is_empty() { DONE } else { FAILED })
}

/// What a container changed, as `docker diff` writes it.
fn container(args: &DiffArgs, session: &Session) -> Outcome {
    let changes = diff::container(&session.store()?, &args.first)?;
    let letter = |touched| match touched {
        Touched::Added => "A",
        Touched::Changed => "C",
        Touched::Deleted => "D",
    };
    let rows: Vec<_> = changes
        .into_iter()
        .map(|(path, touched)| json!({ "Type": letter(touched), "Path": path }))
        .collect();
    let titles = json!({ "Type": "CHANGE TYPE", "Path": "PATH" });
    let format = args.format.as_deref().unwrap_or("{{.Type}} {{.Path}}");
    print(&Format::parse(format)?.rows(&titles, &rows)?)?;
    Ok(DONE)
}

/// Files as JSON.
pub(super) fn files(files: &[FileChange]) -> Vec<Value> {
    let file = |file: &FileChange| match &file.change {
        Change::Added(what) => json!({ "Path": file.path, "Change": "added", "What": what }),
        Change::Removed(what) => json!({ "Path": file.path, "Change": "removed", "What": what }),
        Change::Changed(aspects) => {
            let aspects: Vec<_> = aspects.iter().map(aspect).collect();
            json!({ "Path": file.path, "Change": "changed", "Aspects": aspects })
        }
    };
    files.iter().map(file).collect()
}

/// An aspect as JSON.
pub(super) fn aspect(aspect: &Aspect) -> Value {
    json!({ "What": aspect.what, "Was": aspect.was, "Now": aspect.now })
}

fn lines(difference: &Difference) -> String {
    let mut text = file_lines(&difference.files);
    if !difference.files.is_empty() && !difference.config.is_empty() {
        text.push('\n');
    }
    text + &config_lines(&difference.config)
}

/// A line for each file; what is in a folder that only one side has is counted only.
pub(super) fn file_lines(files: &[FileChange]) -> String {
    let mut text = String::new();
    let mut files = files.iter().peekable();
    while let Some(file) = files.next() {
        let (sign, what) = match &file.change {
            Change::Added(what) => ('+', what),
            Change::Removed(what) => ('-', what),
            Change::Changed(aspects) => {
                let aspects: Vec<_> = aspects.iter().map(shown).collect();
                let _ = writeln!(text, "~ {}  {}", clean(&file.path), aspects.join(", "));
                continue;
            }
        };
        let inside = format!("{}/", file.path);
        let is_inside = |next: &&FileChange| {
            let is_same = match &next.change {
                Change::Added(_) => sign == '+',
                Change::Removed(_) => sign == '-',
                Change::Changed(_) => false,
            };
            is_same && next.path.starts_with(&inside)
        };
        let mut more = 0;
        while files.next_if(is_inside).is_some() {
            more += 1;
        }
        let more = if more == 0 { String::new() } else { format!(", and {more} in it") };
        let _ = writeln!(text, "{sign} {}  {}{more}", clean(&file.path), clean(what));
    }
    text
}

/// A line for each aspect of a config.
pub(super) fn config_lines(aspects: &[Aspect]) -> String {
    let line = |aspect: &Aspect| match (&aspect.was, &aspect.now) {
        (None, Some(now)) => format!("+ {} {}\n", clean(&aspect.what), clean(now)),
        (Some(was), None) => format!("- {} {}\n", clean(&aspect.what), clean(was)),
        _ => format!("~ {}\n", shown(aspect)),
    };
    aspects.iter().map(line).collect()
}

fn shown(aspect: &Aspect) -> String {
    let or_none = |text: &Option<String>| match text {
        Some(digest) if aspect.what == "content" => format!("sha256:{}", short_id(digest)),
        Some(text) => clean(text),
        None => "(none)".to_owned(),
    };
    format!("{} {} -> {}", clean(&aspect.what), or_none(&aspect.was), or_none(&aspect.now))
}

/// A text of strangers, in which nothing moves a cursor.
fn clean(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: &str, change: Change) -> FileChange {
        FileChange { path: path.to_owned(), change }
    }

    #[test]
    fn folders_that_one_side_has_are_counted() {
        let added = |path| change(path, Change::Added("file".to_owned()));
        let removed = |path| change(path, Change::Removed("file".to_owned()));
        let aspect = Aspect {
            what: "mode".to_owned(),
            was: Some("0644".to_owned()),
            now: Some("0\u{1b}[2J".to_owned()),
        };
        let files = [
            added("/a"),
            added("/a/b"),
            added("/a/b/c"),
            removed("/ab"),
            change("/ac", Change::Changed(vec![aspect.clone()])),
        ];
        insta::assert_snapshot!(file_lines(&files), @r"
        + /a  file, and 2 in it
        - /ab  file
        ~ /ac  mode 0644 -> 0\u{1b}[2J
        ");
        let aspects = [
            Aspect { was: None, ..aspect.clone() },
            Aspect { now: None, ..aspect.clone() },
            aspect,
        ];
        insta::assert_snapshot!(config_lines(&aspects), @r"
        + mode 0\u{1b}[2J
        - mode 0644
        ~ mode 0644 -> 0\u{1b}[2J
        ");
    }
}
