//! Whole disks: what was read and written, how long it took, how busy they are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use domain::ask::{Answers, Ask};
use domain::capability::Capability;
use domain::collector::{Collector, Parsed};
use domain::facts::Facts;
use domain::observed::Observed;
use domain::sample::Samples;
use domain::{Error, Result, Untrusted};

use crate::linux::{between, growth, lines_by_path, needs_two_polls, per_second, untrusted};

/// Input and output of whole disks; partitions, loop devices, RAM disks and empty drives are left out.
///
/// `/proc/diskstats` has the counters since the kernel started; `/sys/block/*/size` says which names are whole disks;
/// `/sys/block/*/dm/name` gives device-mapper volumes the names that people gave them. None of it wakes a drive.
pub struct Disks;

/// Input and output of whole disks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DisksReading {
    /// The disks, by name.
    pub disks: Vec<Disk>,
}

/// One disk. What is “per second”, and the averages, are over the time since the reading before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Disk {
    /// The kernel's name, such as `sda` or `nvme0n1`.
    pub device: String,
    /// The name of a device-mapper volume, such as `vg0-data`.
    pub volume: Option<Untrusted<String>>,
    /// Its size, in bytes.
    pub size_bytes: Option<u64>,
    /// Bytes read per second.
    pub read_bytes_per_second: Option<f64>,
    /// Bytes written per second.
    pub write_bytes_per_second: Option<f64>,
    /// Reads completed per second.
    pub reads_per_second: Option<f64>,
    /// Writes completed per second.
    pub writes_per_second: Option<f64>,
    /// How long a read took on average, waiting included, in seconds; absent where nothing was read.
    pub read_latency_seconds: Option<f64>,
    /// How long a write took on average, waiting included, in seconds; absent where nothing was written.
    pub write_latency_seconds: Option<f64>,
    /// Share of the time in which it had something to do, 0 to 1. A drive that works on many requests at once can do more
    /// even at 1.
    pub utilization_ratio: Option<f64>,
    /// Requests under way or waiting, on average.
    pub queue_length: Option<f64>,
    /// Requests under way at the moment of the reading.
    pub in_flight: u64,
    /// What it did since the kernel started.
    pub totals: DiskTotals,
}

/// What a disk did since the kernel started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DiskTotals {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Reads completed.
    pub reads: u64,
    /// Writes completed.
    pub writes: u64,
    /// Milliseconds that reads took, added up.
    pub read_milliseconds: u64,
    /// Milliseconds that writes took, added up.
    pub write_milliseconds: u64,
    /// Milliseconds in which it had something to do.
    pub busy_milliseconds: u64,
    /// Milliseconds times requests under way.
    pub weighted_milliseconds: u64,
}

const DISKSTATS: &str = "/proc/diskstats";
const SIZES: &str = "/sys/block/*/size";
const VOLUMES: &str = "/sys/block/*/dm/name";
/// The unit of `/proc/diskstats` and `/sys/block/*/size`, whatever the drive's own sectors are.
const SECTOR_BYTES: u64 = 512;

impl Collector for Disks {
    const NAME: &'static str = "disks";
    const WHY: &'static str = "what disks read and write and how long it takes: /proc/diskstats; /sys/block for which names are whole disks";
    const EVERY: Duration = Duration::from_secs(30);
    const NEEDS: &'static [Capability] = &[Capability::Procfs];
    const LIVE: bool = true;
    type Reading = DisksReading;

    fn asks(_: &Facts) -> Vec<Ask> {
        vec![Ask::file(DISKSTATS), Ask::files(SIZES), Ask::files(VOLUMES)]
    }

    fn parse(
        _: &Facts,
        answers: &Answers,
        before: Option<&Observed<DisksReading>>,
    ) -> Result<Parsed<DisksReading>> {
        let Some(diskstats) = answers.file_text(DISKSTATS) else {
            return Err(Error::unreachable(
                "diskstats_unreadable",
                "/proc/diskstats could not be read",
                "check that /proc is mounted",
            ));
        };
        let sizes = of_each_block_device(answers, SIZES, "/size");
        let volumes = of_each_block_device(answers, VOLUMES, "/dm/name");
        let all = diskstats.lines().filter_map(line).collect::<Vec<_>>();
        let names: BTreeSet<String> = all.iter().map(|disk| disk.device.clone()).collect();
        let mut disks: Vec<Disk> = all
            .into_iter()
            .filter(|disk| is_kept(&disk.device))
            .filter(|disk| match sizes.get(&disk.device) {
                Some(size) => size != "0",
                // where /sys is hidden, the names must tell
                None => sizes.is_empty() && !is_partition(&disk.device, &names),
            })
            .collect();
        for disk in &mut disks {
            let sectors = sizes.get(&disk.device).and_then(|size| size.parse::<u64>().ok());
            disk.size_bytes = sectors.and_then(|sectors| sectors.checked_mul(SECTOR_BYTES));
            disk.volume = volumes.get(&disk.device).and_then(|name| untrusted(name));
            let earlier = before.and_then(|before| {
                let earlier = before.value.disks.iter().find(|earlier| earlier.device == disk.device)?;
                Some((earlier.totals, answers.at.since(before.as_of)))
            });
            if let Some((earlier, elapsed)) = earlier {
                disk.compare(&earlier, elapsed);
            }
        }
        disks.sort_by(|a, b| a.device.cmp(&b.device));
        let problems = if before.is_none() && !disks.is_empty() {
            vec![needs_two_polls("rates of disks")]
        } else {
            Vec::new()
        };
        Ok(Parsed::Reading(DisksReading { disks }, problems))
    }

