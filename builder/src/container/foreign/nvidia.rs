//! NVIDIA's runtime, which changes a configuration and leaves the container to another one: to
//! rbuild.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use toml::Table;

use super::super::error::{Error, Result};
use super::OtherRuntime;
use super::bundle::Bundle;

/// The settings that the runtime has on this machine.
const INSTALLED: &str = "/etc/nvidia-container-runtime/config.toml";
/// The variable that names other settings.
const VARIABLE: &str = "NVIDIA_CTK_CONFIG_FILE_PATH";
const TABLE: &str = "nvidia-container-runtime";
/// The name by which rbuild is a runtime.
const LINK: &str = "rbuild-runtime";

fn settings(bundle: &Bundle) -> PathBuf {
    bundle.path().join("nvidia.toml")
}

/// Has a runtime of NVIDIA's leave the container to rbuild.
pub(super) fn configure(runtime: &OtherRuntime, bundle: &Bundle) -> Result<()> {
    let Some(below) = &runtime.below else { return Ok(()) };
    let link = bundle.path().join(LINK);
    // One that was left behind may lead elsewhere.
    let _ = fs::remove_file(&link);
    symlink(below, &link).map_err(Error::file("make the link", &link))?;
    let installed = fs::read_to_string(INSTALLED).unwrap_or_default();
    let path = settings(bundle);
    let text = with_runtime(&installed, &link.display().to_string())?;
    fs::write(&path, text).map_err(Error::file("write", &path))
}

pub(super) fn add_variables(command: &mut Command, runtime: &OtherRuntime, bundle: &Bundle) {
    if runtime.below.is_some() {
        command.env(VARIABLE, settings(bundle));
    }
}

/// The settings with another list of runtimes.
fn with_runtime(settings: &str, program: &str) -> Result<String> {
    let wrong = |error: &dyn std::fmt::Display| {
        let source = io::Error::new(io::ErrorKind::InvalidData, error.to_string());
        Error::file("read", Path::new(INSTALLED))(source)
    };
    let mut settings: Table = settings.parse().map_err(|error| wrong(&error))?;
    let table = settings.entry(TABLE).or_insert_with(|| Table::new().into());
    let table = table.as_table_mut().ok_or_else(|| wrong(&format!("`{TABLE}` is no table")))?;
    table.insert("runtimes".to_owned(), vec![program].into());
    toml::to_string(&settings).map_err(|error| wrong(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::folder::Folder;

    #[test]
    fn the_link_that_a_killed_monitor_left_is_made_anew() {
        let scratch = tempfile::tempdir().unwrap();
        let store = rbuild_cache::Store::open(scratch.path()).unwrap();
        let bundle = Bundle::make(&Folder::new(&store, "half")).unwrap();
        for below in ["/old", "/new"] {
            let below = Some(PathBuf::from(below));
            let runtime = OtherRuntime { name: "x".to_owned(), program: "/x".into(), below };
            configure(&runtime, &bundle).unwrap();
            assert_eq!(fs::read_link(bundle.path().join(LINK)).ok(), runtime.below);
        }
    }

    #[test]
    fn the_list_of_runtimes_is_replaced_and_nothing_else() {
        let read = |text: &str| text.parse::<Table>().unwrap();
        let changed = |installed: &str| read(&with_runtime(installed, "/x").unwrap());
        let bare = read("[nvidia-container-runtime]\nruntimes = [\"/x\"]\n");
        for installed in [
            "",
            "[nvidia-container-runtime] # defaults\n",
            "[ nvidia-container-runtime ]\nruntimes = [\"runc\", # ]\n\"crun\"]\n",
            "[\"nvidia-container-runtime\"]\nruntimes = []\n",
            "nvidia-container-runtime.runtimes = [\"runc\"]\n",
        ] {
            assert_eq!(changed(installed), bare, "{installed}");
        }
        let installed = "accept = true\n[nvidia-container-runtime]\nmode = \"csv\"\nruntimes = [\n\
            \"runc\",\n\"crun\",\n]\n[nvidia-container-runtime.modes.csv]\nruntimes = 1\n";
        assert_eq!(
            changed(installed),
            read(
                "accept = true\n[nvidia-container-runtime]\nruntimes = [\"/x\"]\nmode = \"csv\"\n\
                 [nvidia-container-runtime.modes.csv]\nruntimes = 1\n"
            )
        );
        for wrong in ["[", "nvidia-container-runtime = 1"] {
            let error = with_runtime(wrong, "/x").unwrap_err();
            assert!(error.to_string().contains(INSTALLED), "{error}");
        }
    }
}
