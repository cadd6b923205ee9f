//! The last steps of the child: limits, the filter, capabilities, the user, and the program.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libc::sock_filter;
use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource as Kernel, Rlimit, getrlimit, setrlimit, umask};
use rustix::thread::{
    Gid, Uid, set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use crate::container::{DEFAULT_PATH, Limit, Resource, Seccomp};
use crate::error::{Doing, Error, Result};
use crate::hook::with_process;
use crate::init::failure;
use crate::path::open_in_root;
use crate::sys;
use crate::userns;
use crate::wire::{ProcessOrder, Report, Start, send_report};

const FIRST_OTHER_FD: u32 = 3;

/// The process on its way into the program.
pub(crate) struct Entry<'a> {
    pub(crate) order: &'a ProcessOrder,
    pub(crate) filter: &'a mut [sock_filter],
    /// A process file system of the container's process namespace.
    pub(crate) proc: BorrowedFd<'a>,
    /// Whether this becomes a small init, with the program as its child.
    pub(crate) init: bool,
    /// Told before this turns into an init that lets go of everything.
    pub(crate) answers: OwnedFd,
    /// Where it waits at last.
    pub(crate) start: Option<(OwnedFd, &'a Start)>,
}

impl Entry<'_> {
    /// Gives all privilege up that the order does not give, and runs the program.
    ///
    /// The process must be in its final root, with its standard streams in place.
    pub(crate) fn enter(self) -> Result<std::convert::Infallible> {
        let order = self.order;
        let arguments = c_strings(&order.argv)?;
        let environment = c_strings(&order.env)?;
        set_oom_score(self.proc, order.oom_score);
        set_limits(&order.limits).doing(|| "set resource limits")?;
        if let Some(number) = order.personality {
            sys::set_personality(number).doing(|| "set the personality")?;
        }
        change_directory(&order.cwd, order)?;
        umask(Mode::from_raw_mode(order.umask));
        join_groups(order).doing(|| "join groups")?;
        let execute = || execute(&order.argv[0], &arguments, &environment);
        // Others' filters may allow no more than a program needs: what else is to be asked of the
        // kernel is asked before.
        if let Some((from, start)) = self.start {
            find_as_user(order, &environment)?;
            let kept = sys::keep_only([from, self.answers]);
            let [from, answers] = kept.doing(|| "close descriptors")?;
            if let Err(error) = give_up(order, self.filter) {
                // When nobody listens any more there is nobody to tell.
                let _ = send_report(answers.as_fd(), &Report::Failed(failure(&error)), None);
                std::process::exit(125);
            }
            // Who launched it need hear no more.
            drop(answers);
            start_when_told(from, start, execute);
        }
        sys::close_from(FIRST_OTHER_FD, true).doing(|| "close descriptors")?;
        give_up(order, self.filter)?;
        if self.init {
            crate::reaper::become_init(self.answers).doing(|| "start the init")?;
        }
        sys::unblock_signals();
        Err(execute())
    }
}

fn c_strings(texts: &[String]) -> Result<Vec<CString>> {
    let convert = |text: &String| CString::new(text.as_bytes());
    let strings: Result<Vec<_>, _> = texts.iter().map(convert).collect();
    strings.map_err(|_| Error::Invalid("an argument or variable has a zero byte".into()))
}

/// Not every machine lets root lower it, and nothing depends on it.
fn set_oom_score(proc: BorrowedFd<'_>, score: Option<i32>) {
    let Some(score) = score else { return };
    let flags = OFlags::WRONLY;
    if let Ok(file) = open_proc(proc, "thread-self/oom_score_adj", flags) {
        let _ = rustix::io::write(file, score.to_string().as_bytes());
    }
}

