//! The one thread that writes: polls in groups, everything else as it comes, housekeeping in between.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use domain::history::{Poll, Retention};
use domain::{Error, Result, Timestamp};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::Shared;
use super::failure::failed;
use super::index::{Index, Layouts};
use super::ingest::{LastRow, Unsaved};

/// Told when something is written, or could not be.
pub(super) type Tell<T> = oneshot::Sender<Result<T>>;

/// What the writer may be told to do.
pub(super) enum Command {
    /// Take a poll; the permit is its place in the queue.
    Append(Poll, OwnedSemaphorePermit, Tell<()>),
    /// Do this at once.
    Do(Job),
    /// Do what is due, a piece at a time.
    Tend(Timestamp, Retention, Tell<()>),
    /// Write what waits and end.
    Close(Tell<()>),
}

/// Something to do with the writer.
pub(super) type Job = Box<dyn FnOnce(&mut Writer) + Send>;

/// A piece of housekeeping, short enough to do between two commits.
pub(super) enum Chore {
    /// Make a chunk of a group's tail.
    Seal(u32),
    /// Join the chunks of a group and roll them up, where that is due.
    Compact(u32, Timestamp, Retention),
    /// Remove what is too old of a group.
    Retire(u32, Timestamp, Retention),
    /// Remove rows of the tail that are in chunks.
    Sweep,
    /// Forget series, groups and texts that have no samples any more.
    Prune(Timestamp, Retention),
    /// Give back pages that are free.
    Shrink,
    /// Copy the log into the file.
    Checkpoint,
    /// Say that all chores before are done.
    Tell(Tell<()>),
}

/// How surely a transaction is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// It survives the end of the program; a power cut may take the last minutes.
    Process,
    /// It survives a power cut.
    Power,
}

/// Longest time between two copies of the log into the file: what a power cut may cost.
const CHECKPOINT_AFTER: Duration = Duration::from_secs(300);
/// Most pages of the log before it is copied into the file.
const CHECKPOINT_PAGES: i64 = 1_000;

/// The writer's own state.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) shared: Arc<Shared>,
    pub(super) layouts: Layouts,
    pub(super) last_rows: HashMap<u32, LastRow>,
    pub(super) last_row: i64,
    pub(super) swept: i64,
    pub(super) unsaved: Unsaved,
    pub(super) chores: VecDeque<Chore>,
    waiting: Vec<(Poll, OwnedSemaphorePermit, Tell<()>)>,
    waiting_samples: usize,
    commit_at: Instant,
    checkpoint_at: Instant,
    trouble: Option<Error>,
}

impl Writer {
    pub(super) fn new(connection: Connection, shared: Arc<Shared>, layouts: Layouts, last_row: i64) -> Self {
        let now = Instant::now();
        Self {
            connection,
            shared,
            layouts,
            last_rows: HashMap::new(),
            last_row,
            swept: 0,
            unsaved: Unsaved::default(),
            chores: VecDeque::new(),
            waiting: Vec::new(),
            waiting_samples: 0,
            commit_at: now,
            checkpoint_at: now + CHECKPOINT_AFTER,
            trouble: None,
        }
    }

    /// Works until it is closed, or nobody is left to tell it to.
    pub(super) fn run(mut self, inbox: &Receiver<Command>) {
        loop {
            match self.next(inbox) {
                Ok(Command::Append(poll, place, tell)) => self.enqueue(poll, place, tell),
                Ok(Command::Do(job)) => self.guarded(|writer| job(writer)),
                Ok(Command::Tend(now, retention, tell)) => self.plan(now, retention, tell),
                Ok(Command::Close(tell)) => {
                    let closed = self.finish();
                    // whoever closed the store may have gone
                    let _ = tell.send(closed);
                    return;
                }
                Err(RecvTimeoutError::Timeout) => self.guarded(Self::work),
                Err(RecvTimeoutError::Disconnected) => {
                    if let Err(error) = self.finish() {
                        tracing::error!(cause = %error.chain(), "the store was not closed well: {error}");
                    }
                    return;
                }
            }
        }
    }

    /// Runs `work` in a transaction.
    pub(super) fn transact<T>(
        &mut self,
        durability: Durability,
        work: impl FnOnce(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        if durability == Durability::Power {
            self.connection.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        }
        let result = run(&mut self.connection, work);
        if durability == Durability::Power {
            self.connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
        }
        result
    }

    /// Runs `work` in a transaction, and tells the index of it in the moment in which it takes effect: no reader sees
    /// the one without the other.
    pub(super) fn transact_with_index<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
        publish: impl FnOnce(&mut Index, T),
    ) -> Result<()> {
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        let result = work(&transaction).map_err(failed)?;
        let mut index = self.shared.index_mut();
        transaction.commit().map_err(failed)?;
        publish(&mut index, result);
        Ok(())
    }

