//! How busy the processors are: load average, time per mode and core, pressure stall.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use domain::ask::{Answers, Ask};
use domain::capability::Capability;
use domain::collector::{Collector, Parsed};
use domain::facts::Facts;
use domain::observed::Observed;
use domain::sample::Samples;
use domain::{Error, Result};

use crate::linux::needs_two_polls;

/// Load average, processor time and pressure stall.
///
/// `/proc/stat` has the time that each core spent in each mode, in hundredths of a second (the kernel's `USER_HZ`,
/// which is 100 on every architecture that Linux still supports); `/proc/loadavg` the run queue;
/// `/proc/pressure/*` how long tasks waited (absent on kernels before 4.20 or without PSI).
pub struct Load;

/// How busy the processors are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoadReading {
    /// Tasks that ran or waited for a processor or a disk, averaged over one minute.
    pub load1: Option<f64>,
    /// The same averaged over five minutes.
    pub load5: Option<f64>,
    /// The same averaged over fifteen minutes.
    pub load15: Option<f64>,
    /// Processors that are online.
    pub cpu_count: Option<u32>,
    /// Share of all processor time since the reading before that was not idle and not waiting for disks, 0 to 1.
    pub cpu_busy_ratio: Option<f64>,
    /// Shares of processor time by mode since the reading before, 0 to 1; they add up to 1.
    pub cpu_ratios: Option<CpuModes>,
    /// Seconds of processor time by mode since the kernel started, all cores together.
    pub cpu_seconds: Option<CpuModes>,
    /// Each core by itself.
    pub cores: Vec<Core>,
    /// How long tasks waited for a processor.
    pub cpu_pressure: Option<Pressure>,
    /// How long tasks waited for memory.
    pub memory_pressure: Option<Pressure>,
    /// How long tasks waited for disks.
    pub io_pressure: Option<Pressure>,
}

/// Processor time by mode. Time of guests is in `user` and `nice` already, as the kernel counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CpuModes {
    /// Programs, and virtual machines.
    pub user: f64,
    /// Programs of lowered priority.
    pub nice: f64,
    /// The kernel.
    pub system: f64,
    /// Nothing to do.
    pub idle: f64,
    /// Nothing to do but wait for a disk.
    pub iowait: f64,
    /// Hardware interrupts.
    pub irq: f64,
    /// Deferred interrupts.
    pub softirq: f64,
    /// Taken by the hypervisor for other machines.
    pub steal: f64,
}

/// One core.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Core {
    /// Its number.
    pub core: u32,
    /// Share of its time since the reading before that was not idle and not waiting for disks, 0 to 1.
    pub busy_ratio: Option<f64>,
    /// Seconds by mode since the kernel started.
    pub seconds: CpuModes,
}

/// Pressure stall of one resource.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pressure {
    /// Share of the last ten seconds in which at least one task waited, 0 to 1.
    pub waiting_10s_ratio: Option<f64>,
    /// Share of the last minute in which at least one task waited, 0 to 1.
    pub waiting_60s_ratio: Option<f64>,
    /// Seconds since the kernel started in which at least one task waited.
    pub waiting_seconds: Option<f64>,
    /// Seconds since the kernel started in which all tasks waited at once.
    pub stalled_seconds: Option<f64>,
}

const STAT: &str = "/proc/stat";
const LOADAVG: &str = "/proc/loadavg";
const PRESSURES: [&str; 3] = ["/proc/pressure/cpu", "/proc/pressure/memory", "/proc/pressure/io"];
/// The kernel's `USER_HZ`.
const TICKS_PER_SECOND: f64 = 100.0;

impl Collector for Load {
    const NAME: &'static str = "load";
    const WHY: &'static str = "how busy the processors are: /proc/stat for time by mode, /proc/loadavg for the queue, /proc/pressure for waiting";
    const EVERY: Duration = Duration::from_secs(30);
    const NEEDS: &'static [Capability] = &[Capability::Procfs];
    const LIVE: bool = true;
    type Reading = LoadReading;

    fn asks(_: &Facts) -> Vec<Ask> {
        [STAT, LOADAVG].into_iter().chain(PRESSURES).map(Ask::file).collect()
    }

    fn parse(
        _: &Facts,
        answers: &Answers,
        before: Option<&Observed<LoadReading>>,
    ) -> Result<Parsed<LoadReading>> {
        let Some(stat) = answers.file_text(STAT) else {
            return Err(Error::unreachable(
                "stat_unreadable",
                "/proc/stat could not be read",
                "check that /proc is mounted",
            ));
        };
        let before = before.map(|observed| &observed.value);
        let mut reading = LoadReading { cores: cores(&stat, before), ..LoadReading::default() };
        reading.cpu_seconds = stat.lines().find_map(|line| modes(line.strip_prefix("cpu ")?));
        reading.cpu_count = u32::try_from(reading.cores.len()).ok().filter(|count| *count > 0);
        let earlier = before.and_then(|before| before.cpu_seconds);
        reading.cpu_ratios =
            earlier.zip(reading.cpu_seconds).and_then(|(earlier, now)| now.shares_since(earlier));
        reading.cpu_busy_ratio = reading.cpu_ratios.map(CpuModes::busy);
        if let Some(text) = answers.file_text(LOADAVG) {
            let mut numbers = text.split_whitespace().map(|word| word.parse().ok());
            reading.load1 = numbers.next().flatten();
            reading.load5 = numbers.next().flatten();
            reading.load15 = numbers.next().flatten();
        }
        let pressure = |path| answers.file_text(path).and_then(|text| pressure(&text));
        [reading.cpu_pressure, reading.memory_pressure, reading.io_pressure] = PRESSURES.map(pressure);
        let problems =
            if before.is_none() { vec![needs_two_polls("shares of processor time")] } else { Vec::new() };
        Ok(Parsed::Reading(reading, problems))
    }

