//! Tables of nftables: which packets pass, and which go elsewhere.

use std::net::{IpAddr, SocketAddr};

use rustix::io::Errno;
use rustix::net::netlink::NETFILTER;

use super::links::octets;
use super::netlink::{CREATE, Message, Socket};
use crate::error::{Doing, Result};

/// Which packets a table is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Those of IPv4.
    V4,
    /// Those of IPv6.
    V6,
}

/// A table of rules, which is in force as a whole or not at all.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its packets; tables of different families may have one name.
    pub family: Family,
    /// Its name.
    pub name: String,
    /// Its chains; one comes after those that it jumps to.
    pub chains: Vec<Chain>,
}

/// A list of rules, which a packet goes through until one decides on it.
#[derive(Debug, Clone)]
pub struct Chain {
    /// Its name.
    pub name: &'static str,
    /// Where packets come in; none is a chain that others jump to.
    pub hook: Option<Hook>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// A place on the way of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Before anything is known of a packet that has come in.
    Raw,
    /// Where the destination of what has come in can be changed.
    Incoming,
    /// Where the destination of what this machine sends can be changed.
    Outgoing,
    /// Where what passes through is let through or not.
    Forward,
    /// Where the source of what leaves can be changed.
    Leaving,
}

/// What is done with packets of which all of some things are true.
#[derive(Debug, Clone)]
pub struct Rule {
    /// What is to be true.
    pub matches: Vec<Match>,
    /// What is done.
    pub verdict: Verdict,
}

/// Something that may be true of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// It came in by this device.
    From(String),
    /// It leaves by this device.
    To(String),
    /// It does not leave by this device.
    NotTo(String),
    /// Its source is one of the addresses of which so many bits are these.
    Source(IpAddr, u8),
    /// Its destination is one of the addresses of which so many bits are these.
    Destination(IpAddr, u8),
    /// Its destination is an address of this machine.
    ToThisMachine,
    /// It goes to a port of a protocol by its number: 6 is TCP, 17 is UDP.
    Port(u8, u16),
    /// It belongs to a connection that was let through, or to one that such a connection made.
    Established,
    /// The destination of its connection was changed.
    Redirected,
}

/// What is done with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Accept,
    /// It is dropped.
    Drop,
    /// It goes through another chain first.
    Jump(&'static str),
    /// Its source becomes this machine's address where it leaves.
    Masquerade,
    /// Its destination becomes this one.
    Redirect(SocketAddr),
}

/// A table that is in force as long as this lives: the kernel removes it with the process.
#[derive(Debug)]
pub struct OwnedTable {
    family: Family,
    name: String,
    /// Its end is that of the table. Before Linux 5.12 there are no owners, and what a killed
    /// process leaves redirects ports to nobody.
    socket: Socket,
}

const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const GET_TABLE: u16 = NEW_TABLE | 1;
const REMOVE_TABLE: u16 = NEW_TABLE | 2;
const NEW_CHAIN: u16 = NEW_TABLE | 3;
const NEW_RULE: u16 = NEW_TABLE | 6;
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;
const APPEND: u16 = 0x800;
/// No family, version 0, and the subsystem of nftables.
const MARK: [u8; 4] = [0, 0, 0, 10];

const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const OWNER: u32 = 2;

/// Where a rule keeps what it compares: 16 bytes, and the 16 after them.
const FIRST: u32 = 1;
const SECOND: u32 = 2;
const VERDICT: u32 = 0;

impl Family {
    /// The header of a message on tables of the family: its number, version 0, no subsystem.
    fn header(self) -> [u8; 4] {
        [self.number(), 0, 0, 0]
    }

    fn number(self) -> u8 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }
}

impl Table {
    /// Puts the table in force, in place of what has its name.
    pub fn install(&self) -> Result<()> {
        let installed = open().and_then(|mut socket| socket.act_together(self.batch(0, true)));
        installed.doing(|| format!("install the nftables table {}", self.name))
    }

    /// Puts the table in force where nothing has its name. The kernel has nothing to take away
    /// then, for which it would wait until no packet is on its way.
    pub fn install_new(&self) -> Result<()> {
        let installed = open().and_then(|mut socket| socket.act_together(self.batch(0, false)));
        installed.doing(|| format!("install the nftables table {}", self.name))
    }

