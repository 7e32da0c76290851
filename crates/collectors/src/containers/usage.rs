//! What a container uses, from one-shot statistics on control groups of version 1 and 2.

use super::engine_api::{BlkioEntry, Stats};
use super::from_engine::moment;
use super::reading::Usage;

const NANOS_PER_SECOND: f64 = 1e9;

impl Usage {
    /// What the engine counted; absent where it counted nothing, as for a container that ended meanwhile.
    pub(super) fn new(stats: &Stats, before: Option<&Self>) -> Option<Self> {
        let nanos = stats.cpu.cpu_usage.total_usage;
        let memory_bytes = memory_without_cache(stats);
        if nanos.unwrap_or(0) == 0 && memory_bytes.is_none() {
            return None;
        }
        let limit = stats.memory.limit.filter(|limit| *limit > 0);
        let networks = stats.networks.as_ref();
        let sum = |direction: fn(&super::engine_api::NetworkStats) -> u64| {
            networks.map(|networks| networks.values().map(direction).fold(0, u64::saturating_add))
        };
        let blocks = stats.blkio.io_service_bytes_recursive.as_deref();
        let mut usage = Self {
            cpu_ratio: None,
            cpu_seconds: nanos.map(|nanos| nanos as f64 / NANOS_PER_SECOND),
            memory_bytes,
            memory_limit_bytes: limit,
            memory_ratio: memory_bytes.zip(limit).map(|(used, limit)| used as f64 / limit as f64),
            network_receive_bytes: sum(|network| network.rx_bytes),
            network_transmit_bytes: sum(|network| network.tx_bytes),
            block_read_bytes: blocks.map(|entries| bytes_of(entries, 'r')),
            block_write_bytes: blocks.map(|entries| bytes_of(entries, 'w')),
            process_count: stats.pids.current,
            counted_at: moment(stats.read.as_deref()),
        };
        usage.cpu_ratio = before.and_then(|before| usage.cpu_ratio_since(before));
        Some(usage)
    }

    /// By the engine's own stamps; absent where the container was started anew in between.
    fn cpu_ratio_since(&self, before: &Self) -> Option<f64> {
        let elapsed = self.counted_at?.since(before.counted_at?).as_secs_f64();
        let spent = self.cpu_seconds? - before.cpu_seconds?;
        (elapsed > 0.0 && spent >= 0.0).then(|| spent / elapsed)
    }
}

/// As `docker stats` has it: usage less the inactive part of the page cache, which each version of control groups calls by
/// another name.
fn memory_without_cache(stats: &Stats) -> Option<u64> {
    let usage = stats.memory.usage?;
    let detail = &stats.memory.stats;
    let cache = detail.total_inactive_file.or(detail.inactive_file).unwrap_or(0);
    Some(if cache < usage { usage - cache } else { usage })
}

/// The sum of one direction over all disks: `Read` and `Write` in version 1, `read` and `write` in version 2.
fn bytes_of(entries: &[BlkioEntry], first_letter: char) -> u64 {
    entries
        .iter()
        .filter(|entry| entry.op.chars().next().is_some_and(|c| c.eq_ignore_ascii_case(&first_letter)))
        .map(|entry| entry.value)
        .fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(json: &str, before: Option<&Usage>) -> Option<Usage> {
        Usage::new(&serde_json::from_str(json).unwrap(), before)
    }

    #[test]
    fn memory_is_counted_without_the_inactive_page_cache_on_both_versions() {
        let first =
            r#"{"memory_stats":{"usage":1000,"stats":{"total_inactive_file":300,"inactive_file":7}}}"#;
        let second = r#"{"memory_stats":{"usage":1000,"stats":{"inactive_file":400}}}"#;
        assert_eq!(usage(first, None).unwrap().memory_bytes, Some(700));
        assert_eq!(usage(second, None).unwrap().memory_bytes, Some(600));
    }

    #[test]
    fn processor_time_is_compared_by_the_engines_own_stamps() {
        let at = |second: u32, nanos: u64| {
            format!(
                r#"{{"read":"2026-11-20T05:00:{second:02}Z","cpu_stats":{{"cpu_usage":{{"total_usage":{nanos}}}}}}}"#
            )
        };
        let before = usage(&at(0, 1_000_000_000), None).unwrap();
        assert_eq!(usage(&at(10, 6_000_000_000), Some(&before)).unwrap().cpu_ratio, Some(0.5));
        assert_eq!(usage(&at(10, 500_000_000), Some(&before)).unwrap().cpu_ratio, None);
    }

    #[test]
    fn a_container_that_ended_meanwhile_uses_nothing() {
        assert_eq!(usage(r#"{"memory_stats":{},"cpu_stats":{"cpu_usage":{"total_usage":0}}}"#, None), None);
    }
}
