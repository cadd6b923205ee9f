//! What a container would be as an image.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rbuild_cache::{Digest, Layer, Store};

use super::error::{Error, Result};
use super::folder::Record;
use super::names;
use super::sandbox::argv;
use super::stubs::stubs;
use crate::image::{ContainerConfig, set};

/// A container as it goes into an image.
#[derive(Debug)]
pub(crate) struct Committed {
    /// The digest of the config of its own image.
    pub(crate) image: Digest,
    /// The layers of its own image, lowest first.
    pub(crate) layers: Vec<Layer>,
    /// The folder with its own changes, in the form of overlayfs.
    pub(crate) files: PathBuf,
    /// What of them is there only to be mounted on.
    pub(crate) stubs: BTreeSet<PathBuf>,
    /// What it runs.
    pub(crate) command: Vec<String>,
    /// The defaults of its image, and what its user has said in their place.
    pub(crate) config: ContainerConfig,
}

/// Looks at a container, whether or not it runs.
pub(crate) fn committed(store: &Store, name: &str) -> Result<Committed> {
    let folder = names::find(store, name)?;
    let record = folder.record()?.ok_or_else(|| Error::NotFound(name.to_owned()))?;
    Ok(Committed {
        config: config(&record),
        command: argv(&record)?,
        stubs: stubs(store, &folder.files(), &record)?,
        files: folder.files(),
        image: record.image,
        layers: record.layers,
    })
}

fn config(record: &Record) -> ContainerConfig {
    let options = &record.options;
    let mut config = record.config.clone();
    for line in &options.env {
        match line.split_once('=') {
            Some((name, value)) => set(&mut config.env, name, value),
            None => config.env.retain(|old| old.split('=').next() != Some(line)),
        }
    }
    if let Some(entrypoint) = &options.entrypoint {
        config.entrypoint.clone_from(entrypoint);
        config.cmd.clear();
    }
    if !options.command.is_empty() {
        config.cmd.clone_from(&options.command);
    }
    if let Some(user) = &options.user {
        config.user.clone_from(user);
    }
    if let Some(workdir) = &options.workdir {
        config.working_dir.clone_from(workdir);
    }
    if let Some(signal) = options.stop_signal {
        config.stop_signal = signal.to_string();
    }
    config.labels.extend(options.labels.clone());
    config.exposed_ports.extend(options.expose.iter().cloned());
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::sample::record;

    #[test]
    fn what_the_user_said_goes_into_the_image() {
        let mut record = record();
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        record.config.env = words("A=1 B=2");
        record.config.cmd = words("old");
        record.config.entrypoint = words("/entry");
        record.options.env = words("B=3 A C=4");
        record.options.user = Some("app".to_owned());
        let made = config(&record);
        assert_eq!((made.env, &*made.user), (words("B=3 C=4"), "app"));
        assert_eq!((made.entrypoint, made.cmd), (words("/entry"), words("old")));
        record.options.entrypoint = Some(words("/other"));
        assert!(config(&record).cmd.is_empty(), "arguments are for their own program");
        record.options.command = words("-x y");
        assert_eq!(config(&record).cmd, words("-x y"));
    }
}
