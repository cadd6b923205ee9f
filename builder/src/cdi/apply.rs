//! What a device changes in a container, done to one.

use std::path::PathBuf;

use rbuild_runtime::{Container, Device, DeviceNumber, Mount};

use super::spec::{BindMount, DeviceNode, Edits};
use super::{Devices, Error};

/// Options of mounts that are how every mount is here.
const USUAL: [&str; 8] = ["rw", "rbind", "rprivate", "private", "rslave", "slave", "dev", "nodev"];

impl Devices {
    /// Puts the devices of these full names into a container whose process has this user and
    /// group, which own the nodes that say nothing of an owner.
    ///
    /// # Errors
    /// A device that is not there, that two files of one folder have, or that needs what
    /// containers here do not have.
    pub fn apply(
        &self,
        names: &[String],
        container: &mut Container,
        owner: (u32, u32),
    ) -> Result<(), Error> {
        self.apply_with_hooks(names, container, owner)?;
        let hooks = &container.hooks;
        let stages = [
            ("prestart", &hooks.before),
            ("createRuntime", &hooks.outside),
            ("createContainer", &hooks.inside),
        ];
        let hook = stages.iter().find_map(|(stage, list)| Some((stage, list.first()?)));
        match (hook, names.first()) {
            (Some((stage, hook)), Some(name)) => {
                let what = format!("the {stage} hook `{}` of the host", hook.path.display());
                Err(Error::Unsupported { name: name.clone(), what })
            }
            _ => Ok(()),
        }
    }

    /// The same; programs of the host that a device needs become hooks of the container.
    ///
    /// # Errors
    /// As for [`apply`](Self::apply).
    pub fn apply_with_hooks(
        &self,
        names: &[String],
        container: &mut Container,
        owner: (u32, u32),
    ) -> Result<(), Error> {
        for (name, edits) in self.edits(names)? {
            edits
                .apply(container, owner)
                .map_err(|what| Error::Unsupported { name: name.to_owned(), what })?;
        }
        Ok(())
    }
}

impl Edits {
    /// Does what the edits say; the error is what they need that is not to be had.
    fn apply(&self, container: &mut Container, owner: (u32, u32)) -> Result<(), String> {
        if let Some(what) = self.beyond() {
            return Err(what.to_owned());
        }
        for line in &self.env {
            let name = line.split_once('=').map_or(line.as_str(), |(name, _)| name);
            container.process.env.retain(|known| {
                known.split_once('=').map_or(known.as_str(), |(known, _)| known) != name
            });
            container.process.env.push(line.clone());
        }
        for node in &self.device_nodes {
            let device = device(node, owner)?;
            container.devices.retain(|known| known.path != device.path);
            container.devices.push(device);
        }
        for mount in &self.mounts {
            let mount = bind(mount)?;
            container.mounts.retain(|known| known.target != mount.target);
            container.mounts.push(mount);
        }
        for hook in &self.hooks {
            hook.apply(container)?;
        }
        // Group 0 says nothing: it is what a writer that has no group in mind leaves behind.
        let groups = self.groups.iter().filter(|group| **group != 0);
        container.process.groups.extend(groups.map(ToString::to_string));
        Ok(())
    }
}

fn device(node: &DeviceNode, (uid, gid): (u32, u32)) -> Result<Device, String> {
    if let Some(access) = &node.permissions
        && !(access.contains('r') && access.contains('w'))
    {
        return Err(format!("`{}` with access `{access}` alone", node.path));
    }
    let block = match node.kind.as_deref() {
        None | Some("") => None,
        Some("b") => Some(true),
        Some("c" | "u") => Some(false),
        Some(kind) => return Err(format!("a node of type `{kind}`")),
    };
    let number = block.zip(node.major).map(|(block, major)| DeviceNumber {
        block,
        major,
        minor: node.minor.unwrap_or_default(),
    });
    let host = node.host_path.as_deref().filter(|path| !path.is_empty()).unwrap_or(&node.path);
    Ok(Device {
        host: PathBuf::from(host),
        path: node.path.clone(),
        number,
        fifo: false,
        mode: node.file_mode,
        uid: node.uid.or(Some(uid).filter(|uid| *uid != 0)),
        gid: node.gid.or(Some(gid).filter(|gid| *gid != 0)),
    })
}

fn bind(spec: &BindMount) -> Result<Mount, String> {
    if let Some(kind) = spec.kind.as_deref().filter(|kind| !matches!(*kind, "" | "none" | "bind")) {
        return Err(format!("a mount of type `{kind}`"));
    }
    let mut mount = Mount::bind(&spec.host_path, &spec.container_path);
    for option in &spec.options {
        match option.as_str() {
            "ro" => mount.read_only = true,
            "bind" => mount.recursive = false,
            "nosuid" => mount.suid = false,
            "noexec" => mount.exec = false,
            "suid" => mount.suid = true,
            "exec" => mount.exec = true,
            option if USUAL.contains(&option) => {}
            option => return Err(format!("the mount option `{option}`")),
        }
    }
    mount.recursive |= spec.options.iter().any(|option| option == "rbind");
    Ok(mount)
}
