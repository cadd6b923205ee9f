//! Bridges, pairs and tables of nftables, in a network namespace of the test's own.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rbuild_runtime::Namespace;
use rbuild_runtime::network::{
    Chain, Family, Hook, Links, Match, Pair, Rule, Table, Verdict, new_namespace, prepare, within,
};

use crate::support::{Root, start};

pub(crate) const TESTS: &[crate::Test] = &[
    ("a_bridge_joins_namespaces", a_bridge_joins_namespaces),
    ("a_table_lives_as_long_as_its_owner", a_table_lives_as_long_as_its_owner),
    ("a_table_decides_what_passes", a_table_decides_what_passes),
    ("long_addresses_are_redirected_too", long_addresses_are_redirected_too),
    (
        "a_network_made_ahead_is_one_container_s_alone",
        a_network_made_ahead_is_one_container_s_alone,
    ),
];

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A namespace that stands for the host, with a bridge, and one that stands for a container.
struct Machine {
    host: OwnedFd,
    container: OwnedFd,
    listener: TcpListener,
}

impl Machine {
    fn new() -> Self {
        let (host, mut outside) = new_namespace(Links::open).unwrap();
        outside.add_bridge("rb0", 1400).unwrap();
        let bridge = outside.find("rb0").unwrap().unwrap();
        outside.add_address(&bridge, GATEWAY, 24).unwrap();
        outside.add_address(&bridge, GATEWAY, 24).unwrap();
        outside.note(&bridge, "noted").unwrap();
        outside.bring_up(&bridge).unwrap();
        let (container, mut inside) = new_namespace(Links::open).unwrap();
        let pair = Pair {
            outside: "rbe0",
            alias: "of the test",
            bridge: &outside.find("rb0").unwrap().unwrap(),
            inside: "eth0",
            mac: [2, 0x42, 10, 9, 0, 2],
            namespace: container.as_fd(),
        };
        outside.add_pair(&pair).unwrap();
        let link = inside.find("eth0").unwrap().unwrap();
        assert_eq!(link.mtu, 1400, "that of the bridge");
        inside.add_address(&link, INSIDE, 24).unwrap();
        inside.bring_up(&link).unwrap();
        inside.add_default_route(GATEWAY).unwrap();
        let listen = || Ok(TcpListener::bind((INSIDE, 80)).unwrap());
        let listener = within(container.as_fd(), listen).unwrap();
        within(host.as_fd(), || {
            let setting = "/proc/sys/net/ipv4/conf/rb0/route_localnet";
            std::fs::write(setting, "1").unwrap();
            Ok(())
        })
        .unwrap();
        Self { host, container, listener }
    }

    /// Whether the host reaches the container by an address.
    fn reaches(&self, address: impl Into<IpAddr>, port: u16) -> bool {
        let to = SocketAddr::new(address.into(), port);
        let connect = || Ok(TcpStream::connect_timeout(&to, Duration::from_secs(5)).ok());
        let Some(mut stream) = within(self.host.as_fd(), connect).unwrap() else {
            return false;
        };
        drop(self.listener.accept().unwrap());
        stream.read(&mut [0]).unwrap() == 0
    }
}

fn a_bridge_joins_namespaces() {
    let machine = Machine::new();
    assert!(machine.reaches(INSIDE, 80));
    within(machine.host.as_fd(), || {
        let mut links = Links::open()?;
        let bridge = links.find("rb0")?.unwrap();
        assert_eq!((bridge.alias.as_str(), bridge.mtu), ("noted", 1400));
        assert_eq!(links.address(&bridge)?, Some((GATEWAY, 24)));
        let ports = links.ports(&bridge)?;
        assert_eq!(
            ports.iter().map(|port| port.alias.as_str()).collect::<Vec<_>>(),
            ["of the test"]
        );
        let routes = links.routes()?;
        let is_its = |route: &&rbuild_runtime::network::Route| {
            (route.to, route.prefix) == ([10, 9, 0, 0].into(), 24)
        };
        assert_eq!(routes.iter().find(is_its).unwrap().link, Some(bridge.index));
        assert_eq!(links.at(bridge.index)?.unwrap().name, "rb0");
        assert!(links.find("rb1")?.is_none());
        assert!(links.add_bridge("rb0", 1500).is_err(), "there is one");
        links.remove(&ports[0])?;
        assert_eq!(links.find("rb0")?.unwrap().mtu, 1400, "also without ports");
        links.remove(&bridge)?;
        assert!(links.find("rb0")?.is_none());
        Ok(())
    })
    .unwrap();
}

