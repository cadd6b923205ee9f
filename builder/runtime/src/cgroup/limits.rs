//! Limits as plain data, and the files of either version of control groups that they are.

use super::devices::DeviceRule;

/// What a container may use; what is not given is as it is without a group. Where a number can be
/// negative, that is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<i64>,
    /// Bytes of memory and swap space together.
    pub memory_and_swap: Option<i64>,
    /// Whether a machine that does not count swap space makes `memory_and_swap` void.
    pub swap_optional: bool,
    /// Bytes of memory that it keeps when the machine has little left.
    pub memory_reservation: Option<i64>,
    /// How readily its memory is moved to swap space, 0 to 100; version 1 only.
    pub swappiness: Option<u64>,
    /// Whether its processes wait, rather than die, when its memory runs out; version 1 only.
    pub no_memory_kills: Option<bool>,
    /// Processes and threads.
    pub processes: Option<i64>,
    /// Its part of processor time, where 1024 is usual.
    pub cpu_shares: Option<u64>,
    /// Microseconds of processor time in each period.
    pub cpu_quota: Option<i64>,
    /// The period in microseconds; usually a tenth of a second.
    pub cpu_period: Option<u64>,
    /// Microseconds that can be saved up.
    pub cpu_burst: Option<u64>,
    /// Whether it runs only when nobody else does.
    pub cpu_idle: Option<i64>,
    /// Microseconds of real-time scheduling in each of its periods; version 1 only.
    pub real_time: Option<i64>,
    /// The period of real-time scheduling in microseconds; version 1 only.
    pub real_time_period: Option<u64>,
    /// Processors by number, as `0-2,4`.
    pub processors: Option<String>,
    /// Nodes of memory by number.
    pub memory_nodes: Option<String>,
    /// Its part of the time of disks, 10 to 1000.
    pub block_weight: Option<u16>,
    /// Speeds of disks.
    pub block_rates: Vec<BlockRate>,
    /// Bytes of large pages, by their size as `2MB`.
    pub large_pages: Vec<(String, u64)>,
    /// The mark of its packets; version 1 only.
    pub network_class: Option<u32>,
    /// Priorities of its packets by device; version 1 only.
    pub network_priorities: Vec<(String, u32)>,
    /// Files of the group of version 2 and what is written into them.
    pub unified: Vec<(String, String)>,
    /// Which devices work, later rules over earlier ones; none at all is that all do.
    pub devices: Vec<DeviceRule>,
}

/// How fast a disk may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRate {
    /// The number of the disk's driver.
    pub major: u32,
    /// The disk's number with that driver.
    pub minor: u32,
    /// What is counted.
    pub what: Rate,
    /// How much of it a second.
    pub most: u64,
}

/// What of a disk's use is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is what it is called")]
pub enum Rate {
    BytesRead,
    BytesWritten,
    Reads,
    Writes,
}

/// What a limit is in the files of a group, by version.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// The controller; empty is the tree of version 2 whatever it has.
    pub(super) controller: &'static str,
    pub(super) first: Value,
    pub(super) unified: Value,
    /// Whether it is an error that it cannot be set.
    pub(super) needed: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A file, and what is written into it.
    File(String, String),
    /// Nothing need be written with this version.
    None,
    /// This version does not know the limit.
    Absent,
}

const PERIOD: u64 = 100_000;

impl Setting {
    pub(super) fn doing(&self) -> String {
        let file = |value: &Value| match value {
            Value::File(file, value) => Some((file.clone(), value.clone())),
            Value::None | Value::Absent => None,
        };
        match file(&self.first).or_else(|| file(&self.unified)) {
            Some((file, value)) => format!("limit {} ({file} = {value})", self.controller),
            None => format!("limit {}", self.controller),
        }
    }
}

/// Settings in the making.
#[derive(Default)]
struct Settings(Vec<Setting>);

impl Settings {
    fn add(&mut self, controller: &'static str, first: Value, unified: Value) {
        self.0.push(Setting { controller, first, unified, needed: true });
    }

    /// The same value in both versions.
    fn both(&mut self, controller: &'static str, first: &str, unified: &str, value: &str) {
        self.add(controller, file(first, value), file(unified, value));
    }
}

fn file<T: ToString + ?Sized>(name: &str, value: &T) -> Value {
    Value::File(name.to_owned(), value.to_string())
}