    fn next(&mut self, inbox: &Receiver<Command>) -> Result<Command, RecvTimeoutError> {
        let is_due = !self.waiting.is_empty() && Instant::now() >= self.commit_at;
        if is_due || self.waiting_samples >= self.shared.options.batch_samples {
            return Err(RecvTimeoutError::Timeout);
        }
        if !self.chores.is_empty() {
            return inbox.try_recv().map_err(|error| match error {
                TryRecvError::Empty => RecvTimeoutError::Timeout,
                TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
            });
        }
        let until = if self.waiting.is_empty() { self.checkpoint_at } else { self.commit_at };
        inbox.recv_timeout(until.saturating_duration_since(Instant::now()))
    }

    fn enqueue(&mut self, poll: Poll, place: OwnedSemaphorePermit, tell: Tell<()>) {
        if self.waiting.is_empty() {
            self.commit_at = Instant::now() + self.shared.options.commit_after;
        }
        self.waiting_samples += poll.samples.len();
        self.waiting.push((poll, place, tell));
    }

    /// One thing that is due.
    fn work(&mut self) {
        let batch_is_full = self.waiting_samples >= self.shared.options.batch_samples;
        if !self.waiting.is_empty() && (batch_is_full || Instant::now() >= self.commit_at) {
            self.commit();
        }
        // also after a commit: under a steady stream of polls there would be no other time
        if let Some(chore) = self.chores.pop_front() {
            self.do_chore(chore);
        }
        let log_is_long = || self.log("NOOP").is_ok_and(|pages| pages > CHECKPOINT_PAGES);
        if Instant::now() >= self.checkpoint_at || log_is_long() {
            self.checkpoint();
        }
    }

    fn commit(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting_samples = 0;
        let (polls, answers): (Vec<Poll>, Vec<_>) =
            waiting.into_iter().map(|(poll, place, tell)| (poll, (place, tell))).unzip();
        let result = self.write_polls(&polls);
        if result.is_err() {
            self.shared.figures.polls_dropped.fetch_add(polls.len() as u64, Ordering::Relaxed);
        }
        for (_place, tell) in answers {
            // who appended may have gone
            let _ = tell.send(match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(error.retold()),
            });
        }
    }

    fn plan(&mut self, now: Timestamp, retention: Retention, tell: Tell<()>) {
        let mut groups: Vec<u32> = self.shared.index().groups.keys().copied().collect();
        groups.sort_unstable();
        self.chores.extend(self.overdue(now.millis()).into_iter().map(Chore::Seal));
        for group in &groups {
            self.chores.push_back(Chore::Compact(*group, now, retention));
            self.chores.push_back(Chore::Retire(*group, now, retention));
        }
        self.chores.push_back(Chore::Sweep);
        self.chores.push_back(Chore::Prune(now, retention));
        self.chores.push_back(Chore::Shrink);
        self.chores.push_back(Chore::Checkpoint);
        self.chores.push_back(Chore::Tell(tell));
    }

    fn do_chore(&mut self, chore: Chore) {
        let done = match chore {
            Chore::Seal(group) => self.seal(group),
            Chore::Compact(group, now, retention) => self.compact(group, now, retention),
            Chore::Retire(group, now, retention) => self.retire(group, now, retention),
            Chore::Sweep => self.sweep(),
            Chore::Prune(now, retention) => self.prune(now, retention),
            Chore::Shrink => self.shrink(),
            Chore::Checkpoint => {
                self.checkpoint();
                Ok(())
            }
            Chore::Tell(tell) => {
                let result = self.trouble.take().map_or(Ok(()), Err);
                // who asked may have gone
                let _ = tell.send(result);
                Ok(())
            }
        };
        if let Err(error) = done {
            tracing::warn!(code = error.code(), cause = %error.chain(), "the history was not tended: {error}");
            self.trouble.get_or_insert(error);
        }
    }

    /// A defect in one job must not end the writer.
    fn guarded(&mut self, work: impl FnOnce(&mut Self)) {
        if std::panic::catch_unwind(AssertUnwindSafe(|| work(self))).is_err() {
            tracing::error!("a job of the store's writer panicked");
            // what it was at may be half done in memory: the next rows stand alone
            self.last_rows.clear();
        }
    }

    /// Copies the log into the file, as far as no reader is in the way.
    fn checkpoint(&mut self) {
        self.checkpoint_at = Instant::now() + CHECKPOINT_AFTER;
        if let Err(error) = self.log("PASSIVE") {
            tracing::warn!(code = error.code(), cause = %error.chain(), "the store's log was not copied: {error}");
        }
    }

    /// Does this with the write-ahead log, and tells how many of its pages are not in the file yet.
    fn log(&self, mode: &str) -> Result<i64> {
        let pages = |row: &rusqlite::Row<'_>| Ok(row.get::<_, i64>(1)? - row.get::<_, i64>(2)?);
        self.connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], pages).map_err(failed)
    }

    /// Commits what waits now.
    pub(super) fn commit_waiting(&mut self) {
        if !self.waiting.is_empty() {
            self.commit();
        }
    }

    fn finish(&mut self) -> Result<()> {
        self.commit_waiting();
        self.log("TRUNCATE").map(drop)
    }
}

fn run<T>(connection: &mut Connection, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let result = work(&transaction)?;
    transaction.commit().map_err(failed)?;
    Ok(result)
}
