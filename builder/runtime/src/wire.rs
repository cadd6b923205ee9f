//! What the launching process and its helper say to each other, and how descriptors travel.
//!
//! Orders go over one stream socket for all containers. The answers to an order come back over a
//! packet socket of its own that the order brings along; they end when the container's program
//! has been executed, which closes it.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use crate::caps::{Capabilities, CapabilitySets};
use crate::container::{ClockOffset, Limit, Seccomp, WindowSize};
use crate::hook::{Hook, Hooks};
use crate::path::Stub;
use crate::user::User;

/// The kernel's limit of descriptors in one message.
pub(crate) const MAX_FDS: usize = 253;
pub(crate) const MAX_REPORT: usize = 64 << 10;
const ANCILLARY: usize = rustix::cmsg_space!(ScmRights(MAX_FDS));

/// The place of a descriptor among those that travel with an order.
pub(crate) type Slot = usize;

/// The slot of the packet socket for the answers.
pub(crate) const ANSWERS: Slot = 0;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) place: Place,
    pub(crate) process: ProcessOrder,
    pub(crate) stdio: StdioOrder,
    pub(crate) outlives: bool,
    /// Whether it waits, with everything mounted, for the launching process to say go; with how
    /// many copies of its root.
    pub(crate) pause: Option<usize>,
    pub(crate) start: Option<Start>,
}

/// The last wait before the program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    /// Where a byte is to be read.
    pub(crate) from: Slot,
    /// What runs in the container then.
    pub(crate) hooks: Vec<Hook>,
    /// What those hear.
    pub(crate) state: String,
}

impl Start {
    pub(crate) fn new(from: Slot, hooks: &Hooks) -> Self {
        Self { from, hooks: hooks.start.clone(), state: hooks.state.clone() }
    }
}

/// Where the process runs.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Place {
    /// In a new sandbox.
    New(Box<Sandbox>),
    /// In that of the process that a pidfd refers to.
    /// In the namespaces of these kinds (`CLONE_NEW*`) that it is in.
    /// With a root of its own where the mounts are those of others.
    Existing { target: Slot, kinds: u32, cgroups: Vec<Slot>, root: Option<Slot> },
}

