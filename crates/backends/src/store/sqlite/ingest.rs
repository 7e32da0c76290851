//! Polls on their way into the tail.

use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use domain::device::SourceId;
use domain::history::Poll;
use domain::sample::Kind;
use domain::{Error, Result};
use rusqlite::Transaction;

use super::failure::failed;
use super::index::{Index, Layout, Series, write_layout};
use super::tail::{RowHead, write_row};
use super::writer::{Chore, Durability, Writer};

/// Polls in a group's tail at which it is sealed.
pub(super) const SEAL_POLLS: usize = 120;
/// A tail that begins longer ago than this is sealed with what it has: it holds up all rows that came after, in
/// milliseconds.
const LONGEST_TAIL: i64 = 4 * 3_600_000;

/// The last row of a group: the next one says what changed since.
pub(super) struct LastRow {
    layout: u32,
    interval: u32,
    at: i64,
    numbers: Vec<f64>,
}

impl LastRow {
    /// Its layout.
    pub(super) fn layout(&self) -> u32 {
        self.layout
    }
}

/// What is in the index and not in the file yet. It is written with the next polls; where that fails, with those after.
#[derive(Default)]
pub(super) struct Unsaved {
    texts: Vec<(u32, String)>,
    groups: Vec<(u32, SourceId, u32, i64)>,
    series: Vec<(u32, Series, i64)>,
    layouts: Vec<(u32, Arc<[u32]>)>,
}

impl Unsaved {
    fn text(&mut self, index: &mut Index, text: &str) -> u32 {
        let (id, is_new) = index.intern_text(text);
        if is_new {
            self.texts.push((id, text.to_owned()));
        }
        id
    }
}

/// A poll as a row.
struct Row {
    id: i64,
    head: RowHead,
    layout: Arc<[u32]>,
    numbers: Vec<f64>,
    body: Vec<u8>,
}

impl Writer {
    /// Writes polls in one transaction: all or none.
    pub(super) fn write_polls(&mut self, polls: &[Poll]) -> Result<()> {
        for poll in polls {
            self.seal_before(poll)?;
        }
        let last_row_before = self.last_row;
        let mut rows: Vec<Row> = Vec::with_capacity(polls.len());
        for poll in polls {
            rows.extend(self.row(poll, last_row_before));
        }
        let unsaved = std::mem::take(&mut self.unsaved);
        let written = self.transact(Durability::Process, |transaction| {
            write_unsaved(transaction, &unsaved).map_err(failed)?;
            let mut insert = transaction
                .prepare_cached("INSERT OR REPLACE INTO tail (id, body) VALUES (?1, ?2)")
                .map_err(failed)?;
            for row in &rows {
                insert.execute((row.id, &row.body)).map_err(failed)?;
            }
            Ok(())
        });
        if let Err(error) = written {
            self.unsaved = unsaved;
            self.last_row = last_row_before;
            for row in &rows {
                // it was not written: the next row must not lean on it
                self.last_rows.remove(&row.head.group);
            }
            return Err(error);
        }
        let samples: usize = rows.iter().map(|row| row.numbers.len()).sum();
        self.shared.figures.samples_accepted.fetch_add(samples as u64, Ordering::Relaxed);
        self.take_into_tail(rows);
        Ok(())
    }

    /// The groups whose tails begin too long ago, seen from `now`.
    pub(super) fn overdue(&self, now: i64) -> Vec<u32> {
        let index = self.shared.index();
        let begins = |id: &u32| index.groups.get(id).and_then(|group| group.tail.times.first().copied());
        let mut overdue: Vec<u32> = index.groups.keys().copied().collect();
        overdue.retain(|id| begins(id).is_some_and(|first| now.saturating_sub(first) > LONGEST_TAIL));
        overdue
    }

