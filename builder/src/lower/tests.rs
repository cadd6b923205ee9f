//! Graphs and configs as text: one helper, one snapshot for each case.

use std::collections::BTreeMap;
use std::fmt::Write;

use rbuild_solver::op::{CopyItem, FileAction, MountKind, Op, Select, Source};
use rbuild_solver::{Edge, Work};

use super::{Lowered, Request, ResolvedImage, Wanted, lower, wanted_images};
use crate::dockerfile;
use crate::image::ImageConfig;
use crate::platform;

/// Lowers a Dockerfile whose images all have an empty config with one label, and tells the result.
fn lowered(text: &str, change: impl FnOnce(&mut Request)) -> String {
    let file = match dockerfile::parse(text.as_bytes()) {
        Ok(file) => file,
        Err(errors) => return format!("does not parse: {errors:?}"),
    };
    let mut request =
        Request { platform: platform::parse("linux/amd64").unwrap(), ..Request::new() };
    change(&mut request);
    let image = |wanted: Wanted| {
        let mut config = ImageConfig::scratch(&platform::parse(&wanted.platform).unwrap());
        config.config.on_build = match wanted.reference.as_str() {
            "triggers" => vec!["COPY a /a".to_owned(), "RUN b".to_owned()],
            _ => Vec::new(),
        };
        let reference = format!("docker.io/library/{}", wanted.reference);
        (wanted, ResolvedImage { reference, config })
    };
    let images: BTreeMap<_, _> = match wanted_images(&file, &request, &BTreeMap::new()) {
        Ok(wanted) => wanted.into_iter().map(|wanted| image(wanted.value)).collect(),
        Err(error) => return format!("{error}"),
    };
    match lower(&file, &request, &images) {
        Ok(lowered) => show(&lowered),
        Err(error) => format!("{error} (hint: {})", error.hint.as_deref().unwrap_or("none")),
    }
}

fn show(lowered: &Lowered) -> String {
    let mut text = String::new();
    for (id, vertex) in lowered.graph.iter() {
        let _ = write!(text, "{} ", id.index());
        let _ = match &vertex.work {
            Work::Source(Source::Scratch) => writeln!(text, "scratch"),
            Work::Source(Source::Image { reference, platform }) => {
                writeln!(text, "image {reference} {platform}")
            }
            Work::Source(Source::Context { name }) => writeln!(text, "folder {name}"),
            Work::Source(Source::Http(file)) => writeln!(text, "file {}", file.url),
            Work::Source(Source::Git(git)) => writeln!(text, "git {}", git.remote),
            Work::Op { op, inputs, fresh } => {
                let fresh = if *fresh { " (again)" } else { "" };
                let inputs: Vec<_> = inputs.iter().map(edge).collect();
                let name = if vertex.quiet { "" } else { &vertex.name };
                writeln!(text, "{name}{fresh}\n    {} <- {}", show_op(op), inputs.join(", "))
            }
        };
    }
    let target = &lowered.targets[0];
    let _ = writeln!(text, "target {}", target.root.index());
    for (name, patterns) in &lowered.folders {
        let _ = writeln!(text, "used of {name}: {patterns:?}");
    }
    let config = serde_json::to_string(&target.config.config).unwrap();
    let _ = writeln!(text, "{config}");
    for line in &target.config.history {
        let layer = if line.empty_layer { " " } else { "+" };
        let _ = writeln!(text, "{layer} {}", line.created_by);
    }
    text
}

fn edge(edge: &Edge) -> String {
    let vertex = edge.vertex.index();
    match &edge.select {
        Select::All => vertex.to_string(),
        Select::Nothing => format!("{vertex} (unseen)"),
        Select::Paths { patterns, exclude, .. } if exclude.is_empty() => {
            format!("{vertex}{patterns:?}")
        }
        Select::Paths { patterns, exclude, .. } => format!("{vertex}{patterns:?}-{exclude:?}"),
    }
}

fn show_op(op: &Op) -> String {
    match op {
        Op::Exec(exec) => {
            let mut mounts = String::new();
            for mount in &exec.mounts {
                let kind = match &mount.kind {
                    MountKind::Bind { source, .. } => format!("bind {source}"),
                    MountKind::Cache { id, .. } => format!("cache {id}"),
                    MountKind::Inline { contents, .. } => format!("inline {contents:?}"),
                    MountKind::Tmpfs { .. } => "tmpfs".to_owned(),
                    MountKind::Secret { id, .. } => format!("secret {id}"),
                    MountKind::Ssh { id, .. } => format!("ssh {id}"),
                };
                let _ = write!(mounts, " {}={kind}", mount.target);
            }
            let env: Vec<_> = exec.env.iter().filter(|(name, _)| name != "PATH").collect();
            format!("exec {:?} in {} as {:?} with {env:?}{mounts}", exec.args, exec.cwd, exec.user)
        }
        Op::Copy(copy) => {
            let item = |item: &CopyItem| match item {
                CopyItem::Path { pattern, .. } => pattern.clone(),
                CopyItem::Inline { name, contents } => format!("<<{name} {contents:?}"),
            };
            let items: Vec<_> = copy.items.iter().map(item).collect();
            let link = if copy.link { " linked" } else { "" };
            format!("copy {items:?} to {}{link}", copy.destination)
        }
        Op::Files(actions) => {
            let FileAction::MakeDirectory { path, owner, .. } = &actions[0];
            format!("folder {path} of {owner:?}")
        }
        Op::Stack => "stack".to_owned(),
    }
}

