//! What is known of the history without reading it: texts, groups of polls, series, and the newest polls.
//!
//! The writer alone changes it. A reader holds it while it reads the chunks of a group, so that it sees each poll in
//! the tail or in a chunk, never in both.

use std::collections::HashMap;
use std::sync::Arc;

use domain::device::SourceId;
use domain::history::Selector;
use domain::sample::{Kind, Labels};
use domain::{Error, Result};
use rusqlite::Connection;

use super::bytes::{Bytes, put};
use super::failure::failed;
use super::tail::{RowHead, Tail, read_head, read_numbers};

/// A series as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Series {
    /// The group that tells it.
    pub(super) group: u32,
    /// Its metric's text.
    pub(super) metric: u32,
    /// Its labels' text.
    pub(super) labels: u32,
    /// How it behaves.
    pub(super) kind: Kind,
}

/// A group of polls: one collector of one source.
#[derive(Debug)]
pub(super) struct Group {
    /// Whom it polls.
    pub(super) source: SourceId,
    /// The collector's text.
    pub(super) collector: u32,
    /// The polls that are in no chunk yet.
    pub(super) tail: Tail,
    /// The last tail row that is in a chunk.
    pub(super) sealed: i64,
    /// Changes whenever chunks are replaced by others: what was read from them before must be read again.
    pub(super) epoch: u64,
}

/// The whole of it.
#[derive(Debug, Default)]
pub(super) struct Index {
    texts: HashMap<u32, Arc<str>>,
    text_ids: HashMap<Arc<str>, u32>,
    /// All groups by their ids.
    pub(super) groups: HashMap<u32, Group>,
    group_ids: HashMap<(SourceId, u32), u32>,
    /// All series by their ids.
    pub(super) series: HashMap<u32, Series>,
    series_ids: HashMap<Series, u32>,
    by_metric: HashMap<(SourceId, u32), Vec<u32>>,
    last: LastIds,
}

#[derive(Debug, Default)]
struct LastIds {
    text: u32,
    group: u32,
    series: u32,
}

/// Series in the order in which rows tell them.
#[derive(Debug)]
pub(super) struct Layout {
    /// The series, ascending.
    pub(super) series: Arc<[u32]>,
    /// The last row that is told so.
    pub(super) last_row: i64,
}

/// Layouts by their ids.
pub(super) type Layouts = HashMap<u32, Layout>;

impl Index {
    /// The id of a text, and whether it is new.
    pub(super) fn intern_text(&mut self, text: &str) -> (u32, bool) {
        if let Some(id) = self.text_ids.get(text) {
            return (*id, false);
        }
        self.last.text += 1;
        self.add_text(self.last.text, text);
        (self.last.text, true)
    }

    /// The id of a group, and whether it is new.
    /// A new group begins after the row `sealed`: an id may be given out again while rows of a forgotten group of that
    /// id still wait to be swept.
    pub(super) fn intern_group(&mut self, source: SourceId, collector: u32, sealed: i64) -> (u32, bool) {
        if let Some(id) = self.group_ids.get(&(source, collector)) {
            return (*id, false);
        }
        self.last.group += 1;
        self.add_group(self.last.group, source, collector, sealed);
        (self.last.group, true)
    }

    /// The id of a series, and whether it is new.
    pub(super) fn intern_series(&mut self, series: Series) -> (u32, bool) {
        if let Some(id) = self.series_ids.get(&series) {
            return (*id, false);
        }
        self.last.series += 1;
        self.add_series(self.last.series, series);
        (self.last.series, true)
    }

    /// The id of a text that is known.
    pub(super) fn text_id(&self, text: &str) -> Option<u32> {
        self.text_ids.get(text).copied()
    }

    /// The id of a group that is known.
    pub(super) fn group_id(&self, source: SourceId, collector: u32) -> Option<u32> {
        self.group_ids.get(&(source, collector)).copied()
    }

    /// The id of a series that is known.
    pub(super) fn series_id(&self, series: &Series) -> Option<u32> {
        self.series_ids.get(series).copied()
    }

    /// A text; empty where it is not known.
    pub(super) fn text(&self, id: u32) -> &str {
        self.texts.get(&id).map_or("", |text| text)
    }

    /// The labels of a series.
    pub(super) fn labels(&self, series: &Series) -> Labels {
        parse_labels(self.text(series.labels))
    }

