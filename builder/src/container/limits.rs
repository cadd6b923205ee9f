//! What a container may use of the machine.

use std::path::Path;

use rbuild_runtime::cgroup::Limits;
use serde::{Deserialize, Serialize};

use super::error::Result;
use super::parse::invalid;

/// The least memory that a container can be given: 6 MiB.
const LEAST_MEMORY: u64 = 6 << 20;
/// The time in which processor time is to be used, in microseconds.
const PERIOD: u32 = 100_000;

/// The limits of `docker run`; none is no limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// The most memory in bytes.
    pub memory: Option<u64>,
    /// Memory and swap space together; negative is without limit, none is twice the memory.
    pub memory_swap: Option<i64>,
    /// Bytes of memory that it keeps when the machine has little left.
    pub memory_reservation: Option<u64>,
    /// How readily its memory is moved to swap space, 0 to 100; on control groups of version 1.
    pub memory_swappiness: Option<u64>,
    /// Whether its processes wait, rather than die, when its memory runs out; on control groups of
    /// version 1.
    pub no_memory_kills: bool,
    /// How many processors' time.
    pub cpus: Option<f64>,
    /// Its part of processor time, where 1024 is usual.
    pub cpu_shares: Option<u64>,
    /// Microseconds of processor time in each period; in place of `cpus`.
    pub cpu_quota: Option<i64>,
    /// The period in microseconds; in place of `cpus`.
    pub cpu_period: Option<u64>,
    /// The processors that it may use, as `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// The nodes of memory that it may use.
    pub cpuset_mems: Option<String>,
    /// How many processes; 0 and negative is no limit.
    pub pids_limit: Option<i64>,
    /// Its part of the time of disks, 10 to 1000.
    pub blkio_weight: Option<u16>,
    /// The control group that its own is made in; none is `rbuild`.
    pub cgroup_parent: Option<String>,
}

impl Resources {
    /// Refuses what contradicts itself or the machine.
    pub(crate) fn check(&self) -> Result<()> {
        self.check_memory()?;
        self.check_processors()?;
        match self.blkio_weight {
            Some(weight) if !(10..=1000).contains(&weight) => {
                Err(invalid("blkio-weight", &weight.to_string(), "expected 10 to 1000"))
            }
            _ => Ok(()),
        }
    }

    fn check_memory(&self) -> Result<()> {
        let least = |option, bytes: Option<u64>| match bytes {
            Some(bytes) if bytes < LEAST_MEMORY => {
                Err(invalid(option, &bytes.to_string(), "6 MiB is the least"))
            }
            _ => Ok(()),
        };
        least("memory", self.memory)?;
        least("memory-reservation", self.memory_reservation)?;
        if let (Some(kept), Some(most)) = (self.memory_reservation, self.memory)
            && kept > most
        {
            return Err(invalid("memory-reservation", &kept.to_string(), "it is above `memory`"));
        }
        let wrong = |total: i64, reason| Err(invalid("memory-swap", &total.to_string(), reason));
        match (self.memory_swap, self.memory) {
            (Some(total @ 1..), None) => wrong(total, "it takes `memory` as well"),
            (Some(total @ 1..), Some(memory)) if total.unsigned_abs() < memory => {
                wrong(total, "it is below `memory`, which it includes")
            }
            _ => Ok(()),
        }
    }

    fn check_processors(&self) -> Result<()> {
        let online = online();
        if let Some(cpus) = self.cpus {
            let value = cpus.to_string();
            if self.cpu_quota.is_some() || self.cpu_period.is_some() {
                let reason = "`cpu-quota` and `cpu-period` say the same in other words";
                return Err(invalid("cpus", &value, reason));
            }
            let most = online.len().max(1);
            if !(0.01..=f64::from(u16::try_from(most).unwrap_or(u16::MAX))).contains(&cpus) {
                let reason = format!("expected 0.01 to {most}, as there are {most} processors");
                return Err(invalid("cpus", &value, reason));
            }
        }
        if let Some(text) = &self.cpuset_cpus {
            let wanted = numbers(text)
                .ok_or_else(|| invalid("cpuset-cpus", text, "expected numbers such as `0-2,4`"))?;
            if wanted.iter().any(|number| !online.is_empty() && !online.contains(number)) {
                let reason = format!("there are processors {} only", written(&online));
                return Err(invalid("cpuset-cpus", text, reason));
            }
        }
        match &self.cpuset_mems {
            Some(text) if numbers(text).is_none() => {
                Err(invalid("cpuset-mems", text, "expected numbers such as `0-1`"))
            }
            _ => Ok(()),
        }
    }

