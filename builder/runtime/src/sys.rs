//! The system calls that no safe library offers: everything `unsafe` of this crate.

#![expect(unsafe_code, reason = "each place says why it is sound")]

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::io::Errno;
use rustix::process::Pid;

type Result<T> = std::result::Result<T, Errno>;

fn check(answer: libc::c_long) -> Result<libc::c_long> {
    if answer == -1 { Err(last_error()) } else { Ok(answer) }
}

fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}

/// Which side of a [`clone_process`] the caller is on.
pub(crate) enum Cloned {
    Child,
    Parent { pid: Pid, pidfd: OwnedFd },
}

/// Makes a process in new namespaces (`CLONE_NEW*`), as a child of this process's parent when
/// `flags` has `CLONE_PARENT`, else of this one.
///
/// Must be called from a process with one thread, which makes a copy of it whole.
pub(crate) fn clone_process(flags: libc::c_int) -> Result<Cloned> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: an all-zero `clone_args` is valid: it asks for nothing.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    let is_sibling = flags & libc::CLONE_PARENT != 0;
    arguments.flags = u64::from((flags | libc::CLONE_PIDFD).cast_unsigned());
    arguments.pidfd = ptr::from_mut(&mut pidfd) as u64;
    arguments.exit_signal = if is_sibling { 0 } else { libc::SIGCHLD as u64 };
    // SAFETY: without CLONE_VM the child has its own copy of everything, like after fork(2). The
    // helper, the only caller, has one thread, so that no lock is held in the copy.
    let pid = check(unsafe {
        libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>())
    })?;
    match Pid::from_raw(pid.try_into().map_err(|_| Errno::INVAL)?) {
        None => Ok(Cloned::Child),
        Some(pid) => {
            // SAFETY: the kernel has just made this descriptor for us alone.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Cloned::Parent { pid, pidfd })
        }
    }
}

/// Makes a new namespace of each of these kinds (`CLONE_NEW*`, no `CLONE_FILES`) for this thread.
pub(crate) fn unshare(namespaces: rustix::thread::UnshareFlags) -> Result<()> {
    assert!(!namespaces.contains(rustix::thread::UnshareFlags::FILES), "would split descriptors");
    // SAFETY: the table of descriptors stays shared.
    unsafe { rustix::thread::unshare_unsafe(namespaces) }
}

/// Adds `MOUNT_ATTR_*` to a mount and cuts it off from the mounts that it would tell of changes,
/// and all below it too when `recursive`.
pub(crate) fn set_mount_attributes(mount: impl AsFd, set: u64, recursive: bool) -> Result<()> {
    change_mount(mount, set, libc::MS_PRIVATE, recursive)
}

/// Adds `MOUNT_ATTR_*` to a mount, and says how it tells of others (`MS_*`, 0 changes nothing).
pub(crate) fn change_mount(
    mount: impl AsFd,
    set: u64,
    propagation: u64,
    recursive: bool,
) -> Result<()> {
    let times = set & libc::MOUNT_ATTR__ATIME != 0;
    let attr_clr = if times { libc::MOUNT_ATTR__ATIME } else { 0 };
    let attributes = libc::mount_attr { attr_set: set, attr_clr, propagation, userns_fd: 0 };
    let recursion = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string and the structure is as long as is said.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursion,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    })?;
    Ok(())
}

/// Puts the process under a filter, which it can never leave.
pub(crate) fn install_filter(program: &mut [libc::sock_filter], flags: u64) -> Result<()> {
    let program = libc::sock_fprog {
        len: program.len().try_into().map_err(|_| Errno::INVAL)?,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the program's length is that of the slice; the kernel copies and checks it.
    check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    })?;
    Ok(())
}

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;

/// What the kernel is told of a program to load.
#[repr(C)]
struct ProgramToLoad {
    kind: u32,
    length: u32,
    instructions: u64,
    licence: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    version: u32,
    flags: u32,
}

/// Loads a program (`struct bpf_insn`) that decides who may use devices.
pub(crate) fn load_device_program(program: &[u64]) -> Result<OwnedFd> {
    const CGROUP_DEVICE: u32 = 15;
    let told = ProgramToLoad {
        kind: CGROUP_DEVICE,
        length: program.len().try_into().map_err(|_| Errno::TOOBIG)?,
        instructions: program.as_ptr() as u64,
        licence: c"".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        version: 0,
        flags: 0,
    };
    // SAFETY: the structure is as long as is said, the program as long as it says, and the licence
    // a C string; the kernel copies and checks them.
    let made = check(unsafe {
        libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const told, size_of_val(&told))
    })?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(made.try_into().map_err(|_| Errno::INVAL)?) })
}

/// Has a control group of version 2, by its open folder, obey such a program beside others.
pub(crate) fn attach_device_program(group: impl AsFd, program: impl AsFd) -> Result<()> {
    const DEVICE: libc::c_int = 6;
    const BESIDE_OTHERS: libc::c_int = 2;
    let [group, program] = [group.as_fd(), program.as_fd()].map(|fd| fd.as_raw_fd());
    let told = [group, program, DEVICE, BESIDE_OTHERS];
    // SAFETY: the structure, four numbers, is as long as is said.
    check(unsafe {
        libc::syscall(libc::SYS_bpf, PROG_ATTACH, &raw const told, size_of_val(&told))
    })?;
    Ok(())
}

/// Gives the process a session keyring of its own, empty.
pub(crate) fn join_new_keyring() -> Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    let anonymous = ptr::null::<libc::c_char>();
    // SAFETY: a null name asks for an anonymous keyring.
    check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, anonymous) })?;
    Ok(())
}

