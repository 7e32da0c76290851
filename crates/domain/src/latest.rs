//! The newest reading of each source and collector, in memory.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use crate::ask::Ask;
use crate::collector::{AnyReading, CollectorDef};
use crate::device::SourceId;
use crate::observed::{Observed, Origin};
use crate::ports::StoredReading;
use crate::problem::Problem;

/// A reading with its circumstances and what is missing from it.
#[derive(Clone)]
pub struct Seen {
    /// The reading.
    pub observed: Observed<Arc<dyn AnyReading>>,
    /// What is missing from it.
    pub problems: Arc<[Problem]>,
    /// What was asked for it, in all its rounds; empty after a restart.
    pub asked: Arc<[Ask]>,
}

impl Seen {
    /// The reading as its own type.
    pub fn reading<R: 'static>(&self) -> Option<&R> {
        (*self.observed.value).as_any().downcast_ref()
    }

    pub(crate) fn stale(mut self) -> Self {
        self.observed.stale = true;
        self.observed.origin = Origin::Cached;
        self
    }
}

/// The newest reading of each source and collector.
#[derive(Default)]
pub(crate) struct Latest {
    seen: RwLock<HashMap<(SourceId, &'static str), Seen>>,
    unkept: RwLock<HashSet<(SourceId, &'static str)>>,
}

impl Latest {
    /// The newest, as known: of cached origin.
    pub(crate) fn get(&self, source: SourceId, collector: &'static str) -> Option<Seen> {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        let mut seen = seen.get(&(source, collector)).cloned()?;
        seen.observed.origin = Origin::Cached;
        Some(seen)
    }

    pub(crate) fn put(&self, collector: &'static str, seen: Seen) {
        let key = (seen.observed.source, collector);
        self.seen.write().unwrap_or_else(PoisonError::into_inner).insert(key, seen);
        self.unkept.write().unwrap_or_else(PoisonError::into_inner).insert(key);
    }

    /// Takes up what was kept over a restart; what no longer parses counts as absent.
    pub(crate) fn restore(&self, stored: Vec<StoredReading>, catalogue: &[CollectorDef]) {
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        for reading in stored {
            let Some(def) = catalogue.iter().find(|def| def.name == reading.collector) else { continue };
            match (def.decode)(&reading.value) {
                Ok(value) => {
                    let observed = Observed {
                        value,
                        as_of: reading.as_of,
                        stale: false,
                        origin: Origin::Cached,
                        source: reading.source,
                    };
                    seen.insert(
                        (reading.source, def.name),
                        Seen { observed, problems: Arc::from([]), asked: Arc::from([]) },
                    );
                }
                Err(error) => tracing::info!(cause = %error.chain(), "{error}; it is asked again"),
            }
        }
    }

    /// Forgets the sources that are not among `alive`.
    pub(crate) fn retain(&self, alive: &HashSet<SourceId>) {
        self.unkept
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(source, _)| alive.contains(source));
        self.seen
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(source, _), _| alive.contains(source));
    }

    /// What is new since the last call, ready to be kept.
    pub(crate) fn take_unkept(&self) -> Vec<StoredReading> {
        let keys = std::mem::take(&mut *self.unkept.write().unwrap_or_else(PoisonError::into_inner));
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        let stored = keys.into_iter().filter_map(|(source, collector)| {
            let observed = &seen.get(&(source, collector))?.observed;
            let value = serde_json::to_vec(&*observed.value).ok()?;
            Some(StoredReading { source, collector: collector.to_owned(), as_of: observed.as_of, value })
        });
        stored.collect()
    }
}
