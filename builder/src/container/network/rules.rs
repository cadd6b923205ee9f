//! What the tables of nftables say. Pure: from networks and ports to rules.

use std::net::{IpAddr, Ipv4Addr};

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
pub(crate) fn of_network(network: &Definition, bridge: &Bridge) -> Table {
    let name = network.bridge();
    let (from, to) = (|| Match::From(name.clone()), || Match::To(name.clone()));
    let (first, prefix) = (bridge.subnet.first(), bridge.subnet.prefix());
    let own = || Match::Source(first.into(), prefix);
    let (loopback, bits) = LOOPBACK;
    // The bridge may carry answers to the host's loopback device, and nothing else to it.
    let raw = vec![rule([from(), Match::Destination(loopback, bits)], Verdict::Drop)];
    let mut forward = vec![
        rule([from(), to()], Verdict::Accept),
        rule([to(), Match::Established], Verdict::Accept),
        rule([to(), Match::Redirected], Verdict::Accept),
        rule([to()], Verdict::Drop),
    ];
    let mut leaving = vec![
        // What goes to a published port of the same network must come back the same way.
        rule([own(), to(), Match::Redirected], Verdict::Masquerade),
        rule([Match::Source(loopback, bits), to()], Verdict::Masquerade),
    ];
    if network.internal {
        forward.truncate(1);
        forward.extend([rule([from()], Verdict::Drop), rule([to()], Verdict::Drop)]);
    } else {
        leaving.push(rule([own(), Match::NotTo(name.clone())], Verdict::Masquerade));
    }
    let chain = |name, hook, rules| Chain { name, hook: Some(hook), rules };
    let chains = vec![
        chain("raw", Hook::Raw, raw),
        chain("forward", Hook::Forward, forward),
        chain("leaving", Hook::Leaving, leaving),
    ];
    Table { family: Family::V4, name, chains }
}

/// What comes to published ports of the host goes to a container.
pub(crate) fn of_ports(id: &str, ports: &[Published]) -> Table {
    let redirect = |port: &Published| {
        let mut matches = vec![Match::Port(port.protocol.number(), port.host.port())];
        if !port.host.ip().is_unspecified() {
            matches.push(Match::Destination((*port.host.ip()).into(), 32));
        }
        Rule { matches, verdict: Verdict::Redirect(port.container.into()) }
    };
    let all = || vec![rule([Match::ToThisMachine], Verdict::Jump("ports"))];
    let chain = |name, hook, rules| Chain { name, hook, rules };
    let chains = vec![
        chain("ports", None, ports.iter().map(redirect).collect()),
        chain("incoming", Some(Hook::Incoming), all()),
        chain("outgoing", Some(Hook::Outgoing), all()),
    ];
    Table { family: Family::V4, name: format!("rbuild-{}", id.get(..12).unwrap_or(id)), chains }
}
