//! What a container asks for of devices: by name, `--gpus`, or by the variables of NVIDIA's runtime.

use std::path::{Path, PathBuf};

use rbuild_runtime::{Container, Mount};
use serde::{Deserialize, Serialize};

use super::capability::Uses;
use super::nvidia::{self, KIND};
use super::require;
use super::spec::Spec;
use super::{Devices, Error, FOLDERS};

/// The library folders that every dynamic linker looks through.
const USUAL_FOLDERS: [&str; 6] = [
    "/lib",
    "/usr/lib",
    "/lib64",
    "/usr/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
];

/// The devices that a container gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceRequest {
    /// Devices by their full names, `vendor/class=name`.
    pub names: Vec<String>,
    /// `--gpus`.
    pub gpus: Option<Gpus>,
    /// Whether the container's variables choose: `--runtime=nvidia`.
    pub by_variables: bool,
    /// Where descriptions are; empty is the usual folders.
    pub folders: Vec<PathBuf>,
    /// Where the machine's files are; none is `/`.
    pub machine: Option<PathBuf>,
}

/// Which of NVIDIA's devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gpus {
    /// All that there are.
    All,
    /// The first few.
    Count(usize),
    /// These, by number or UUID.
    Named(Vec<String>),
}

impl DeviceRequest {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.gpus.is_none() && !self.by_variables
    }

    /// Puts the devices into a container. Where libraries came with them, returns the folders of
    /// these that its dynamic linker does not know.
    ///
    /// # Errors
    /// A device that is not there, and what [`Devices::apply`] says.
    pub fn apply(
        &self,
        container: &mut Container,
        owner: (u32, u32),
    ) -> Result<Option<Vec<String>>, Error> {
        let usual = || FOLDERS.map(PathBuf::from).to_vec();
        let folders = if self.folders.is_empty() { usual() } else { self.folders.clone() };
        let mut devices = Devices::read(&folders);
        let wanted = self.wanted(&container.process.env);
        if wanted.is_some() {
            let env = &container.process.env;
            if devices.find(KIND).is_err() {
                self.describe(&mut devices, env)?;
            }
            let driver = nvidia::version(self.root());
            require::check(env, driver.as_deref()).map_err(Error::Requirement)?;
        }
        let mut names = Vec::new();
        for name in &self.names {
            names.extend(devices.find(name)?);
        }
        match wanted {
            Some(wanted) => names.extend(wanted.names(&devices)?),
            None if names.is_empty() => return Ok(None),
            None => {}
        }
        let mut once: Vec<String> = Vec::new();
        for name in names {
            if !once.contains(&name) {
                once.push(name);
            }
        }
        let before = container.mounts.iter().filter(|mount| is_library(mount)).count();
        devices.apply_with_hooks(&once, container, owner)?;
        let after = container.mounts.iter().filter(|mount| is_library(mount)).count();
        Ok((after > before).then(|| library_folders(container)))
    }

    /// Which of NVIDIA's devices are asked for, by whatever means.
    fn wanted(&self, env: &[String]) -> Option<Gpus> {
        if self.gpus.is_some() || !self.by_variables {
            return self.gpus.clone();
        }
        let variable = |name: &str| {
            env.iter().rev().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        };
        // An image from before the variables is one for CUDA that asks for no version.
        let is_old =
            variable("CUDA_VERSION").is_some() && variable("NVIDIA_REQUIRE_CUDA").is_none();
        match variable("NVIDIA_VISIBLE_DEVICES") {
            None if is_old => Some(Gpus::All),
            None | Some("" | "void") => None,
            Some("all") => Some(Gpus::All),
            Some(list) => Some(Gpus::Named(list.split(',').map(|one| one.trim().into()).collect())),
        }
    }

    fn root(&self) -> &Path {
        self.machine.as_deref().unwrap_or(Path::new("/"))
    }

    fn describe(&self, devices: &mut Devices, env: &[String]) -> Result<(), Error> {
        let all = env.iter().any(|line| line == "NVIDIA_REQUIRE_JETPACK=csv-mounts=all");
        let root = self.root();
        let unsupported = |what| Error::Unsupported { name: KIND.to_owned(), what };
        let described = nvidia::describe(root, all, &Uses::of(env)).map_err(Error::NoDriver)?;
        let spec = Spec::from_json(&described.to_string()).map_err(unsupported)?;
        devices.add(0, root.to_owned(), spec);
        Ok(())
    }
}

