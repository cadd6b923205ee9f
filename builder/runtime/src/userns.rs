//! A user namespace in which an ordinary user is root: what containers need, and no more.
//!
//! [`enter`] brings the whole process into one before it has threads. Processes that use the same
//! folder share one namespace as long as any of them lives, since a container can be entered only
//! from the namespace that it was made in. Who is in it stands in a file of that folder, which is
//! also the lock under which they come and go.

mod pretend;
mod ranges;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, WaitOptions, getegid, geteuid, pidfd_open, waitpid};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces};

use crate::error::{Doing, Result};
use crate::sys::{self, Cloned};
use crate::user::User;
pub(crate) use pretend::pretend;
use ranges::{Range, ranges_of, user_name};

/// Who is in the namespace of a folder: a line a process, its number and when it started.
const MEMBERS: &str = "userns";
/// The inode of the first user namespace, which every kernel has given it.
const INITIAL: &str = "user:[4026531837]";

/// This program.
const OWN: &str = "/proc/self/exe";
static OWN_PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// What of the host's root the makers of containers keep in such a namespace.
pub(crate) const KEPT: [&str; 3] = ["dev", "proc", "sys"];

/// Whether a group exists in this process's namespace.
pub(crate) fn has_group(number: u32) -> bool {
    exists("/proc/self/gid_map", number)
}

/// Refuses a user who does not exist in this process's namespace, and leaves the other groups out
/// that do not.
pub(crate) fn check(user: &mut User) -> std::result::Result<(), String> {
    if !exists("/proc/self/uid_map", user.uid) || !has_group(user.gid) {
        return Err(format!(
            "{}:{} does not exist for this user, who has {} users; `rbuild doctor` says how to \
             have more",
            user.uid,
            user.gid,
            users()
        ));
    }
    let map = fs::read_to_string("/proc/self/gid_map").unwrap_or_default();
    user.groups.retain(|group| is_mapped(&map, *group));
    Ok(())
}

fn exists(map: &str, number: u32) -> bool {
    is_mapped(&fs::read_to_string(map).unwrap_or_default(), number)
}

fn is_mapped(map: &str, number: u32) -> bool {
    map.lines().any(|line| {
        let numbers: Vec<u32> =
            line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        matches!(numbers[..], [first, _, count] if number >= first && number - first < count)
    })
}

/// Those of the kinds of namespaces in which a process is in another one than this process.
pub(crate) fn other_kinds(pid: u32, kinds: ThreadNameSpaceType) -> Result<ThreadNameSpaceType> {
    const NAMES: [(&str, ThreadNameSpaceType); 6] = [
        ("mnt", ThreadNameSpaceType::MOUNT),
        ("cgroup", ThreadNameSpaceType::CONTROL_GROUP),
        ("uts", ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME),
        ("ipc", ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION),
        ("net", ThreadNameSpaceType::NETWORK),
        ("pid", ThreadNameSpaceType::PROCESS_ID),
    ];
    let mut others = kinds;
    for (name, kind) in NAMES {
        let read = |who: &str| {
            let path = format!("/proc/{who}/ns/{name}");
            fs::read_link(&path).doing(|| format!("read {path}"))
        };
        if kinds.contains(kind) && read(&pid.to_string())? == read("self")? {
            others.remove(kind);
        }
    }
    Ok(others)
}

/// A file or folder of what is kept, by its path on the host.
pub(crate) fn open_kept(path: &str) -> std::result::Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, rustix::fs::Mode::empty())
}

/// Why a user has no other users and groups than itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lack {
    /// A program that may map them is not there.
    #[error("`{0}` is not installed")]
    Mapper(&'static str),
    /// Nobody has given it any.
    #[error("`{file}` has no line for {user}")]
    Range {
        /// The file that should have one.
        file: &'static str,
        /// The user, by name or number.
        user: String,
    },
    /// They were not mapped.
    #[error("{0}")]
    Refused(String),
}

/// How a process came to be root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entered {
    /// Why there is only one user and one group inside, where that is so.
    pub single: Option<Lack>,
    /// Whether no process has been in a namespace of this folder before.
    pub is_first: bool,
}

/// Whether this process is in the machine's first user namespace, where root is root.
pub fn is_initial() -> bool {
    static INITIAL_HERE: OnceLock<bool> = OnceLock::new();
    *INITIAL_HERE.get_or_init(|| {
        // A kernel without user namespaces has no such file, and all are in the first one.
        fs::read_link("/proc/self/ns/user").map_or(true, |name| name.as_os_str() == INITIAL)
    })
}

/// How many users there are in this process's namespace.
pub fn users() -> u64 {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let length = |line: &str| line.split_whitespace().nth(2)?.parse::<u64>().ok();
    map.lines().filter_map(length).sum()
}

/// Whether there is one user only, by whom all files are owned.
pub fn is_single() -> bool {
    static SINGLE: OnceLock<bool> = OnceLock::new();
    *SINGLE.get_or_init(|| !is_initial() && users() < 2)
}