    /// Seals the tail that a poll does not fit (another interval, a clock that was set back) while nothing of the poll is
    /// written: where that fails, the poll is refused and not half kept.
    fn seal_before(&mut self, poll: &Poll) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let misfit = {
            let index = shared.index();
            let group = index.text_id(poll.collector).and_then(|text| index.group_id(poll.source, text));
            group.filter(|id| {
                let (at, interval) = (self.moment(*id, poll), interval_of(poll));
                index.groups.get(id).is_some_and(|group| !group.tail.takes(at, interval))
            })
        };
        misfit.map_or(Ok(()), |group| self.seal(group))
    }

    /// When a poll counts as made. A time that is not after the last one, by less than a second, is taken for just after it:
    /// the clock was set back by a creep's width, or two polls fell together.
    fn moment(&self, group: u32, poll: &Poll) -> i64 {
        match self.last_rows.get(&group) {
            Some(last) if (0..1_000).contains(&(last.at - poll.at.millis())) => last.at + 1,
            _ => poll.at.millis(),
        }
    }

    fn row(&mut self, poll: &Poll, last_committed: i64) -> Option<Row> {
        let (group, mut samples) = self.intern(poll, last_committed);
        samples.sort_unstable_by_key(|(series, _)| *series);
        samples.dedup_by_key(|(series, _)| *series);
        if samples.is_empty() {
            return None;
        }
        let (layout, numbers): (Vec<u32>, Vec<f64>) = samples.into_iter().unzip();
        self.last_row += 1;
        let id = self.last_row;
        let (layout_id, layout) = self.layout(group, layout, id);
        let interval = interval_of(poll);
        let before = self.last_rows.get(&group).filter(|last| {
            last.layout == layout_id && last.interval == interval && last.at < poll.at.millis()
        });
        let at = self.moment(group, poll);
        let head = RowHead { group, layout: layout_id, stands_alone: before.is_none(), at, interval };
        let zeros = vec![0.0; numbers.len()];
        let body = write_row(head, before.map_or(&zeros, |last| &last.numbers), &numbers);
        let last = LastRow { layout: layout_id, interval, at, numbers: numbers.clone() };
        self.last_rows.insert(group, last);
        Some(Row { id, head, layout, numbers, body })
    }

    /// The group of a poll and its samples by series; what is new becomes known.
    fn intern(&mut self, poll: &Poll, last_committed: i64) -> (u32, Vec<(u32, f64)>) {
        let shared = Arc::clone(&self.shared);
        let known = known(&shared.index(), poll);
        if let Some(known) = known {
            return known;
        }
        let mut index = shared.index_mut();
        let unsaved = &mut self.unsaved;
        let collector = unsaved.text(&mut index, poll.collector);
        let (group, is_new) = index.intern_group(poll.source, collector, last_committed);
        if is_new {
            unsaved.groups.push((group, poll.source, collector, last_committed));
        }
        let mut samples = Vec::with_capacity(poll.samples.len());
        for sample in poll.samples.iter().filter(|sample| sample.value.is_finite()) {
            let metric = unsaved.text(&mut index, sample.metric);
            let labels = unsaved.text(&mut index, &sample.labels.canonical());
            let series = Series { group, metric, labels, kind: sample.kind };
            let (id, is_new) = index.intern_series(series);
            if is_new {
                unsaved.series.push((id, series, poll.at.millis()));
            }
            samples.push((id, sample.value));
        }
        (group, samples)
    }

    fn layout(&mut self, group: u32, series: Vec<u32>, row: i64) -> (u32, Arc<[u32]>) {
        if let Some(last) = self.last_rows.get(&group)
            && let Some(layout) = self.layouts.get_mut(&last.layout)
            && *layout.series == *series
        {
            layout.last_row = row;
            return (last.layout, Arc::clone(&layout.series));
        }
        let same = self.layouts.iter_mut().find(|(_, layout)| *layout.series == *series);
        if let Some((id, layout)) = same {
            layout.last_row = row;
            return (*id, Arc::clone(&layout.series));
        }
        let id = self.layouts.keys().max().map_or(1, |last| last + 1);
        let series: Arc<[u32]> = series.into();
        self.unsaved.layouts.push((id, Arc::clone(&series)));
        if let Entry::Vacant(vacant) = self.layouts.entry(id) {
            vacant.insert(Layout { series: Arc::clone(&series), last_row: row });
        }
        (id, series)
    }

    /// Rows that are written go into memory; tails that are full or too old are to be sealed.
    fn take_into_tail(&mut self, rows: Vec<Row>) {
        let Some(mut newest) = rows.first().map(|row| row.head.at) else { return };
        for row in rows {
            newest = newest.max(row.head.at);
            let group = row.head.group;
            let takes = |index: &Index| {
                index.groups.get(&group).is_none_or(|group| group.tail.takes(row.head.at, row.head.interval))
            };
            let does_take = takes(&self.shared.index());
            if !does_take {
                // another interval, or a clock that was set back: a new chunk begins
                if let Err(error) = self.seal(group) {
                    tracing::warn!(code = error.code(), cause = %error.chain(), "a poll waits for a restart: {error}");
                    continue;
                }
            }
            let mut index = self.shared.index_mut();
            if let Some(group) = index.groups.get_mut(&group) {
                group.tail.push(row.id, row.head, &row.layout, &row.numbers);
            }
        }
        self.plan_seals(newest);
    }

    fn plan_seals(&mut self, newest: i64) {
        let mut full: Vec<u32> = Vec::new();
        {
            let index = self.shared.index();
            let mut sizes: Vec<(usize, u32)> = Vec::with_capacity(index.groups.len());
            for (id, group) in &index.groups {
                if group.tail.times.len() >= SEAL_POLLS {
                    full.push(*id);
                }
                sizes.push((group.tail.size(), *id));
            }
            let mut held: usize = sizes.iter().map(|(size, _)| size).sum();
            if held > self.shared.options.tail_samples {
                sizes.sort_unstable();
                while held > self.shared.options.tail_samples / 8 * 7 {
                    let Some((size, id)) = sizes.pop() else { break };
                    held -= size;
                    full.push(id);
                }
            }
        }
        full.extend(self.overdue(newest));
        full.sort_unstable();
        full.dedup();
        let is_planned = |chores: &std::collections::VecDeque<Chore>, id| {
            chores.iter().any(|chore| matches!(chore, Chore::Seal(planned) if *planned == id))
        };
        full.retain(|id| !is_planned(&self.chores, *id));
        if !full.is_empty() {
            self.chores.extend(full.into_iter().map(Chore::Seal));
            self.chores.push_back(Chore::Sweep);
        }
    }
}

