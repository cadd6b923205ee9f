//! What networks can be told, and what is asked about them.

use std::fs;

use super::{Networked, devices_of};

#[test]
fn networks_are_made_as_their_options_say() {
    let home = Networked::new();
    let device = format!("e2e{}", std::process::id());
    let options =
        "-o com.docker.network.driver.mtu=1280 -o com.docker.network.bridge.enable_icc=true";
    let range = "--subnet 10.123.49.0/24 --gateway 10.123.49.254 --ip-range 10.123.49.16/29";
    let make = format!(
        "rbuild network create {range} --aux-address printer=10.123.49.17 {options} \
         -o com.docker.network.bridge.name={device} lab"
    );
    home.says(&make);
    let mtu = fs::read_to_string(format!("/sys/class/net/{device}/mtu")).unwrap();
    assert_eq!(mtu.trim(), "1280");
    let seen = home.inside("lab", "ip addr show eth0; ip route").ok();
    for part in ["mtu 1280", "10.123.49.18/24", "default via 10.123.49.254"] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    let seen = home.says("rbuild network inspect lab");
    for part in [
        "\"IPRange\": \"10.123.49.16/29\"",
        "\"printer\": \"10.123.49.17\"",
        "\"com.docker.network.driver.mtu\": \"1280\"",
    ] {
        assert!(seen.contains(part), "{part}: {seen}");
    }
    // The device is the network's, and goes with it; nobody else's does.
    let again = home
        .0
        .types(&format!("rbuild network create -o com.docker.network.bridge.name={device} other"));
    assert!(again.code != 0 && again.stderr.contains("there is one already"), "{again}");
    assert!(fs::exists(format!("/sys/class/net/{device}")).unwrap());
    home.says("rbuild network rm lab");
    assert!(!fs::exists(format!("/sys/class/net/{device}")).unwrap());
    for wrong in [
        "-d macvlan",
        "--driver host",
        "-o com.docker.network.bridge.enable_icc=false",
        "-o parent=eth0",
        "-o com.docker.network.bridge.name=a/b",
        "-o com.docker.network.driver.mtu=1",
        "--ip-range 10.123.49.0/28",
        "--subnet 10.123.49.0/24 --ip-range 10.123.50.0/28",
        "--subnet 10.123.49.0/24 --aux-address a=10.123.50.1",
        "--config-only",
    ] {
        let refused = home.0.types(&format!("rbuild network create {wrong} other"));
        let option = wrong.rsplit_once("--").map_or(wrong, |(_, last)| last);
        let name = option.split([' ', '=']).next().unwrap().trim_start_matches('-');
        assert!(refused.code != 0 && refused.stderr.contains(name), "{name}: {refused}");
    }
    assert_eq!(home.says("rbuild network ls -q -f type=custom"), "", "nothing half made");
}

#[test]
fn networks_are_found_by_what_is_true_of_them() {
    let home = Networked::new();
    for name in ["used", "idle"] {
        home.says(&format!("rbuild network create {name}"));
    }
    let id = home.says("rbuild run -d --name web --network used app sleep 1000");
    let listed = |filter: &str| {
        home.says(&format!("rbuild network ls -f {filter} --format '{{{{.Name}}}}'"))
    };
    assert_eq!(listed("dangling=true"), "idle");
    assert_eq!(listed("dangling=false"), "used");
    let json = home.says("rbuild network ls -f name=idle --format json");
    assert!(json.contains("\"Name\":\"idle\"") && json.contains("\"IPv6\":\"false\""), "{json}");
    home.0.types("rbuild network disconnect idle web").fails(1);
    home.says("rbuild network disconnect -f idle web");
    home.says("rbuild network disconnect -f idle nobody");
    home.says("rbuild network disconnect -f used web");
    assert!(devices_of(&id).is_empty());
    assert_eq!(home.says("rbuild network prune -f --filter until=24h"), "");
    home.says("rbuild rm -f web");
    assert!(
        home.says("rbuild network prune -f --filter until=2100-01-01T00:00:00Z --filter label!=a")
            .contains("idle")
    );
}
