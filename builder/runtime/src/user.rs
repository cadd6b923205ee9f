//! Who the process is: `user[:group]` against the image's own `/etc/passwd` and `/etc/group`.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::path::open_in_root;

const FILE_LIMIT: u64 = 10 << 20;
const HIGHEST_ID: u32 = i32::MAX as u32;

/// A user as the kernel knows one, and its home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// User number.
    pub uid: u32,
    /// Number of the first group.
    pub gid: u32,
    /// Numbers of all groups, the first one included.
    pub groups: Vec<u32>,
    /// The home directory; `/` when the image knows none.
    pub home: String,
}

/// Resolves `user[:group]`, empty for root, in the files of `root`.
///
/// A number is never looked up as a name, and root needs no entry. With a group the user is in no
/// other. Fails for a name that the image does not have, a number out of 0 to 2³¹-1, and for files
/// that are not regular or have more than 10 MiB.
pub fn resolve(root: BorrowedFd<'_>, user: &str) -> Result<User> {
    User::find(root, user).map_err(|reason| Error::User { user: user.to_owned(), reason })
}

/// The numbers of groups given by name or number.
pub(crate) fn resolve_groups(root: BorrowedFd<'_>, groups: &[String]) -> Result<Vec<u32>> {
    let find = |group: &String| {
        find_group(root, group).map_err(|reason| Error::User { user: group.clone(), reason })
    };
    groups.iter().map(find).collect()
}

impl User {
    fn find(root: BorrowedFd<'_>, text: &str) -> Result<Self, String> {
        let (name, group) = match text.split_once(':') {
            None | Some((_, "")) => (text.trim_end_matches(':'), None),
            Some((name, group)) => (name, Some(group)),
        };
        let name = if name.is_empty() { "0" } else { name };
        let accounts = read(root, "etc/passwd")?;
        let mut accounts = accounts.lines().filter_map(Account::parse);
        let account = match number(name)? {
            Some(uid) => accounts.find(|known| known.uid == uid).unwrap_or(Account::unknown(uid)),
            None => match accounts.find(|known| known.name == name) {
                Some(account) => account,
                None if name == "root" => Account::unknown(0),
                None => return Err("the image has no such user".into()),
            },
        };
        let (gid, mut groups) = match group {
            Some(group) => {
                let gid = find_group(root, group)?;
                (gid, vec![gid])
            }
            None => (account.gid, account.groups(&read(root, "etc/group")?)),
        };
        groups.sort_unstable();
        groups.dedup();
        let home = if account.home.is_empty() { "/" } else { account.home };
        Ok(Self { uid: account.uid, gid, groups, home: home.to_owned() })
    }
}

/// A line of `/etc/passwd`.
struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> Account<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = number(fields.nth(1)?).ok()??;
        let gid = number(fields.next()?).ok()??;
        Some(Self { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
    }

    fn unknown(uid: u32) -> Self {
        Self { name: "", uid, gid: 0, home: "" }
    }

    /// The first group and every group that lists the account's name.
    fn groups(&self, file: &str) -> Vec<u32> {
        let lists_me = |line: &str| {
            let members = line.split(':').nth(3).unwrap_or_default();
            !self.name.is_empty() && members.split(',').any(|member| member == self.name)
        };
        let listed = file.lines().filter(|line| lists_me(line)).filter_map(group_number);
        std::iter::once(self.gid).chain(listed).collect()
    }
}

fn group_number(line: &str) -> Option<u32> {
    number(line.split(':').nth(2)?).ok()?
}

fn find_group(root: BorrowedFd<'_>, name: &str) -> Result<u32, String> {
    if let Some(gid) = number(name)? {
        return Ok(gid);
    }
    let file = read(root, "etc/group")?;
    let mut lines = file.lines().filter(|line| line.split(':').next() == Some(name));
    match lines.find_map(group_number) {
        Some(gid) => Ok(gid),
        None if name == "root" => Ok(0),
        None => Err(format!("the image has no group {name:?}")),
    }
}

/// The number that the text is, if it is all digits.
fn number(text: &str) -> Result<Option<u32>, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse() {
        Ok(number) if number <= HIGHEST_ID => Ok(Some(number)),
        _ => Err(format!("{text} is not between 0 and {HIGHEST_ID}")),
    }
}

