//! Answers about the past: from rollups where they are fine enough, from chunks where they are not, and from the tail.

use std::collections::BTreeMap;
use std::sync::Arc;

use domain::history::{Line, RangeQuery};
use domain::sample::Kind;
use domain::{Error, ErrorKind, Result};
use rusqlite::Connection;

use super::Shared;
use super::cache::{Column, Tier};
use super::chunk::Chunk;
use super::compact::last_moment;
use super::failure::failed;
use super::fold::{Fold, Moment};
use super::index::{Group, Index, Series};
use super::rollup::{self, FIVE_MINUTES, HOUR};

/// A group whose newest samples are this much newer than the range's end is read only up to there, in milliseconds.
const FAR_PAST: i64 = 24 * 3_600_000;
/// Reach of a pair whose interval is not known, in milliseconds.
const SOME_REACH: i64 = 900_000;

/// Answers `query`.
pub(super) fn range(shared: &Shared, connection: &Connection, query: &RangeQuery) -> Result<Vec<Line>> {
    check(query)?;
    let by_group = select(&shared.index(), query)?;
    let width = query.bucket_millis();
    let (from, to) = (query.from.millis(), query.to.millis());
    let tier = match width {
        HOUR.. => Tier::Hour,
        FIVE_MINUTES.. => Tier::FiveMinutes,
        _ => Tier::Raw,
    };
    let mut lines = Vec::new();
    for (group, ids) in by_group {
        // held while the group is read: see the index
        let index = shared.index();
        let Some(group) = index.groups.get(&group) else { continue };
        let series: Vec<(u32, Series)> =
            ids.iter().filter_map(|id| Some((*id, *index.series.get(id)?))).collect();
        let reading = Reading { shared, connection, group, tier, from, to };
        let columns = reading.columns(&series)?;
        for ((id, series), column) in series.iter().zip(columns) {
            let mut fold = Fold::between(series.kind, from, to, width);
            reading.fold(*id, &column, &mut fold);
            lines.push(Line {
                source: group.source,
                metric: index.text(series.metric).to_owned(),
                labels: index.labels(series),
                kind: series.kind,
                buckets: fold.buckets(),
            });
        }
    }
    lines.retain(|line| !line.buckets.is_empty());
    lines.sort_by(|a, b| (a.source, &a.labels).cmp(&(b.source, &b.labels)));
    Ok(lines)
}

fn check(query: &RangeQuery) -> Result<()> {
    if query.to <= query.from {
        let message = format!("the range ends at {}, before it starts at {}", query.to, query.from);
        return Err(Error::invalid("range_empty", message, "let `until` be after `since`"));
    }
    if query.selector.metric.is_none() {
        return Err(Error::invalid(
            "metric_missing",
            "no metric was named",
            "name one, such as cpu_busy_ratio",
        ));
    }
    Ok(())
}

/// The series that match, by group.
fn select(index: &Index, query: &RangeQuery) -> Result<BTreeMap<u32, Vec<u32>>> {
    let matching = index.matching(&query.selector);
    if matching.len() > query.max_series as usize {
        return Err(Error::new(
            ErrorKind::TooLarge,
            "too_many_series",
            format!("{} series match, and at most {} are answered", matching.len(), query.max_series),
            narrowing(index, &matching),
        ));
    }
    let mut by_group: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for id in matching {
        if let Some(series) = index.series.get(&id) {
            by_group.entry(series.group).or_default().push(id);
        }
    }
    Ok(by_group)
}

/// How to ask for fewer: the labels by which these series differ.
fn narrowing(index: &Index, ids: &[u32]) -> String {
    let mut values: BTreeMap<String, std::collections::BTreeSet<String>> = BTreeMap::new();
    for series in ids.iter().filter_map(|id| index.series.get(id)) {
        for (name, value) in index.labels(series).iter() {
            values.entry(name.to_owned()).or_default().insert(value.to_owned());
        }
    }
    let names: Vec<String> =
        values.into_iter().filter(|(_, values)| values.len() > 1).map(|(name, _)| name).collect();
    match names.as_slice() {
        [] => "ask about fewer devices".to_owned(),
        names => {
            format!("ask about fewer devices, or give a value for one of the labels {}", names.join(", "))
        }
    }
}

/// A group while it is read.
struct Reading<'a> {
    shared: &'a Shared,
    connection: &'a Connection,
    group: &'a Group,
    tier: Tier,
    from: i64,
    to: i64,
}