/// Opens a file of a process file system that is known by its descriptor, so that nothing mounted
/// over it is taken for it.
pub(crate) fn open_proc(proc: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    use rustix::fs::ResolveFlags as Resolve;
    let resolve = Resolve::BENEATH | Resolve::NO_XDEV | Resolve::NO_MAGICLINKS;
    rustix::fs::openat2(proc, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

fn set_limits(limits: &[Limit]) -> Result<(), Errno> {
    for limit in limits {
        let kind = kernel_resource(limit.resource);
        let wanted = Rlimit { current: limit.soft, maximum: limit.hard };
        match setrlimit(kind, wanted) {
            Err(Errno::PERM) => {
                let most = getrlimit(kind).maximum;
                let maximum = lower(wanted.maximum, most);
                let current = lower(wanted.current, maximum);
                setrlimit(kind, Rlimit { current, maximum })?;
            }
            done => done?,
        }
    }
    Ok(())
}

/// The lower of two limits, of which none is unlimited.
fn lower(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn kernel_resource(resource: Resource) -> Kernel {
    match resource {
        Resource::As => Kernel::As,
        Resource::Core => Kernel::Core,
        Resource::Cpu => Kernel::Cpu,
        Resource::Data => Kernel::Data,
        Resource::Fsize => Kernel::Fsize,
        Resource::Locks => Kernel::Locks,
        Resource::Memlock => Kernel::Memlock,
        Resource::Msgqueue => Kernel::Msgqueue,
        Resource::Nice => Kernel::Nice,
        Resource::Nofile => Kernel::Nofile,
        Resource::Nproc => Kernel::Nproc,
        Resource::Rss => Kernel::Rss,
        Resource::Rtprio => Kernel::Rtprio,
        Resource::Rttime => Kernel::Rttime,
        Resource::Sigpending => Kernel::Sigpending,
        Resource::Stack => Kernel::Stack,
    }
}

/// Goes to the working directory, which is made when missing. A way through `/proc/*/fd` or the
/// like is refused, and so is a place that the root does not contain.
fn change_directory(cwd: &str, order: &ProcessOrder) -> Result<()> {
    let doing = || format!("change to directory {cwd:?}");
    let root = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let root = root.doing(|| "open the root")?;
    let directory =
        open_directory(root.as_fd(), cwd, (order.user.uid, order.user.gid)).doing(doing)?;
    rustix::process::fchdir(directory).doing(doing)?;
    let now = rustix::process::getcwd(Vec::new()).doing(doing)?;
    if now.to_bytes().first() != Some(&b'/') {
        return Err(Error::Invalid(format!("directory {cwd:?} is outside of the root")));
    }
    Ok(())
}

/// Opens a directory in a root; what is missing of it is made and belongs to this user and group.
pub(crate) fn open_directory(
    root: BorrowedFd<'_>,
    path: &str,
    owner: (u32, u32),
) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    match open_in_root(root, path, flags, Mode::empty()) {
        Err(Errno::NOENT) => {}
        answer => return answer,
    }
    let path = path.trim_end_matches('/');
    let (parent, name) = path.rsplit_once('/').ok_or(Errno::NOENT)?;
    let parent = open_directory(root, if parent.is_empty() { "/" } else { parent }, owner)?;
    rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = rustix::fs::openat(&parent, name, flags, Mode::empty())?;
    let (uid, gid) = (Uid::from_raw(owner.0), Gid::from_raw(owner.1));
    rustix::fs::fchown(&made, Some(uid), Some(gid))?;
    Ok(made)
}

/// The filter must be installed while there is privilege to do so, unless the process can never
/// gain any.
fn fence_in(order: &ProcessOrder, filter: &mut [sock_filter]) -> Result<()> {
    if order.no_new_privileges {
        set_no_new_privs(true).doing(|| "forbid new privileges")?;
    }
    order.sets.bounding.bound().doing(|| "limit capabilities")?;
    if userns::is_single() {
        userns::pretend()?;
    }
    let flags = match &order.seccomp {
        Seccomp::None => return Ok(()),
        Seccomp::Default => 0,
        Seccomp::Filter(filter) => filter.flags,
    };
    sys::install_filter(filter, flags).doing(|| "install the system call filter")
}

fn give_up(order: &ProcessOrder, filter: &mut [sock_filter]) -> Result<()> {
    fence_in(order, filter)?;
    become_user(order).doing(|| format!("become user {}", order.user.uid))
}

fn join_groups(order: &ProcessOrder) -> Result<(), Errno> {
    let groups: Vec<Gid> = order.user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    match set_thread_groups(&groups) {
        // Where there is one user only, nobody may change groups.
        Err(Errno::PERM) if !userns::is_initial() => Ok(()),
        set => set,
    }
}

fn become_user(order: &ProcessOrder) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(order.user.uid), Gid::from_raw(order.user.gid));
    set_keep_capabilities(true)?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    order.sets.hold()?;
    set_keep_capabilities(false)
}

/// Gives the streams that are pipes to the user, who may want to open `/dev/stdout`.
pub(crate) fn own_streams(order: &ProcessOrder) {
    let (uid, gid) = (Uid::from_raw(order.user.uid), Gid::from_raw(order.user.gid));
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let Ok(stat) = rustix::fs::fstat(stream) else {
            continue;
        };
        if order.user.uid != 0 && FileType::from_raw_mode(stat.st_mode) == FileType::Fifo {
            // A pipe that cannot be given away can still be used by its descriptor.
            let _ = rustix::fs::fchown(stream, Some(uid), Some(gid));
        }
    }
}

