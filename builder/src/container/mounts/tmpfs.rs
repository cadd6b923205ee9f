//! The language of `--tmpfs`.

use super::super::error::Result;
use super::super::parse::invalid;
use super::words::{bytes, octal, target};
use super::{Access, Mount, Source, Tmpfs};

/// Options of the file system itself, which the kernel reads.
const KERNELS: [&str; 6] = ["uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge"];

/// `MOUNT_ATTR_*` of the kernel, by the words that ask for them.
const ATTRIBUTES: [(&str, u64); 4] =
    [("noatime", 0x10), ("strictatime", 0x20), ("nodiratime", 0x80), ("nosymfollow", 0x20_0000)];

/// Words that say what is so anyway.
const NOTHING: [&str; 12] = [
    "rw",
    "async",
    "atime",
    "defaults",
    "diratime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "notmpcopyup",
    "private",
    "relatime",
    "rprivate",
];

/// What works in a tmpfs where nothing else is said.
pub(super) const FENCED: Access = Access { exec: false, suid: false, devices: false };

impl Mount {
    /// Reads what `--tmpfs` has: `TARGET[:OPTIONS]`.
    ///
    /// # Errors
    /// A target that is none, and options that are not known or cannot be honoured.
    pub fn tmpfs(text: &str) -> Result<Self> {
        let (path, options) = text.split_once(':').unwrap_or((text, ""));
        let mut tmpfs = Tmpfs::default();
        let (mut access, mut read_only) = (FENCED, false);
        for option in options.split(',').filter(|option| !option.is_empty()) {
            let (key, value) = match option.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (option, None),
            };
            match (key, value) {
                ("ro", None) => read_only = true,
                ("exec" | "noexec", None) => access.exec = key == "exec",
                ("suid" | "nosuid", None) => access.suid = key == "suid",
                ("dev" | "nodev", None) => access.devices = key == "dev",
                ("tmpcopyup", None) => tmpfs.copy_up = true,
                ("size", Some(value)) => tmpfs.set_size(text, value)?,
                ("mode", Some(value)) => tmpfs.mode = Some(octal("tmpfs", text, value)?),
                (key, Some(value)) if KERNELS.contains(&key) && !value.is_empty() => {
                    tmpfs.options.insert(key.to_owned(), value.to_owned());
                }
                (word, None) if NOTHING.contains(&word) => {}
                (word, None) => match ATTRIBUTES.iter().find(|(name, _)| *name == word) {
                    Some((_, bits)) => tmpfs.attributes |= bits,
                    None => return Err(unknown(text, option)),
                },
                _ => return Err(unknown(text, option)),
            }
        }
        let target = target("tmpfs", text, path)?;
        Ok(Self { source: Source::Tmpfs(tmpfs), target, read_only, access })
    }
}

fn unknown(whole: &str, option: &str) -> super::super::error::Error {
    invalid("tmpfs", whole, format!("unknown option `{option}`"))
}

impl Tmpfs {
    /// Takes a number of bytes, or `50%` of the machine's memory; 0 is no bound.
    fn set_size(&mut self, whole: &str, value: &str) -> Result<()> {
        let share = value.strip_suffix('%').filter(|digits| digits.parse::<u32>().is_ok());
        match share {
            Some(_) => {
                self.options.insert("size".to_owned(), value.to_owned());
            }
            None => self.size = Some(bytes("tmpfs", whole, value)?),
        }
        Ok(())
    }

    /// The options as the kernel has them.
    pub(crate) fn for_kernel(&self) -> Vec<(String, Option<String>)> {
        let mut options = self.options.clone();
        options.extend(self.size.map(|size| ("size".to_owned(), size.to_string())));
        options.extend(self.mode.map(|mode| ("mode".to_owned(), format!("{mode:o}"))));
        options.into_iter().map(|(key, value)| (key, Some(value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Tmpfs, Mount) {
        let mount = Mount::tmpfs(text).unwrap();
        let Source::Tmpfs(tmpfs) = mount.source.clone() else { panic!("it is a tmpfs") };
        (tmpfs, mount)
    }

    #[test]
    fn memory_has_options() {
        let (tmpfs, mount) = read("/t:size=2k,mode=755,exec,uid=7,noatime,nr_inodes=10k");
        assert_eq!((tmpfs.size, tmpfs.mode, tmpfs.attributes), (Some(2048), Some(0o755), 0x10));
        assert_eq!(mount.access, Access { exec: true, ..FENCED });
        let options = tmpfs.for_kernel();
        let pair = |key: &str, value: &str| (key.to_owned(), Some(value.to_owned()));
        let expected =
            [pair("mode", "755"), pair("nr_inodes", "10k"), pair("size", "2048"), pair("uid", "7")];
        assert_eq!(options, expected);
        let (tmpfs, mount) = read("/t");
        assert_eq!((tmpfs, mount.access, mount.read_only), (Tmpfs::default(), FENCED, false));
        let (tmpfs, mount) = read("/t:ro,size=50%,tmpcopyup,nosuid");
        assert!(mount.read_only && tmpfs.copy_up);
        assert_eq!(tmpfs.for_kernel(), [pair("size", "50%")]);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for wrong in
            ["t", "/", "/t:what", "/t:size=x", "/t:mode=9", "/t:size", "/t:uid=", "/t:rshared"]
        {
            assert!(Mount::tmpfs(wrong).is_err(), "{wrong}");
        }
    }
}
