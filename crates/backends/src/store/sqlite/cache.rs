//! Columns that were read lately, ready to be asked again; bounded in bytes.

use std::collections::HashMap;
use std::sync::Arc;

use super::fold::{Fold, Held, Moment};

/// How finely a range is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Tier {
    /// Every sample.
    Raw,
    /// Buckets of five minutes.
    FiveMinutes,
    /// Buckets of an hour.
    Hour,
}

/// What the chunks and rollups tell of a series, from some time on.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// It holds all that is sealed from here on ...
    pub(super) from: i64,
    /// ... and up to here.
    pub(super) to: i64,
    /// The last tail row that is in it.
    pub(super) row: i64,
    /// The group's epoch in which it was read.
    pub(super) epoch: u64,
    /// Hours, where nothing finer was kept or wanted.
    pub(super) hours: Fold,
    /// Buckets of five minutes, where nothing finer was kept or wanted.
    pub(super) five_minutes: Fold,
    /// Samples, where they were wanted.
    pub(super) moments: Vec<Moment>,
}

impl Column {
    fn bytes(&self) -> usize {
        (self.hours.held().len() + self.five_minutes.held().len()) * size_of::<Held>()
            + self.moments.len() * size_of::<Moment>()
            + size_of::<Self>()
    }
}

/// Which column: of a series, how finely, and whether it reaches up to the present.
pub(super) type Key = (u32, Tier, bool);

/// The columns that were read lately.
pub(super) struct Cache {
    columns: HashMap<Key, Kept>,
    bytes: usize,
    limit: usize,
    clock: u64,
}

struct Kept {
    column: Arc<Column>,
    bytes: usize,
    used: u64,
}

impl Cache {
    /// An empty cache of at most `limit` bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { columns: HashMap::new(), bytes: 0, limit, clock: 0 }
    }

    /// A column, if it is here.
    pub(super) fn get(&mut self, key: Key) -> Option<Arc<Column>> {
        self.clock += 1;
        let kept = self.columns.get_mut(&key)?;
        kept.used = self.clock;
        Some(Arc::clone(&kept.column))
    }

    /// Keeps a column, in place of the one that was longest unused where there is no room.
    pub(super) fn put(&mut self, key: Key, column: Arc<Column>) {
        let bytes = column.bytes();
        self.clock += 1;
        let kept = Kept { column, bytes, used: self.clock };
        if let Some(old) = self.columns.insert(key, kept) {
            self.bytes -= old.bytes;
        }
        self.bytes += bytes;
        if self.bytes > self.limit {
            self.make_room();
        }
    }

    /// Drops the columns of these series.
    pub(super) fn remove(&mut self, unwanted: impl Fn(u32) -> bool) {
        self.columns.retain(|(series, ..), _| !unwanted(*series));
        self.bytes = self.columns.values().map(|kept| kept.bytes).sum();
    }

    fn make_room(&mut self) {
        let mut by_use: Vec<(u64, Key)> = self.columns.iter().map(|(key, kept)| (kept.used, *key)).collect();
        by_use.sort_unstable_by_key(|(used, _)| *used);
        for (_, key) in by_use {
            if self.bytes <= self.limit / 8 * 7 {
                break;
            }
            if let Some(kept) = self.columns.remove(&key) {
                self.bytes -= kept.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::sample::Kind;

    use super::*;

    fn column(moments: usize) -> Arc<Column> {
        let fold = Fold::tier(Kind::Gauge, 1);
        let moments = vec![Moment { at: 0, value: 0.0, reach: 0 }; moments];
        let (hours, five_minutes) = (fold.clone(), fold);
        Arc::new(Column { from: 0, to: 0, row: 0, epoch: 0, hours, five_minutes, moments })
    }

    #[test]
    fn the_cache_keeps_within_its_bytes_what_was_used_last() {
        let mut cache = Cache::new(100_000);
        for series in 0..100 {
            cache.put((series, Tier::Raw, true), column(100));
            cache.get((0, Tier::Raw, true));
        }
        assert!(cache.bytes <= 100_000);
        assert!(cache.get((0, Tier::Raw, true)).is_some(), "it is used all the time");
        assert!(cache.get((99, Tier::Raw, true)).is_some(), "it is the newest");
        assert!(cache.get((1, Tier::Raw, true)).is_none(), "it was used long ago");
        cache.remove(|_| true);
        assert_eq!(cache.bytes, 0);
    }
}
