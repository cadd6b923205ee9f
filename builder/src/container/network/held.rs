//! The host's ports that stand for ports of a container, held so that no other program gets them.
//!
//! Most packets never come to what holds a port: a table of nftables redirects them. What comes by
//! IPv6 to a container without it does, and goes on from there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use super::ports::{Port, Protocol, Published, Wish, all_exposed};
use super::proxy::Proxy;
use crate::container::error::{Error, Result};
use crate::container::folder::Record;
use crate::container::parse::invalid;

/// Connections that wait to be taken.
const WAITING: i32 = 128;

/// Where a container is reached: its address, and that of IPv6, if it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) address: Ipv4Addr,
    pub(crate) ipv6: Option<Ipv6Addr>,
}

impl Reached {
    /// Where what comes to an address of the host goes.
    fn of(&self, host: IpAddr) -> IpAddr {
        match (host, self.ipv6) {
            (IpAddr::V6(_), Some(address)) => address.into(),
            _ => self.address.into(),
        }
    }
}

/// Ports of the host, as long as this lives.
#[derive(Debug, Default)]
pub(crate) struct HeldPorts(Vec<Held>);

#[derive(Debug)]
enum Held {
    Tcp(#[expect(dead_code, reason = "it is held open")] TcpListener),
    Udp(#[expect(dead_code, reason = "it is held open")] UdpSocket),
    Proxy(Proxy),
}

impl HeldPorts {
    /// Takes the host's ports for those that are to be published.
    pub(crate) fn take(record: &Record, to: Reached) -> Result<(Vec<Published>, Self)> {
        let wishes = record.options.publish.iter().map(|text| text.parse::<Wish>());
        let wishes = wishes.collect::<Result<Vec<_>>>()?;
        let (mut published, mut held) = (Vec::new(), Self::default());
        let mut publish = |address, ports: (u16, u16), port: Port| {
            held.publish(address, ports, (port, to), &mut published)
        };
        for wish in &wishes {
            let (first, last) = wish.container;
            for number in first..=last {
                let port = Port { number, protocol: wish.protocol };
                let ports = match wish.host {
                    None => (0, 0),
                    // A range for one port: whichever is free.
                    Some(range) if first == last => range,
                    Some((low, _)) => (low + (number - first), low + (number - first)),
                };
                publish(wish.address, ports, port)?;
            }
        }
        if record.options.publish_all {
            let is_wished = |port: &Port| {
                wishes.iter().any(|wish| {
                    wish.protocol == port.protocol
                        && (wish.container.0..=wish.container.1).contains(&port.number)
                })
            };
            for port in all_exposed(record).into_iter().filter(|port| !is_wished(port)) {
                publish(None, (0, 0), port)?;
            }
        }
        Ok((published, held))
    }

    /// Takes the first of some ports that is free, at one address or at all of both kinds.
    fn publish(
        &mut self,
        address: Option<IpAddr>,
        (low, high): (u16, u16),
        (port, to): (Port, Reached),
        published: &mut Vec<Published>,
    ) -> Result<()> {
        let mut failure = None;
        for number in low..=high {
            match hold(address, number, port, to) {
                Ok(taken) => {
                    for (host, held) in taken {
                        let container = SocketAddr::new(to.of(host.ip()), port.number);
                        published.push(Published { protocol: port.protocol, host, container });
                        self.0.push(held);
                    }
                    return Ok(());
                }
                Err(source) => {
                    let address = SocketAddr::new(address.unwrap_or(ANY), number);
                    let port = format!("{address}/{}", port.protocol);
                    failure = Some(Error::Port { port, source });
                }
            }
        }
        Err(failure.unwrap_or_else(|| invalid("publish", "", "an empty range")))
    }

    /// Follows the container to another address.
    pub(crate) fn aim(&self, published: &mut [Published], to: Reached) {
        for (held, one) in self.0.iter().zip(published) {
            one.container.set_ip(to.of(one.host.ip()));
            if let Held::Proxy(proxy) = held {
                proxy.aim(one.container);
            }
        }
    }
}

const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const ANY_6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
/// How often another port is tried where any is good, and one kind of address has it no more.
const TRIES: usize = 16;

/// Holds a port of one address; without one, of all, by IPv6 too where the machine has it.
fn hold(
    address: Option<IpAddr>,
    number: u16,
    port: Port,
    to: Reached,
) -> io::Result<Vec<(SocketAddr, Held)>> {
    let hold = |address, number| hold_one(SocketAddr::new(address, number), port, to);
    if let Some(address) = address {
        return hold(address, number).map(|held| vec![held]);
    }
    // A datagram by IPv6 finds only a container that has it, too.
    let by_both = port.protocol == Protocol::Tcp || to.ipv6.is_some();
    let mut tries = 0;
    loop {
        let first = hold(ANY, number)?;
        if !by_both {
            return Ok(vec![first]);
        }
        tries += 1;
        match hold(ANY_6, first.0.port()) {
            Ok(second) => return Ok(vec![first, second]),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if number != 0 || tries == TRIES {
                    return Err(error);
                }
            }
            Err(_) => return Ok(vec![first]),
        }
    }
}

fn hold_one(host: SocketAddr, port: Port, to: Reached) -> io::Result<(SocketAddr, Held)> {
    if host.is_ipv6() && to.ipv6.is_none() && port.protocol == Protocol::Udp {
        let reason = "datagrams by IPv6 need a network with IPv6";
        return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
    }
    let kind = match port.protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let family = if host.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    if host.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if port.protocol == Protocol::Udp {
        bind(&socket, &host)?;
        let socket = UdpSocket::from(socket);
        return Ok((socket.local_addr()?, Held::Udp(socket)));
    }
    let listener = listening(socket, host)?;
    let taken = listener.local_addr()?;
    let held = match host.ip() {
        IpAddr::V4(_) => Held::Tcp(listener),
        IpAddr::V6(address) => {
            let to = SocketAddr::new(to.of(address.into()), port.number);
            Held::Proxy(Proxy::start(listener, to)?)
        }
    };
    Ok((taken, held))
}

fn listening(socket: OwnedFd, host: SocketAddr) -> io::Result<TcpListener> {
    // What the last one left in the kernel for a minute does not hinder the next.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &host)?;
    listen(&socket, WAITING)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::sample::record;

    const TO: Reached = Reached { address: Ipv4Addr::new(10, 0, 0, 2), ipv6: None };

    #[test]
    fn a_port_is_held_until_it_is_let_go() {
        let mut record = record();
        record.options.publish = vec!["127.0.0.1::80".to_owned()];
        let (published, held) = HeldPorts::take(&record, TO).unwrap();
        let host = published[0].host;
        assert_eq!(published[0].container, (TO.address, 80).into());
        record.options.publish = vec![format!("{host}:80")];
        assert!(matches!(HeldPorts::take(&record, TO), Err(Error::Port { .. })));
        record.options.publish = vec![format!("127.0.0.1:{}-{}:80", host.port(), host.port() + 9)];
        assert_ne!(HeldPorts::take(&record, TO).unwrap().0[0].host, host, "another of the range");
        drop(held);
        record.options.publish = vec![format!("{host}:80")];
        assert_eq!(HeldPorts::take(&record, TO).unwrap().0, published);
    }

    #[test]
    fn all_exposed_ports_are_published_once() {
        let mut record = record();
        record.config.exposed_ports = ["80/tcp".to_owned(), "53/udp".to_owned()].into();
        record.options.expose = vec!["90-91".to_owned()];
        record.options.publish = vec!["127.0.0.1::80".to_owned()];
        record.options.publish_all = true;
        let (published, _held) = HeldPorts::take(&record, TO).unwrap();
        let by_v4 = published.iter().filter(|one| one.host.is_ipv4());
        let mut ports: Vec<_> = by_v4.map(|one| one.port().to_string()).collect();
        ports.sort();
        assert_eq!(ports, ["53/udp", "80/tcp", "90/tcp", "91/tcp"]);
    }

    #[test]
    fn a_port_of_all_addresses_is_the_same_by_both_kinds() {
        let mut record = record();
        record.options.publish = vec!["80".to_owned(), "53/udp".to_owned()];
        let (mut published, held) = HeldPorts::take(&record, TO).unwrap();
        let shown: Vec<_> = published.iter().map(|one| one.host.ip().to_string()).collect();
        assert_eq!(shown, ["0.0.0.0", "::", "0.0.0.0"], "datagrams need IPv6 on both sides");
        assert_eq!(published[0].host.port(), published[1].host.port());
        // Whatever holds one of them holds both.
        let port = published[0].host.port();
        TcpListener::bind((Ipv6Addr::LOCALHOST, port)).unwrap_err();
        let ipv6 = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
        held.aim(&mut published, Reached { ipv6: Some(ipv6), ..TO });
        assert_eq!(published[1].container, (ipv6, 80).into());
        assert_eq!(published[0].container, (TO.address, 80).into());
        drop(held);
        let six = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap();
        record.options.publish = vec![format!("{port}:80")];
        assert!(
            matches!(HeldPorts::take(&record, TO), Err(Error::Port { .. })),
            "half is not taken"
        );
        drop(six);
    }
}