/// A number as version 2 writes it.
fn most(number: i64) -> String {
    u64::try_from(number).map_or_else(|_| "max".into(), |number| number.to_string())
}

impl Limits {
    pub(super) fn settings(&self) -> Vec<Setting> {
        let mut settings = Settings::default();
        self.of_memory(&mut settings);
        if let Some(count) = self.processes {
            settings.both("pids", "pids.max", "pids.max", &most(count));
            // A machine that counts none has no limit anyway.
            settings.0.last_mut().into_iter().for_each(|one| one.needed = count >= 0);
        }
        self.of_processors(&mut settings);
        self.of_disks(&mut settings);
        self.of_others(&mut settings);
        settings.0
    }

    fn of_memory(&self, settings: &mut Settings) {
        const MEMORY: &str = "memory";
        if let Some(bytes) = self.memory {
            let bytes_or_none = bytes.max(-1);
            let unified = file("memory.max", &most(bytes));
            settings.add(MEMORY, file("memory.limit_in_bytes", &bytes_or_none), unified);
        }
        if let Some(total) = self.memory_and_swap {
            let swap = match (total, self.memory) {
                (..0, _) => -1,
                (total, Some(memory @ 0..)) => total.saturating_sub(memory),
                (total, _) => total,
            };
            let first = file("memory.memsw.limit_in_bytes", &total.max(-1));
            settings.add(MEMORY, first, file("memory.swap.max", &most(swap)));
            settings.0.last_mut().into_iter().for_each(|one| one.needed = !self.swap_optional);
        }
        if let Some(bytes) = self.memory_reservation {
            let unified = file("memory.low", &most(bytes));
            settings.add(MEMORY, file("memory.soft_limit_in_bytes", &bytes.max(-1)), unified);
        }
        if let Some(readiness) = self.swappiness {
            settings.add(MEMORY, file("memory.swappiness", &readiness), Value::None);
        }
        if self.no_memory_kills == Some(true) {
            settings.add(MEMORY, file("memory.oom_control", &1), Value::Absent);
        }
    }

    fn of_processors(&self, settings: &mut Settings) {
        const CPU: &str = "cpu";
        if let Some(shares) = self.cpu_shares {
            settings.add(CPU, file("cpu.shares", &shares), file("cpu.weight", &weight(shares)));
        }
        if let Some(burst) = self.cpu_burst {
            settings.both(CPU, "cpu.cfs_burst_us", "cpu.max.burst", &burst.to_string());
        }
        if self.cpu_quota.is_some() || self.cpu_period.is_some() {
            let (quota, period) = (self.cpu_quota.unwrap_or(-1), self.cpu_period);
            let both = format!("{} {}", most(quota), period.unwrap_or(PERIOD));
            let period = period.map_or(Value::None, |period| file("cpu.cfs_period_us", &period));
            settings.add(CPU, period, file("cpu.max", &both));
            if self.cpu_quota.is_some() {
                settings.add(CPU, file("cpu.cfs_quota_us", &quota.max(-1)), Value::None);
            }
        }
        if let Some(idle) = self.cpu_idle {
            settings.both(CPU, "cpu.idle", "cpu.idle", &idle.to_string());
        }
        if let Some(period) = self.real_time_period {
            settings.add(CPU, file("cpu.rt_period_us", &period), Value::Absent);
        }
        if let Some(time) = self.real_time {
            settings.add(CPU, file("cpu.rt_runtime_us", &time), Value::Absent);
        }
        if let Some(numbers) = &self.processors {
            settings.both("cpuset", "cpuset.cpus", "cpuset.cpus", numbers);
        }
        if let Some(numbers) = &self.memory_nodes {
            settings.both("cpuset", "cpuset.mems", "cpuset.mems", numbers);
        }
    }

    fn of_disks(&self, settings: &mut Settings) {
        let mut add = |first, unified| {
            settings.0.push(Setting { controller: "blkio", first, unified, needed: true });
        };
        if let Some(part) = self.block_weight {
            let unified = 1 + (u64::from(part).max(10) - 10) * 9999 / 990;
            add(file("blkio.weight", &part), file("io.weight", &format!("default {unified}")));
        }
        for rate in &self.block_rates {
            let (first, unified) = match rate.what {
                Rate::BytesRead => ("read_bps", "rbps"),
                Rate::BytesWritten => ("write_bps", "wbps"),
                Rate::Reads => ("read_iops", "riops"),
                Rate::Writes => ("write_iops", "wiops"),
            };
            let disk = format!("{}:{}", rate.major, rate.minor);
            let first = format!("blkio.throttle.{first}_device");
            let line = format!("{disk} {unified}={}", rate.most);
            add(file(&first, &format!("{disk} {}", rate.most)), file("io.max", &line));
        }
    }