fn rule<const N: usize>(matches: [Match; N], verdict: Verdict) -> Rule {
    Rule { matches: matches.into(), verdict }
}

fn a_table_lives_as_long_as_its_owner() {
    let machine = Machine::new();
    let chain = |name, hook, rules| Chain { name, hook, rules };
    let to = Verdict::Redirect(SocketAddr::new(INSIDE.into(), 80));
    let on_loopback = Match::Source([127, 0, 0, 0].into(), 8);
    let table = Table {
        family: Family::V4,
        name: "redirects".to_owned(),
        chains: vec![
            chain("ports", None, vec![rule([Match::Port(6, 8080)], to)]),
            chain(
                "outgoing",
                Some(Hook::Outgoing),
                vec![rule([Match::ToThisMachine], Verdict::Jump("ports"))],
            ),
            chain(
                "leaving",
                Some(Hook::Leaving),
                vec![rule([on_loopback, Match::To("rb0".to_owned())], Verdict::Masquerade)],
            ),
        ],
    };
    assert!(!machine.reaches(LOCALHOST, 8080));
    let owned = within(machine.host.as_fd(), || table.install_owned()).unwrap();
    assert!(machine.reaches(LOCALHOST, 8080));
    assert!(machine.reaches(GATEWAY, 8080));
    assert!(!machine.reaches(LOCALHOST, 8081));
    let is_there =
        || within(machine.host.as_fd(), || Table::is_there(Family::V4, "redirects")).unwrap();
    assert!(is_there());
    drop(owned);
    assert!(!is_there());
    assert!(!machine.reaches(LOCALHOST, 8080));
}

fn a_table_decides_what_passes() {
    let machine = Machine::new();
    let incoming = |rules| Table {
        family: Family::V4,
        name: "walls".to_owned(),
        chains: vec![Chain { name: "raw", hook: Some(Hook::Raw), rules }],
    };
    let install = |table: &Table| within(machine.container.as_fd(), || table.install()).unwrap();
    let from = |name: &str| Match::From(name.to_owned());
    // As a container's table would hinder its answers.
    let gateway = Match::Destination([10, 9, 0, 0].into(), 24);
    install(&incoming(vec![rule([from("eth1")], Verdict::Drop)]));
    assert!(machine.reaches(INSIDE, 80), "another device");
    let accept = rule([Match::Established], Verdict::Accept);
    let drop_rest = rule([from("eth0"), gateway, Match::Port(6, 80)], Verdict::Drop);
    install(&incoming(vec![accept, drop_rest]));
    within(machine.host.as_fd(), || {
        let dropped = begin_to_connect(80);
        // What was sent later has come there and back, so the first has come there, too.
        let refused = TcpStream::connect((INSIDE, 81)).map_err(|error| error.kind());
        assert_eq!(refused.err(), Some(std::io::ErrorKind::ConnectionRefused));
        assert!(!is_answered(&dropped), "it passes");
        Ok(())
    })
    .unwrap();
    let remove = || within(machine.container.as_fd(), || Table::remove(Family::V4, "walls"));
    remove().unwrap();
    remove().unwrap();
    assert!(machine.reaches(INSIDE, 80));
    within(machine.host.as_fd(), || {
        let passing = begin_to_connect(80);
        drop(machine.listener.accept().unwrap());
        TcpStream::connect((INSIDE, 81)).unwrap_err();
        assert!(is_answered(&passing), "without the table it does");
        Ok(())
    })
    .unwrap();
}

