//! Networks with IPv6.

use std::fs;
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use super::{Networked, fetched};

#[test]
fn containers_reach_each_other_and_the_world_by_ipv6() {
    let home = Networked::new();
    home.says("rbuild network create --ipv6 --subnet fd00:7e57:1::/64 one");
    home.says(
        "rbuild network create --ipv6 --subnet fd00:7e57:2::/64 --gateway fd00:7e57:2::9 two",
    );
    home.serves("web", "--network one -p 80 -p 53/udp");
    home.serves("other", "--network two -p 81");
    assert_eq!(
        home.inspected("web", ".NetworkSettings.Networks.one.GlobalIPv6Address"),
        "fd00:7e57:1::2"
    );
    let ask = |network: &str, host: &str| {
        let script = format!("timeout 5 wget -q -O - http://{host}/name");
        home.inside(network, &script).stdout.trim().to_owned()
    };
    assert_eq!(ask("one", "[fd00:7e57:1::2]"), "web");
    let found = home.inside("one", "nslookup -type=aaaa web").ok();
    assert!(found.contains("fd00:7e57:1::2"), "{found}");
    let named = home.inside("one", "nslookup fd00:7e57:1::2").ok();
    assert!(named.contains("web.one"), "{named}");
    // By its published port from another network, and by nothing else.
    let port = home.port("web", "80");
    assert_eq!(ask("two", &format!("[fd00:7e57:1::1]:{port}")), "web");
    assert_eq!(ask("one", &format!("[fd00:7e57:1::1]:{port}")), "web", "also from its own");
    assert_eq!(ask("two", "[fd00:7e57:1::2]"), "");
    let gateway: Ipv6Addr = "fd00:7e57:1::1".parse().unwrap();
    for address in [gateway, Ipv6Addr::LOCALHOST] {
        assert_eq!(fetched(address, port).as_deref(), Some("ok"), "{address}");
    }
    // What leaves does so in the host's name.
    let listener = home.within("other", || TcpListener::bind("[::]:81").unwrap());
    let outer = home.port("other", "81");
    home.within("web", || TcpStream::connect((gateway, outer)).unwrap());
    let caller = listener.accept().unwrap().1.ip();
    assert_eq!(caller.to_string(), "fd00:7e57:2::9");
    // Datagrams, too.
    let inside = home.within("web", || UdpSocket::bind("[::]:53").unwrap());
    inside.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let socket = UdpSocket::bind("[::]:0").unwrap();
    socket.send_to(b"there", (gateway, home.port("web", "53/udp"))).unwrap();
    assert_eq!(inside.recv(&mut [0; 16]).unwrap(), 5);
}

#[test]
fn addresses_of_ipv6_are_chosen_and_moved_with() {
    let home = Networked::new();
    let id = home.says("rbuild network create --ipv6 --subnet fd00:7e57:3::/112 lab");
    home.says("rbuild network create plain");
    home.serves("web", "--network plain -p 80");
    assert_eq!(home.says("rbuild exec web cat /proc/net/if_inet6").lines().count(), 1, "of lo");
    home.says("rbuild network connect --ip6 fd00:7e57:3::aa lab web");
    let route = "ip -6 route show default";
    assert_eq!(
        home.says(&format!("rbuild exec web {route}")).split_whitespace().nth(2),
        Some("fd00:7e57:3::1")
    );
    let port = home.port("web", "80");
    assert_eq!(fetched(Ipv6Addr::LOCALHOST, port).as_deref(), Some("ok"));
    home.says("rbuild network disconnect lab web");
    assert_eq!(home.says(&format!("rbuild exec web {route}")), "");
    let run = |flags: &str| home.0.types(&format!("rbuild run --rm {flags} app cat /etc/hosts"));
    assert!(run("-h me --network lab --ip6 fd00:7e57:3::bb").ok().contains("fd00:7e57:3::bb\tme"));
    home.serves("held", "--network name=lab,ip6=fd00:7e57:3::3");
    assert!(run("--network lab --ip6 fd00:7e57:3::3").fails(125).contains("another container"));
    run("--network lab --ip6 fd00:7e57:4::3").fails(125);
    run("--network plain --ip6 fd00:7e57:3::3").fails(125);
    run("--ip6 fd00:7e57:3::3").fails(125);
    // The next has another number, since that one's is taken.
    let next = home.inside("lab", "ip -6 addr show dev eth0").ok();
    assert!(next.contains("fd00:7e57:3::4/112"), "{next}");

    let seen = home.says("rbuild network inspect lab");
    for part in [
        "\"EnableIPv6\": true",
        "\"Subnet\": \"fd00:7e57:3::/112\"",
        "\"IPv6Address\": \"fd00:7e57:3::3/112\"",
    ] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    assert_eq!(home.says("rbuild network ls -f name=lab --format '{{.IPv6}}'"), "true");
    for wrong in [
        "--subnet fd00:7e57:3::/64",
        "--ipv6 --gateway fd00::1",
        "--subnet fd00:7e57:5::/64 --gateway fd00:7e57:6::1",
        "--subnet fd00::/64 --subnet fd01::/64",
    ] {
        let refused = home.0.types(&format!("rbuild network create {wrong} other"));
        assert_ne!(refused.code, 0, "{refused}");
    }
    home.says("rbuild network create --ipv6 any");
    assert!(home.says("rbuild network inspect any").contains("\"Subnet\": \"fd"));
    let device = format!("/sys/class/net/rb-{}", &id[..12]);
    home.says("rbuild rm -f held && rbuild network rm lab");
    assert!(!fs::exists(device).unwrap());
}

/// Whoever has a network could otherwise tell the host, or the other containers, where the world is.
#[test]
fn nobody_believes_routers_in_a_network() {
    let home = Networked::new();
    let read = |bridge: &str, setting: &str| {
        let path = format!("/proc/sys/net/ipv6/conf/{bridge}/{setting}");
        fs::read_to_string(path).unwrap().trim().to_owned()
    };
    for (flags, is_off) in [("", "1"), ("--ipv6 ", "0")] {
        let id = home.says(&format!("rbuild network create {flags}shop"));
        let bridge = format!("rb-{}", &id[..12]);
        assert_eq!(read(&bridge, "disable_ipv6"), is_off);
        assert_eq!(read(&bridge, "accept_ra"), "0");
        let inside = "cd /proc/sys/net/ipv6/conf/eth0; cat disable_ipv6 accept_ra";
        let said = home.inside("shop", inside).ok();
        assert_eq!(said.split_whitespace().collect::<Vec<_>>(), [is_off, "0"]);
        home.says("rbuild network rm shop");
    }
}
