//! The port's methods: each sends its work to the writer or to a reader, and waits.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use domain::audit::{AuditRow, AuditStart};
use domain::device::{Device, DeviceId, SourceId};
use domain::history::{HistoryFigures, Line, Poll, RangeQuery, Retention, Selector};
use domain::ports::{ApprovedHostKey, Store, StoredReading};
use domain::{BoxFuture, Error, ErrorKind, Result, Timestamp};
use tokio::sync::oneshot;

use super::failure::closed;
use super::ingest::queue_full;
use super::writer::{Command, Durability};
use super::{Lines, SqliteStore, audit, copy, file, range, records};

impl Store for SqliteStore {
    fn devices(&self) -> BoxFuture<'_, Result<Vec<Device>>> {
        Box::pin(self.read(|reader| records::devices(&reader.connection)))
    }

    fn save_device<'a>(&'a self, device: &'a Device) -> BoxFuture<'a, Result<()>> {
        self.save_devices(std::slice::from_ref(device))
    }

    fn save_devices<'a>(&'a self, devices: &'a [Device]) -> BoxFuture<'a, Result<()>> {
        let devices = devices.to_vec();
        Box::pin(self.write(move |writer| {
            writer.transact(Durability::Power, |transaction| records::save_devices(transaction, &devices))
        }))
    }

    fn remove_device(&self, id: DeviceId) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.write(move |writer| {
            writer.transact(Durability::Power, |transaction| records::remove_device(transaction, id))
        }))
    }

    fn next_source_id(&self) -> BoxFuture<'_, Result<SourceId>> {
        Box::pin(self.write(|writer| writer.transact(Durability::Power, records::next_source_id)))
    }

    fn host_keys(&self) -> BoxFuture<'_, Result<Vec<ApprovedHostKey>>> {
        Box::pin(self.read(|reader| records::host_keys(&reader.connection)))
    }

    fn approve_host_key<'a>(&'a self, key: &'a ApprovedHostKey) -> BoxFuture<'a, Result<()>> {
        let key = key.clone();
        Box::pin(self.write(move |writer| {
            writer.transact(Durability::Power, |transaction| records::approve_host_key(transaction, &key))
        }))
    }

    fn latest(&self) -> BoxFuture<'_, Result<Vec<StoredReading>>> {
        Box::pin(self.read(|reader| records::latest(&reader.connection)))
    }

    fn keep_latest(&self, readings: Vec<StoredReading>) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.write(move |writer| {
            writer.transact(Durability::Process, |transaction| records::keep_latest(transaction, &readings))
        }))
    }

    fn append(&self, poll: Poll) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let room = u32::try_from(poll.samples.len().max(1)).unwrap_or(u32::MAX);
            let place = if room > self.shared.options.queue_samples {
                Err(too_large(&poll))
            } else {
                Arc::clone(&self.queue).try_acquire_many_owned(room).map_err(|_| queue_full())
            };
            let place = place.inspect_err(|_| {
                self.shared.figures.polls_dropped.fetch_add(1, Ordering::Relaxed);
            })?;
            let (tell, told) = oneshot::channel();
            self.tell(Command::Append(poll, place, tell))?;
            told.await.unwrap_or_else(|_| Err(closed()))
        })
    }

    fn range(&self, query: RangeQuery) -> BoxFuture<'_, Result<Vec<Line>>> {
        Box::pin(self.read(move |reader| range::range(&reader.shared, &reader.connection, &query)))
    }

    fn metrics(&self, sources: Vec<SourceId>) -> BoxFuture<'_, Result<Vec<String>>> {
        Box::pin(async move { Ok(self.shared.index().metrics(&sources)) })
    }

    fn forget(&self, selector: Selector) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.write(move |writer| writer.forget(&selector)))
    }

    fn tend(&self, now: Timestamp, retention: Retention) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let (tell, told) = oneshot::channel();
            self.tell(Command::Tend(now, retention, tell))?;
            told.await.unwrap_or_else(|_| Err(closed()))
        })
    }

    fn figures(&self) -> BoxFuture<'_, Result<HistoryFigures>> {
        Box::pin(async move {
            let figures = &self.shared.figures;
            Ok(HistoryFigures {
                series: self.shared.index().series.len() as u64,
                samples_accepted: figures.samples_accepted.load(Ordering::Relaxed),
                polls_dropped: figures.polls_dropped.load(Ordering::Relaxed),
                size_bytes: self.shared.size(),
            })
        })
    }

    fn audit_start(&self, start: AuditStart) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.write(move |writer| {
            writer.transact(Durability::Power, |transaction| audit::start(transaction, &start))
        }))
    }

    fn audit_end(&self, id: u64, at: Timestamp, outcome: String) -> BoxFuture<'_, Result<()>> {
        Box::pin(self.write(move |writer| {
            writer.transact(Durability::Power, |transaction| audit::end(transaction, id, at, &outcome))
        }))
    }

    fn audit(&self, before: Option<u64>, limit: usize) -> BoxFuture<'_, Result<Vec<AuditRow>>> {
        Box::pin(self.read(move |reader| audit::list(&reader.connection, before, limit)))
    }

    fn verify_audit(&self) -> BoxFuture<'_, Result<u64>> {
        Box::pin(self.read(|reader| audit::verify(&reader.connection)))
    }

    fn backup<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<()>> {
        let path = PathBuf::from(path);
        // with a connection of its own, so that it sees one moment however long it takes
        Box::pin(self.read(move |reader| copy::write(&file::open_reader(&reader.shared.file)?, &path)))
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let lines = self.lines().take();
            let Some(Lines { writer, readers, threads }) = lines else { return Ok(()) };
            drop(readers);
            let (tell, told) = oneshot::channel();
            if writer.send(Command::Close(tell)).is_err() {
                return Err(closed());
            }
            let written = told.await.unwrap_or_else(|_| Err(closed()));
            let joined =
                tokio::task::spawn_blocking(move || threads.into_iter().try_for_each(JoinHandle::join)).await;
            match joined {
                Ok(Ok(())) => written,
                _ => Err(Error::internal("a thread of the store panicked")),
            }
        })
    }
}

fn too_large(poll: &Poll) -> Error {
    Error::new(
        ErrorKind::TooLarge,
        "poll_too_large",
        format!("a poll of {} has {} samples, more than the queue holds", poll.collector, poll.samples.len()),
        "leave out what is not needed; the poll was dropped",
    )
}
