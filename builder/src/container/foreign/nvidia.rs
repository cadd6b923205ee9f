//! NVIDIA's runtime, which changes a configuration and leaves the container to another one: to
//! rbuild.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use super::super::error::{Error, Result};
use super::OtherRuntime;
use super::bundle::Bundle;

/// The settings that the runtime has on this machine.
const INSTALLED: &str = "/etc/nvidia-container-runtime/config.toml";
/// The variable that names other settings.
const VARIABLE: &str = "NVIDIA_CTK_CONFIG_FILE_PATH";
const TABLE: &str = "[nvidia-container-runtime]";
/// The name by which rbuild is a runtime.
const LINK: &str = "rbuild-runtime";

fn settings(bundle: &Bundle) -> PathBuf {
    bundle.path().join("nvidia.toml")
}

/// Has a runtime of NVIDIA's leave the container to rbuild.
pub(super) fn configure(runtime: &OtherRuntime, bundle: &Bundle) -> Result<()> {
    let Some(below) = &runtime.below else { return Ok(()) };
    let link = bundle.path().join(LINK);
    symlink(below, &link).map_err(Error::file("make the link", &link))?;
    let installed = fs::read_to_string(INSTALLED).unwrap_or_default();
    let path = settings(bundle);
    let text = with_runtime(&installed, &link.display().to_string());
    fs::write(&path, text).map_err(Error::file("write", &path))
}

pub(super) fn add_variables(command: &mut Command, runtime: &OtherRuntime, bundle: &Bundle) {
    if runtime.below.is_some() {
        command.env(VARIABLE, settings(bundle));
    }
}

/// The settings with another list of runtimes.
fn with_runtime(settings: &str, program: &str) -> String {
    let list = format!("runtimes = [{program:?}]\n");
    let mut text = String::new();
    let (mut is_inside, mut is_open) = (false, false);
    for line in settings.lines() {
        let words = line.trim();
        // A list may go on over several lines.
        if is_open {
            is_open = !words.contains(']');
            continue;
        }
        if words.starts_with('[') {
            is_inside = words == TABLE;
        } else if is_inside && words.split('=').next().map(str::trim) == Some("runtimes") {
            is_open = !words.contains(']');
            continue;
        }
        text.push_str(line);
        text.push('\n');
        if words == TABLE {
            text.push_str(&list);
        }
    }
    if !text.contains(&list) {
        text = format!("{text}{TABLE}\n{list}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_runtimes_is_replaced_and_nothing_else() {
        let none = with_runtime("", "/x");
        assert_eq!(none, "[nvidia-container-runtime]\nruntimes = [\"/x\"]\n");
        let installed = "accept = true\n[nvidia-container-runtime]\nmode = \"csv\"\nruntimes = [\n\
            \"runc\",\n\"crun\",\n]\n[nvidia-container-runtime.modes.csv]\nruntimes = 1\n";
        assert_eq!(
            with_runtime(installed, "/x"),
            "accept = true\n[nvidia-container-runtime]\nruntimes = [\"/x\"]\nmode = \"csv\"\n\
             [nvidia-container-runtime.modes.csv]\nruntimes = 1\n"
        );
    }
}
