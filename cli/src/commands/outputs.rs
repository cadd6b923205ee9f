//! `-o`, `--push` and `--load`: where the result of a build goes.

use std::path::PathBuf;

use rbuild::{Destination, Output, OutputKind};

use crate::args::{BuildArgs, csv};
use crate::failure::Failure;

/// Reads all of them; none means the store.
pub(super) fn parse(args: &BuildArgs) -> Result<Vec<Output>, Failure> {
    let mut outputs = Vec::new();
    for text in &args.outputs {
        outputs.push(output(text)?.into());
    }
    if args.load || outputs.is_empty() {
        outputs.push(OutputKind::Store.into());
    }
    if args.push {
        outputs.push(OutputKind::REGISTRY.into());
    }
    Ok(outputs)
}

/// Whether standard output carries an archive, so that nothing else may be printed there.
pub(super) fn use_stdout(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| match &output.kind {
        OutputKind::Oci { to, .. } | OutputKind::Docker { to, .. } | OutputKind::Tar(to) => {
            *to == Destination::Stdout
        }
        _ => false,
    })
}

fn output(text: &str) -> Result<OutputKind, Failure> {
    match text {
        "-" => return Ok(OutputKind::Tar(Destination::Stdout)),
        _ if !text.contains('=') => return Ok(OutputKind::Local(text.into())),
        _ => {}
    }
    let mut kind = None;
    let mut place = None;
    let mut tar = true;
    let mut push = false;
    for (key, value) in csv(text).map_err(|error| wrong(text, &error.to_string()))? {
        let truth = !matches!(value.as_deref(), Some("false" | "0"));
        match key.as_str() {
            "type" => kind = value,
            "dest" => place = value,
            "tar" => tar = truth,
            "push" => push = truth,
            "name" | "unpack" | "store" | "oci-mediatypes" if truth => {}
            _ => return Err(wrong(text, &format!("`{key}` is not supported yet"))),
        }
    }
    let to = || match place.as_deref() {
        None | Some("-") => Destination::Stdout,
        Some(path) => Destination::Path(path.into()),
    };
    let folder =
        || place.clone().map(PathBuf::from).ok_or_else(|| wrong(text, "`dest` is missing"));
    match kind.as_deref() {
        Some("local") => Ok(OutputKind::Local(folder()?)),
        Some("tar") => Ok(OutputKind::Tar(to())),
        Some("oci") if tar => Ok(OutputKind::Oci { to: to(), tar }),
        Some("oci") => Ok(OutputKind::Oci { to: Destination::Path(folder()?), tar }),
        Some("docker") if place.is_none() => Ok(OutputKind::Store),
        Some("docker") if tar => Ok(OutputKind::Docker { to: to(), tar }),
        Some("docker") => Ok(OutputKind::Docker { to: Destination::Path(folder()?), tar }),
        Some("registry") => Ok(OutputKind::REGISTRY),
        Some("image") if push => Ok(OutputKind::REGISTRY),
        Some("image") => Ok(OutputKind::Store),
        Some("cacheonly") => Ok(OutputKind::CacheOnly),
        Some(other) => Err(wrong(text, &format!("there is no type `{other}`"))),
        None => Err(wrong(text, "`type` is missing")),
    }
}

fn wrong(text: &str, reason: &str) -> Failure {
    let hint = "the types are local, tar, oci, docker, registry, image and cacheonly";
    Failure::usage(format!("cannot use `--output {text}`: {reason}")).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_read_as_docker_reads_them() {
        let path = |path: &str| Destination::Path(path.into());
        let table = [
            ("-", OutputKind::Tar(Destination::Stdout)),
            ("out", OutputKind::Local("out".into())),
            ("type=local,dest=out", OutputKind::Local("out".into())),
            ("type=tar,dest=x.tar", OutputKind::Tar(path("x.tar"))),
            ("type=oci,dest=x.tar", OutputKind::Oci { to: path("x.tar"), tar: true }),
            ("type=oci,dest=x,tar=false", OutputKind::Oci { to: path("x"), tar: false }),
            ("type=oci", OutputKind::Oci { to: Destination::Stdout, tar: true }),
            ("type=docker", OutputKind::Store),
            ("type=docker,dest=-", OutputKind::Docker { to: Destination::Stdout, tar: true }),
            ("type=image,push=true", OutputKind::REGISTRY),
            ("type=registry", OutputKind::REGISTRY),
            ("type=cacheonly", OutputKind::CacheOnly),
        ];
        for (text, expected) in table {
            assert_eq!(output(text).ok(), Some(expected), "{text}");
        }
        for text in ["type=zip", "dest=x", "type=local", "type=oci,tar=false", "type=oci,x=1"] {
            assert!(output(text).is_err(), "{text}");
        }
    }
}
