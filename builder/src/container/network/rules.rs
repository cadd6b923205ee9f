//! What the tables of nftables say. Pure: from networks and ports to rules.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rbuild_runtime::network::{Chain, Family, Hook, Match, Rule, Table, Verdict};

use super::bridge::Bridge;
use super::definition::Definition;
use super::ports::Published;

const LOOPBACK: (IpAddr, u8) = (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8);

fn rule<const N: usize>(matches: [Match; N], verdict: Verdict) -> Rule {
    Rule { matches: matches.into(), verdict }
}

/// The walls around a network: nothing comes in but answers and what was published; what leaves
/// does so in the host's name.
pub(crate) fn of_network(network: &Definition, bridge: &Bridge) -> Vec<Table> {
    let name = network.bridge();
    let own = Match::Source(bridge.subnet.first().into(), bridge.subnet.prefix());
    let mut tables = vec![walls(network, Family::V4, &own)];
    let (loopback, bits) = LOOPBACK;
    // The bridge may carry answers to the host's loopback device, and nothing else to it.
    let carried =
        rule([Match::From(name.clone()), Match::Destination(loopback, bits)], Verdict::Drop);
    let raw = Chain { name: "raw", hook: Some(Hook::Raw), rules: vec![carried] };
    let leaving = rule([Match::Source(loopback, bits), Match::To(name)], Verdict::Masquerade);
    tables[0].chains[1].rules.push(leaving);
    tables[0].chains.push(raw);
    if let Some((subnet, _)) = bridge.ipv6 {
        let own = Match::Source(subnet.first().into(), subnet.prefix());
        tables.push(walls(network, Family::V6, &own));
    }
    tables
}

fn walls(network: &Definition, family: Family, own: &Match) -> Table {
    let name = network.bridge();
    let (from, to) = (|| Match::From(name.clone()), || Match::To(name.clone()));
    let mut forward = vec![
        rule([from(), to()], Verdict::Accept),
        rule([to(), Match::Established], Verdict::Accept),
        rule([to(), Match::Redirected], Verdict::Accept),
        rule([to()], Verdict::Drop),
    ];
    // What goes to a published port of the same network must come back the same way.
    let mut leaving = vec![rule([own.clone(), to(), Match::Redirected], Verdict::Masquerade)];
    if network.internal {
        forward.truncate(1);
        forward.extend([rule([from()], Verdict::Drop), rule([to()], Verdict::Drop)]);
    } else {
        leaving.push(rule([own.clone(), Match::NotTo(name.clone())], Verdict::Masquerade));
    }
    let chain = |name, hook, rules| Chain { name, hook: Some(hook), rules };
    let chains =
        vec![chain("forward", Hook::Forward, forward), chain("leaving", Hook::Leaving, leaving)];
    Table { family, name, chains }
}

/// What comes to published ports of the host goes to a container, by one table for each family of
/// addresses. Where the two sides are of different families, the ports have a proxy.
pub(crate) fn of_ports(id: &str, ports: &[Published]) -> Vec<Table> {
    let name = format!("rbuild-{}", id.get(..12).unwrap_or(id));
    let of_family = |family| {
        let is_its = |one: &&Published| {
            let is_v4 = family == Family::V4;
            one.host.is_ipv4() == is_v4 && one.container.is_ipv4() == is_v4
        };
        let rules: Vec<_> = ports.iter().filter(is_its).map(redirect).collect();
        (!rules.is_empty()).then(|| redirects(family, name.clone(), rules))
    };
    [Family::V4, Family::V6].into_iter().filter_map(of_family).collect()
}

fn redirect(port: &Published) -> Rule {
    let mut matches = vec![Match::Port(port.protocol.number(), port.host.port())];
    let address = port.host.ip();
    if !address.is_unspecified() {
        matches.push(Match::Destination(address, if address.is_ipv4() { 32 } else { 128 }));
    }
    Rule { matches, verdict: Verdict::Redirect(port.container) }
}

fn redirects(family: Family, name: String, ports: Vec<Rule>) -> Table {
    let all = || rule([Match::ToThisMachine], Verdict::Jump("ports"));
    let mut outgoing = vec![all()];
    if family == Family::V6 {
        // What comes from ::1 can go nowhere else; there it is for the proxy.
        let own = Match::Destination(Ipv6Addr::LOCALHOST.into(), 128);
        outgoing.insert(0, rule([own], Verdict::Accept));
    }
    let chain = |name, hook, rules| Chain { name, hook, rules };
    let chains = vec![
        chain("ports", None, ports),
        chain("incoming", Some(Hook::Incoming), vec![all()]),
        chain("outgoing", Some(Hook::Outgoing), outgoing),
    ];
    Table { family, name, chains }
}