/// The file's text, empty when there is none.
fn read(root: BorrowedFd<'_>, path: &str) -> Result<String, String> {
    let failed = |error: &dyn std::fmt::Display| format!("/{path}: {error}");
    // Opening a device or a fifo of the image would do something to the host, so first look.
    let place = match open_in_root(root, path, OFlags::PATH, Mode::empty()) {
        Ok(place) => place,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
        Err(error) => return Err(failed(&error)),
    };
    let kind = fstat(&place).map(|stat| FileType::from_raw_mode(stat.st_mode));
    if kind != Ok(FileType::RegularFile) {
        return Err(format!("/{path} is not a regular file"));
    }
    let file = File::open(format!("/proc/self/fd/{}", place.as_raw_fd()));
    let mut bytes = Vec::new();
    let size = file.and_then(|file| file.take(FILE_LIMIT + 1).read_to_end(&mut bytes));
    match size.map_err(|error| failed(&error))? as u64 {
        0..=FILE_LIMIT => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        _ => Err(format!("/{path} has more than {} MiB", FILE_LIMIT >> 20)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;
    use std::path::Path;

    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/var/web:\n\
        0:x:77:77::/trap:\n5:x:78:78::/trap:\nbad line\nlow:x:5:6::/low:\nbig:x:99999999999:1::/:\n";
    const GROUP: &str = "root:x:0:\nbin:x:1:root,web\nweb:x:34:\nmore:x:50:low,web\n0:x:88:0\n";

    fn image(passwd: &str, group: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/passwd"), passwd).unwrap();
        fs::write(root.path().join("etc/group"), group).unwrap();
        root
    }

    fn find(root: &Path, text: &str) -> Result<(u32, u32, Vec<u32>, String), String> {
        let root = fs::File::open(root).unwrap();
        match resolve(root.as_fd(), text) {
            Ok(user) => Ok((user.uid, user.gid, user.groups, user.home)),
            Err(Error::User { reason, .. }) => Err(reason),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn one_reading_of_every_form() {
        let root = image(PASSWD, GROUP);
        let root = root.path();
        let is = |text, uid, gid, groups: &[u32], home: &str| {
            assert_eq!(find(root, text), Ok((uid, gid, groups.to_vec(), home.into())), "{text:?}");
        };
        is("", 0, 0, &[0, 1], "/root");
        is("root", 0, 0, &[0, 1], "/root");
        is("0", 0, 0, &[0, 1], "/root");
        is("web", 33, 34, &[1, 34, 50], "/var/web");
        is("33", 33, 34, &[1, 34, 50], "/var/web");
        is("web:", 33, 34, &[1, 34, 50], "/var/web");
        is("web:more", 33, 50, &[50], "/var/web");
        is("web:7", 33, 7, &[7], "/var/web");
        is("5", 5, 6, &[6, 50], "/low");
        is("05", 5, 6, &[6, 50], "/low");
        is("1234", 1234, 0, &[0], "/");
        is("1:2", 1, 2, &[2], "/");
        is(":2", 0, 2, &[2], "/root");
        is(":more", 0, 50, &[50], "/root");
        for text in ["+1", "-1", "nobody", "web:none", "2147483648", "1:2147483648", "1:2:3", " 1"]
        {
            assert!(find(root, text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_image_without_files_has_root_and_numbers() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(find(root.path(), ""), Ok((0, 0, vec![0], "/".into())));
        assert_eq!(find(root.path(), "root:root"), Ok((0, 0, vec![0], "/".into())));
        assert_eq!(find(root.path(), "7"), Ok((7, 0, vec![0], "/".into())));
        assert!(find(root.path(), "web").is_err());
    }

    #[test]
    fn files_that_cannot_be_believed() {
        let root = image(PASSWD, GROUP);
        let passwd = root.path().join("etc/passwd");
        let big = fs::File::create(&passwd).unwrap();
        big.set_len(FILE_LIMIT + 1).unwrap();
        assert!(find(root.path(), "web").unwrap_err().contains("10 MiB"));
        fs::remove_file(&passwd).unwrap();
        let at = fs::File::open(root.path()).unwrap();
        rustix::fs::mknodat(&at, "etc/passwd", FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(find(root.path(), "web").unwrap_err().contains("regular"));
        let group = image(PASSWD, "");
        let big = fs::File::create(group.path().join("etc/group")).unwrap();
        big.set_len(1 << 30).unwrap();
        assert!(find(group.path(), "web").unwrap_err().contains("10 MiB"));
    }

    #[test]
    fn no_device_of_an_image_is_opened() {
        let root = image("", "");
        let passwd = root.path().join("etc/passwd");
        fs::remove_file(&passwd).unwrap();
        let at = fs::File::open(root.path()).unwrap();
        // No driver has this number, so that to open it would be another error.
        let number = rustix::fs::makedev(511, 77);
        let made =
            rustix::fs::mknodat(&at, "etc/passwd", FileType::CharacterDevice, Mode::RUSR, number);
        made.expect("this takes root");
        assert!(find(root.path(), "web").unwrap_err().contains("regular"));
    }

    #[test]
    fn links_stay_in_the_image() {
        let outside = image("web:x:1:1::/:\n", "");
        let root = image("", "");
        let passwd = root.path().join("etc/passwd");
        fs::remove_file(&passwd).unwrap();
        std::os::unix::fs::symlink(outside.path().join("etc/passwd"), &passwd).unwrap();
        assert!(find(root.path(), "web").unwrap_err().contains("no such user"));
    }
}