/// Makes this process root in a user namespace and gives it mounts of its own.
///
/// The namespace is that of the processes which use the same folder, if any live, else a new one:
/// with the users and groups of `/etc/subuid` and `/etc/subgid` where there are some and
/// `newuidmap` can be run, else with one user only. The process must have one thread.
pub fn enter(folder: &Path) -> Result<Entered> {
    fs::create_dir_all(folder).doing(|| format!("make the folder {}", folder.display()))?;
    let members = Members::lock(folder)?;
    let is_first = members.lines.is_empty();
    let alive: Vec<Member> =
        members.lines.iter().copied().filter(|member| member.open().is_some()).collect();
    let joined = alive.iter().any(|member| member.open().is_some_and(|pidfd| join(&pidfd).is_ok()));
    let single = if joined { alone() } else { make()? };
    members.write(alive.into_iter().chain(Member::own()))?;
    let program = named_program().doing(|| "find this program by its name")?;
    OWN_PROGRAM.get_or_init(|| program);
    sys::unshare(UnshareFlags::NEWNS).doing(|| "make a mount namespace")?;
    Ok(Entered { single, is_first })
}

/// The ordinary user whose processes have been in a namespace of this folder.
pub fn owner(folder: &Path) -> Option<u32> {
    let members = rustix::fs::stat(folder.join(MEMBERS)).ok()?;
    Some(members.st_uid)
}

/// This program, for starting it once more. By its name, where it was started before this process
/// had mounts of its own: it is not found in these otherwise.
pub fn own_program() -> &'static Path {
    OWN_PROGRAM.get().map_or(Path::new(OWN), PathBuf::as_path)
}

/// The name of this program, which must not stand for another one by now.
fn named_program() -> io::Result<PathBuf> {
    let path = fs::read_link(OWN)?;
    let (named, own) = (rustix::fs::stat(&path)?, rustix::fs::stat(OWN)?);
    if (named.st_dev, named.st_ino) == (own.st_dev, own.st_ino) {
        return Ok(path);
    }
    Err(io::Error::other("it has been replaced: start it anew"))
}

/// Says that this process is in the namespace of a folder, which lives as long as it does: for
/// one that was started by another, in the same namespace.
pub fn stay(folder: &Path) -> Result<()> {
    if is_initial() {
        return Ok(());
    }
    let members = Members::lock(folder)?;
    let lines: Vec<Member> = members.lines.clone();
    members.write(lines.into_iter().chain(Member::own()))
}

/// Why there is one user only in a namespace that was found.
fn alone() -> Option<Lack> {
    (users() < 2).then(|| lack(user()).unwrap_or(Lack::Refused("so it was made".to_owned())))
}

/// Who this process is outside of its user namespace.
pub fn user() -> u32 {
    let own = geteuid().as_raw();
    if is_initial() {
        return own;
    }
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let outside = |line: &str| {
        let numbers: Vec<u32> =
            line.split_whitespace().filter_map(|one| one.parse().ok()).collect();
        matches!(numbers[..], [first, ..] if first == own).then(|| numbers[1])
    };
    map.lines().find_map(outside).unwrap_or(own)
}

/// What keeps a user from having other users and groups, as far as it can be seen.
pub fn lack(user: u32) -> Option<Lack> {
    let is_there = |program: &str| {
        let ran = Command::new(program).stdout(Stdio::null()).stderr(Stdio::null()).status();
        !ran.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let mapper = MAPPERS.into_iter().find(|program| !is_there(program));
    mapper.map(Lack::Mapper).or_else(|| ranges(user).err())
}

/// The programs that map users and groups for those who may not.
const MAPPERS: [&str; 2] = ["newuidmap", "newgidmap"];

/// Makes a namespace and enters it.
fn make() -> Result<Option<Lack>> {
    let lack = match ranges(geteuid().as_raw()) {
        Ok((users, groups)) => {
            let seed = Seed::new()?;
            match seed.map_ranges(&users, &groups) {
                Ok(()) => return join(&seed.pidfd).doing(|| ENTERING).map(|()| None),
                Err(lack) => lack,
            }
        }
        Err(lack) => lack,
    };
    let seed = Seed::new()?;
    seed.map_self().doing(|| "map this user to root in a user namespace")?;
    join(&seed.pidfd).doing(|| ENTERING)?;
    Ok(Some(lack))
}

const ENTERING: &str = "enter a user namespace";

/// The users and groups that a user may have besides itself.
fn ranges(user: u32) -> std::result::Result<(Vec<Range>, Vec<Range>), Lack> {
    let name = user_name(&fs::read_to_string("/etc/passwd").unwrap_or_default(), user);
    let read = |file: &'static str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let found = ranges_of(&text, name.as_deref(), user);
        let named = name.clone().unwrap_or_else(|| user.to_string());
        if found.is_empty() { Err(Lack::Range { file, user: named }) } else { Ok(found) }
    };
    Ok((read("/etc/subuid")?, read("/etc/subgid")?))
}

