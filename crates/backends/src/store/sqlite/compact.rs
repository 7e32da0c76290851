//! Small chunks become large ones, and are rolled up on the way.

use std::collections::BTreeSet;

use domain::history::Retention;
use domain::sample::Kind;
use domain::{Result, Timestamp};
use rusqlite::Connection;

use super::chunk::{Chunk, ChunkWriter};
use super::failure::failed;
use super::fold::{Fold, Moment};
use super::rollup::{self, FIVE_MINUTES, HOUR};
use super::writer::Writer;

/// Polls from which chunks are joined.
const JOIN_POLLS: u32 = 1_440;
/// Most polls of a chunk, about.
const MOST_POLLS: usize = 2 * JOIN_POLLS as usize;
/// Polls that begin longer ago than this are joined, however few they are, in milliseconds.
const LONGEST_WAIT: i64 = 24 * 3_600_000;

/// A chunk in the file.
struct Stored {
    id: i64,
    level: i64,
    row: i64,
    chunk: Chunk,
}

impl Stored {
    fn start(&self) -> i64 {
        self.chunk.times.first().copied().unwrap_or_default()
    }

    fn end(&self) -> i64 {
        self.chunk.times.last().copied().unwrap_or_default()
    }
}

/// Chunks that become one.
struct Joined {
    replaced: Vec<i64>,
    level: i64,
    start: i64,
    end: i64,
    row: i64,
    polls: i64,
    body: Vec<u8>,
    rolled_from: i64,
    hours: Option<Vec<u8>>,
    five_minutes: Option<Vec<u8>>,
    series: Vec<u32>,
}

impl Writer {
    /// Joins the sealed chunks of a group and rolls them up, where that is due at `now`.
    pub(super) fn compact(&mut self, group: u32, now: Timestamp, retention: Retention) -> Result<()> {
        let due = self.due(group, now, retention).map_err(failed)?;
        if due.is_empty() {
            return Ok(());
        }
        let mut chunks = Vec::with_capacity(due.len());
        for id in due {
            chunks.push(load(&self.connection, "WHERE id = ?1", [id])?);
        }
        let mut chunks: Vec<Stored> = chunks.into_iter().flatten().collect();
        while !chunks.is_empty() {
            let rest = chunks.split_off(run_length(&chunks));
            let joined = self.join(group, &chunks)?;
            self.replace(group, &joined)?;
            chunks = rest;
        }
        Ok(())
    }

    /// The sealed chunks of a group, oldest first, if they are enough or old enough.
    fn due(&self, group: u32, now: Timestamp, retention: Retention) -> rusqlite::Result<Vec<i64>> {
        let mut select = self.connection.prepare_cached(
            "SELECT id, start, polls FROM chunk WHERE poll_group = ?1 AND level = 0 ORDER BY start, id",
        )?;
        let rows: Vec<(i64, i64, i64)> = select
            .query_map([group], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<_, _>>()?;
        let polls: i64 = rows.iter().map(|(_, _, polls)| polls).sum();
        let half_of_raw = i64::try_from(retention.raw.as_millis() / 2).unwrap_or(i64::MAX);
        let oldest_wait = rows.first().map_or(0, |(_, start, _)| now.millis() - start);
        let is_due = polls >= i64::from(JOIN_POLLS) || oldest_wait > LONGEST_WAIT.min(half_of_raw);
        Ok(if is_due { rows.into_iter().map(|(id, _, _)| id).collect() } else { Vec::new() })
    }

    /// Makes one chunk of `run`, and of the one before where that is small, and rolls `run` up.
    fn join(&self, group: u32, run: &[Stored]) -> Result<Joined> {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            return Err(domain::Error::internal("no chunks were to be joined"));
        };
        let interval = first.chunk.interval;
        let before = load(
            &self.connection,
            "WHERE poll_group = ?1 AND level > 0 AND end < ?2 ORDER BY end DESC LIMIT 1",
            (group, first.start()),
        )?;
        let new_polls: usize = run.iter().map(|stored| stored.chunk.times.len()).sum();
        let extended = before.as_ref().filter(|before| extends(before, interval, new_polls));
        let parts: Vec<&Stored> = extended.into_iter().chain(run).collect();
        let times: Vec<i64> = parts.iter().flat_map(|part| part.chunk.times.iter().copied()).collect();
        let keys: BTreeSet<u64> = parts.iter().flat_map(|part| part.chunk.keys()).collect();

        let mut body = ChunkWriter::new(&times, interval)?;
        let (mut hours, mut five_minutes, mut series) = (Vec::new(), Vec::new(), Vec::new());
        let has_five_minutes = i64::from(interval) * 2 <= FIVE_MINUTES;
        let reach = interval.saturating_mul(3);
        let mut numbers = Vec::with_capacity(times.len());
        for key in keys {
            numbers.clear();
            for part in &parts {
                match part.chunk.column(key)? {
                    Some(column) => numbers.extend(column),
                    None => numbers.resize(numbers.len() + part.chunk.times.len(), f64::NAN),
                }
            }
            body.column(key, &numbers)?;
            let Some((id, kind)) = self.series(key) else { continue };
            series.push(id);
            let last_before = match &before {
                Some(before) if kind == Kind::Counter => last_moment(&before.chunk, key)?,
                _ => None,
            };
            let new = times.len() - new_polls;
            let fold = |width| {
                let mut fold = Fold::tier(kind, width);
                fold.set_before(last_before);
                for (at, value) in
                    times[new..].iter().zip(&numbers[new..]).filter(|(_, value)| !value.is_nan())
                {
                    fold.push(Moment { at: *at, value: *value, reach });
                }
                (id, kind, fold)
            };
            hours.push(fold(HOUR));
            if has_five_minutes {
                five_minutes.push(fold(FIVE_MINUTES));
            }
        }
        Ok(Joined {
            replaced: parts.iter().map(|part| part.id).collect(),
            level: if has_five_minutes { 2 } else { 1 },
            start: times[0],
            end: last.end(),
            row: parts.iter().map(|part| part.row).max().unwrap_or_default(),
            polls: i64::try_from(times.len()).unwrap_or(i64::MAX),
            body: body.finish(),
            rolled_from: first.start(),
            hours: rollup::write(&hours, HOUR)?,
            five_minutes: rollup::write(&five_minutes, FIVE_MINUTES)?,
            series,
        })
    }