/// Waits until somebody says start, lets hooks run, and executes the program; never returns.
///
/// There is nobody to be told of a failure but whoever reads the standard error.
fn start_when_told(from: OwnedFd, start: &Start, execute: impl FnOnce() -> Error) -> ! {
    let fail = |error: &dyn std::fmt::Display, code| -> ! {
        let line = format!("rbuild: {error}\n");
        let _ = rustix::io::write(rustix::stdio::stderr(), line.as_bytes());
        std::process::exit(code)
    };
    let mut byte = [0];
    match rustix::io::retry_on_intr(|| rustix::io::read(&from, &mut byte)) {
        Ok(1) => {}
        Ok(_) => fail(&Errno::PIPE, 125),
        Err(error) => fail(&error, 125),
    }
    // Kept open: that it closes tells whoever said start that the program runs.
    std::mem::forget(from);
    let state = with_process(&start.state, std::process::id(), "created");
    for hook in &start.hooks {
        if let Err(error) = hook.run(&state) {
            fail(&error, 125);
        }
    }
    sys::unblock_signals();
    let error = execute();
    fail(&error, error.exit_code())
}

/// Looks as the user whether the program is there and may be run, without running it.
fn find_as_user(order: &ProcessOrder, environment: &[CString]) -> Result<()> {
    let (uid, gid) = (order.user.uid, order.user.gid);
    sys::set_file_user(uid, gid);
    let found = find(&order.argv[0], environment);
    sys::set_file_user(0, 0);
    found
}

fn find(program: &str, environment: &[CString]) -> Result<()> {
    let named = || program.to_owned();
    let can_run = |path: &CStr| {
        let flags = AtFlags::EACCESS;
        rustix::fs::accessat(rustix::fs::CWD, path, Access::EXEC_OK, flags)?;
        let kind = FileType::from_raw_mode(rustix::fs::stat(path)?.st_mode);
        if kind == FileType::RegularFile { Ok(()) } else { Err(Errno::ACCESS) }
    };
    let mut answer = Err(Errno::NOENT);
    for path in candidates(program, environment) {
        answer = match (can_run(&path), answer) {
            (Ok(()), _) => return Ok(()),
            (Err(Errno::ACCESS), _) => Err(Errno::ACCESS),
            (Err(error), Err(Errno::NOENT)) => Err(error),
            (_, before) => before,
        };
    }
    match answer {
        Err(Errno::NOENT | Errno::NOTDIR) => Err(Error::NotFound { program: named() }),
        Err(error) => Err(Error::NotExecutable { program: named(), source: error.into() }),
        Ok(()) => Ok(()),
    }
}

/// Where the program may be: the path that it is, or in the `PATH` of the environment.
fn candidates(program: &str, environment: &[CString]) -> Vec<CString> {
    let path = environment.iter().find_map(|variable| variable.to_bytes().strip_prefix(b"PATH="));
    let path = match program {
        "" => return Vec::new(),
        program if program.contains('/') => return CString::new(program).into_iter().collect(),
        _ => path.unwrap_or(DEFAULT_PATH.as_bytes()),
    };
    let directories = path.split(|byte| *byte == b':');
    let full = directories.map(|directory| {
        let directory = if directory.is_empty() { b"." } else { directory };
        [directory, b"/", program.as_bytes()].concat()
    });
    full.filter_map(|full| CString::new(full).ok()).collect()
}

/// Runs the program, looked for in the `PATH` of its own environment; returns why it cannot.
fn execute(program: &str, arguments: &[CString], environment: &[CString]) -> Error {
    let named = program.to_owned();
    let failed = |error: Errno| match error {
        Errno::NOENT | Errno::NOTDIR => Error::NotFound { program: named.clone() },
        _ => Error::NotExecutable { program: named.clone(), source: error.into() },
    };
    if program.contains('/') {
        return failed(sys::execute(&arguments[0], arguments, environment));
    }
    let mut answer = Errno::NOENT;
    for full in candidates(program, environment) {
        match sys::execute(&full, arguments, environment) {
            Errno::NOENT | Errno::NOTDIR => {}
            // Another directory may have one that can be run.
            error @ Errno::ACCESS => answer = error,
            error => return failed(error),
        }
    }
    failed(answer)
}