    /// The names of the metrics of these sources, sorted.
    pub(super) fn metrics(&self, sources: &[SourceId]) -> Vec<String> {
        let of_sources =
            self.by_metric.iter().filter(|((source, _), ids)| sources.contains(source) && !ids.is_empty());
        let mut names: Vec<String> =
            of_sources.map(|((_, metric), _)| self.text(*metric).to_owned()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The series that match, in no order.
    pub(super) fn matching(&self, selector: &Selector) -> Vec<u32> {
        let metric = match selector.metric.as_deref().map(|name| self.text_id(name)) {
            Some(None) => return Vec::new(),
            Some(known) => known,
            None => None,
        };
        let has_labels = |id: &u32| {
            selector.labels.is_empty()
                || self.series.get(id).is_some_and(|series| {
                    let labels = self.labels(series);
                    selector.labels.iter().all(|(name, value)| labels.get(name) == Some(value))
                })
        };
        let mut sources = selector.sources.clone();
        sources.sort_unstable();
        sources.dedup();
        match metric {
            Some(metric) => sources
                .into_iter()
                .filter_map(|source| self.by_metric.get(&(source, metric)))
                .flatten()
                .copied()
                .filter(has_labels)
                .collect(),
            None => self
                .by_metric
                .iter()
                .filter(|((source, _), _)| sources.binary_search(source).is_ok())
                .flat_map(|(_, ids)| ids.iter().copied())
                .filter(has_labels)
                .collect(),
        }
    }

    /// Forgets a series.
    pub(super) fn remove_series(&mut self, id: u32) {
        let Some(series) = self.series.remove(&id) else { return };
        self.series_ids.remove(&series);
        if let Some(group) = self.groups.get(&series.group)
            && let Some(ids) = self.by_metric.get_mut(&(group.source, series.metric))
        {
            ids.retain(|known| *known != id);
        }
    }

    /// Forgets a group that has no series.
    pub(super) fn remove_group(&mut self, id: u32) {
        if let Some(group) = self.groups.remove(&id) {
            self.group_ids.remove(&(group.source, group.collector));
        }
    }

    /// Forgets a text that nothing uses.
    pub(super) fn remove_text(&mut self, id: u32) {
        if let Some(text) = self.texts.remove(&id) {
            self.text_ids.remove(&text);
        }
    }

    /// The texts that nothing uses.
    pub(super) fn unused_texts(&self) -> Vec<u32> {
        let of_series = self.series.values().flat_map(|series| [series.metric, series.labels]);
        let of_groups = self.groups.values().map(|group| group.collector);
        let used: std::collections::HashSet<u32> = of_series.chain(of_groups).collect();
        self.texts.keys().copied().filter(|id| !used.contains(id)).collect()
    }

    fn add_text(&mut self, id: u32, text: &str) {
        let text: Arc<str> = text.into();
        self.texts.insert(id, Arc::clone(&text));
        self.text_ids.insert(text, id);
        self.last.text = self.last.text.max(id);
    }

    fn add_group(&mut self, id: u32, source: SourceId, collector: u32, sealed: i64) {
        let group = Group { source, collector, tail: Tail::default(), sealed, epoch: 0 };
        self.groups.insert(id, group);
        self.group_ids.insert((source, collector), id);
        self.last.group = self.last.group.max(id);
    }

    fn add_series(&mut self, id: u32, series: Series) {
        self.series.insert(id, series);
        self.series_ids.insert(series, id);
        if let Some(group) = self.groups.get(&series.group) {
            self.by_metric.entry((group.source, series.metric)).or_default().push(id);
        }
        self.last.series = self.last.series.max(id);
    }
}

/// What a start needs to know of the file.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// The index, with the polls that are in no chunk.
    pub(super) index: Index,
    /// The layouts of the tail's rows.
    pub(super) layouts: Layouts,
    /// The tail's last row.
    pub(super) last_row: i64,
}

/// Reads the index from the file.
pub(super) fn load(connection: &Connection) -> Result<Loaded> {
    let mut loaded = Loaded::default();
    load_names(connection, &mut loaded).map_err(failed)?;
    load_tail(connection, &mut loaded)?;
    Ok(loaded)
}

fn load_names(connection: &Connection, loaded: &mut Loaded) -> rusqlite::Result<()> {
    let Loaded { index, layouts, last_row } = loaded;
    let mut statement = connection.prepare("SELECT id, text FROM text")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        index.add_text(row.get(0)?, row.get_ref(1)?.as_str()?);
    }
    let mut statement = connection.prepare("SELECT id, source, collector, sealed FROM poll_group")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let sealed = row.get(3)?;
        index.add_group(row.get(0)?, SourceId(row.get(1)?), row.get(2)?, sealed);
        *last_row = sealed.max(*last_row);
    }
    let mut statement = connection.prepare("SELECT id, poll_group, metric, labels, kind FROM series")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let kind = if row.get::<_, i64>(4)? == 0 { Kind::Gauge } else { Kind::Counter };
        let series = Series { group: row.get(1)?, metric: row.get(2)?, labels: row.get(3)?, kind };
        index.add_series(row.get(0)?, series);
    }
    let mut statement = connection.prepare("SELECT id, series FROM layout")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let series = read_layout(row.get_ref(1)?.as_blob()?);
        layouts.insert(row.get(0)?, Layout { series: series.into(), last_row: 0 });
    }
    Ok(())
}