    /// Puts the table in force for as long as what is returned lives.
    pub fn install_owned(&self) -> Result<OwnedTable> {
        let install = || -> Result<_, Errno> {
            let mut socket = open()?;
            match socket.act_together(self.batch(OWNER, false)) {
                Err(Errno::OPNOTSUPP | Errno::INVAL) => socket.act_together(self.batch(0, true))?,
                installed => installed?,
            }
            Ok(OwnedTable { family: self.family, name: self.name.clone(), socket })
        };
        install().doing(|| format!("install the nftables table {}", self.name))
    }

    /// Whether a table of this name is in force.
    pub fn is_there(family: Family, name: &str) -> Result<bool> {
        let message = Message::new(GET_TABLE, 0, &family.header()).text(TABLE_NAME, name);
        match open().and_then(|mut socket| socket.ask(message)) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(error).doing(|| format!("look for the nftables table {name}")),
        }
    }

    /// Removes a table; one that is not there is none.
    pub fn remove(family: Family, name: &str) -> Result<()> {
        let removed = open().and_then(|mut socket| remove(&mut socket, family, name));
        removed.doing(|| format!("remove the nftables table {name}"))
    }

    fn batch(&self, flags: u32, replace: bool) -> Vec<Message> {
        let header = self.family.header();
        let table = || Message::new(NEW_TABLE, CREATE, &header).text(TABLE_NAME, &self.name);
        let mut messages = vec![mark(BEGIN)];
        if replace {
            // Made before it is removed, so that it is no error that it was not there.
            let remove = Message::new(REMOVE_TABLE, 0, &header).text(TABLE_NAME, &self.name);
            messages.extend([table(), remove]);
        }
        messages.push(if flags == 0 { table() } else { table().number(TABLE_FLAGS, flags) });
        for chain in &self.chains {
            messages.push(chain.message(self));
            messages.extend(chain.rules.iter().map(|rule| rule.message(self, chain.name)));
        }
        messages.push(mark(END));
        messages
    }
}

impl Drop for OwnedTable {
    fn drop(&mut self) {
        // Twice as fast as leaving it to the kernel, which waits for packets on their way.
        let _ = remove(&mut self.socket, self.family, &self.name);
    }
}

fn open() -> Result<Socket, Errno> {
    Socket::open(Some(NETFILTER))
}

fn mark(kind: u16) -> Message {
    Message::new(kind, 0, &MARK)
}

fn remove(socket: &mut Socket, family: Family, name: &str) -> Result<(), Errno> {
    let message = Message::new(REMOVE_TABLE, 0, &family.header()).text(TABLE_NAME, name);
    match socket.act_together(vec![mark(BEGIN), message, mark(END)]) {
        Err(Errno::NOENT) => Ok(()),
        removed => removed,
    }
}

impl Chain {
    fn message(&self, table: &Table) -> Message {
        const TABLE: u16 = 1;
        const NAME: u16 = 3;
        const HOOK: u16 = 4;
        const KIND: u16 = 7;
        let message = Message::new(NEW_CHAIN, CREATE, &table.family.header())
            .text(TABLE, &table.name)
            .text(NAME, self.name);
        let Some(hook) = self.hook else {
            return message;
        };
        // As other programs order them: raw -300, destination -100, filter 0, source 100.
        let (number, priority, kind) = match hook {
            Hook::Raw => (0, -300_i32, "filter"),
            Hook::Incoming => (0, -100, "nat"),
            Hook::Outgoing => (3, -100, "nat"),
            Hook::Forward => (2, 0, "filter"),
            Hook::Leaving => (4, 100, "nat"),
        };
        let place = |hook: Message| hook.number(1, number).number(2, priority.cast_unsigned());
        message.nested(HOOK, place).text(KIND, kind)
    }
}

impl Rule {
    fn message(&self, table: &Table, chain: &str) -> Message {
        const TABLE: u16 = 1;
        const CHAIN: u16 = 2;
        const EXPRESSIONS: u16 = 4;
        Message::new(NEW_RULE, CREATE | APPEND, &table.family.header())
            .text(TABLE, &table.name)
            .text(CHAIN, chain)
            .nested(EXPRESSIONS, |list| {
                let list = self.matches.iter().fold(list, |list, one| one.add(list));
                self.verdict.add(list)
            })
    }
}