    fn samples(reading: &LoadReading, samples: &mut Samples) {
        samples.gauge("node_load1", &[], reading.load1);
        samples.gauge("node_load5", &[], reading.load5);
        samples.gauge("node_load15", &[], reading.load15);
        samples.gauge("cpu_busy_ratio", &[], reading.cpu_busy_ratio);
        for core in &reading.cores {
            let number = core.core.to_string();
            for (mode, seconds) in core.seconds.by_name() {
                samples.counter("node_cpu_seconds_total", &[("cpu", &number), ("mode", mode)], seconds);
            }
        }
        let waiting = |pressure: Option<Pressure>| pressure.and_then(|pressure| pressure.waiting_seconds);
        let stalled = |pressure: Option<Pressure>| pressure.and_then(|pressure| pressure.stalled_seconds);
        samples.counter("node_pressure_cpu_waiting_seconds_total", &[], waiting(reading.cpu_pressure));
        samples.counter("node_pressure_memory_waiting_seconds_total", &[], waiting(reading.memory_pressure));
        samples.counter("node_pressure_memory_stalled_seconds_total", &[], stalled(reading.memory_pressure));
        samples.counter("node_pressure_io_waiting_seconds_total", &[], waiting(reading.io_pressure));
        samples.counter("node_pressure_io_stalled_seconds_total", &[], stalled(reading.io_pressure));
    }
}

impl CpuModes {
    /// Each mode with the name that `node_exporter` gives it.
    fn by_name(self) -> [(&'static str, f64); 8] {
        [
            ("user", self.user),
            ("nice", self.nice),
            ("system", self.system),
            ("idle", self.idle),
            ("iowait", self.iowait),
            ("irq", self.irq),
            ("softirq", self.softirq),
            ("steal", self.steal),
        ]
    }

    fn from_values(values: [f64; 8]) -> Self {
        let [user, nice, system, idle, iowait, irq, softirq, steal] = values;
        Self { user, nice, system, idle, iowait, irq, softirq, steal }
    }

    /// Of shares: what is not idle.
    fn busy(self) -> f64 {
        (1.0 - self.idle - self.iowait).clamp(0.0, 1.0)
    }

    /// The shares of the time between; absent where the counters started again.
    fn shares_since(self, earlier: Self) -> Option<Self> {
        if self.user < earlier.user || self.system < earlier.system {
            return None;
        }
        let (now, then) = (self.by_name(), earlier.by_name());
        // idle and iowait may step back a little: the kernel estimates them
        let spent: [f64; 8] = std::array::from_fn(|mode| (now[mode].1 - then[mode].1).max(0.0));
        let total: f64 = spent.iter().sum();
        (total > 0.0).then(|| Self::from_values(spent.map(|seconds| seconds / total)))
    }
}

/// The modes of a line of `/proc/stat`, its name taken off. Kernels before 2.6.11 have fewer.
fn modes(line: &str) -> Option<CpuModes> {
    let mut ticks = line.split_whitespace().map(|word| word.parse::<u64>().ok());
    let first_four = [ticks.next()??, ticks.next()??, ticks.next()??, ticks.next()??];
    let mut values = [0.0; 8];
    let all = first_four.into_iter().map(Some).chain(ticks);
    for (value, ticks) in values.iter_mut().zip(all) {
        *value = ticks? as f64 / TICKS_PER_SECOND;
    }
    Some(CpuModes::from_values(values))
}

fn cores(stat: &str, before: Option<&LoadReading>) -> Vec<Core> {
    let core = |line: &str| {
        let (number, rest) = line.strip_prefix("cpu")?.split_once(' ')?;
        let core = number.parse().ok()?;
        let seconds = modes(rest)?;
        let earlier = before.and_then(|before| before.cores.iter().find(|earlier| earlier.core == core));
        let shares = earlier.and_then(|earlier| seconds.shares_since(earlier.seconds));
        Some(Core { core, busy_ratio: shares.map(CpuModes::busy), seconds })
    };
    stat.lines().filter_map(core).collect()
}

fn pressure(text: &str) -> Option<Pressure> {
    let of = |kind: &str, key: &str| -> Option<f64> {
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(kind))?;
        line.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))?.parse().ok()
    };
    of("some", "total").map(|waiting_micros| Pressure {
        waiting_10s_ratio: of("some", "avg10").map(|percent| percent / 100.0),
        waiting_60s_ratio: of("some", "avg60").map(|percent| percent / 100.0),
        waiting_seconds: Some(waiting_micros / 1e6),
        stalled_seconds: of("full", "total").map(|micros| micros / 1e6),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_neither_idle_nor_waiting_for_disks() {
        let earlier = modes("100 0 100 800 0 0 0 0 50 0").unwrap();
        let now = modes("125 0 125 825 25 0 0 0 60 0").unwrap();
        assert!((now.shares_since(earlier).unwrap().busy() - 0.5).abs() < 1e-9);
    }

    #[test]
    fn a_restart_between_two_readings_leaves_the_shares_unknown() {
        let earlier = modes("100 0 100 800 0 0 0 0").unwrap();
        let now = modes("5 0 5 10 0 0 0 0").unwrap();
        assert_eq!(now.shares_since(earlier), None);
    }
}