/// Brings a network device up in the socket's network namespace.
pub(crate) fn bring_up(socket: impl AsFd, device: &CStr) -> Result<()> {
    const IFF_UP: libc::c_short = 1;
    // SAFETY: an all-zero `ifreq` is valid: a device without a name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(device.to_bytes_with_nul()) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    request.ifr_ifru.ifru_flags = IFF_UP;
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: SIOCSIFFLAGS reads an `ifreq`.
    check(unsafe { libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request) }.into())?;
    Ok(())
}

/// Has all descriptors from `first` on closed, at once or when a program is executed.
pub(crate) fn close_from(first: u32, when_executing: bool) -> Result<()> {
    let flags = if when_executing { libc::CLOSE_RANGE_CLOEXEC } else { 0 };
    // SAFETY: callers own no descriptor in the range that they use afterwards: those that they
    // keep are only marked.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) })?;
    Ok(())
}

/// Closes everything but the standard streams and two descriptors, which it gives back.
///
/// Whatever else the process holds of descriptors must not be used, or dropped, afterwards.
pub(crate) fn keep_only(kept: [OwnedFd; 2]) -> Result<[OwnedFd; 2]> {
    const PLACES: [libc::c_int; 2] = [3, 4];
    const FIRST_OTHER: libc::c_int = 5;
    // Out of the way first: one may be where the other is to be.
    let [one, other] = kept.map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, FIRST_OTHER));
    for (copy, place) in [(one?, PLACES[0]), (other?, PLACES[1])] {
        let raw = std::os::fd::IntoRawFd::into_raw_fd(copy);
        // SAFETY: what had this number is given up, as callers promise.
        check(unsafe { libc::dup3(raw, place, libc::O_CLOEXEC) }.into())?;
    }
    // SAFETY: callers promise to use none of these.
    check(unsafe { libc::syscall(libc::SYS_close_range, FIRST_OTHER, u32::MAX, 0) })?;
    // SAFETY: they are open, and nothing else owns them.
    Ok(PLACES.map(|place| unsafe { OwnedFd::from_raw_fd(place) }))
}

/// Asks for files as this user and group, with what capabilities such a user has for files, or as
/// root again.
pub(crate) fn set_file_user(uid: u32, gid: u32) {
    // SAFETY: neither touches memory, and both change this thread only.
    unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
    }
}

/// Sets the behaviour of the kernel for this process.
pub(crate) fn set_personality(number: u32) -> Result<()> {
    // SAFETY: personality(2) touches no memory.
    check(unsafe { libc::personality(number.into()) }.into())?;
    Ok(())
}

/// Has a child do something between its start and its program.
///
/// The work must only make system calls: this process may have threads, whose locks the child
/// inherits as they are.
pub(crate) fn before_program(
    command: &mut std::process::Command,
    work: impl FnMut() -> std::io::Result<()> + Send + Sync + 'static,
) {
    // SAFETY: the work makes system calls only, as callers promise.
    unsafe { std::os::unix::process::CommandExt::pre_exec(command, work) };
}

/// Gives every signal its default action, those that the C library keeps to itself included: a
/// program that it starts would ignore them.
pub(crate) fn reset_signals() {
    /// The kernel's `struct sigaction` where nothing is asked for: the default action.
    const DEFAULT: [u64; 4] = [0; 4];
    for number in 1..=64 {
        // SAFETY: the structure is no longer than this on any machine, the set of signals is of 8
        // bytes, and the default action runs no code of ours. Where it cannot be set (SIGKILL)
        // nothing happens.
        unsafe {
            let nothing = ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, number, DEFAULT.as_ptr(), nothing, 8);
        }
    }
}

/// Blocks no signal.
pub(crate) fn unblock_signals() {
    // SAFETY: an empty set is made before it is used.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

/// Blocks every signal, for [`next_signal`] to take them.
pub(crate) fn block_signals() {
    // SAFETY: the set is filled before it is used.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut());
    }
}

/// Waits for a signal, all of which must be blocked, and gives its number.
pub(crate) fn next_signal() -> Option<i32> {
    // SAFETY: the set is filled before it is used; no information about the signal is asked for.
    let number = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigwaitinfo(&raw const all, ptr::null_mut())
    };
    (number > 0).then_some(number)
}

/// Sends a signal of any number.
pub(crate) fn send_signal(process: Pid, number: i32) -> Result<()> {
    // SAFETY: kill(2) touches no memory.
    check(unsafe { libc::kill(process.as_raw_nonzero().get(), number) }.into())?;
    Ok(())
}

/// Sends a signal of any number to the process that a pidfd refers to.
pub(crate) fn send_signal_by_fd(process: BorrowedFd<'_>, number: i32) -> Result<()> {
    let (process, nothing) = (process.as_raw_fd(), ptr::null::<libc::siginfo_t>());
    // SAFETY: without a `siginfo_t` the kernel makes one, as for kill(2).
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process, number, nothing, 0) })?;
    Ok(())
}

/// Makes a process that is this one once more, for the small init.
pub(crate) fn fork() -> Result<Option<Pid>> {
    // SAFETY: the container's first process has one thread, so that no lock is held in the copy.
    let pid = check(unsafe { libc::fork() }.into())?;
    Ok(Pid::from_raw(pid.try_into().map_err(|_| Errno::INVAL)?))
}

/// Lets another program take over; returns only when that fails.
pub(crate) fn execute(program: &CStr, arguments: &[CString], environment: &[CString]) -> Errno {
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both arrays end with a null pointer and point to C strings that outlive the call.
    unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    last_error()
}
