//! What the configuration says, as values that components can watch.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::history::Retention;

/// Settings of the domain. A component reads each when it needs it, all but `concurrency`, which is read at the start.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Settings {
    /// How often collectors ask.
    pub intervals: Intervals,
    /// Most devices that are asked at once.
    pub concurrency: Concurrency,
    /// How long history is kept.
    pub retention: Retention,
}

/// Most devices that are asked at once; one that keeps us waiting for more than two seconds no longer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency(pub usize);

impl Default for Concurrency {
    fn default() -> Self {
        Self(16)
    }
}

/// How often collectors ask: the collector's own interval, unless it is set globally, for a type of device, or for one
/// device; the most particular one counts.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Intervals {
    /// By collector.
    pub by_collector: BTreeMap<String, Duration>,
    /// By device type, then collector.
    pub by_type: BTreeMap<String, BTreeMap<String, Duration>>,
    /// By device name, then collector.
    pub by_device: BTreeMap<String, BTreeMap<String, Duration>>,
}

impl Intervals {
    /// How often `collector` asks the device `device` of type `device_type`; `default` where nothing is set.
    pub fn of(&self, collector: &str, device: &str, device_type: &str, default: Duration) -> Duration {
        let in_group = |group: &BTreeMap<String, BTreeMap<String, Duration>>, name: &str| {
            group.get(name).and_then(|intervals| intervals.get(collector)).copied()
        };
        in_group(&self.by_device, device)
            .or_else(|| in_group(&self.by_type, device_type))
            .or_else(|| self.by_collector.get(collector).copied())
            .unwrap_or(default)
    }
}
