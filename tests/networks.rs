//! Networks of containers: names, published ports, walls, and what stays behind: nothing.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use rbuild_testkit::{Home, eventually};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::home;

mod ipv6;
mod many;
mod names;
mod ports;
mod verbs;

/// A server in the image's `/srv`, which says who it is.
const SERVE: &str = "sh -c 'hostname >/srv/name; echo ok >/srv/ok; exec httpd -f -p 80 -h /srv'";

/// A home whose networks go with it.
struct Networked(Home);

impl Networked {
    fn new() -> Self {
        let home = home();
        home.builds("app", "FROM busybox\nRUN mkdir -p /srv\nEXPOSE 80\n").ok();
        Self(home)
    }

    fn says(&self, line: &str) -> String {
        self.0.types(line).ok()
    }

    /// Starts a server, and waits until it answers.
    fn serves(&self, name: &str, flags: &str) -> String {
        let line = format!("rbuild run -d --name {name} -h {name} {flags} app {SERVE}");
        let id = self.says(&line);
        let ask = format!("rbuild exec {name} wget -q -O - http://127.0.0.1/ok");
        eventually("a server", || (self.0.types(&ask).code == 0).then_some(()));
        id
    }

    fn inspected(&self, name: &str, template: &str) -> String {
        self.says(&format!("rbuild inspect -f '{{{{{template}}}}}' {name}"))
    }

    /// The address of a container in its only network.
    fn address(&self, name: &str) -> String {
        self.inspected(name, "range .NetworkSettings.Networks}}{{.IPAddress}}{{end")
    }

    fn port(&self, name: &str, port: &str) -> u16 {
        let bound = self.says(&format!("rbuild port {name} {port}"));
        bound.lines().next().unwrap().parse::<SocketAddr>().unwrap().port()
    }

    /// Does something in the network of a container, from this process.
    fn within<T: Send>(&self, name: &str, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/proc/{}/ns/net", self.inspected(name, ".State.Pid"));
        let namespace = fs::File::open(path).unwrap();
        std::thread::scope(|scope| {
            let inside = || {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(namespace.as_fd(), kind).unwrap();
                work()
            };
            scope.spawn(inside).join().unwrap()
        })
    }

    /// Runs a script in a container of a network, for its exit code and what it says.
    fn inside(&self, network: &str, script: &str) -> rbuild_testkit::Ran {
        self.0.types(&format!("rbuild run --rm --network {network} app sh -c '{script}; exit $?'"))
    }
}

impl Drop for Networked {
    fn drop(&mut self) {
        let line = "rbuild ps -aq | xargs -r rbuild rm -f -v; rbuild network prune -f";
        let _ = self.0.types(line);
    }
}

