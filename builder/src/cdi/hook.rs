//! Hooks of descriptions: what NVIDIA's do is done here, others run as they are.

use rbuild_runtime::{Container, Mount, MountSource};

use super::spec::Hook;

/// The programs whose work is known, by their last names.
const KNOWN: [&str; 3] = ["nvidia-cdi-hook", "nvidia-ctk", "nvidia-container-toolkit"];

impl Hook {
    /// Does what the hook would do, or has it run on the container's way; the error is what it
    /// needs that is not to be had.
    pub(super) fn apply(&self, container: &mut Container) -> Result<(), String> {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        if KNOWN.contains(&name) && self.act(container) {
            return Ok(());
        }
        let hook = rbuild_runtime::Hook {
            path: self.path.clone().into(),
            args: self.args.clone(),
            env: self.env.clone(),
            timeout: self.timeout,
        };
        let hooks = &mut container.hooks;
        match self.stage.as_str() {
            "prestart" => hooks.before.push(hook),
            "createRuntime" => hooks.outside.push(hook),
            "createContainer" => hooks.inside.push(hook),
            other => return Err(format!("the {other} hook `{}` of the host", self.path)),
        }
        Ok(())
    }

    /// Does the work of a known hook; false for one that is not known.
    fn act(&self, container: &mut Container) -> bool {
        // `nvidia-ctk hook create-symlinks --link target::link`, or without the word `hook`.
        let mut words = self.args.iter().skip(1).map(String::as_str).peekable();
        words.next_if_eq(&"hook");
        match words.next() {
            Some("create-symlinks") => {
                let values = words.filter(|word| *word != "--link");
                for link in values {
                    let link = link.strip_prefix("--link=").unwrap_or(link);
                    if let Some((target, link)) = link.split_once("::") {
                        show_link(container, target, link);
                    }
                }
                true
            }
            // Folders of libraries are found by what is mounted in them; the rest concerns modes of
            // nodes that are exact here, or profiles that are read by nobody else.
            Some(
                "update-ldcache"
                | "enable-cuda-compat"
                | "chmod"
                | "disable-device-node-modification"
                | "update-application-profile",
            ) => true,
            _ => false,
        }
    }
}

/// Shows at the place of a link what is mounted where it leads; one that leads elsewhere is left
/// out, as it would lead to nothing.
fn show_link(container: &mut Container, target: &str, link: &str) {
    let folder = link.rsplit_once('/').map_or("", |(folder, _)| folder);
    let target = if target.starts_with('/') {
        target.to_owned()
    } else {
        let folder = target.starts_with("../").then(|| folder.rsplit_once('/')).flatten();
        let base = folder.map_or_else(|| link.rsplit_once('/').map_or("", |(f, _)| f), |(f, _)| f);
        format!("{base}/{}", target.trim_start_matches("../"))
    };
    let source = container.mounts.iter().find_map(|mount| match &mount.source {
        MountSource::Path(path) if mount.target == target => Some(path.clone()),
        _ => None,
    });
    match source {
        Some(path) if !container.mounts.iter().any(|mount| mount.target == link) => {
            let mut mount = Mount::bind(path, link).read_only();
            mount.suid = false;
            container.mounts.push(mount);
        }
        Some(_) => {}
        None => tracing::warn!(link, target, "a link of a device leads to nothing"),
    }
}
