//! What is too old, or unwanted, goes.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use domain::history::{Retention, Selector};
use domain::{Result, Timestamp};
use rusqlite::Transaction;

use super::chunk::Chunk;
use super::failure::failed;
use super::index::Index;
use super::ingest::LastRow;
use super::rollup;
use super::writer::{Chore, Durability, Writer};

/// How much longer than its samples a series is known: what says when it was last seen is up to a day late.
const SERIES_GRACE: Duration = Duration::from_secs(2 * 86_400);
/// Free pages that are kept for what comes next.
const SPARE_PAGES: i64 = 64;
/// Pages given back at once.
const SHRINK_PAGES: i64 = 512;

/// A table, a row of it, and its new body; none where nothing is left of it.
type Rewritten = (&'static str, i64, Option<Vec<u8>>);

impl Writer {
    /// Removes the chunks and rollups of a group that are older than they are to be kept.
    pub(super) fn retire(&mut self, group: u32, now: Timestamp, retention: Retention) -> Result<()> {
        let raw = now.minus(retention.raw).millis();
        let rollups = now.minus(retention.rollups).millis();
        self.transact(Durability::Process, |transaction| {
            let delete = |statement: &str, before: i64| {
                transaction.prepare_cached(statement)?.execute((group, before))
            };
            // what is not rolled up yet stays until it is
            delete("DELETE FROM chunk WHERE poll_group = ?1 AND end < ?2 AND level > 0", raw)
                .map_err(failed)?;
            delete("DELETE FROM rollup WHERE poll_group = ?1 AND width = 300000 AND end < ?2", rollups)
                .map_err(failed)?;
            delete("DELETE FROM rollup WHERE poll_group = ?1 AND width = 3600000 AND end < ?2", rollups)
                .map_err(failed)
        })?;
        Ok(())
    }

    /// Forgets series that have no samples any more, then what only they used.
    pub(super) fn prune(&mut self, now: Timestamp, retention: Retention) -> Result<()> {
        let before = now.minus(retention.raw.max(retention.rollups)).minus(SERIES_GRACE).millis();
        let unseen = self.unseen(before).map_err(failed)?;
        let (series, groups, texts) = {
            let mut index = self.shared.index_mut();
            let is_in_tail = |id: &u32| {
                index.series.get(id).and_then(|s| index.groups.get(&s.group)?.tail.column(*id)).is_some()
            };
            let series: Vec<u32> = unseen.into_iter().filter(|id| !is_in_tail(id)).collect();
            for id in &series {
                index.remove_series(*id);
            }
            let used: HashSet<u32> = index.series.values().map(|series| series.group).collect();
            let groups: Vec<u32> = index.groups.keys().copied().filter(|id| !used.contains(id)).collect();
            for id in &groups {
                index.remove_group(*id);
            }
            let texts = index.unused_texts();
            for id in &texts {
                index.remove_text(*id);
            }
            (series, groups, texts)
        };
        let layouts = self.unused_layouts();
        self.transact(Durability::Process, |transaction| {
            let delete = |table: &str, ids: &[u32]| delete_all(transaction, table, ids).map_err(failed);
            delete("series", &series)?;
            delete("poll_group", &groups)?;
            delete("text", &texts)?;
            delete("layout", &layouts)
        })
    }

    /// Forgets the series that match: what is in memory, in the tail, in chunks and in rollups.
    pub(super) fn forget(&mut self, selector: &Selector) -> Result<()> {
        // a poll that came before must not bring its series back after
        self.commit_waiting();
        let mut by_group: BTreeMap<u32, HashSet<u64>> = BTreeMap::new();
        {
            let index = self.shared.index();
            for id in index.matching(selector) {
                if let Some(series) = index.series.get(&id) {
                    by_group.entry(series.group).or_default().insert(u64::from(id));
                }
            }
        }
        for (group, unwanted) in by_group {
            let of_group = self.shared.index().series.values().filter(|series| series.group == group).count();
            if of_group == unwanted.len() {
                self.forget_group(group, &unwanted)?;
            } else {
                self.forget_some(group, &unwanted)?;
            }
            self.shared.cache().remove(|series| unwanted.contains(&u64::from(series)));
        }
        self.sweep()
    }

    /// Forgets all of a group. It takes no room: it is what helps when the disk is full.
    fn forget_group(&mut self, group: u32, series: &HashSet<u64>) -> Result<()> {
        let last_row =
            self.shared.index().groups.get(&group).map_or(0, |group| group.tail.last_row.max(group.sealed));
        self.last_rows.remove(&group);
        self.transact_with_index(
            |transaction| {
                for statement in [
                    "DELETE FROM chunk WHERE poll_group = ?1",
                    "DELETE FROM rollup WHERE poll_group = ?1",
                    "DELETE FROM series WHERE poll_group = ?1",
                ] {
                    transaction.prepare_cached(statement)?.execute([group])?;
                }
                let mut update =
                    transaction.prepare_cached("UPDATE poll_group SET sealed = ?2 WHERE id = ?1")?;
                update.execute((group, last_row))
            },
            |index, _| {
                forget_in(index, group, series);
                if let Some(group) = index.groups.get_mut(&group) {
                    group.sealed = last_row;
                    group.tail.clear();
                }
            },
        )
    }

    /// Forgets some series of a group: its chunks and rollups are written again without them.
    fn forget_some(&mut self, group: u32, unwanted: &HashSet<u64>) -> Result<()> {
        self.seal(group)?;
        let bodies = self.without(group, unwanted)?;
        self.transact_with_index(
            |transaction| {
                for (table, id, body) in &bodies {
                    if let Some(body) = body {
                        let update = format!("UPDATE {table} SET body = ?2 WHERE id = ?1");
                        transaction.prepare_cached(&update)?.execute((id, body))?;
                    } else {
                        let delete = format!("DELETE FROM {table} WHERE id = ?1");
                        transaction.prepare_cached(&delete)?.execute([id])?;
                    }
                }
                let mut delete = transaction.prepare_cached("DELETE FROM series WHERE id = ?1")?;
                for id in unwanted {
                    delete.execute([id.cast_signed()])?;
                }
                Ok(())
            },
            |index, ()| forget_in(index, group, unwanted),
        )
    }

    /// Gives back free pages, where they are many.
    pub(super) fn shrink(&mut self) -> Result<()> {
        let ask = |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let free = ask("freelist_count").map_err(failed)?;
        let pages = ask("page_count").map_err(failed)?;
        if free <= SPARE_PAGES.max(pages / 32) {
            return Ok(());
        }
        self.connection
            .execute_batch(&format!("PRAGMA incremental_vacuum({SHRINK_PAGES})"))
            .map_err(failed)?;
        // a file that gives nothing back must not be asked for ever
        if ask("freelist_count").map_err(failed)? < free {
            self.chores.push_front(Chore::Shrink);
        }
        Ok(())
    }

    fn unseen(&self, before: i64) -> rusqlite::Result<Vec<u32>> {
        let mut select = self.connection.prepare_cached("SELECT id FROM series WHERE seen < ?1")?;
        select.query_map([before], |row| row.get(0))?.collect()
    }

    /// Layouts that no row in the tail has any more.
    fn unused_layouts(&mut self) -> Vec<u32> {
        let in_use: HashSet<u32> = self.last_rows.values().map(LastRow::layout).collect();
        let swept = self.swept;
        let unused =
            self.layouts.iter().filter(|(id, layout)| layout.last_row <= swept && !in_use.contains(id));
        let unused: Vec<u32> = unused.map(|(id, _)| *id).collect();
        for id in &unused {
            self.layouts.remove(id);
        }
        unused
    }

    /// The chunks and rollups of a group without these series: nothing in place of one of which nothing is left.
    fn without(&self, group: u32, unwanted: &HashSet<u64>) -> Result<Vec<Rewritten>> {
        let mut bodies = Vec::new();
        for (table, figures) in [("chunk", false), ("rollup", true)] {
            let select = format!("SELECT id, body FROM {table} WHERE poll_group = ?1");
            let mut select = self.connection.prepare_cached(&select).map_err(failed)?;
            let mut rows = select.query([group]).map_err(failed)?;
            while let Some(row) = rows.next().map_err(failed)? {
                let id = row.get(0).map_err(failed)?;
                let chunk = Chunk::parse(row.get(1).map_err(failed)?)?;
                let series = |key| if figures { rollup::series_of(key) } else { key };
                if chunk.keys().any(|key| unwanted.contains(&series(key))) {
                    bodies.push((table, id, chunk.without(|key| unwanted.contains(&series(key)))));
                }
            }
        }
        Ok(bodies)
    }
}

fn forget_in(index: &mut Index, group: u32, series: &HashSet<u64>) {
    for id in series.iter().filter_map(|id| u32::try_from(*id).ok()) {
        index.remove_series(id);
    }
    if let Some(group) = index.groups.get_mut(&group) {
        group.epoch += 1;
    }
}

fn delete_all(transaction: &Transaction<'_>, table: &str, ids: &[u32]) -> rusqlite::Result<()> {
    let delete = format!("DELETE FROM {table} WHERE id = ?1");
    let mut delete = transaction.prepare_cached(&delete)?;
    for id in ids {
        delete.execute([id])?;
    }
    Ok(())
}
