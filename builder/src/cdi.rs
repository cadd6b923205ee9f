//! Devices of the host as the Container Device Interface describes them: files that say which
//! nodes, mounts and variables make a device work in a container.
//!
//! [`Devices`] reads the files and finds devices by name, [`Grants`] says which a build may use,
//! and [`Devices::apply`] puts them into a container. Only [`Devices::read`] touches the disk.

mod apply;
mod capability;
mod grant;
mod hook;
mod jetson;
mod name;
mod nvidia;
mod request;
mod require;
mod spec;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub(crate) use grant::DeviceAccess;
pub use grant::Grants;
pub use request::{DeviceRequest, Gpus};

use name::Selection;
use spec::{Edits, Spec};

/// Where descriptions of devices are looked for; what a later folder says counts more.
pub const FOLDERS: [&str; 3] = ["/etc/cdi", "/var/run/cdi", "/etc/buildkit/cdi"];
/// The annotation by which a device belongs to a class that can be asked for.
const CLASS: &str = "org.mobyproject.buildkit.device.class";
/// The annotation by which every build may use a device.
const AUTOMATIC: &str = "org.mobyproject.buildkit.device.autoallow";
/// The largest description, in bytes.
const MAX_FILE: u64 = 8 << 20;

/// Why a device cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name of a device is none.
    #[error("`{0}` is not the name of a device")]
    Name(String),
    /// No description has the device.
    #[error("there is no device `{name}`{}", unread(.broken))]
    Missing {
        /// The device.
        name: String,
        /// The descriptions that could not be read, and why.
        broken: Vec<String>,
    },
    /// Two descriptions of equal weight have the device.
    #[error("the device `{name}` is described both in `{first}` and in `{second}`")]
    Twice {
        /// The device.
        name: String,
        /// One file.
        first: String,
        /// The other file.
        second: String,
    },
    /// The build was not given leave to use a device.
    #[error("device {0} is requested by the build but not allowed")]
    NotAllowed(String),
    /// NVIDIA's devices are asked for on a machine without them.
    #[error("{0}")]
    NoDriver(String),
    /// The image asks more of NVIDIA's driver than it has.
    #[error("requirement error: {0}; `-e NVIDIA_DISABLE_REQUIRE=1` tries it all the same")]
    Requirement(String),
    /// More devices are asked for than there are.
    #[error("{asked} GPUs are asked for, and there are {found}")]
    TooFew {
        /// How many are wanted.
        asked: usize,
        /// How many there are.
        found: usize,
    },
    /// A device needs something that rbuild does not do.
    #[error("the device `{name}` needs {what}, which is not supported")]
    Unsupported {
        /// The device.
        name: String,
        /// What it needs.
        what: String,
    },
}

/// A sentence about descriptions that could not be read.
fn unread(broken: &[String]) -> String {
    match broken {
        [] => String::new(),
        broken => format!(" (not read: {})", broken.join("; ")),
    }
}

/// One device, and how it comes into a container.
#[derive(Debug)]
struct Device {
    annotations: BTreeMap<String, String>,
    edits: Edits,
    /// The place of its description among all.
    spec: usize,
    /// Whether a description of equal weight has it too: its file.
    also_in: Option<PathBuf>,
}

/// One file, with what belongs to each of its devices.
#[derive(Debug)]
struct Described {
    path: PathBuf,
    folder: usize,
    edits: Edits,
}

/// All devices that are described on a machine.
#[derive(Debug, Default)]
pub struct Devices {
    specs: Vec<Described>,
    /// By full name, `vendor/class=device`, in order.
    by_name: BTreeMap<String, Device>,
    /// What could not be read, and why.
    broken: Vec<String>,
}