fn load_tail(connection: &Connection, loaded: &mut Loaded) -> Result<()> {
    let mut numbers: HashMap<u32, (u32, Vec<f64>)> = HashMap::new();
    let mut statement = connection.prepare("SELECT id, body FROM tail ORDER BY id").map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    while let Some(row) = rows.next().map_err(failed)? {
        let id: i64 = row.get(0).map_err(failed)?;
        let body = row.get_ref(1).map_err(failed)?.as_blob().map_err(|_| broken_row(id))?;
        let mut bytes = Bytes(body);
        let head = read_head(&mut bytes).ok_or_else(|| broken_row(id))?;
        loaded.last_row = loaded.last_row.max(id);
        let Some(group) = loaded.index.groups.get_mut(&head.group) else { continue };
        if id <= group.sealed {
            continue;
        }
        take_row(id, head, bytes, &mut loaded.layouts, &mut numbers, &mut group.tail)
            .ok_or_else(|| broken_row(id))?;
    }
    Ok(())
}

fn take_row(
    id: i64,
    head: RowHead,
    bytes: Bytes<'_>,
    layouts: &mut Layouts,
    numbers: &mut HashMap<u32, (u32, Vec<f64>)>,
    tail: &mut Tail,
) -> Option<()> {
    let layout = layouts.get_mut(&head.layout)?;
    layout.last_row = id;
    if head.stands_alone {
        numbers.insert(head.group, (head.layout, vec![0.0; layout.series.len()]));
    }
    let (known, numbers) = numbers.get_mut(&head.group)?;
    if *known != head.layout {
        return None;
    }
    read_numbers(bytes, numbers)?;
    tail.push(id, head, &layout.series, numbers);
    Some(())
}

/// A layout as it is written: each series from the one before.
pub(super) fn write_layout(series: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(series.len() + 4);
    let mut before = 0;
    for id in series {
        put(&mut bytes, u64::from(id - before));
        before = *id;
    }
    bytes
}

fn read_layout(bytes: &[u8]) -> Vec<u32> {
    let mut bytes = Bytes(bytes);
    let mut series = Vec::new();
    let mut before: u32 = 0;
    while let Some(step) = bytes.small() {
        before = before.saturating_add(step);
        series.push(before);
    }
    series
}

/// Labels from their one text form: the way back from [`Labels::canonical`].
fn parse_labels(canonical: &str) -> Labels {
    let mut pairs = Vec::new();
    let mut rest = canonical;
    while let Some((name, quoted)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut letters = quoted.char_indices();
        rest = "";
        while let Some((place, letter)) = letters.next() {
            match letter {
                '"' => {
                    rest = quoted[place + 1..].trim_start_matches(',');
                    break;
                }
                '\\' => match letters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, escaped)) => value.push(escaped),
                    None => {}
                },
                plain => value.push(plain),
            }
        }
        pairs.push((name, value));
    }
    Labels::new(pairs)
}

fn broken_row(id: i64) -> Error {
    Error::internal(format!("row {id} of the history's tail is broken"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn labels_come_back_from_their_text(pairs in prop::collection::btree_map("[a-z_]{1,8}", "[ -~\n\\\\\"]{0,12}", 0..5)) {
            let labels = Labels::new(pairs);
            prop_assert_eq!(parse_labels(&labels.canonical()), labels);
        }

        #[test]
        fn layouts_come_back(series in prop::collection::btree_set(1..1_000_000_u32, 0..50)) {
            let series: Vec<u32> = series.into_iter().collect();
            prop_assert_eq!(read_layout(&write_layout(&series)), series);
        }
    }
}
