//! `--runtime`: rbuild's own, NVIDIA's, or a program with the verbs of the OCI.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rbuild::container::OtherRuntime;

use crate::config;
use crate::failure::Failure;

/// rbuild's own, which docker knows by no name.
const OWN: &str = "rbuild";
/// NVIDIA's, which is rbuild's own with the GPUs that variables name.
const NVIDIAS: &str = "nvidia";
/// What docker calls runc since containerd starts it.
const OF_CONTAINERD: &str = "io.containerd.runc.v2";
/// How programs are called that change a container and leave it to another runtime.
const CHANGES_ONLY: &str = "nvidia-container-runtime";

/// Whether variables say which GPUs there are.
pub(super) fn is_nvidias(name: Option<&str>) -> bool {
    name == Some(NVIDIAS)
}

/// The program, where it is not rbuild's own: a path, or a name that is looked up.
pub(super) fn other(name: Option<&str>) -> Result<Option<OtherRuntime>, Failure> {
    let name = match name {
        None | Some(OWN | NVIDIAS) => return Ok(None),
        Some(OF_CONTAINERD) => "runc",
        Some(name) => name,
    };
    let program = find(name).ok_or_else(|| {
        let hint = "`--runtime` takes `rbuild`, `nvidia`, the path of a program or the name of one";
        Failure::usage(format!("unknown or invalid runtime name: {name}")).hint(hint)
    })?;
    let file = program.file_name().unwrap_or_default().to_string_lossy();
    let below = file.starts_with(CHANGES_ONLY).then(std::env::current_exe).transpose();
    let below = below.map_err(Failure::io("find this program"))?;
    Ok(Some(OtherRuntime { name: name.to_owned(), program, below }))
}

fn find(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        // A link stays one: by its name some programs know what they are.
        return std::path::absolute(name).ok().filter(|path| is_program(path));
    }
    let mut places = config::search_path().into_iter().map(|folder| folder.join(name));
    places.find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
