//! Published ports, of all kinds and from everywhere.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::time::Duration;

use rbuild_testkit::free_ports;

use super::{Networked, fetched};

#[test]
fn all_exposed_ports_and_ranges_are_published() {
    let home = Networked::new();
    home.says("rbuild run -d --name all -P --expose 90-91/udp app sleep 1000");
    let shown = home.says("rbuild port all");
    let ports: Vec<_> = shown.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(ports, ["80/tcp", "80/tcp", "90/udp", "91/udp"]);
    // Whichever is free of a range.
    let port = home.port("all", "80");
    home.serves("one", &format!("-p {port}-{}:80", port + 20));
    assert_ne!(home.port("one", "80"), port);
    assert_eq!(fetched(Ipv4Addr::LOCALHOST, home.port("one", "80")).as_deref(), Some("ok"));
    for wrong in ["a", "1:2:3:4", "1-2:1-3", "80/icmp"] {
        home.0.types(&format!("rbuild run --rm -p {wrong} app true")).fails(125);
    }
}

#[test]
fn datagrams_are_published_too() {
    let home = Networked::new();
    home.says("rbuild run -d --name echo -p 127.0.0.1::53/udp app sleep 1000");
    let inside = home.within("echo", || UdpSocket::bind("0.0.0.0:53").unwrap());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", home.port("echo", "53/udp"))).unwrap();
    socket.send(b"there").unwrap();
    let mut bytes = [0; 16];
    let (length, from) = inside.recv_from(&mut bytes).unwrap();
    assert_eq!(&bytes[..length], b"there");
    inside.send_to(b"back", from).unwrap();
    let length = socket.recv(&mut bytes).unwrap();
    assert_eq!(&bytes[..length], b"back");
}

#[test]
fn a_range_is_published_port_by_port() {
    let home = Networked::new();
    let first = free_ports(3);
    let range = format!("127.0.0.1:{first}-{}:80-82", first + 2);
    home.serves("web", &format!("-p {range} -p 127.0.0.1::90-91/udp"));
    assert_eq!(fetched(Ipv4Addr::LOCALHOST, first).as_deref(), Some("ok"));
    let shown = home.says("rbuild ps --format '{{.Ports}}'");
    let ports = format!("127.0.0.1:{first}-{}->80-82/tcp", first + 2);
    assert!(shown.contains(&ports), "{shown}");
    for number in [0, 1, 2] {
        TcpListener::bind((Ipv4Addr::LOCALHOST, first + number)).unwrap_err();
    }
    // Another machine does not reach what is published on the loopback device.
    let gateway = home.inspected("web", ".NetworkSettings.Gateway");
    let ask = format!("timeout 3 wget -q -O - http://{gateway}:{first}/name");
    assert_ne!(home.inside("bridge", &ask).code, 0);
}

#[test]
fn a_port_answers_by_ipv6_too() {
    let home = Networked::new();
    home.serves("web", "-p 80 -p [::1]::80");
    let port = home.port("web", "80");
    assert_eq!(fetched(Ipv6Addr::LOCALHOST, port).as_deref(), Some("ok"), "by a proxy");
    let bound = home.says("rbuild port web 80");
    let only: u16 = bound.lines().last().unwrap().strip_prefix("[::1]:").unwrap().parse().unwrap();
    assert_eq!(fetched(Ipv6Addr::LOCALHOST, only).as_deref(), Some("ok"));
    assert_eq!(fetched(Ipv4Addr::LOCALHOST, only), None);
    // It follows the container, and goes with it.
    home.says("rbuild network create shop");
    home.says("rbuild network connect shop web && rbuild network disconnect bridge web");
    assert_eq!(fetched(Ipv6Addr::LOCALHOST, port).as_deref(), Some("ok"));
    home.says("rbuild stop -t 0 web");
    drop(TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap());
    let udp = home.0.types("rbuild run --rm -p [::1]:0:53/udp app true").fails(125);
    assert!(udp.contains("cannot read") || udp.contains("not a port"), "{udp}");
    let udp = home.0.types("rbuild run --rm -p [::1]::53/udp app true").fails(125);
    assert!(udp.contains("datagrams by IPv6 need a network with IPv6"), "{udp}");
}

#[test]
fn a_container_reaches_its_own_published_datagrams() {
    let home = Networked::new();
    home.says("rbuild run -d --name echo -p 53/udp app sleep 1000");
    let port = home.port("echo", "53/udp");
    let gateway: Ipv4Addr = home.inspected("echo", ".NetworkSettings.Gateway").parse().unwrap();
    home.within("echo", || {
        let patience = Some(Duration::from_secs(20));
        let server = UdpSocket::bind("0.0.0.0:53").unwrap();
        let client = UdpSocket::bind("0.0.0.0:0").unwrap();
        server.set_read_timeout(patience).unwrap();
        client.set_read_timeout(patience).unwrap();
        client.connect((gateway, port)).unwrap();
        client.send(b"there").unwrap();
        let mut bytes = [0; 16];
        let (length, from) = server.recv_from(&mut bytes).unwrap();
        assert_eq!(&bytes[..length], b"there");
        server.send_to(b"back", from).unwrap();
        let length = client.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..length], b"back");
    });
}