    /// The limits as the runtime has them.
    pub(crate) fn limits(&self) -> Limits {
        let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let twice = self.memory.map(|memory| bytes(memory.saturating_mul(2)));
        #[expect(clippy::cast_possible_truncation, reason = "a few processors' microseconds")]
        let quota = self.cpus.map(|cpus| (cpus * f64::from(PERIOD)).round() as i64);
        Limits {
            memory: self.memory.map(bytes),
            memory_and_swap: self.memory_swap.filter(|total| *total != 0).or(twice),
            swap_optional: self.memory_swap.is_none_or(|total| total <= 0),
            memory_reservation: self.memory_reservation.map(bytes),
            swappiness: self.memory_swappiness,
            no_memory_kills: self.no_memory_kills.then_some(true),
            processes: self.pids_limit.filter(|most| *most > 0),
            cpu_shares: self.cpu_shares.filter(|shares| *shares > 0),
            cpu_quota: quota.or(self.cpu_quota),
            cpu_period: self.cpus.map(|_| PERIOD.into()).or(self.cpu_period),
            processors: self.cpuset_cpus.clone(),
            memory_nodes: self.cpuset_mems.clone(),
            block_weight: self.blkio_weight,
            ..Limits::default()
        }
    }

    /// The same with what `change` gives; the place of the group stays.
    pub(crate) fn updated(&self, change: &Self) -> Self {
        let (old, new) = (self.clone(), change.clone());
        // A number of processors and a quota are two words for the same: the last one counts.
        let by_number = new.cpus.is_some();
        let by_quota = new.cpu_quota.is_some() || new.cpu_period.is_some();
        Self {
            memory: new.memory.or(old.memory),
            memory_swap: new.memory_swap.or(old.memory_swap),
            memory_reservation: new.memory_reservation.or(old.memory_reservation),
            memory_swappiness: new.memory_swappiness.or(old.memory_swappiness),
            no_memory_kills: new.no_memory_kills || old.no_memory_kills,
            cpus: new.cpus.or(old.cpus.filter(|_| !by_quota)),
            cpu_shares: new.cpu_shares.or(old.cpu_shares),
            cpu_quota: new.cpu_quota.or(old.cpu_quota.filter(|_| !by_number)),
            cpu_period: new.cpu_period.or(old.cpu_period.filter(|_| !by_number)),
            cpuset_cpus: new.cpuset_cpus.or(old.cpuset_cpus),
            cpuset_mems: new.cpuset_mems.or(old.cpuset_mems),
            pids_limit: new.pids_limit.or(old.pids_limit),
            blkio_weight: new.blkio_weight.or(old.blkio_weight),
            cgroup_parent: old.cgroup_parent,
        }
    }
}

/// The processors of this machine; empty where it does not say.
fn online() -> Vec<u32> {
    let text = std::fs::read_to_string(Path::new("/sys/devices/system/cpu/online"));
    text.ok().and_then(|text| numbers(text.trim())).unwrap_or_default()
}

/// Reads `0-2,4`.
fn numbers(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (first <= last && last < 1 << 16).then(|| numbers.extend(first..=last))?;
    }
    Some(numbers)
}

fn written(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_are_refused() {
        let none = Resources::default;
        let memory = |memory, memory_swap| Resources {
            memory: Some(memory),
            memory_swap,
            ..Resources::default()
        };
        let mib = 1 << 20;
        for (resources, reason) in [
            (memory(mib, None), "6 MiB"),
            (memory(64 * mib, Some(32 << 20)), "below `memory`"),
            (Resources { memory_swap: Some(1), ..none() }, "takes `memory`"),
            (Resources { memory_reservation: Some(9 * mib), ..memory(8 * mib, None) }, "above"),
            (Resources { cpus: Some(0.001), ..none() }, "expected 0.01"),
            (Resources { cpus: Some(60_000.0), ..none() }, "processors"),
            (Resources { cpus: Some(0.5), cpu_quota: Some(5), ..none() }, "same"),
            (Resources { cpuset_cpus: Some("0-".into()), ..none() }, "numbers"),
            (Resources { cpuset_cpus: Some("60000".into()), ..none() }, "only"),
            (Resources { cpuset_mems: Some("x".into()), ..none() }, "numbers"),
            (Resources { blkio_weight: Some(5), ..none() }, "10 to 1000"),
        ] {
            let error = resources.check().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        memory(64 * mib, Some(-1)).check().unwrap();
        memory(64 * mib, Some(64 << 20)).check().unwrap();
    }

    #[test]
    fn words_of_docker_become_limits() {
        let resources = Resources {
            memory: Some(64 << 20),
            cpus: Some(1.5),
            pids_limit: Some(-1),
            ..Resources::default()
        };
        let limits = resources.limits();
        assert_eq!(limits.memory_and_swap, Some(128 << 20), "as much swap space as memory");
        assert!(limits.swap_optional, "nobody has asked for swap space");
        assert_eq!((limits.cpu_quota, limits.cpu_period), (Some(150_000), Some(100_000)));
        assert_eq!(limits.processes, None);
    }
}
