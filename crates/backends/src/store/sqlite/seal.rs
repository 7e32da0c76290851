//! Tails become chunks.

use std::sync::Arc;

use domain::Result;

use super::chunk::ChunkWriter;
use super::failure::failed;
use super::tail::Tail;
use super::writer::{Durability, Writer};

impl Writer {
    /// Makes a chunk of what a group has in its tail.
    pub(super) fn seal(&mut self, group: u32) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let sealed = {
            let index = shared.index();
            match index.groups.get(&group) {
                Some(group) if !group.tail.times.is_empty() => {
                    let times = &group.tail.times;
                    let span = (times[0], times[times.len() - 1]);
                    (
                        encode(&group.tail)?,
                        span,
                        i64::try_from(times.len()).unwrap_or(i64::MAX),
                        group.tail.last_row,
                    )
                }
                _ => return Ok(()),
            }
        };
        let (body, (start, end), polls, row) = sealed;
        // the next row leans on one that is in the chunk, and must not
        self.last_rows.remove(&group);
        self.transact_with_index(
            |transaction| {
                let mut insert = transaction.prepare_cached(
                    "INSERT INTO chunk (poll_group, level, start, end, row, polls, body) VALUES (?1, 0, ?2, ?3, ?4, ?5, ?6)",
                )?;
                insert.execute((group, start, end, row, polls, body))?;
                let mut update = transaction.prepare_cached("UPDATE poll_group SET sealed = ?2 WHERE id = ?1")?;
                update.execute((group, row))
            },
            |index, _| {
                if let Some(group) = index.groups.get_mut(&group) {
                    group.sealed = row;
                    group.tail.clear();
                }
            },
        )
    }

    /// Removes the rows at the front of the tail that are in chunks.
    pub(super) fn sweep(&mut self) -> Result<()> {
        let first_needed = {
            let index = self.shared.index();
            let first_rows = index.groups.values().filter_map(|group| group.tail.first_row);
            first_rows.min().unwrap_or(self.last_row + 1)
        };
        if first_needed <= self.swept + 1 {
            return Ok(());
        }
        self.transact(Durability::Process, |transaction| {
            let mut delete = transaction.prepare_cached("DELETE FROM tail WHERE id < ?1").map_err(failed)?;
            delete.execute([first_needed]).map_err(failed)
        })?;
        self.swept = first_needed - 1;
        Ok(())
    }
}

fn encode(tail: &Tail) -> Result<Vec<u8>> {
    let mut chunk = ChunkWriter::new(&tail.times, tail.interval)?;
    let mut numbers = Vec::with_capacity(tail.times.len());
    for (series, column) in tail.columns() {
        numbers.clear();
        numbers.extend_from_slice(column);
        numbers.resize(tail.times.len(), f64::NAN);
        chunk.column(u64::from(*series), &numbers)?;
    }
    Ok(chunk.finish())
}