    fn samples(reading: &DisksReading, samples: &mut Samples) {
        for disk in &reading.disks {
            // a volume's name survives a restart, its number need not
            let device = disk.volume.as_ref().map_or(disk.device.as_str(), Untrusted::as_str);
            let labels = &[("device", device)];
            let totals = &disk.totals;
            let seconds = |milliseconds: u64| milliseconds as f64 / 1000.0;
            samples.counter("node_disk_read_bytes_total", labels, totals.read_bytes as f64);
            samples.counter("node_disk_written_bytes_total", labels, totals.written_bytes as f64);
            samples.counter("node_disk_reads_completed_total", labels, totals.reads as f64);
            samples.counter("node_disk_writes_completed_total", labels, totals.writes as f64);
            samples.counter("node_disk_read_time_seconds_total", labels, seconds(totals.read_milliseconds));
            samples.counter("node_disk_write_time_seconds_total", labels, seconds(totals.write_milliseconds));
            samples.counter("node_disk_io_time_seconds_total", labels, seconds(totals.busy_milliseconds));
            samples.counter(
                "node_disk_io_time_weighted_seconds_total",
                labels,
                seconds(totals.weighted_milliseconds),
            );
            samples.gauge("node_disk_io_now", labels, disk.in_flight as f64);
        }
    }
}

impl Disk {
    fn compare(&mut self, earlier: &DiskTotals, elapsed: Duration) {
        let now = &self.totals;
        let rate = |before, now| per_second(before, now, elapsed);
        self.read_bytes_per_second = rate(earlier.read_bytes, now.read_bytes);
        self.write_bytes_per_second = rate(earlier.written_bytes, now.written_bytes);
        self.reads_per_second = rate(earlier.reads, now.reads);
        self.writes_per_second = rate(earlier.writes, now.writes);
        let latency = |millis: Option<f64>, requests: Option<f64>| {
            millis
                .zip(requests)
                .filter(|(_, requests)| *requests > 0.0)
                .map(|(ms, count)| ms / count / 1000.0)
        };
        self.read_latency_seconds = latency(
            growth(earlier.read_milliseconds, now.read_milliseconds),
            growth(earlier.reads, now.reads),
        );
        self.write_latency_seconds = latency(
            growth(earlier.write_milliseconds, now.write_milliseconds),
            growth(earlier.writes, now.writes),
        );
        self.utilization_ratio =
            rate(earlier.busy_milliseconds, now.busy_milliseconds).map(|ms| (ms / 1000.0).min(1.0));
        self.queue_length =
            rate(earlier.weighted_milliseconds, now.weighted_milliseconds).map(|ms| ms / 1000.0);
    }
}

/// What each block device says in a file, by its name in `/proc/diskstats` (where `/sys` writes `!` for `/`).
fn of_each_block_device(answers: &Answers, pattern: &str, suffix: &str) -> BTreeMap<String, String> {
    lines_by_path(answers.files(pattern))
        .into_iter()
        .filter_map(|(path, value)| {
            Some((between(&path, "/sys/block/", suffix)?.replace('!', "/"), value.trim().to_owned()))
        })
        .collect()
}

fn line(line: &str) -> Option<Disk> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let device = Untrusted::new(words.get(2)?).to_string();
    let number = |place: usize| words.get(place)?.parse::<u64>().ok();
    let totals = DiskTotals {
        reads: number(3)?,
        read_bytes: number(5)?.checked_mul(SECTOR_BYTES)?,
        read_milliseconds: number(6)?,
        writes: number(7)?,
        written_bytes: number(9)?.checked_mul(SECTOR_BYTES)?,
        write_milliseconds: number(10)?,
        busy_milliseconds: number(12)?,
        weighted_milliseconds: number(13)?,
    };
    Some(Disk { device, in_flight: number(11)?, totals, ..Disk::default() })
}

fn is_kept(device: &str) -> bool {
    !["loop", "ram", "zram", "fd", "sr"].iter().any(|prefix| {
        device.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    })
}

/// `sda1` beside `sda`, `nvme0n1p2` beside `nvme0n1`.
fn is_partition(device: &str, names: &BTreeSet<String>) -> bool {
    let whole = device.trim_end_matches(|c: char| c.is_ascii_digit());
    let ends_in_digit = |name: &str| name.ends_with(|c: char| c.is_ascii_digit());
    whole.len() < device.len()
        && (names.contains(whole)
            || whole.strip_suffix('p').is_some_and(|whole| ends_in_digit(whole) && names.contains(whole)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_told_from_disks_by_their_names() {
        let names: BTreeSet<String> =
            ["sda", "sda1", "nvme0n1", "nvme0n1p2", "md0", "dm-1"].map(String::from).into();
        let partitions: Vec<&String> = names.iter().filter(|name| is_partition(name, &names)).collect();
        assert_eq!(partitions, ["nvme0n1p2", "sda1"]);
    }
}
