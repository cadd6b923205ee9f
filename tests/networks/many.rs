//! Many containers at once, and one again and again.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use super::names::{by_connection, question};
use super::{Networked, SERVE, devices_of, fetched, vanish};

#[test]
fn many_start_at_once_with_an_address_a_port_and_a_name_each() {
    const MANY: usize = 50;
    let home = Networked::new();
    home.says("rbuild network create --subnet 10.123.46.0/26 crowd");
    home.0.write("serve", SERVE.strip_prefix("sh -c '").unwrap().trim_end_matches('\''));
    let starts = format!(
        "for i in $(seq {MANY}); do rbuild run -d --name c$i -h c$i --network-alias all -p 80 \
         --network crowd app sh -c \"$(cat serve)\" & done; wait"
    );
    let ids: BTreeSet<_> = home.says(&starts).lines().map(str::to_owned).collect();
    let names = || (1..=MANY).map(|one| format!("c{one}"));
    let addresses: BTreeSet<_> = names().map(|name| home.address(&name)).collect();
    let ports: BTreeSet<_> = names().map(|name| home.port(&name, "80")).collect();
    let counts = (ids.len(), addresses.len(), ports.len());
    assert_eq!(counts, (MANY, MANY, MANY), "{addresses:?} {ports:?}");
    assert!(ids.iter().all(|id| devices_of(id).len() == 1));
    let asking = format!(
        "for i in $(seq {MANY}); do until wget -q -O - http://c$i/name; do sleep 0.05; done; done"
    );
    let heard = home.inside("crowd", &asking).ok();
    assert_eq!(heard.lines().map(str::to_owned).collect::<Vec<_>>(), names().collect::<Vec<_>>());
    for port in &ports {
        assert_eq!(fetched(Ipv4Addr::LOCALHOST, *port).as_deref(), Some("ok"), "{port}");
    }
    // Their common name has more addresses than a packet takes: the rest is asked for over TCP.
    home.within("c1", || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.send_to(&question(3, "all"), "127.0.0.11:53").unwrap();
        let mut answer = [0; 4096];
        let length = socket.recv(&mut answer).unwrap();
        assert!(length <= 512 && answer[2] & 2 != 0, "{length} {}", answer[2]);
        let whole = &by_connection(&[question(3, "all")])[0];
        assert_eq!((usize::from(whole[7]), whole[2] & 2), (MANY, 0));
    });
    home.says("rbuild ps -q | xargs rbuild rm -f");
    for id in &ids {
        vanish(id);
    }
}

#[test]
fn a_network_that_is_full_says_so() {
    let home = Networked::new();
    home.says("rbuild network create --subnet 10.123.47.0/30 small");
    home.says("rbuild run -d --network small app sleep 1000");
    let full = home.0.types("rbuild run --rm --network small app true").fails(125);
    assert!(full.contains("no address of 10.123.47.0/30 is free"), "{full}");
}

#[test]
fn a_container_with_an_address_of_its_own_starts_again_at_once() {
    let home = Networked::new();
    home.says("rbuild network create --subnet 10.123.48.0/29 shop");
    let id = home.serves("web", "--network shop --ip 10.123.48.5 -p 80");
    for _ in 0..8 {
        // Without its monitor nobody takes its device away but the kernel, some time.
        let first = home.inspected("web", ".State.Pid");
        let status = std::fs::read_to_string(format!("/proc/{first}/status")).unwrap();
        let monitor = status.lines().find_map(|line| line.strip_prefix("PPid:\t")).unwrap();
        home.says(&format!("kill -9 {monitor}"));
        rbuild_testkit::eventually("its end", || {
            (home.says("rbuild ps -q").is_empty()).then_some(())
        });
        home.says("rbuild start web");
        assert_eq!(home.address("web"), "10.123.48.5");
    }
    home.says("rbuild restart -t 0 web");
    assert_eq!(home.address("web"), "10.123.48.5");
    home.says("rbuild rm -f web");
    vanish(&id);
}