impl Reading<'_> {
    /// What is sealed of these series of the group, from the cache where it is there.
    fn columns(&self, series: &[(u32, Series)]) -> Result<Vec<Arc<Column>>> {
        let newest = self.group.tail.times.last().copied().unwrap_or(i64::MAX);
        let is_open = newest.saturating_sub(self.to) < FAR_PAST || newest == i64::MAX;
        let kept: Vec<Option<Arc<Column>>> = {
            let mut cache = self.shared.cache();
            series.iter().map(|(id, _)| cache.get((*id, self.tier, is_open))).collect()
        };
        let mut columns = Vec::with_capacity(series.len());
        let mut stale: Vec<(usize, u32, Column)> = Vec::new();
        for (place, ((id, series), kept)) in series.iter().zip(kept).enumerate() {
            match kept {
                Some(column) if self.is_current(&column) => columns.push(column),
                // new chunks were sealed: they are read on top
                Some(column) if is_open && self.is_extensible(&column) => {
                    stale.push((place, *id, Column::clone(&column)));
                    columns.push(column);
                }
                _ => {
                    let column = self.empty(series.kind, is_open);
                    stale.push((place, *id, column.clone()));
                    columns.push(Arc::new(column));
                }
            }
        }
        if stale.is_empty() {
            return Ok(columns);
        }
        self.read(&mut stale, series)?;
        let mut cache = self.shared.cache();
        for (place, id, mut column) in stale {
            column.row = self.group.sealed;
            column.epoch = self.group.epoch;
            let column = Arc::new(column);
            cache.put((id, self.tier, is_open), Arc::clone(&column));
            columns[place] = column;
        }
        Ok(columns)
    }

    fn is_current(&self, column: &Column) -> bool {
        let has_all = column.row == self.group.sealed || column.to < i64::MAX;
        column.epoch == self.group.epoch && column.from <= self.from && self.to <= column.to && has_all
    }

    fn is_extensible(&self, column: &Column) -> bool {
        column.epoch == self.group.epoch && column.from <= self.from
    }

    fn empty(&self, kind: Kind, is_open: bool) -> Column {
        Column {
            from: self.from,
            to: if is_open { i64::MAX } else { self.to },
            row: -1,
            epoch: self.group.epoch,
            hours: Fold::tier(kind, HOUR),
            five_minutes: Fold::tier(kind, FIVE_MINUTES),
            moments: Vec::new(),
        }
    }

    /// Reads what is missing from these columns.
    fn read(&self, stale: &mut [(usize, u32, Column)], series: &[(u32, Series)]) -> Result<()> {
        let group = series.first().map_or(0, |(_, series)| series.group);
        // one moment of the file for all that follows
        let transaction = self.connection.unchecked_transaction().map_err(failed)?;
        let is_new = |column: &Column| column.row < 0;
        if stale.iter().any(|(_, _, column)| is_new(column)) {
            self.read_rollups(group, stale, series)?;
            self.read_last_before(group, stale, series)?;
        }
        self.read_chunks(group, stale, series)?;
        transaction.commit().map_err(failed)
    }

    /// Rollups, as far as they are wanted or nothing finer is kept.
    fn read_rollups(
        &self,
        group: u32,
        stale: &mut [(usize, u32, Column)],
        series: &[(u32, Series)],
    ) -> Result<()> {
        let first_chunk = self
            .connection
            .prepare_cached("SELECT min(start) FROM chunk WHERE poll_group = ?1")
            .and_then(|mut select| select.query_row([group], |row| row.get::<_, Option<i64>>(0)))
            .map_err(failed)?
            .unwrap_or(i64::MAX);
        for width in [FIVE_MINUTES, HOUR] {
            let (condition, before) = match (self.tier, width) {
                (Tier::Hour, FIVE_MINUTES) => continue,
                (Tier::Hour, _) | (Tier::FiveMinutes, FIVE_MINUTES) => ("", i64::MAX),
                // hours of which there is nothing finer any more
                (_, HOUR) => ("AND alone", first_chunk),
                _ => ("", first_chunk),
            };
            let select = format!(
                "SELECT body FROM rollup WHERE poll_group = ?1 AND width = ?2 AND end >= ?3 AND start < ?4 AND end < ?5 {condition} ORDER BY end"
            );
            let mut select = self.connection.prepare_cached(&select).map_err(failed)?;
            let to = stale.iter().map(|(_, _, column)| column.to).max().unwrap_or(self.to);
            let mut rows = select.query((group, width, self.from, to, before)).map_err(failed)?;
            while let Some(row) = rows.next().map_err(failed)? {
                let chunk = Chunk::parse(row.get(0).map_err(failed)?)?;
                for (place, id, column) in stale.iter_mut().filter(|(_, _, column)| column.row < 0) {
                    let fold = if width == HOUR { &mut column.hours } else { &mut column.five_minutes };
                    rollup::read(&chunk, *id, series[*place].1.kind, width, fold)?;
                }
            }
        }
        Ok(())
    }

    /// The sample before the first chunk that is read: a counter's first pair begins there.
    fn read_last_before(
        &self,
        group: u32,
        stale: &mut [(usize, u32, Column)],
        series: &[(u32, Series)],
    ) -> Result<()> {
        if series.iter().all(|(_, series)| series.kind == Kind::Gauge) || self.tier == Tier::Raw {
            return Ok(());
        }
        let select = "SELECT body FROM chunk WHERE poll_group = ?1 AND level >= ?2 AND end < ?3 ORDER BY end DESC LIMIT 1";
        let mut select = self.connection.prepare_cached(select).map_err(failed)?;
        let to = stale.iter().map(|(_, _, column)| column.to).max().unwrap_or(self.to);
        let mut rows = select.query((group, self.rolled_level(), to)).map_err(failed)?;
        let Some(row) = rows.next().map_err(failed)? else { return Ok(()) };
        let chunk = Chunk::parse(row.get(0).map_err(failed)?)?;
        for (place, id, column) in stale.iter_mut().filter(|(_, _, column)| column.row < 0) {
            if series[*place].1.kind == Kind::Counter {
                let before = last_moment(&chunk, u64::from(*id))?;
                self.fold_of(column).set_before(before);
            }
        }
        Ok(())
    }

    /// Chunks that are not rolled up, or all where samples are wanted.
    fn read_chunks(
        &self,
        group: u32,
        stale: &mut [(usize, u32, Column)],
        series: &[(u32, Series)],
    ) -> Result<()> {
        let reach =
            if self.group.tail.interval == 0 { SOME_REACH } else { i64::from(self.group.tail.interval) * 3 };
        let after_row = stale.iter().map(|(_, _, column)| column.row).min().unwrap_or(-1);
        let to = stale.iter().map(|(_, _, column)| column.to).max().unwrap_or(self.to);
        let select = "SELECT row, body FROM chunk WHERE poll_group = ?1 AND end >= ?2 AND start < ?3 AND level < ?4 AND row > ?5 ORDER BY start, id";
        let mut select = self.connection.prepare_cached(select).map_err(failed)?;
        let parameters = (group, self.from - reach, to, self.rolled_level(), after_row);
        let mut rows = select.query(parameters).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let last_row: i64 = row.get(0).map_err(failed)?;
            let chunk = Chunk::parse(row.get(1).map_err(failed)?)?;
            let reach = chunk.interval.saturating_mul(3);
            for (place, id, column) in stale.iter_mut().filter(|(_, _, column)| column.row < last_row) {
                let Some(numbers) = chunk.column(u64::from(*id))? else { continue };
                let moments = chunk.times.iter().zip(numbers).filter(|(_, value)| !value.is_nan());
                let moments = moments.map(|(at, value)| Moment { at: *at, value, reach });
                if self.tier == Tier::Raw {
                    column.moments.extend(moments);
                } else {
                    let kind = series[*place].1.kind;
                    let fold = self.fold_of(column);
                    moments.for_each(|moment| fold.push(moment));
                    debug_assert!(
                        kind == Kind::Gauge || fold.before().is_some(),
                        "a counter's pair needs it"
                    );
                }
            }
        }
        Ok(())
    }

    /// Chunks of this level or above are in the rollups that are read.
    fn rolled_level(&self) -> i64 {
        match self.tier {
            Tier::Raw => i64::MAX,
            Tier::FiveMinutes => 2,
            Tier::Hour => 1,
        }
    }

    fn fold_of<'c>(&self, column: &'c mut Column) -> &'c mut Fold {
        if self.tier == Tier::Hour { &mut column.hours } else { &mut column.five_minutes }
    }

    /// Folds a column, and what the tail holds on top, into the answer.
    fn fold(&self, id: u32, column: &Column, fold: &mut Fold) {
        for (buckets, width) in [(&column.hours, HOUR), (&column.five_minutes, FIVE_MINUTES)] {
            let first = i32::try_from(self.from.div_euclid(width)).unwrap_or(i32::MAX);
            let start = buckets.held().partition_point(|held| held.index < first);
            for held in &buckets.held()[start..] {
                let at = i64::from(held.index) * width;
                if at >= self.to {
                    break;
                }
                fold.push_held(at, width, held);
            }
        }
        let before = match self.tier {
            Tier::Raw => None,
            Tier::FiveMinutes => column.five_minutes.before(),
            Tier::Hour => column.hours.before(),
        };
        fold.set_before(before);
        // one earlier, for a counter's first pair
        let start = column.moments.partition_point(|moment| moment.at < self.from).saturating_sub(1);
        for moment in &column.moments[start..] {
            fold.push(*moment);
            if moment.at >= self.to {
                break;
            }
        }
        let tail = &self.group.tail;
        let reach = tail.interval.saturating_mul(3);
        let Some(numbers) = tail.column(id) else { return };
        for (at, value) in tail.times.iter().zip(numbers).filter(|(_, value)| !value.is_nan()) {
            fold.push(Moment { at: *at, value: *value, reach });
        }
    }
}
