//! A store in memory, for tests of what stands above it. Its history is kept as polls and is not queried.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::audit::{AuditRow, AuditStart};
use crate::device::{Device, DeviceId, SourceId};
use crate::history::{HistoryFigures, Line, Poll, RangeQuery, Retention, Selector};
use crate::ports::{ApprovedHostKey, Store, StoredReading};
use crate::{BoxFuture, Error, Result, Timestamp};

/// A store in memory.
#[derive(Default)]
pub struct MemoryStore(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    devices: Vec<Device>,
    sources_given: u32,
    host_keys: Vec<ApprovedHostKey>,
    latest: Vec<StoredReading>,
    polls: Vec<Poll>,
    lines: Vec<Line>,
    audit: Vec<AuditRow>,
}

impl MemoryStore {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The polls that were appended.
    pub fn polls(&self) -> Vec<Poll> {
        self.kept().polls.clone()
    }

    /// What `range` answers from now on.
    pub fn answer_ranges_with(&self, lines: Vec<Line>) {
        self.kept().lines = lines;
    }

    pub(crate) fn next_id(&self) -> u32 {
        let mut kept = self.kept();
        kept.sources_given += 1;
        kept.sources_given
    }

    fn push_audit(&self, start: AuditStart, outcome: &str, completes: Option<u64>) -> u64 {
        let mut kept = self.kept();
        let id = kept.audit.len() as u64 + 1;
        kept.audit.push(AuditRow {
            id,
            at: start.at,
            principal: start.principal,
            surface: start.surface.to_owned(),
            operation: start.operation,
            arguments: start.arguments,
            outcome: outcome.to_owned(),
            completes,
            hash: String::new(),
        });
        id
    }
}

fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, Result<T>> {
    Box::pin(async move { Ok(value) })
}

impl Store for MemoryStore {
    fn devices(&self) -> BoxFuture<'_, Result<Vec<Device>>> {
        ready(self.kept().devices.clone())
    }

    fn save_device<'a>(&'a self, device: &'a Device) -> BoxFuture<'a, Result<()>> {
        self.save_devices(std::slice::from_ref(device))
    }

    fn save_devices<'a>(&'a self, devices: &'a [Device]) -> BoxFuture<'a, Result<()>> {
        let mut kept = self.kept();
        for device in devices {
            kept.devices.retain(|other| other.id != device.id);
            kept.devices.push(device.clone());
        }
        ready(())
    }

    fn remove_device(&self, id: DeviceId) -> BoxFuture<'_, Result<()>> {
        self.kept().devices.retain(|device| device.id != id);
        ready(())
    }

    fn next_source_id(&self) -> BoxFuture<'_, Result<SourceId>> {
        ready(SourceId(self.next_id()))
    }

    fn host_keys(&self) -> BoxFuture<'_, Result<Vec<ApprovedHostKey>>> {
        ready(self.kept().host_keys.clone())
    }

    fn approve_host_key<'a>(&'a self, key: &'a ApprovedHostKey) -> BoxFuture<'a, Result<()>> {
        self.kept().host_keys.push(key.clone());
        ready(())
    }

    fn latest(&self) -> BoxFuture<'_, Result<Vec<StoredReading>>> {
        ready(self.kept().latest.clone())
    }

    fn keep_latest(&self, readings: Vec<StoredReading>) -> BoxFuture<'_, Result<()>> {
        let mut kept = self.kept();
        for reading in readings {
            kept.latest
                .retain(|other| (other.source, &other.collector) != (reading.source, &reading.collector));
            kept.latest.push(reading);
        }
        ready(())
    }

    fn append(&self, poll: Poll) -> BoxFuture<'_, Result<()>> {
        self.kept().polls.push(poll);
        ready(())
    }

    fn range(&self, query: RangeQuery) -> BoxFuture<'_, Result<Vec<Line>>> {
        let mut lines = self.kept().lines.clone();
        lines.retain(|line| query.selector.metric.as_ref().is_none_or(|metric| *metric == line.metric));
        ready(lines)
    }

    fn metrics(&self, sources: Vec<SourceId>) -> BoxFuture<'_, Result<Vec<String>>> {
        let kept = self.kept();
        let told =
            kept.polls.iter().filter(|poll| sources.contains(&poll.source)).flat_map(|poll| &poll.samples);
        let mut names: Vec<String> = told.map(|sample| sample.metric.to_owned()).collect();
        names.sort();
        names.dedup();
        drop(kept);
        ready(names)
    }

    fn forget(&self, selector: Selector) -> BoxFuture<'_, Result<()>> {
        self.kept().polls.retain(|poll| !selector.sources.contains(&poll.source));
        ready(())
    }

    fn tend(&self, _: Timestamp, _: Retention) -> BoxFuture<'_, Result<()>> {
        ready(())
    }

    fn figures(&self) -> BoxFuture<'_, Result<HistoryFigures>> {
        ready(HistoryFigures::default())
    }

    fn audit_start(&self, start: AuditStart) -> BoxFuture<'_, Result<u64>> {
        ready(self.push_audit(start, "started", None))
    }

    fn audit_end(&self, id: u64, at: Timestamp, outcome: String) -> BoxFuture<'_, Result<()>> {
        let started = self.kept().audit.iter().find(|row| row.id == id).cloned();
        Box::pin(async move {
            let started = started.ok_or_else(|| Error::internal("no such row of the audit"))?;
            let start = AuditStart {
                at,
                principal: started.principal,
                surface: "inside",
                operation: started.operation,
                arguments: started.arguments,
            };
            self.push_audit(start, &outcome, Some(id));
            Ok(())
        })
    }

    fn audit(&self, before: Option<u64>, limit: usize) -> BoxFuture<'_, Result<Vec<AuditRow>>> {
        let kept = self.kept();
        let older = kept.audit.iter().rev().filter(|row| before.is_none_or(|before| row.id < before));
        let rows = older.take(limit).cloned().collect();
        drop(kept);
        ready(rows)
    }

    fn verify_audit(&self) -> BoxFuture<'_, Result<u64>> {
        ready(self.kept().audit.len() as u64)
    }

    fn backup<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<()>> {
        ready(())
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        ready(())
    }
}
