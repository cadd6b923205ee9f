//! Limits and rules for devices, from the words of the specification to those of the runtime.

use rbuild_runtime::cgroup::{Access, BlockRate, DeviceRule, Limits, Rate, allow_everything};

use super::spec::{Resources, Throttle};

/// Nodes that every container may use; none is any number.
const USUAL: [(Option<u32>, Option<u32>); 9] = [
    (Some(1), Some(3)),
    (Some(1), Some(5)),
    (Some(1), Some(7)),
    (Some(1), Some(8)),
    (Some(1), Some(9)),
    (Some(5), Some(0)),
    (Some(5), Some(2)),
    (Some(10), Some(200)),
    (Some(136), None),
];

/// The limits, with those on devices.
pub(super) fn limits(resources: &Resources) -> Limits {
    let (memory, cpu) = (&resources.memory, &resources.cpu);
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let network = &resources.network;
    Limits {
        memory: memory.limit.filter(|bytes| *bytes != 0),
        memory_and_swap: memory.swap.filter(|bytes| *bytes != 0),
        memory_reservation: memory.reservation.filter(|bytes| *bytes != 0),
        swappiness: memory.swappiness,
        no_memory_kills: memory.disable_oom_killer,
        processes: resources.pids.as_ref().map(|pids| pids.limit).filter(|most| *most != 0),
        cpu_shares: cpu.shares.filter(|shares| *shares != 0),
        cpu_quota: cpu.quota.filter(|quota| *quota != 0),
        cpu_period: cpu.period.filter(|period| *period != 0),
        cpu_burst: cpu.burst,
        cpu_idle: cpu.idle,
        real_time: cpu.realtime_runtime.filter(|time| *time != 0),
        real_time_period: cpu.realtime_period.filter(|time| *time != 0),
        processors: text(&cpu.cpus),
        memory_nodes: text(&cpu.mems),
        block_weight: resources.block_io.weight.filter(|weight| *weight != 0),
        block_rates: block_rates(resources),
        large_pages: (resources.hugepage_limits.iter())
            .map(|pages| (pages.page_size.clone(), pages.limit))
            .collect(),
        network_class: network.class,
        network_priorities: (network.priorities.iter())
            .map(|one| (one.name.clone(), one.priority))
            .collect(),
        unified: resources.unified.clone().into_iter().collect(),
        devices: device_rules(resources),
        ..Limits::default()
    }
}

fn block_rates(resources: &Resources) -> Vec<BlockRate> {
    let io = &resources.block_io;
    let of = |list: &[Throttle], what| {
        let rate =
            |one: &Throttle| BlockRate { major: one.major, minor: one.minor, what, most: one.rate };
        list.iter().map(rate).collect::<Vec<_>>()
    };
    [
        of(&io.throttle_read_bps_device, Rate::BytesRead),
        of(&io.throttle_write_bps_device, Rate::BytesWritten),
        of(&io.throttle_read_iops_device, Rate::Reads),
        of(&io.throttle_write_iops_device, Rate::Writes),
    ]
    .concat()
}

/// Whether the container may use every device.
pub(super) fn allows_all(resources: &Resources) -> bool {
    allow_everything(&device_rules(resources))
}

fn device_rules(resources: &Resources) -> Vec<DeviceRule> {
    let number = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
    let mut rules: Vec<_> = (resources.devices.iter())
        .map(|rule| DeviceRule {
            allow: rule.allow,
            block: match rule.kind.as_str() {
                "b" => Some(true),
                "c" | "u" => Some(false),
                _ => None,
            },
            major: number(rule.major),
            minor: number(rule.minor),
            access: match rule.access.as_str() {
                "" => Access::ALL,
                access => Access {
                    read: access.contains('r'),
                    write: access.contains('w'),
                    make: access.contains('m'),
                },
            },
        })
        .collect();
    if !allow_everything(&rules) {
        rules.extend(allowed());
    }
    rules
}

/// What every container may do: make any node, and use the usual ones.
pub(super) fn allowed() -> Vec<DeviceRule> {
    let allow = |block, major, minor, access| DeviceRule {
        allow: true,
        block: Some(block),
        major,
        minor,
        access,
    };
    let make = Access { read: false, write: false, make: true };
    let mut rules = [true, false].map(|block| allow(block, None, None, make)).to_vec();
    rules.extend(USUAL.map(|(major, minor)| allow(false, major, minor, Access::ALL)));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(text: &str) -> Resources {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn rules_keep_their_order_and_the_usual_ones_come_last() {
        let rules = |text: &str| device_rules(&resources(text));
        let all = rules(r#"{"devices": [{"allow": false}, {"allow": true}]}"#);
        assert_eq!(all, [false, true].map(DeviceRule::everything), "nothing need be added");
        let usual = allowed();
        assert_eq!(rules("{}"), usual, "nothing is said");
        let text = r#"{"devices": [{"allow": true}, {"allow": false, "type": "c", "major": 1}]}"#;
        let some = rules(text);
        let (said, added) = some.split_at(2);
        assert_eq!((said[1].allow, said[1].block, said[1].major), (false, Some(false), Some(1)));
        assert_eq!(added, usual);
        let part = rules(r#"{"devices": [{"allow": true, "access": "m"}]}"#);
        assert!(!allow_everything(&part), "a node that can be made is not one that works");
    }

    #[test]
    fn nothing_is_no_limit() {
        let limits = limits(&resources(r#"{"memory": {"limit": 0}, "pids": {"limit": 0}}"#));
        assert_eq!(Limits { devices: Vec::new(), ..limits }, Limits::default());
    }
}
