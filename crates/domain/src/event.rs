//! What happened, for whoever listens: streams, alerts, logs.

use std::sync::Arc;

use crate::Timestamp;
use crate::collector::AnyReading;
use crate::device::{DeviceId, Health, SourceId};
use crate::observed::Observed;
use crate::problem::Problem;

/// Something that happened.
#[derive(Clone)]
pub enum Event {
    /// A reading was made.
    Reading {
        /// By which collector.
        collector: &'static str,
        /// What was seen.
        observed: Observed<Arc<dyn AnyReading>>,
        /// What is missing from it.
        problems: Arc<[Problem]>,
    },
    /// A source's status changed.
    Status {
        /// Whose.
        source: SourceId,
        /// What it was and what it is.
        before: Option<Health>,
        /// What it is now.
        now: Health,
    },
    /// A device was added, changed or removed.
    Device {
        /// Which.
        id: DeviceId,
        /// Its name.
        name: String,
        /// What was done to it.
        change: DeviceChange,
        /// When.
        at: Timestamp,
    },
}

/// What was done to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChange {
    /// It is new.
    Added,
    /// It was changed, linked or unlinked.
    Changed,
    /// It is gone.
    Removed,
}