#[derive(Debug, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "it is a container in writing")]
pub(crate) struct Sandbox {
    pub(crate) root: Slot,
    pub(crate) mounts: Vec<MountOrder>,
    pub(crate) hostname: Option<String>,
    pub(crate) domainname: Option<String>,
    pub(crate) network: NamespaceOrder,
    pub(crate) ipc: NamespaceOrder,
    pub(crate) pid: NamespaceOrder,
    pub(crate) uts: NamespaceOrder,
    pub(crate) cgroup: NamespaceOrder,
    pub(crate) time: NamespaceOrder,
    pub(crate) clocks: Vec<ClockOffset>,
    /// Never `Host`: that is joined as others are.
    pub(crate) mount: NamespaceOrder,
    /// Whether it has users of its own.
    pub(crate) user: bool,
    /// Detached mounts that a process without privilege must see to make others of their kind.
    pub(crate) seen: Vec<Slot>,
    pub(crate) bare: bool,
    /// `MS_*` of the root.
    pub(crate) propagation: u64,
    pub(crate) devices: Vec<Node>,
    pub(crate) all_devices: bool,
    pub(crate) masked_paths: Vec<String>,
    pub(crate) read_only_paths: Vec<String>,
    pub(crate) writable_sys: bool,
    /// Whether `/sys/fs/cgroup` of the host is the one tree of version 2.
    pub(crate) cgroup_tree: bool,
    pub(crate) cgroups: Vec<Slot>,
    pub(crate) shm_size: u64,
    pub(crate) sysctls: Vec<(String, String)>,
    pub(crate) read_only_root: bool,
    pub(crate) init: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NamespaceOrder {
    Private,
    Host,
    Join(Slot),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MountOrder {
    pub(crate) source: SourceOrder,
    pub(crate) subpath: Option<String>,
    pub(crate) target: String,
    /// `MOUNT_ATTR_*` to add, also to what is mounted below it.
    pub(crate) attributes: u64,
    /// `MOUNT_ATTR_*` to add to itself alone.
    pub(crate) own_attributes: u64,
    /// `MS_*` of how it tells of others.
    pub(crate) propagation: u64,
    /// Whether it begins with what is in its place.
    pub(crate) copy_up: bool,
    /// Whether its root has the permission bits of what is in its place.
    pub(crate) mode_of_place: bool,
    pub(crate) recursive: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SourceOrder {
    /// A detached mount.
    Mount(Slot),
    Bytes {
        bytes: Vec<u8>,
        mode: u32,
        uid: u32,
        gid: u32,
    },
    New {
        kind: String,
        options: Vec<(String, Option<String>)>,
    },
}

/// A device node to make; the path is below `/dev`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) path: String,
    pub(crate) block: bool,
    /// Whether it is no device but a queue of bytes.
    pub(crate) fifo: bool,
    pub(crate) device: u64,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ProcessOrder {
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) user: User,
    /// What the default filter of system calls goes by.
    pub(crate) capabilities: Capabilities,
    pub(crate) sets: CapabilitySets,
    pub(crate) seccomp: Seccomp,
    pub(crate) no_new_privileges: bool,
    pub(crate) limits: Vec<Limit>,
    pub(crate) oom_score: Option<i32>,
    pub(crate) umask: u32,
    pub(crate) personality: Option<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum StdioOrder {
    Streams([Slot; 3]),
    Terminal(WindowSize),
}

/// An answer to an order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The process exists; its pidfd comes along.
    Started { pid: i32 },
    /// The other end of the terminal comes along.
    Terminal,
    /// A copy of the root with all its mounts comes along.
    Root,
    /// Everything is mounted; go is awaited.
    Ready,
    /// What was made in the root to mount on.
    Stubs(Vec<Stub>),
    /// The process has given up.
    Failed(Failure),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Failure {
    NotFound,
    NotExecutable { errno: i32 },
    Invalid { reason: String },
    Step { doing: String, errno: i32 },
}

/// Sends bytes of any length with descriptors over the stream socket.
pub(crate) fn send_order(
    mut socket: &UnixStream,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> std::io::Result<()> {
    let whole = [&bytes.len().to_le_bytes(), bytes].concat();
    let sent = send(socket.as_fd(), &whole, fds)?;
    socket.write_all(&whole[sent..])
}

/// Receives what [`send_order`] sent; none when the other end is closed.
pub(crate) fn receive_order(
    mut socket: &UnixStream,
) -> std::io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut length = [0; size_of::<usize>()];
    let (size, fds) = receive(socket.as_fd(), &mut length, RecvFlags::WAITALL)?;
    if size == 0 {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::from_le_bytes(length)];
    socket.read_exact(&mut bytes)?;
    Ok(Some((bytes, fds)))
}

/// Sends one answer.
pub(crate) fn send_report(
    socket: BorrowedFd<'_>,
    report: &Report,
    fd: Option<BorrowedFd<'_>>,
) -> std::io::Result<()> {
    let bytes = serde_json::to_vec(report)?;
    // A packet goes whole or not at all.
    send(socket, &bytes, fd.as_slice())?;
    Ok(())
}

/// Stubs in as many parts as reports have room for.
pub(crate) fn parts(stubs: Vec<Stub>) -> Vec<Vec<Stub>> {
    // A little of the room goes to the name of the report.
    let most = MAX_REPORT - 64;
    let length = |stub: &Stub| serde_json::to_vec(stub).map_or(0, |bytes| bytes.len() + 1);
    let (mut parts, mut left): (Vec<Vec<Stub>>, _) = (Vec::new(), 0);
    for stub in stubs {
        let length = length(&stub);
        match parts.last_mut() {
            Some(part) if length <= left => {
                part.push(stub);
                left -= length;
            }
            _ => {
                parts.push(vec![stub]);
                left = most.saturating_sub(length);
            }
        }
    }
    parts
}

/// Tells a container that waits whether it is to go on.
pub(crate) fn send_go(socket: BorrowedFd<'_>, go: bool) -> Result<(), Errno> {
    send(socket, &[u8::from(go)], &[]).map(drop)
}

/// Waits for that.
pub(crate) fn receive_go(socket: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut byte = [0];
    let (size, _) = receive(socket, &mut byte, RecvFlags::empty())?;
    Ok(size == 1 && byte == [1])
}

/// Receives one answer by way of room for the longest; none when there will be no more.
pub(crate) fn receive_report(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
) -> std::io::Result<Option<(Report, Option<OwnedFd>)>> {
    let (size, mut fds) = receive(socket, bytes, RecvFlags::empty())?;
    if size == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&bytes[..size])?, fds.pop())))
}

/// Sends bytes, or as many of them as a stream took, with descriptors; returns how many.
fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); ANCILLARY];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(fds));
    }
    rustix::io::retry_on_intr(|| {
        sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)
    })
}

fn receive(
    socket: BorrowedFd<'_>,
    bytes: &mut [u8],
    flags: RecvFlags,
) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); ANCILLARY];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let message = rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut ancillary, flags)
    })?;
    let mut fds = Vec::new();
    for received in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = received {
            fds.extend(rights);
        }
    }
    Ok((message.bytes, fds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_stubs_go_in_parts_that_fit() {
        let stub = |number: usize| -> Stub {
            let long = "d\u{1}".repeat(number % 2000);
            let json = serde_json::json!({
                "parent": format!("/{long}"), "name": number.to_string(), "kind": "Directory",
                "before": [0, 0], "after": [i64::MAX, 0],
            });
            serde_json::from_value(json).unwrap()
        };
        let all: Vec<_> = (0..3000).map(stub).collect();
        let parts = parts(all.clone());
        assert_eq!(parts.concat(), all);
        assert!((100..1000).contains(&parts.len()), "{}", parts.len());
        let length = |part| serde_json::to_vec(&Report::Stubs(part)).unwrap().len();
        assert!(parts.into_iter().all(|part| length(part) <= MAX_REPORT));
    }
}