impl Match {
    fn add(&self, list: Message) -> Message {
        match self {
            Self::From(device) => compare(meta(list, 6), true, &device_name(device)),
            Self::To(device) => compare(meta(list, 7), true, &device_name(device)),
            Self::NotTo(device) => compare(meta(list, 7), false, &device_name(device)),
            Self::Source(address, prefix) => {
                within(list, if address.is_ipv4() { 12 } else { 8 }, *address, *prefix)
            }
            Self::Destination(address, prefix) => {
                within(list, if address.is_ipv4() { 16 } else { 24 }, *address, *prefix)
            }
            Self::ToThisMachine => {
                const LOCAL: u32 = 2;
                let list = expression(list, "fib", |fib| {
                    // The kind of the destination's address.
                    fib.number(1, FIRST).number(2, 3).number(3, 2)
                });
                compare(list, true, &LOCAL.to_ne_bytes())
            }
            Self::Port(protocol, port) => {
                let list = compare(meta(list, 16), true, &[*protocol]);
                compare(payload(list, 2, 2, 2), true, &port.to_be_bytes())
            }
            Self::Established => connection(list, 0, 2 | 4),
            Self::Redirected => connection(list, 2, 1 << 5),
        }
    }
}

impl Verdict {
    fn add(&self, list: Message) -> Message {
        match self {
            Self::Accept => decide(list, 1, None),
            Self::Drop => decide(list, 0, None),
            Self::Jump(chain) => decide(list, -3, Some(chain)),
            Self::Masquerade => expression(list, "masq", |masquerade| masquerade),
            Self::Redirect(to) => {
                const DESTINATION: u32 = 1;
                let family = if to.is_ipv4() { Family::V4 } else { Family::V6 };
                let list = load(list, FIRST, &octets(to.ip()));
                let list = load(list, SECOND, &to.port().to_be_bytes());
                expression(list, "nat", |nat| {
                    nat.number(1, DESTINATION)
                        .number(2, family.number().into())
                        .number(3, FIRST)
                        .number(5, SECOND)
                })
            }
        }
    }
}

fn expression(list: Message, name: &str, fill: impl FnOnce(Message) -> Message) -> Message {
    list.nested(1, |element| element.text(1, name).nested(2, fill))
}

/// Takes something that is known of the packet.
fn meta(list: Message, key: u32) -> Message {
    expression(list, "meta", |meta| meta.number(1, FIRST).number(2, key))
}

/// Takes bytes of the packet, from the network's header (1) or the transport's (2).
fn payload(list: Message, header: u32, offset: u32, length: u32) -> Message {
    expression(list, "payload", |payload| {
        payload.number(1, FIRST).number(2, header).number(3, offset).number(4, length)
    })
}

fn compare(list: Message, is_equal: bool, value: &[u8]) -> Message {
    expression(list, "cmp", |compare| {
        compare
            .number(1, FIRST)
            .number(2, u32::from(!is_equal))
            .nested(3, |data| data.with(1, value))
    })
}

fn mask(list: Message, mask: &[u8]) -> Message {
    expression(list, "bitwise", |bitwise| {
        let length = u32::try_from(mask.len()).expect("masks are short");
        let bitwise = bitwise.number(1, FIRST).number(2, FIRST).number(3, length);
        let none = vec![0; mask.len()];
        bitwise.nested(4, |data| data.with(1, mask)).nested(5, |data| data.with(1, &none))
    })
}

fn within(list: Message, offset: u32, address: IpAddr, prefix: u8) -> Message {
    let bytes = octets(address);
    let length = u32::try_from(bytes.len()).expect("addresses are short");
    let bits: Vec<u8> = (0..length)
        .map(|byte| u32::from(prefix).saturating_sub(byte * 8))
        .map(|left| !u8::MAX.checked_shr(left).unwrap_or_default())
        .collect();
    let list = mask(payload(list, 1, offset, length), &bits);
    let first: Vec<_> = bytes.iter().zip(&bits).map(|(byte, bits)| byte & bits).collect();
    compare(list, true, &first)
}

/// Some of these bits of the packet's connection are set.
fn connection(list: Message, key: u32, bits: u32) -> Message {
    let list = expression(list, "ct", |ct| ct.number(1, FIRST).number(2, key));
    compare(mask(list, &bits.to_ne_bytes()), false, &[0; 4])
}

fn load(list: Message, place: u32, value: &[u8]) -> Message {
    expression(list, "immediate", |load| {
        load.number(1, place).nested(2, |data| data.with(1, value))
    })
}

fn decide(list: Message, code: i32, chain: Option<&str>) -> Message {
    expression(list, "immediate", |load| {
        load.number(1, VERDICT).nested(2, |data| {
            data.nested(2, |verdict| {
                let verdict = verdict.number(1, code.cast_unsigned());
                match chain {
                    Some(chain) => verdict.text(2, chain),
                    None => verdict,
                }
            })
        })
    })
}

fn device_name(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    bytes
}
