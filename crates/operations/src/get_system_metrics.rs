//! `get_system_metrics`: how one machine is doing, in one answer.

use std::sync::Arc;

use collectors::disks::Disks;
use collectors::filesystems::{Filesystem, Filesystems, Storage};
use collectors::load::{CpuModes, Load, Pressure};
use collectors::memory::{Memory, MemoryReading};
use collectors::network::Network;
use collectors::processes::{Process, Processes};
use domain::collector::Collector;
use domain::context::Context;
use domain::device::{Device, SourceId};
use domain::operation::{Effect, Operation, Route, Toolset};
use domain::problem::Problem;
use domain::readings::{Freshness, Seen};
use domain::{Error, Result, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Tells how one device is doing: processor, memory, file systems, disks, network, uptime. Figures are the machine's own;
/// what it did not tell is absent and named in `problems`.
#[derive(Deserialize, JsonSchema)]
pub struct GetSystemMetrics {
    /// The device's name or id.
    device: String,
    /// Tells the processes that take most too.
    include_processes: Option<bool>,
    /// Readings no older than this many seconds are good; 0 asks the machine now. 30 unless said.
    max_age_seconds: Option<f64>,
    /// How many seconds to wait for the machine before what is known is answered as stale. 2 unless said.
    deadline_seconds: Option<f64>,
}

/// How a device is doing.
#[derive(Serialize, JsonSchema)]
pub struct SystemMetrics {
    /// How it is doing, in a sentence.
    summary: String,
    /// The device's name.
    device: String,
    /// The source that told it.
    source: Option<SourceId>,
    /// The oldest of these figures was seen then.
    as_of: Option<Timestamp>,
    /// Whether the machine did not answer and some of this is only what is known.
    stale: bool,
    /// How long the kernel has been running, in seconds.
    uptime_seconds: Option<f64>,
    /// The processors.
    processor: Option<Processor>,
    /// Memory and swap, as `free -b` counts.
    memory: Option<MemoryReading>,
    /// File systems with storage of their own, as `df -B1` counts.
    filesystems: Vec<Filesystem>,
    /// Disks.
    disks: Vec<DiskRates>,
    /// Network interfaces.
    network: Vec<InterfaceRates>,
    /// The processes that took most processor time, where they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    top_by_cpu: Vec<Process>,
    /// The processes that hold most memory, where they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    top_by_memory: Vec<Process>,
    /// What is missing, and why.
    problems: Vec<Problem>,
}

/// The processors of a machine.
#[derive(Serialize, JsonSchema)]
struct Processor {
    /// Processors that are online.
    cpu_count: Option<u32>,
    /// Share of their time that was not idle and not waiting for disks, 0 to 1.
    cpu_busy_ratio: Option<f64>,
    /// Shares of their time by mode, 0 to 1.
    cpu_ratios: Option<CpuModes>,
    /// Share of each core's time that was busy, 0 to 1.
    core_busy_ratios: Vec<Option<f64>>,
    /// Tasks that ran or waited, averaged over one, five and fifteen minutes.
    load_average: Vec<f64>,
    /// How long tasks waited for a processor.
    cpu_pressure: Option<Pressure>,
    /// How long tasks waited for memory.
    memory_pressure: Option<Pressure>,
    /// How long tasks waited for disks.
    io_pressure: Option<Pressure>,
}

/// What a disk does, per second.
#[derive(Serialize, JsonSchema)]
struct DiskRates {
    /// The kernel's name.
    device: String,
    /// Its size, in bytes.
    size_bytes: Option<u64>,
    /// Bytes read per second.
    read_bytes_per_second: Option<f64>,
    /// Bytes written per second.
    write_bytes_per_second: Option<f64>,
    /// How long a read took on average, in seconds.
    read_latency_seconds: Option<f64>,
    /// How long a write took on average, in seconds.
    write_latency_seconds: Option<f64>,
    /// Share of the time in which it had something to do, 0 to 1.
    utilization_ratio: Option<f64>,
    /// Requests under way or waiting, on average.
    queue_length: Option<f64>,
}

/// What an interface does, per second.
#[derive(Serialize, JsonSchema)]
struct InterfaceRates {
    /// Its name.
    name: String,
    /// `up`, `down`, `unknown` …
    state: Option<String>,
    /// Bytes received per second.
    receive_bytes_per_second: Option<f64>,
    /// Bytes sent per second.
    transmit_bytes_per_second: Option<f64>,
    /// Packets per second that were damaged or could not be sent.
    errors_per_second: Option<f64>,
}

impl Operation for GetSystemMetrics {
    const NAME: &'static str = "get_system_metrics";
    const EFFECT: Effect = Effect::Read;
    const ROUTE: Route = Route::get("/metrics/{device}");
    const TOOLSET: Toolset = Toolset::Metrics;
    const SHORT: Option<&'static str> = Some("system");
    type Output = SystemMetrics;

    async fn run(self, ctx: &Context) -> Result<Self::Output> {
        let device = ctx.fleet().device(&self.device)?;
        let freshness = Freshness::from_seconds(self.max_age_seconds, self.deadline_seconds)?;
        let ask = |collector| ctx.ports.readings.latest(&device, collector, freshness);
        let (load, memory, filesystems, disks, network, processes) = futures_util::join!(
            ask(Load::NAME),
            ask(Memory::NAME),
            ask(Filesystems::NAME),
            ask(Disks::NAME),
            ask(Network::NAME),
            ask(Processes::NAME),
        );
        let mut gathered = Gathered::default();
        let load = gathered.take::<Load>(load);
        let memory = gathered.take::<Memory>(memory);
        let filesystems = gathered.take::<Filesystems>(filesystems);
        let disks = gathered.take::<Disks>(disks);
        let network = gathered.take::<Network>(network);
        let processes = gathered.take::<Processes>(processes);
        if gathered.as_of.is_none()
            && let Some(error) = gathered.error
        {
            return Err(error);
        }
        let is_wanted = self.include_processes == Some(true);
        let mut metrics = SystemMetrics {
            summary: String::new(),
            device: device.name.clone(),
            source: gathered.source,
            as_of: gathered.as_of,
            stale: gathered.is_stale,
            uptime_seconds: processes.as_ref().and_then(|p| p.uptime_seconds),
            processor: load.as_ref().map(processor),
            memory,
            filesystems: filesystems.map(|reading| reading.filesystems).unwrap_or_default(),
            disks: disks.map(|reading| reading.disks.into_iter().map(disk).collect()).unwrap_or_default(),
            network: network
                .map(|reading| reading.interfaces.into_iter().map(interface).collect())
                .unwrap_or_default(),
            top_by_cpu: Vec::new(),
            top_by_memory: Vec::new(),
            problems: gathered.problems,
        };
        if let Some(processes) = processes.filter(|_| is_wanted) {
            metrics.top_by_cpu = processes.top_by_cpu;
            metrics.top_by_memory = processes.top_by_memory;
        }
        metrics.summary = summary(&device, &metrics);
        Ok(metrics)
    }
}

/// What is common to several readings.
#[derive(Default)]
struct Gathered {
    as_of: Option<Timestamp>,
    source: Option<SourceId>,
    is_stale: bool,
    problems: Vec<Problem>,
    error: Option<Error>,
}

impl Gathered {
    /// The reading, its circumstances and problems noted; nothing and a problem where there is none.
    fn take<C: Collector>(&mut self, result: Result<Seen>) -> Option<C::Reading> {
        match result {
            Ok(seen) => {
                let at = seen.observed.as_of;
                self.as_of = Some(self.as_of.map_or(at, |oldest| oldest.min(at)));
                self.source = Some(seen.observed.source);
                self.is_stale |= seen.observed.stale;
                let problems: &Arc<[Problem]> = &seen.problems;
                for problem in problems.iter() {
                    if !self.problems.contains(problem) {
                        self.problems.push(problem.clone());
                    }
                }
                seen.reading::<C::Reading>().cloned()
            }
            Err(error) => {
                self.problems.push(Problem::from(&error).about(C::NAME));
                self.error = Some(error);
                None
            }
        }
    }
}

fn processor(load: &<Load as Collector>::Reading) -> Processor {
    Processor {
        cpu_count: load.cpu_count,
        cpu_busy_ratio: load.cpu_busy_ratio,
        cpu_ratios: load.cpu_ratios,
        core_busy_ratios: load.cores.iter().map(|core| core.busy_ratio).collect(),
        load_average: [load.load1, load.load5, load.load15].into_iter().flatten().collect(),
        cpu_pressure: load.cpu_pressure,
        memory_pressure: load.memory_pressure,
        io_pressure: load.io_pressure,
    }
}

fn disk(disk: collectors::disks::Disk) -> DiskRates {
    DiskRates {
        device: disk.device,
        size_bytes: disk.size_bytes,
        read_bytes_per_second: disk.read_bytes_per_second,
        write_bytes_per_second: disk.write_bytes_per_second,
        read_latency_seconds: disk.read_latency_seconds,
        write_latency_seconds: disk.write_latency_seconds,
        utilization_ratio: disk.utilization_ratio,
        queue_length: disk.queue_length,
    }
}

fn interface(interface: collectors::network::Interface) -> InterfaceRates {
    InterfaceRates {
        name: interface.name,
        state: interface.state,
        receive_bytes_per_second: interface.receive_bytes_per_second,
        transmit_bytes_per_second: interface.transmit_bytes_per_second,
        errors_per_second: interface.errors_per_second,
    }
}

/// `nas: processor 12 % busy, memory 43 % used, fullest /mnt/disk1 at 80 %`.
fn summary(device: &Device, metrics: &SystemMetrics) -> String {
    let percent = |ratio: f64| format!("{:.0} %", ratio * 100.0);
    let mut parts = Vec::new();
    if let Some(busy) = metrics.processor.as_ref().and_then(|processor| processor.cpu_busy_ratio) {
        parts.push(format!("processor {} busy", percent(busy)));
    }
    if let Some(used) = metrics.memory.as_ref().and_then(|memory| memory.used_ratio) {
        parts.push(format!("memory {} used", percent(used)));
    }
    let own = metrics
        .filesystems
        .iter()
        .filter(|filesystem| matches!(filesystem.storage, Storage::Local | Storage::Network));
    let fullest = own.filter_map(|filesystem| Some((filesystem.used_ratio?, filesystem)));
    if let Some((ratio, filesystem)) = fullest.max_by(|a, b| a.0.total_cmp(&b.0)) {
        parts.push(format!("fullest {} at {}", filesystem.mount_point, percent(ratio)));
    }
    let said = if parts.is_empty() { "no figure is known".to_owned() } else { parts.join(", ") };
    let stale = if metrics.stale { " (it does not answer now: this is what is known)" } else { "" };
    format!("{}: {said}{stale}", device.name)
}