impl Gpus {
    /// The full names of the devices.
    fn names(&self, devices: &Devices) -> Result<Vec<String>, Error> {
        let single = || -> Result<Vec<String>, Error> {
            let all = devices.find(&format!("{KIND}=*"))?;
            let is_single = |name: &String| {
                let name = name.rsplit('=').next().unwrap_or_default();
                !matches!(name, "all" | "none") && !name.starts_with("GPU-")
            };
            Ok(all.into_iter().filter(is_single).collect())
        };
        match self {
            Self::All => match devices.find(&format!("{KIND}=all")) {
                Err(_) => single(),
                found => found,
            },
            Self::Count(count) => {
                let found = single()?;
                if found.len() < *count {
                    return Err(Error::TooFew { asked: *count, found: found.len() });
                }
                Ok(found.into_iter().take(*count).collect())
            }
            Self::Named(list) => {
                let mut names = Vec::new();
                for one in list {
                    let full =
                        if one.contains('=') { one.clone() } else { format!("{KIND}={one}") };
                    names.extend(devices.find(&full)?);
                }
                Ok(names)
            }
        }
    }
}

impl std::str::FromStr for Gpus {
    type Err = String;

    /// Reads `all`, a number, or `device=0,2`; what else is said of capabilities changes nothing.
    fn from_str(text: &str) -> Result<Self, String> {
        // Shells leave the quotes that docker wants around a list.
        let text = text.trim().trim_matches('"');
        if let Some(list) = text.strip_prefix("device=") {
            let names = list.split(',').map(|name| name.trim_matches('"').to_owned());
            return Ok(Self::Named(names.filter(|name| !name.contains('=')).collect()));
        }
        let mut chosen = Err(format!("expected `all`, a number or `device=0,2`, not `{text}`"));
        for field in text.split(',').map(|field| field.trim_matches('"')) {
            match field.strip_prefix("count=").unwrap_or(field) {
                "all" | "-1" => chosen = Ok(Self::All),
                number if number.parse::<usize>().is_ok() => {
                    chosen = Ok(Self::Count(number.parse().unwrap_or_default()));
                }
                field if field.starts_with("device=") => return field.parse(),
                field if field.starts_with("capabilities=") || field.starts_with("driver=") => {}
                field => return Err(format!("`{field}` is not known")),
            }
        }
        chosen
    }
}

/// The folders of libraries in which something is mounted and which not every linker looks through.
fn library_folders(container: &Container) -> Vec<String> {
    let mut folders: Vec<String> = Vec::new();
    for mount in container.mounts.iter().filter(|mount| is_library(mount)) {
        let folder = mount.target.rsplit_once('/').map_or("", |(folder, _)| folder);
        if !USUAL_FOLDERS.contains(&folder) && !folders.iter().any(|one| one == folder) {
            folders.push(folder.to_owned());
        }
    }
    folders
}

fn is_library(mount: &Mount) -> bool {
    let name = mount.target.rsplit('/').next().unwrap_or_default();
    name.contains(".so.") || Path::new(name).extension().is_some_and(|kind| kind == "so")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_as_people_ask_for_them() {
        let gpus = |text: &str| text.parse::<Gpus>();
        let named =
            |names: &[&str]| Ok(Gpus::Named(names.iter().map(ToString::to_string).collect()));
        assert_eq!(gpus("all"), Ok(Gpus::All));
        assert_eq!(gpus("2"), Ok(Gpus::Count(2)));
        assert_eq!(gpus("device=0,2"), named(&["0", "2"]));
        assert_eq!(gpus("\"device=0,2\""), named(&["0", "2"]));
        assert_eq!(gpus("all,capabilities=utility"), Ok(Gpus::All));
        for wrong in ["", "some", "x=1"] {
            assert!(gpus(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn variables_of_nvidias_runtime() {
        let wanted = |env: &[&str]| {
            let request = DeviceRequest { by_variables: true, ..DeviceRequest::default() };
            request.wanted(&env.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(wanted(&[]), None);
        assert_eq!(wanted(&["NVIDIA_VISIBLE_DEVICES="]), None);
        assert_eq!(wanted(&["NVIDIA_VISIBLE_DEVICES=void"]), None);
        assert_eq!(wanted(&["NVIDIA_VISIBLE_DEVICES=all"]), Some(Gpus::All));
        assert_eq!(wanted(&["CUDA_VERSION=12"]), Some(Gpus::All), "an old image");
        assert_eq!(wanted(&["CUDA_VERSION=12", "NVIDIA_REQUIRE_CUDA=cuda>=12"]), None);
        let two = Gpus::Named(vec!["0".to_owned(), "GPU-1".to_owned()]);
        assert_eq!(wanted(&["NVIDIA_VISIBLE_DEVICES=0,GPU-1"]), Some(two));
        let none = DeviceRequest::default().wanted(&["NVIDIA_VISIBLE_DEVICES=all".to_owned()]);
        assert_eq!(none, None, "an image alone gets nothing");
    }
}
