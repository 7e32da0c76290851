//! Memory and swap, counted as `free -b` counts them, with ZFS's cache told apart.

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

use crate::linux::kib_field;

/// Memory and swap.
///
/// The figures are those of `free -b` of procps 4 (Debian 12 and later): used is total less available; cache is the page
/// cache and what of the kernel's own memory can be taken back. Older versions of `free` subtract free, buffers and
/// cache from the total instead and so show a little less as used. ZFS's cache counts as used there, although the
/// kernel can have most of it back: it is asked of `/proc/spl/kstat/zfs/arcstats` and told apart.
pub struct Memory;

/// Memory and swap.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryReading {
    /// Memory that the kernel manages, in bytes.
    pub total_bytes: Option<u64>,
    /// Memory that programs and the kernel hold, in bytes: total less available. ZFS's cache is part of it.
    pub used_bytes: Option<u64>,
    /// Used memory as a share of the total, 0 to 1.
    pub used_ratio: Option<f64>,
    /// Memory that nobody uses at all, in bytes.
    pub free_bytes: Option<u64>,
    /// Memory of tmpfs and shared segments, in bytes.
    pub shared_bytes: Option<u64>,
    /// Cache of block devices, in bytes.
    pub buffers_bytes: Option<u64>,
    /// Cache of files, and what of the kernel's own memory can be taken back, in bytes.
    pub cache_bytes: Option<u64>,
    /// Memory that new programs can have without swapping, in bytes.
    pub available_bytes: Option<u64>,
    /// Size of ZFS's cache, in bytes; absent where ZFS is not loaded.
    pub zfs_arc_bytes: Option<u64>,
    /// Used memory without ZFS's cache, in bytes; absent where ZFS is not loaded.
    pub used_without_zfs_arc_bytes: Option<u64>,
    /// Swap space, in bytes; 0 where there is none.
    pub swap_total_bytes: Option<u64>,
    /// Swap space in use, in bytes.
    pub swap_used_bytes: Option<u64>,
    /// Swap space not in use, in bytes.
    pub swap_free_bytes: Option<u64>,
    /// Used swap as a share of the total, 0 to 1; absent where there is none.
    pub swap_used_ratio: Option<f64>,
    /// Page cache alone (`Cached`), in bytes.
    pub page_cache_bytes: Option<u64>,
    /// What of the kernel's own memory can be taken back (`SReclaimable`), in bytes.
    pub reclaimable_bytes: Option<u64>,
}

const MEMINFO: &str = "/proc/meminfo";
const ARCSTATS: &str = "/proc/spl/kstat/zfs/arcstats";

impl Collector for Memory {
    const NAME: &'static str = "memory";
    const WHY: &'static str =
        "memory and swap as free counts them: /proc/meminfo; ZFS's cache from its arcstats";
    const EVERY: Duration = Duration::from_secs(30);
    const NEEDS: &'static [Capability] = &[Capability::Procfs];
    const LIVE: bool = true;
    type Reading = MemoryReading;

    fn asks(facts: &Facts) -> Vec<Ask> {
        let arcstats = facts.can(Capability::Zfs).then_some(ARCSTATS);
        [MEMINFO].into_iter().chain(arcstats).map(Ask::file).collect()
    }

    fn parse(
        _: &Facts,
        answers: &Answers,
        _: Option<&Observed<MemoryReading>>,
    ) -> Result<Parsed<MemoryReading>> {
        let Some(meminfo) = answers.file_text(MEMINFO) else {
            return Err(Error::unreachable(
                "meminfo_unreadable",
                "/proc/meminfo could not be read",
                "check that /proc is mounted",
            ));
        };
        let arc = answers.file_text(ARCSTATS).and_then(|text| arc_size(&text));
        Ok(Parsed::Reading(reading(&meminfo, arc), Vec::new()))
    }

    fn samples(reading: &MemoryReading, samples: &mut Samples) {
        let bytes = |value: Option<u64>| value.map(|bytes| bytes as f64);
        samples.gauge("node_memory_MemTotal_bytes", &[], bytes(reading.total_bytes));
        samples.gauge("node_memory_MemAvailable_bytes", &[], bytes(reading.available_bytes));
        samples.gauge("node_memory_MemFree_bytes", &[], bytes(reading.free_bytes));
        samples.gauge("node_memory_Buffers_bytes", &[], bytes(reading.buffers_bytes));
        samples.gauge("node_memory_Cached_bytes", &[], bytes(reading.page_cache_bytes));
        samples.gauge("node_memory_SReclaimable_bytes", &[], bytes(reading.reclaimable_bytes));
        samples.gauge("node_memory_Shmem_bytes", &[], bytes(reading.shared_bytes));
        samples.gauge("node_memory_SwapTotal_bytes", &[], bytes(reading.swap_total_bytes));
        samples.gauge("node_memory_SwapFree_bytes", &[], bytes(reading.swap_free_bytes));
        samples.gauge("node_zfs_arc_size", &[], bytes(reading.zfs_arc_bytes));
        samples.gauge("memory_used_ratio", &[], reading.used_ratio);
    }
}

fn reading(meminfo: &str, zfs_arc_bytes: Option<u64>) -> MemoryReading {
    let field = |key| kib_field(meminfo, key);
    let (total, free) = (field("MemTotal"), field("MemFree"));
    let (buffers, page_cache, reclaimable) = (field("Buffers"), field("Cached"), field("SReclaimable"));
    let cache = page_cache.and_then(|cached| cached.checked_add(reclaimable.unwrap_or(0)));
    // in some containers more is said to be available than there is: `free` then shows what is free
    let available = match (field("MemAvailable"), total) {
        (Some(available), Some(total)) if available > total => free,
        (available, _) => available,
    };
    let used = match (total, available) {
        (Some(total), Some(available)) => total.checked_sub(available),
        // kernels before 3.14 do not say what is available
        (Some(total), None) => {
            [free, buffers, cache].into_iter().try_fold(total, |rest, not_used| rest.checked_sub(not_used?))
        }
        _ => None,
    };
    let (swap_total, swap_free) = (field("SwapTotal"), field("SwapFree"));
    let swap_used = swap_total.zip(swap_free).and_then(|(total, free)| total.checked_sub(free));
    MemoryReading {
        total_bytes: total,
        used_bytes: used,
        used_ratio: share(used, total),
        free_bytes: free,
        shared_bytes: field("Shmem"),
        buffers_bytes: buffers,
        cache_bytes: cache,
        available_bytes: available,
        zfs_arc_bytes,
        used_without_zfs_arc_bytes: used.zip(zfs_arc_bytes).and_then(|(used, arc)| used.checked_sub(arc)),
        swap_total_bytes: swap_total,
        swap_used_bytes: swap_used,
        swap_free_bytes: swap_free,
        swap_used_ratio: share(swap_used, swap_total),
        page_cache_bytes: page_cache,
        reclaimable_bytes: reclaimable,
    }
}

fn share(part: Option<u64>, whole: Option<u64>) -> Option<f64> {
    part.zip(whole).filter(|(_, whole)| *whole > 0).map(|(part, whole)| part as f64 / whole as f64)
}

/// The line `size  4  12345` of ZFS's cache statistics.
fn arc_size(arcstats: &str) -> Option<u64> {
    arcstats.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("size")).then(|| words.nth(1)?.parse().ok()).flatten()
    })
}