    fn replace(&mut self, group: u32, joined: &Joined) -> Result<()> {
        self.transact_with_index(
            |transaction| {
                let mut delete = transaction.prepare_cached("DELETE FROM chunk WHERE id = ?1")?;
                for id in &joined.replaced {
                    delete.execute([id])?;
                }
                let mut insert = transaction.prepare_cached(
                    "INSERT INTO chunk (poll_group, level, start, end, row, polls, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?;
                let Joined { level, start, end, row, polls, body, rolled_from, .. } = joined;
                insert.execute((group, level, start, end, row, polls, body))?;
                let mut insert = transaction.prepare_cached(
                    "INSERT INTO rollup (poll_group, width, alone, start, end, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?;
                if let Some(body) = &joined.hours {
                    insert.execute((group, HOUR, *level == 1, rolled_from, end, body))?;
                }
                if let Some(body) = &joined.five_minutes {
                    insert.execute((group, FIVE_MINUTES, false, rolled_from, end, body))?;
                }
                let mut update = transaction.prepare_cached("UPDATE series SET seen = ?2 WHERE id = ?1")?;
                for series in &joined.series {
                    update.execute((series, end))?;
                }
                Ok(())
            },
            |index, ()| {
                if let Some(group) = index.groups.get_mut(&group) {
                    group.epoch += 1;
                }
            },
        )
    }

    fn series(&self, key: u64) -> Option<(u32, Kind)> {
        let id = u32::try_from(key).ok()?;
        Some((id, self.shared.index().series.get(&id)?.kind))
    }
}

/// How many of the first chunks can become one: the same interval, one after the other, not too many polls.
fn run_length(chunks: &[Stored]) -> usize {
    let mut polls = 0;
    for (place, stored) in chunks.iter().enumerate() {
        polls += stored.chunk.times.len();
        let fits = place == 0
            || (stored.chunk.interval == chunks[0].chunk.interval
                && stored.start() > chunks[place - 1].end()
                && polls <= MOST_POLLS);
        if !fits {
            return place;
        }
    }
    chunks.len()
}

/// Whether the chunk before is so small that it is written again with what follows; not so small that it would be
/// written again and again.
fn extends(before: &Stored, interval: u32, new_polls: usize) -> bool {
    let polls = before.chunk.times.len();
    let level = if i64::from(interval) * 2 <= FIVE_MINUTES { 2 } else { 1 };
    before.chunk.interval == interval
        && before.level == level
        && polls < JOIN_POLLS as usize
        && polls <= new_polls * 8
}

/// The last number of a series in a chunk.
pub(super) fn last_moment(chunk: &Chunk, key: u64) -> Result<Option<Moment>> {
    let Some(column) = chunk.column(key)? else { return Ok(None) };
    let last = chunk.times.iter().zip(&column).rev().find(|(_, value)| !value.is_nan());
    Ok(last.map(|(at, value)| Moment { at: *at, value: *value, reach: chunk.interval.saturating_mul(3) }))
}

fn load(connection: &Connection, which: &str, parameters: impl rusqlite::Params) -> Result<Option<Stored>> {
    let select = format!("SELECT id, level, row, body FROM chunk {which}");
    let mut statement = connection.prepare_cached(&select).map_err(failed)?;
    let mut rows = statement.query(parameters).map_err(failed)?;
    let Some(row) = rows.next().map_err(failed)? else { return Ok(None) };
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    let (id, level, row, body) = read(row).map_err(failed)?;
    Ok(Some(Stored { id, level, row, chunk: Chunk::parse(body)? }))
}
