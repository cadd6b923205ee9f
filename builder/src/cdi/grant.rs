//! Which devices a build may use.

use std::path::PathBuf;

use super::{Devices, Error, FOLDERS};

/// Which devices there are for a build, and which it may use.
#[derive(Debug, Clone)]
pub(crate) struct DeviceAccess {
    /// Where descriptions are.
    pub(crate) folders: Vec<PathBuf>,
    pub(crate) grants: Grants,
}

impl Default for DeviceAccess {
    fn default() -> Self {
        Self { folders: FOLDERS.map(PathBuf::from).to_vec(), grants: Grants::default() }
    }
}

/// Leave to use devices: `--allow device`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// Whether all may be used.
    all: bool,
    /// Names as Dockerfiles have them, and what each stands for where that is another device.
    names: Vec<(String, Option<String>)>,
}

impl Grants {
    /// Gives leave to use every device.
    pub fn all(&mut self) {
        self.all = true;
    }

    /// Gives leave to use a device, or all that a name such as `vendor/class=*` stands for.
    pub fn device(&mut self, name: impl Into<String>) {
        self.names.push((name.into(), None));
    }

    /// Gives leave to use a device by another name, which the Dockerfile asks for.
    pub fn alias(&mut self, alias: impl Into<String>, name: impl Into<String>) {
        self.names.push((alias.into(), Some(name.into())));
    }

    /// The full names of the devices that a step asks for and may use; a device that is not
    /// `required` may be missing.
    ///
    /// # Errors
    /// A device that is not there, or that the build has no leave to use.
    pub fn allowed<'a>(
        &self,
        devices: &Devices,
        asked: impl IntoIterator<Item = (&'a str, bool)>,
    ) -> Result<Vec<String>, Error> {
        let mut granted = Vec::new();
        let mut judged = Vec::new();
        for (name, required) in asked {
            let alias = self.names.iter().find(|(known, real)| known == name && real.is_some());
            let real = alias.and_then(|(_, real)| real.as_deref());
            let found = match devices.find(real.unwrap_or(name)) {
                Err(Error::Missing { .. }) if !required => {
                    tracing::warn!(name, "an optional device is not there");
                    continue;
                }
                found => found?,
            };
            let goal = if real.is_some() { &mut granted } else { &mut judged };
            goal.extend(found);
        }
        let mut named = Vec::new();
        if !self.all && !judged.is_empty() {
            for (name, _) in self.names.iter().filter(|(_, real)| real.is_none()) {
                named.extend(devices.find(name)?);
            }
        }
        for name in judged {
            if !self.all && !named.contains(&name) && !devices.is_automatic(&name) {
                return Err(Error::NotAllowed(name));
            }
            granted.push(name);
        }
        let mut once = Vec::with_capacity(granted.len());
        for name in granted {
            if !once.contains(&name) {
                once.push(name);
            }
        }
        Ok(once)
    }
}