    fn of_others(&self, settings: &mut Settings) {
        for (size, bytes) in &self.large_pages {
            let first = format!("hugetlb.{size}.limit_in_bytes");
            let unified = format!("hugetlb.{size}.max");
            settings.both("hugetlb", &first, &unified, &bytes.to_string());
        }
        if let Some(class) = self.network_class {
            settings.add("net_cls", file("net_cls.classid", &class), Value::Absent);
        }
        for (device, priority) in &self.network_priorities {
            let line = format!("{device} {priority}");
            settings.add("net_prio", file("net_prio.ifpriomap", &line), Value::Absent);
        }
        for (name, value) in &self.unified {
            settings.add("", Value::Absent, file(name, &value));
        }
    }
}

/// Shares (2 to 262144, usually 1024) as a weight (1 to 10000, usually 100).
fn weight(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    #[expect(clippy::cast_precision_loss, reason = "it is cut to 2 to the 18th")]
    let doublings = (shares.min(262_144) as f64).log2();
    let exponent = (doublings * doublings + 125.0 * doublings) / 612.0 - 7.0 / 34.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 10000")]
    let weight = 10_f64.powf(exponent).ceil() as u64;
    weight.clamp(1, 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(limits: &Limits, unified: bool) -> Vec<String> {
        let settings = limits.settings();
        let values = settings.iter().map(|one| if unified { &one.unified } else { &one.first });
        let lines = values.filter_map(|value| match value {
            Value::File(file, value) => Some(format!("{file}={value}")),
            Value::None => None,
            Value::Absent => Some("?".into()),
        });
        lines.collect()
    }

    #[test]
    fn values_by_version() {
        let limits = Limits {
            memory: Some(100),
            memory_and_swap: Some(150),
            memory_reservation: Some(50),
            processes: Some(7),
            cpu_shares: Some(1024),
            cpu_quota: Some(150_000),
            processors: Some("0-1".into()),
            block_weight: Some(500),
            ..Limits::default()
        };
        let unified = [
            "memory.max=100",
            "memory.swap.max=50",
            "memory.low=50",
            "pids.max=7",
            "cpu.weight=100",
            "cpu.max=150000 100000",
            "cpuset.cpus=0-1",
            "io.weight=default 4950",
        ];
        assert_eq!(values(&limits, true), unified);
        let first = [
            "memory.limit_in_bytes=100",
            "memory.memsw.limit_in_bytes=150",
            "memory.soft_limit_in_bytes=50",
            "pids.max=7",
            "cpu.shares=1024",
            "cpu.cfs_quota_us=150000",
            "cpuset.cpus=0-1",
            "blkio.weight=500",
        ];
        assert_eq!(values(&limits, false), first);
    }

    #[test]
    fn no_limit_is_a_value_too() {
        let limits = Limits {
            memory: Some(-1),
            memory_and_swap: Some(-1),
            processes: Some(-1),
            cpu_quota: Some(-1),
            real_time: Some(5),
            ..Limits::default()
        };
        let unified =
            ["memory.max=max", "memory.swap.max=max", "pids.max=max", "cpu.max=max 100000", "?"];
        assert_eq!(values(&limits, true), unified);
        let is_needed =
            |name: &str| limits.settings().iter().any(|one| one.controller == name && one.needed);
        assert!(!is_needed("pids"), "no limit takes no controller");
        assert!(is_needed("cpu"));
        let first = [
            "memory.limit_in_bytes=-1",
            "memory.memsw.limit_in_bytes=-1",
            "pids.max=max",
            "cpu.cfs_quota_us=-1",
            "cpu.rt_runtime_us=5",
        ];
        assert_eq!(values(&limits, false), first);
    }

    #[test]
    fn weights_keep_the_ends_and_the_usual() {
        assert_eq!([1, 2, 1024, 262_144].map(weight), [1, 1, 100, 10_000]);
    }
}