/// What a server of the host's says for `/ok`; none when nobody is there.
fn fetched(address: impl Into<IpAddr>, port: u16) -> Option<String> {
    let address = SocketAddr::from((address.into(), port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(20)).ok()?;
    stream.write_all(b"GET /ok HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.rsplit_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned())
}

/// The host's ends of pairs whose other end is a container's.
fn devices_of(id: &str) -> BTreeSet<String> {
    let mut devices = BTreeSet::new();
    for entry in fs::read_dir("/sys/class/net").unwrap() {
        let entry = entry.unwrap();
        let alias = fs::read_to_string(entry.path().join("ifalias")).unwrap_or_default();
        if alias.contains(id) {
            devices.insert(entry.file_name().into_string().unwrap());
        }
    }
    devices
}

/// The kernel takes a namespace's devices away when it gets round to it.
fn vanish(id: &str) {
    eventually("the end of a container's devices", || devices_of(id).is_empty().then_some(()));
}

#[test]
fn containers_reach_each_other_by_name() {
    let home = Networked::new();
    home.says("rbuild network create shop");
    let id = home.serves("web", "--network shop --network-alias www");
    for name in ["web", "www", "WWW", &id[..12], "web.shop"] {
        let said = home.inside("shop", &format!("wget -q -O - http://{name}/name"));
        assert_eq!(said.ok(), "web", "{name}");
    }
    assert_ne!(home.inside("shop", "wget -q -O - http://other/name").code, 0);
    let address = home.address("web");
    let said = home.inside("shop", &format!("nslookup {address}")).ok();
    assert!(said.contains("web.shop"), "{said}");
    // A server that comes later, and one that has gone.
    let asking = "i=0; until wget -q -O - http://late/name; do sleep 0.05; done";
    let waiting = home.0.starts(&format!("rbuild run --rm --network shop app sh -c '{asking}'"));
    home.serves("late", "--network shop");
    assert_eq!(waiting.wait().ok(), "late");
    home.says("rbuild rm -f web");
    assert_ne!(home.inside("shop", "wget -q -O - http://web/name").code, 0);
    // In the default network nobody has a name, as with docker.
    let address = {
        home.serves("plain", "");
        home.address("plain")
    };
    assert_eq!(home.inside("bridge", &format!("wget -q -O - http://{address}/name")).ok(), "plain");
    assert_ne!(home.inside("bridge", "wget -q -O - http://plain/name").code, 0);
}

#[test]
fn published_ports_answer_everywhere() {
    let home = Networked::new();
    let id = home.serves("web", "-p 80 -p 127.0.0.1::81");
    let port = home.port("web", "80");
    let gateway: Ipv4Addr = home.inspected("web", ".NetworkSettings.Gateway").parse().unwrap();
    assert_eq!(fetched(Ipv4Addr::LOCALHOST, port).as_deref(), Some("ok"));
    assert_eq!(fetched(gateway, port).as_deref(), Some("ok"));
    let ask = format!("wget -q -O - http://{gateway}:{port}/name");
    assert_eq!(home.inside("bridge", &ask).ok(), "web", "from the same network");
    assert_eq!(home.says(&format!("rbuild exec web {ask}")), "web", "from the container itself");
    home.says("rbuild network create shop");
    assert_eq!(home.inside("shop", &ask).ok(), "web", "from another network");
    assert_eq!(home.inside("host", &ask).ok(), "web", "from the host's network");

    let shown = home.says("rbuild ps --format '{{.Ports}}'");
    let only_here = home.says("rbuild port web 81/tcp");
    assert!(only_here.starts_with("127.0.0.1:"), "{only_here}");
    let both = format!("0.0.0.0:{port}->80/tcp, [::]:{port}->80/tcp");
    assert_eq!(shown, format!("{both}, {only_here}->81/tcp"));
    let all = home.says("rbuild port web");
    let both = format!("80/tcp -> 0.0.0.0:{port}\n80/tcp -> [::]:{port}");
    assert_eq!(all, format!("{both}\n81/tcp -> {only_here}"));
    home.0.types("rbuild port web 82").fails(1);
    let ports = home.inspected("web", "json .NetworkSettings.Ports");
    assert!(ports.contains(&format!("\"HostPort\":\"{port}\"")), "{ports}");

    let taken = home.0.types(&format!("rbuild run --rm -p {port}:80 app true")).fails(125);
    assert!(taken.contains(&format!("0.0.0.0:{port}/tcp")), "{taken}");
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap_err();
    home.says("rbuild stop -t 0 web");
    drop(TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
    assert_eq!(fetched(Ipv4Addr::LOCALHOST, port), None);
    vanish(&id);
}

#[test]
fn networks_are_apart() {
    let home = Networked::new();
    home.says("rbuild network create --internal vault");
    home.says("rbuild network create shop");
    home.serves("web", "--network shop");
    home.serves("safe", "--network vault");
    let (web, safe) = (home.address("web"), home.address("safe"));
    let ask = |network: &str, address: &str| {
        home.inside(network, &format!("timeout 3 wget -q -O - http://{address}/ok")).code == 0
    };
    assert!(ask("shop", &web) && ask("vault", &safe), "within a network");
    assert!(!ask("bridge", &web) && !ask("vault", &web) && !ask("shop", &safe));
    assert!(!ask("shop", "web.vault") && !ask("bridge", "web"), "names are apart, too");
    // The host reaches all, and what is not published is reached from nowhere else.
    assert_eq!(fetched(web.parse::<Ipv4Addr>().unwrap(), 80).as_deref(), Some("ok"));
    // What listens on the host's loopback device is for the host only.
    let own = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = own.local_addr().unwrap().port();
    let gateway = home.inspected("web", "range .NetworkSettings.Networks}}{{.Gateway}}{{end");
    let ask = format!("timeout 3 wget -q -O - http://{gateway}:{port}/");
    assert_ne!(home.inside("shop", &ask).code, 0);
    let routed = format!(
        "ip addr del 127.0.0.1/8 dev lo && ip route add 127.0.0.1 via {gateway} dev eth0 && \
         ip route get 127.0.0.1 | grep via && nc -w 2 127.0.0.1 {port} </dev/null"
    );
    let line = "rbuild run --rm --cap-add NET_ADMIN --sysctl net.ipv4.conf.all.route_localnet=1";
    let called = home.0.types(&format!("{line} --network shop app sh -c '{routed}'"));
    own.set_nonblocking(true).unwrap();
    assert!(own.accept().is_err(), "{called}");
    assert!(called.stdout.contains(&format!("127.0.0.1 via {gateway} dev eth0")), "{called}");
}

#[test]
fn a_container_moves_between_networks() {
    let home = Networked::new();
    for name in ["front", "back"] {
        home.says(&format!("rbuild network create {name}"));
    }
    home.serves("web", "--network front -p 80");
    let port = home.port("web", "80");
    let ask = |network: &str, name: &str| {
        home.inside(network, &format!("timeout 3 wget -q -O - http://{name}/ok")).code == 0
    };
    assert!(!ask("back", "web"));
    home.says("rbuild network connect --alias api back web");
    assert!(ask("back", "web") && ask("back", "api") && ask("front", "web"));
    assert!(!ask("front", "api"), "an alias is one network's");
    home.0.types("rbuild network connect back web").fails(1);
    assert_eq!(home.says("rbuild ps --format '{{.Networks}}'"), "front,back");
    home.says("rbuild network disconnect front web");
    assert!(!ask("front", "web") && ask("back", "web"));
    assert_eq!(fetched(Ipv4Addr::LOCALHOST, port).as_deref(), Some("ok"), "by the other network");
    home.0.types("rbuild network disconnect front web").fails(1);
    home.0.types("rbuild network rm back").fails(1);
    home.says("rbuild stop -t 0 web");
    home.says("rbuild network disconnect back web");
    home.says("rbuild network connect front web");
    home.says("rbuild network rm back");
    home.says("rbuild start web");
    eventually("the server again", || ask("front", "web").then_some(()));
    // Two from the start.
    home.says("rbuild network create side");
    let two =
        "rbuild run --rm --network front --network name=side,alias=both app ls /sys/class/net";
    assert_eq!(home.says(two).split_whitespace().collect::<Vec<_>>(), ["eth0", "eth1", "lo"]);
}

#[test]
fn networks_are_made_listed_and_removed() {
    let home = Networked::new();
    let id = home.says("rbuild network create --label team=a --subnet 10.123.45.0/24 lab");
    assert_eq!(id.len(), 64);
    let listed = home.says("rbuild network ls --format '{{.Name}} {{.Driver}} {{.Scope}}'");
    assert_eq!(listed, "bridge bridge local\nhost host local\nlab bridge local\nnone null local");
    assert_eq!(home.says("rbuild network ls -q --no-trunc -f label=team=a"), id);
    assert_eq!(home.says("rbuild network ls -q -f type=custom"), id[..12]);
    let seen = home.says("rbuild network inspect lab");
    for part in
        ["\"Subnet\": \"10.123.45.0/24\"", "\"Gateway\": \"10.123.45.1\"", "\"team\": \"a\""]
    {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    assert!(home.says("rbuild network inspect none host bridge").contains("\"Driver\": \"null\""));

    home.serves("web", "--network lab --ip 10.123.45.9 --mac-address 02:42:0a:00:00:09");
    assert_eq!(home.address("web"), "10.123.45.9");
    assert_eq!(home.says("rbuild exec web cat /sys/class/net/eth0/address"), "02:42:0a:00:00:09");
    assert!(
        home.says("rbuild network inspect lab").contains("\"IPv4Address\": \"10.123.45.9/24\"")
    );
    let again = home.0.types("rbuild run --rm --network lab --ip 10.123.45.9 app true").fails(125);
    assert!(again.contains("another container has it"), "{again}");
    home.0.types("rbuild run --rm --network lab --ip 10.9.9.9 app true").fails(125);
    home.0.types("rbuild run --rm --ip 172.17.0.9 app true").fails(125);
    home.0.types("rbuild network rm lab").fails(1);

    home.0.types("rbuild network create lab").fails(1);
    home.0.types("rbuild network create --subnet 10.123.45.128/25 other").fails(1);
    home.0.types("rbuild network create host").fails(1);
    home.0.types("rbuild network rm bridge").fails(1);
    home.0.types("rbuild network rm nothing").fails(1);
    home.0.types("rbuild network inspect nothing").fails(1);
    let none = home.0.types("rbuild run --rm --network nothing app true").fails(125);
    assert!(none.contains("network nothing not found"), "{none}");
    home.0.types("rbuild run --rm --link web app true").fails(125);

    home.says("rbuild rm -f web");
    let device = format!("/sys/class/net/rb-{}", &id[..12]);
    assert!(fs::exists(&device).unwrap());
    assert_eq!(home.says(&format!("rbuild network rm {}", &id[..12])), "lab");
    assert!(!fs::exists(&device).unwrap());
    home.says("rbuild network create idle");
    assert!(home.says("rbuild network prune -f").contains("idle"));
}

#[test]
fn a_network_can_be_shared() {
    let home = Networked::new();
    home.says("rbuild network create shop");
    home.serves("web", "--network shop --add-host far:10.1.2.3 --add-host up:host-gateway");
    let side = |script: &str| home.inside("container:web", script).ok();
    assert_eq!(side("wget -q -O - http://127.0.0.1/name"), "web");
    assert_eq!(side("wget -q -O - http://web/name"), "web", "with the other's names");
    assert_eq!(side("grep far /etc/hosts | cut -f1"), "10.1.2.3");
    assert_eq!(side("grep nameserver /etc/resolv.conf"), "nameserver 127.0.0.11");
    let own = home.address("web");
    assert_eq!(home.says("rbuild exec web sh -c 'grep web /etc/hosts | cut -f1'"), own);
    let up = home.says("rbuild exec web sh -c 'grep up$ /etc/hosts | cut -f1'");
    assert_eq!(up, home.inspected("web", "range .NetworkSettings.Networks}}{{.Gateway}}{{end"));
    home.0.types("rbuild run --rm --network container:web -p 80 app true").fails(125);
    assert_eq!(home.inside("none", "ls /sys/class/net").ok(), "lo");
}

#[test]
fn nothing_stays_of_what_was_killed() {
    let home = Networked::new();
    home.says("rbuild network create shop");
    let id = home.serves("web", "--network shop -p 80");
    let (port, address) = (home.port("web", "80"), home.address("web"));
    assert_eq!(devices_of(&id).len(), 1);
    let first = home.inspected("web", ".State.Pid");
    let status = fs::read_to_string(format!("/proc/{first}/status")).unwrap();
    let monitor = status.lines().find_map(|line| line.strip_prefix("PPid:\t")).unwrap();
    home.says(&format!("kill -9 {monitor}"));
    vanish(&id);
    // The port is free, and what comes to it goes nowhere else.
    let own = eventually("its port", || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).ok());
    let called = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    assert_eq!(own.accept().unwrap().1, called.local_addr().unwrap());
    drop((own, called));
    assert_ne!(
        home.inside("shop", "timeout 3 wget -q -O - http://web/ok").code,
        0,
        "its name is gone"
    );
    assert_eq!(home.says("rbuild ps -q"), "");
    let again = format!("rbuild run --rm --network shop --ip {address} app true");
    home.says(&again);
    home.says("rbuild start web");
    eventually("the server again", || {
        (home.inside("shop", "timeout 3 wget -q -O - http://web/ok").code == 0).then_some(())
    });
    home.says("rbuild rm -f web");
    vanish(&id);
    // One that is watched by the process that was typed.
    let run = home.0.starts("rbuild run --name fore --network shop -p 80 app sleep 1000");
    let id = eventually("its start", || {
        let seen = home.0.types("rbuild ps -q --no-trunc");
        (seen.stdout.trim().len() == 64).then(|| seen.stdout.trim().to_owned())
    });
    assert_eq!(devices_of(&id).len(), 1);
    run.signal(rustix::process::Signal::KILL);
    let _ = run.wait();
    vanish(&id);
    home.says("rbuild rm fore && rbuild network rm shop");
    let left = fs::read_dir(home.0.store().join("networks")).unwrap().count();
    assert_eq!(left, 0, "the network's folder");
}

#[test]
fn where_no_network_can_be_made_it_is_said_what_can() {
    let home = Networked::new();
    let without = "setpriv --bounding-set -net_admin rbuild";
    for line in ["run --rm app true", "run -d app true", "network create shop"] {
        let ran = home.0.types(&format!("{without} {line}"));
        assert_ne!(ran.code, 0, "{ran}");
        assert!(ran.stderr.contains("hint:") && ran.stderr.contains("`--network host`"), "{ran}");
    }
    assert_eq!(home.says(&format!("{without} run --rm --network host app echo well")), "well");
    assert_eq!(home.says("rbuild network ls -q -f type=custom"), "", "nothing half made");
}
