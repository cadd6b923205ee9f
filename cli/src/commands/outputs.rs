//! `-o`, `--push`, `--load` and `--annotation`: where the result of a build goes, and in which form.

pub(super) mod annotation;
mod attributes;

use rbuild::{Destination, Output, OutputKind};

use crate::args::{Allow, BuildArgs};
use crate::failure::Failure;
use attributes::Attributes;

/// Reads all of them; none means the store.
pub(super) fn parse(args: &BuildArgs) -> Result<Vec<Output>, Failure> {
    let mut outputs = Vec::new();
    for text in &args.outputs {
        outputs.extend(output(text, args.push)?);
    }
    if args.load || outputs.is_empty() {
        outputs.push(OutputKind::Store.into());
    }
    if args.push && !outputs.iter().any(is_push) {
        outputs.push(OutputKind::REGISTRY.into());
    }
    annotate(&mut outputs, &args.annotations)?;
    check(args, &outputs)?;
    Ok(outputs)
}

/// Whether standard output carries an archive, so that nothing else may be printed there.
pub(super) fn use_stdout(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| match &output.kind {
        OutputKind::Oci { to, .. } | OutputKind::Docker { to, .. } | OutputKind::Tar { to, .. } => {
            *to == Destination::Stdout
        }
        _ => false,
    })
}

fn is_push(output: &Output) -> bool {
    matches!(output.kind, OutputKind::Registry { .. })
}

/// Whether it is an image that leaves the store.
fn is_image(output: &Output) -> bool {
    is_push(output)
        || matches!(
            output.kind,
            OutputKind::Oci { .. } | OutputKind::Docker { .. } | OutputKind::Daemon(_)
        )
}

/// Reads one `-o`, which may be an image in two places.
fn output(text: &str, push: bool) -> Result<Vec<Output>, Failure> {
    match text {
        "-" => Ok(vec![OutputKind::Tar { to: Destination::Stdout, split: None }.into()]),
        _ if !text.contains('=') => {
            Ok(vec![OutputKind::Local { to: text.into(), split: None, delete: false }.into()])
        }
        _ => Attributes::parse(text)
            .and_then(|attributes| attributes.outputs(push))
            .map_err(|reason| wrong(text, &reason)),
    }
}

fn wrong(text: &str, reason: &str) -> Failure {
    let hint = "the types are local, tar, oci, docker, registry, image and cacheonly";
    Failure::usage(format!("cannot use `--output {text}`: {reason}")).hint(hint)
}

/// Writes annotations on every image that leaves the store.
fn annotate(outputs: &mut [Output], texts: &[String]) -> Result<(), Failure> {
    let mut annotations = Vec::new();
    for text in texts {
        let parsed = annotation::flag(text);
        annotations.extend(parsed.map_err(|reason| {
            Failure::usage(format!("cannot use `--annotation {text}`: {reason}"))
        })?);
    }
    if annotations.is_empty() {
        return Ok(());
    }
    if !outputs.iter().any(is_image) {
        let message = "an annotation is part of a manifest, and the store has none";
        let hint = "it is written where the image goes: give `--push` or `-o type=oci,dest=FILE`";
        return Err(Failure::usage(message).hint(hint));
    }
    for output in outputs.iter_mut().filter(|output| is_image(output)) {
        output.packing.annotations.extend(annotations.iter().cloned());
    }
    Ok(())
}

/// Refuses what does not go together.
fn check(args: &BuildArgs, outputs: &[Output]) -> Result<(), Failure> {
    let are_files =
        |output: &Output| matches!(output.kind, OutputKind::Local { .. } | OutputKind::Tar { .. });
    if args.iidfile.is_some() && outputs.iter().any(are_files) {
        return Err(Failure::usage("files without an image have no id for `--iidfile`"));
    }
    let by_digest = |output: &&Output| output.kind == OutputKind::Registry { by_digest: true };
    let mut nameless =
        outputs.iter().filter(by_digest).flat_map(|it| it.names.iter().chain(&args.tags));
    let has_tag = |name: &&String| name.rsplit('/').next().is_some_and(|last| last.contains(':'));
    if let Some(name) = nameless.find(has_tag) {
        let message = format!("`{name}` has a tag, and is to be pushed by its digest");
        return Err(Failure::usage(message).hint("leave the tag or `push-by-digest` out"));
    }
    let deletes = |output: &Output| matches!(output.kind, OutputKind::Local { delete: true, .. });
    if outputs.iter().any(deletes) && !args.allow.contains(&Allow::LocalDelete) {
        let hint = "files that are not in the image are removed there: allow that with \
                    `--allow buildx.local.delete`";
        return Err(Failure::usage("`mode=delete` needs to be allowed").hint(hint));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