impl Devices {
    /// Reads the descriptions in folders, the later ones overriding the earlier.
    ///
    /// A folder that is not there has none. A file that cannot be read is told of when a device
    /// is not found.
    pub fn read(folders: &[PathBuf]) -> Self {
        let mut all = Self::default();
        for (place, folder) in folders.iter().enumerate() {
            let mut files = match fs::read_dir(folder) {
                Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                Err(error) => {
                    all.broken.push(format!("`{}`: {error}", folder.display()));
                    continue;
                }
            };
            files.sort();
            for path in files {
                match read_spec(&path) {
                    Ok(Some(spec)) => all.add(place, path, spec),
                    Ok(None) => {}
                    Err(reason) => all.broken.push(format!("`{}`: {reason}", path.display())),
                }
            }
        }
        all
    }

    fn add(&mut self, folder: usize, path: PathBuf, spec: Spec) {
        let place = self.specs.len();
        for device in spec.devices {
            let name = format!("{}={}", spec.kind, device.name);
            let mut annotations = spec.annotations.clone();
            annotations.extend(device.annotations);
            let also_in = self.by_name.get(&name).and_then(|known| {
                let other = &self.specs[known.spec];
                (other.folder == folder).then(|| other.path.clone())
            });
            let device = Device { annotations, edits: device.edits, spec: place, also_in };
            self.by_name.insert(name, device);
        }
        self.specs.push(Described { path, folder, edits: spec.edits });
    }

    /// The full names of the devices that a name stands for, in order.
    ///
    /// `vendor/class` is the first device of a kind, `vendor/class=*` all of them, and
    /// `vendor/class=name` the device of that name, else those whose annotation has that class.
    ///
    /// # Errors
    /// What is no name, and a name that stands for nothing.
    pub fn find(&self, name: &str) -> Result<Vec<String>, Error> {
        let Selection { kind, device } =
            Selection::parse(name).ok_or_else(|| Error::Name(name.to_owned()))?;
        let prefix = format!("{kind}=");
        let mut of_kind = self.by_name.iter().filter(|(full, _)| full.starts_with(&prefix));
        let found: Vec<String> = match device {
            None => of_kind.next().map(|(full, _)| full.clone()).into_iter().collect(),
            Some("*") => of_kind.map(|(full, _)| full.clone()).collect(),
            Some(_) if self.by_name.contains_key(name) => vec![name.to_owned()],
            Some(class) => of_kind
                .filter(|(_, device)| device.annotations.get(CLASS).is_some_and(|c| c == class))
                .map(|(full, _)| full.clone())
                .collect(),
        };
        if found.is_empty() {
            let broken = self.broken.clone();
            return Err(Error::Missing { name: name.to_owned(), broken });
        }
        Ok(found)
    }

    /// Whether every build may use a device.
    fn is_automatic(&self, full: &str) -> bool {
        let value = self.by_name.get(full).and_then(|device| device.annotations.get(AUTOMATIC));
        value.and_then(|value| crate::dockerfile::value::boolean(value)).unwrap_or(false)
    }

    /// What the devices of these full names change in a container: first, once, what is common to
    /// those of one description, then each one's own.
    fn edits<'a>(&'a self, names: &'a [String]) -> Result<Vec<(&'a str, &'a Edits)>, Error> {
        let mut edits = Vec::new();
        let mut met = Vec::new();
        for name in names {
            let device = self.by_name.get(name).ok_or_else(|| Error::Missing {
                name: name.clone(),
                broken: self.broken.clone(),
            })?;
            let spec = &self.specs[device.spec];
            if let Some(other) = &device.also_in {
                return Err(Error::Twice {
                    name: name.clone(),
                    first: other.display().to_string(),
                    second: spec.path.display().to_string(),
                });
            }
            if !met.contains(&device.spec) {
                met.push(device.spec);
                edits.push((name.as_str(), &spec.edits));
            }
            edits.push((name.as_str(), &device.edits));
        }
        Ok(edits)
    }
}

/// Reads one description; `None` when the file's name says that it is none.
fn read_spec(path: &Path) -> Result<Option<Spec>, String> {
    let parse = match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => Spec::from_json,
        Some("yaml" | "yml") => Spec::from_yaml,
        _ => return Ok(None),
    };
    let mut text = String::new();
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("it has more than {MAX_FILE} bytes"));
    }
    parse(&text).map(Some)
}