fn join(pidfd: &OwnedFd) -> Result<(), Errno> {
    move_into_thread_name_spaces(pidfd.as_fd(), ThreadNameSpaceType::USER)
}

/// A process that does nothing but be in a new user namespace until this is dropped.
struct Seed {
    pid: Pid,
    pidfd: OwnedFd,
    end: Option<OwnedFd>,
}

impl Seed {
    fn new() -> Result<Self> {
        let (wait, end) = pipe_with(PipeFlags::CLOEXEC).doing(|| "make a pipe")?;
        let doing = || "make a user namespace";
        match sys::clone_process(libc::CLONE_NEWUSER).doing(doing)? {
            Cloned::Parent { pid, pidfd } => Ok(Self { pid, pidfd, end: Some(end) }),
            Cloned::Child => {
                drop(end);
                // It reads nothing, but the end of what could be read.
                let _ = rustix::io::retry_on_intr(|| rustix::io::read(&wait, &mut [0]));
                std::process::exit(0)
            }
        }
    }

    /// Maps root to this user, and those that follow to the ranges, by the programs that may.
    fn map_ranges(&self, users: &[Range], groups: &[Range]) -> std::result::Result<(), Lack> {
        self.run_mapper(MAPPERS[0], geteuid().as_raw(), users)?;
        self.run_mapper(MAPPERS[1], getegid().as_raw(), groups)
    }

    fn run_mapper(
        &self,
        program: &'static str,
        own: u32,
        ranges: &[Range],
    ) -> std::result::Result<(), Lack> {
        let mut command = Command::new(program);
        command.arg(self.pid.as_raw_nonzero().to_string());
        command.args(["0", &own.to_string(), "1"]);
        let mut inside = 1u64;
        for range in ranges {
            command.args([inside, range.first.into(), range.count.into()].map(|n| n.to_string()));
            inside += u64::from(range.count);
        }
        let ran = command.stdin(Stdio::null()).output().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Lack::Mapper(program),
            _ => Lack::Refused(format!("`{program}` cannot be run: {error}")),
        })?;
        if ran.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&ran.stderr);
        let said = said.lines().next().unwrap_or("it says nothing");
        Err(Lack::Refused(format!("`{program}` failed: {said}")))
    }

    /// Maps root to this user and to nobody else, which everybody may.
    fn map_self(&self) -> io::Result<()> {
        let proc = format!("/proc/{}", self.pid.as_raw_nonzero());
        fs::write(format!("{proc}/setgroups"), "deny")?;
        fs::write(format!("{proc}/uid_map"), format!("0 {} 1", geteuid().as_raw()))?;
        fs::write(format!("{proc}/gid_map"), format!("0 {} 1", getegid().as_raw()))
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        drop(self.end.take());
        // It has nothing to tell.
        let _ = waitpid(Some(self.pid), WaitOptions::empty());
    }
}

/// A process in the namespace: its number, and when it started, in the kernel's ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    pid: i32,
    started: u64,
}

impl Member {
    fn own() -> Option<Self> {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        Some(Self { pid, started: started(pid)? })
    }

    fn parse(line: &str) -> Option<Self> {
        let (pid, started) = line.split_once(' ')?;
        Some(Self { pid: pid.parse().ok()?, started: started.parse().ok()? })
    }

    /// The process, if it still lives.
    fn open(&self) -> Option<OwnedFd> {
        let pidfd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        // Looked at after it was opened: another one that has its number by now started later.
        (started(self.pid)? == self.started).then_some(pidfd)
    }
}

/// When a process started, in ticks since the machine did.
fn started(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may have anything in it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    // One that has ended is in no namespace any more.
    (fields.next()? != "Z").then(|| fields.nth(18)?.parse().ok())?
}

/// The file of those who are in the namespace, locked.
struct Members {
    file: File,
    lines: Vec<Member>,
}

impl Members {
    fn lock(folder: &Path) -> Result<Self> {
        let path = folder.join(MEMBERS);
        let doing = || format!("open {}", path.display());
        let mut options = OpenOptions::new();
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.custom_flags(flags).open(&path).doing(doing)?;
        let lock = || flock(&file, FlockOperation::LockExclusive);
        rustix::io::retry_on_intr(lock).doing(|| format!("lock {}", path.display()))?;
        let mut text = String::new();
        file.read_to_string(&mut text).doing(|| format!("read {}", path.display()))?;
        let lines = text.lines().filter_map(Member::parse).collect();
        Ok(Self { file, lines })
    }

    fn write(mut self, members: impl Iterator<Item = Member>) -> Result<()> {
        let line = |member: Member| format!("{} {}\n", member.pid, member.started);
        let text = members.map(line).collect::<Vec<_>>().concat();
        let mut replace = || {
            self.file.rewind()?;
            self.file.set_len(0)?;
            self.file.write_all(text.as_bytes())
        };
        replace().doing(|| "write who is in the user namespace")
    }
}