/// Sends the first packet to a port of the container, and does not wait for its answer.
fn begin_to_connect(port: u16) -> OwnedFd {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
    let begun = connect(&socket, &SocketAddrV4::new(INSIDE, port));
    assert!(matches!(begun, Ok(()) | Err(rustix::io::Errno::INPROGRESS)), "{begun:?}");
    socket
}

/// Whether the answer to the first packet has come by now.
fn is_answered(socket: &OwnedFd) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut polled = [PollFd::new(socket, PollFlags::OUT)];
    poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
}

fn long_addresses_are_redirected_too() {
    const GATEWAY_6: Ipv6Addr = Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 1);
    const INSIDE_6: Ipv6Addr = Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 2);
    let mut machine = Machine::new();
    within(machine.host.as_fd(), || {
        let mut links = Links::open()?;
        let bridge = links.find("rb0")?.unwrap();
        links.add_address(&bridge, GATEWAY_6, 64)?;
        let network = (Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 0).into(), 64);
        assert!(links.routes()?.iter().any(|route| (route.to, route.prefix) == network));
        Ok(())
    })
    .unwrap();
    machine.listener = within(machine.container.as_fd(), || {
        let mut links = Links::open()?;
        let link = links.find("eth0")?.unwrap();
        links.add_address(&link, INSIDE_6, 64)?;
        links.add_default_route(GATEWAY_6)?;
        Ok(TcpListener::bind((INSIDE_6, 80)).unwrap())
    })
    .unwrap();
    assert!(machine.reaches(INSIDE_6, 80), "at once, with nobody asked");
    let to = Verdict::Redirect(SocketAddr::new(INSIDE_6.into(), 80));
    // All of the prefix's bits count, and none beyond.
    let destination = |address: Ipv6Addr, prefix| Match::Destination(address.into(), prefix);
    let near = Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 0xff);
    let table = |destination| Table {
        family: Family::V6,
        name: "redirects".to_owned(),
        chains: vec![Chain {
            name: "outgoing",
            hook: Some(Hook::Outgoing),
            rules: vec![rule(
                [Match::ToThisMachine, destination, Match::Port(6, 8080)],
                to.clone(),
            )],
        }],
    };
    let install = |table: Table| within(machine.host.as_fd(), || table.install()).unwrap();
    install(table(destination(near, 121)));
    assert!(!machine.reaches(GATEWAY_6, 8080), "another destination");
    install(table(destination(near, 120)));
    assert!(machine.reaches(GATEWAY_6, 8080));
    let is_there = |family| within(machine.host.as_fd(), || Table::is_there(family, "redirects"));
    assert!(is_there(Family::V6).unwrap() && !is_there(Family::V4).unwrap());
}

fn a_network_made_ahead_is_one_container_s_alone() {
    let root = Root::new();
    let name = || std::fs::read_link("/proc/thread-self/ns/net").unwrap().display().to_string();
    let mut seen = HashSet::from([name()]);
    let mut at_work = Vec::new();
    prepare();
    for _ in 0..4 {
        let mut container = root.container("readlink /proc/self/ns/net; ip -o link; exec sleep 60");
        container.network = Namespace::Private;
        let (running, output) = start(container);
        let mut lines = BufReader::new(output).lines().map(Result::unwrap);
        let (network, link) = (lines.next().unwrap(), lines.next().unwrap());
        assert!(link.contains("lo: <LOOPBACK,UP"), "{link}");
        assert!(seen.insert(network), "of {seen:?}");
        at_work.push(running);
    }
    let (_spare, network) = new_namespace(|| Ok(name())).unwrap();
    assert!(seen.insert(network), "of {seen:?}");
}