fn interval_of(poll: &Poll) -> u32 {
    u32::try_from(poll.interval.as_millis()).unwrap_or(u32::MAX)
}

/// The group and series of a poll, where nothing of it is new.
fn known(index: &Index, poll: &Poll) -> Option<(u32, Vec<(u32, f64)>)> {
    let group = index.group_id(poll.source, index.text_id(poll.collector)?)?;
    let mut samples = Vec::with_capacity(poll.samples.len());
    for sample in poll.samples.iter().filter(|sample| sample.value.is_finite()) {
        let metric = index.text_id(sample.metric)?;
        let labels = index.text_id(&sample.labels.canonical())?;
        let id = index.series_id(&Series { group, metric, labels, kind: sample.kind })?;
        samples.push((id, sample.value));
    }
    Some((group, samples))
}

/// Replaces what is there: after a commit of which nobody knows whether it was done, the same is written again.
fn write_unsaved(transaction: &Transaction<'_>, unsaved: &Unsaved) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO text (id, text) VALUES (?1, ?2)")?;
    for (id, text) in &unsaved.texts {
        insert.execute((id, text))?;
    }
    let mut insert = transaction.prepare_cached(
        "INSERT OR REPLACE INTO poll_group (id, source, collector, sealed) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (id, source, collector, sealed) in &unsaved.groups {
        insert.execute((id, source.0, collector, sealed))?;
    }
    let mut insert = transaction.prepare_cached(
        "INSERT OR REPLACE INTO series (id, poll_group, metric, labels, kind, seen) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for (id, series, seen) in &unsaved.series {
        let kind = i64::from(series.kind == Kind::Counter);
        insert.execute((id, series.group, series.metric, series.labels, kind, seen))?;
    }
    let mut insert =
        transaction.prepare_cached("INSERT OR REPLACE INTO layout (id, series) VALUES (?1, ?2)")?;
    for (id, series) in &unsaved.layouts {
        insert.execute((id, write_layout(series)))?;
    }
    Ok(())
}

/// The error of a poll that found no room in the queue.
pub(super) fn queue_full() -> Error {
    Error::new(
        domain::ErrorKind::Busy,
        "history_busy",
        "the history's queue is full: a poll was dropped",
        "the disk is slower than the polls: poll less often, or use a faster disk",
    )
}