macro_rules! cases {
    ($($name:ident: $text:expr $(, $change:expr)?;)*) => {
        $(#[test]
        fn $name() {
            let text = $text;
            #[allow(unused_mut, unused_assignments)]
            let mut change: Box<dyn FnOnce(&mut Request)> = Box::new(|_| {});
            $(change = Box::new($change);)?
            insta::with_settings!({ description => text, omit_expression => true }, {
                insta::assert_snapshot!(lowered(text, change));
            });
        })*
    };
}

cases! {
    the_tutorial: "FROM alpine:3\nRUN apk add curl\nENTRYPOINT [\"/usr/bin/curl\", \"-s\", \"ifconfig.me\"]\n";
    arguments_and_variables: "ARG V=3\nFROM a:$V\nARG V\nARG B=x$V\nENV C=${B:-no} D=$C\nRUN echo $C\nARG C=later\nRUN echo",
        |request| { request.arguments.insert("B".to_owned(), "given".to_owned()); };
    a_stage_nobody_needs_is_not_built: "FROM a AS one\nRUN one\nFROM b AS two\nRUN two\nFROM scratch\nCOPY --from=one /x /y\n";
    a_copy_by_index_and_from_an_image: "FROM a\nRUN x\nFROM b\nCOPY --from=0 /x ./y/\nCOPY --from=other:1 /z /\n";
    linked_copies_stand_on_nothing: "FROM a\nWORKDIR /app\nCOPY --link --chown=1:2 src .\nRUN x\n";
    entrypoint_clears_the_command_of_the_base: "FROM a AS base\nCMD one\nFROM base\nENTRYPOINT [\"x\"]\n";
    entrypoint_keeps_a_command_of_its_stage: "FROM a\nCMD [\"one\"]\nENTRYPOINT x\n";
    triggers_run_first: "FROM triggers\nRUN own\n";
    triggers_of_a_stage_run_once: "FROM a AS one\nONBUILD RUN trigger\nFROM one AS two\nFROM two\nRUN own\n";
    metadata: "FROM scratch\nLABEL b=1 \"a x\"=2\nEXPOSE 80 8000-8002/udp\nVOLUME /v [\"x\"]\nUSER me:us\nSTOPSIGNAL 9\nSHELL [\"/bin/bash\", \"-c\"]\nRUN x\nHEALTHCHECK --interval=1m30s --retries=3 CMD curl x\nMAINTAINER me\nONBUILD RUN later\n",
        |request| request.labels.push(("z".to_owned(), "last".to_owned()));
    mounts: "FROM a AS tools\nFROM a\nRUN --mount=target=/src --mount=type=cache,target=/c --mount=type=secret,id=s,env=S --mount=type=bind,from=tools,source=/bin,target=/t x\n";
    here_documents: "FROM a\nRUN <<E\necho one\nE\nRUN <<E\n#!/bin/py\nprint\nE\nCOPY <<A <<\"B\" /d/\n$PATH\nA\n$PATH\nB\n";
    a_stage_is_run_again: "FROM a AS one\nRUN x\nFROM one\nRUN y\n",
        |request| request.no_cache_filter.push("one".to_owned());
    a_misspelt_target: "FROM a AS release\n", |request| request.target = Some("relaese".to_owned());
    a_stage_that_is_used_too_early: "FROM a\nCOPY --from=later /x /\nFROM b AS later\n",
        |request| request.target = Some("0".to_owned());
    a_blank_base: "ARG X\nFROM $X\n";
    insecure_needs_leave: "FROM a\nRUN --security=insecure x\n";
}

#[test]
fn a_context_for_a_platform_counts_before_one_for_all() {
    let bases = |file: &str| {
        lowered(file, |request| {
            for (name, image) in [
                ("tools", "all"),
                ("docker.io/library/tools:latest::linux/arm64", "arm"),
                ("tools::linux/x86_64", "amd"),
                ("scratch", "never"),
                ("context", "never"),
            ] {
                let context = super::NamedContext::Image(image.to_owned());
                request.contexts.insert(name.to_owned(), context);
            }
        })
    };
    let own = bases("FROM tools\n");
    assert!(own.contains("docker.io/library/amd") && !own.contains("library/all"), "{own}");
    let arm = bases("FROM --platform=linux/arm64/v8 tools\n");
    assert!(arm.contains("docker.io/library/arm"), "{arm}");
    let other = bases("FROM --platform=linux/s390x tools:latest\n");
    assert!(other.contains("docker.io/library/all"), "{other}");
    let reserved = bases("FROM scratch\nCOPY --from=scratch / /\nCOPY x /\n");
    assert!(!reserved.contains("never"), "{reserved}");
}

#[test]
fn stages_that_need_each_other_are_told_with_every_place() {
    let message = |file: &str| {
        let text = lowered(file, |_| {});
        text.lines().find(|line| line.contains("circular")).unwrap_or(&text).to_owned()
    };
    let own = message("FROM scratch AS a\nCOPY --from=a /x /\n");
    assert!(own.contains("circular dependency: stage `a` uses `a` (line 2)"), "{own}");
    let three = message(
        "FROM scratch AS a\nCOPY --from=C /x /\nFROM a AS b\nFROM scratch AS c\n\
         RUN --mount=from=b,target=/b x\n",
    );
    let wanted =
        "stage `a` uses `c` (line 2), stage `c` uses `b` (line 5), stage `b` uses `a` (line 3)";
    assert!(three.contains(wanted), "{three}");
    let late = lowered(
        "FROM scratch AS a\nCOPY --from=b /x /\nFROM scratch AS b\nCOPY --from=a / /\n",
        |_| {},
    );
    assert!(late.contains("stage `b` uses `a` (line 4)"), "{late}");
}
