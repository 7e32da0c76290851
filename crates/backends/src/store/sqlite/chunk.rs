//! Many polls of one group in one blob: the times once, then a column for each series.
//!
//! ```text
//! format · length of pco's header · header · polls · interval · first time · length of times · times
//! columns · for each: key (from the one before), length × 2 + whether polls are missing · then the columns themselves
//! ```
//!
//! Times are kept as what they differ from an even beat. A column with missing polls starts with runs: so many are
//! there, so many are not, and so on. Rollups have the same form: the times are the buckets' starts, and a series has
//! a column for each figure.

use std::ops::Range;

use domain::{Error, Result};

use super::bytes::{Bytes, put, put_signed};
use super::column::{Decoder, Encoder};

/// The only format so far.
const FORMAT: u8 = 1;

/// Writes a chunk, column by column.
pub(super) struct ChunkWriter {
    encoder: Encoder,
    head: Vec<u8>,
    polls: usize,
    before: u64,
    count: u64,
    directory: Vec<u8>,
    columns: Vec<u8>,
    present: Vec<f64>,
}

impl ChunkWriter {
    /// A chunk of polls at these times, which are not empty and ascend.
    pub(super) fn new(times: &[i64], interval: u32) -> Result<Self> {
        let (mut encoder, codec) = Encoder::new()?;
        let mut head = vec![FORMAT];
        put(&mut head, codec.len() as u64);
        head.extend_from_slice(&codec);
        put(&mut head, times.len() as u64);
        put(&mut head, u64::from(interval));
        let start = times.first().copied().unwrap_or_default();
        put_signed(&mut head, start);
        let offsets: Vec<f64> =
            (0_i64..).zip(times).map(|(beat, at)| (at - start - beat * i64::from(interval)) as f64).collect();
        let mut column = Vec::new();
        encoder.encode(&offsets, &mut column)?;
        put(&mut head, column.len() as u64);
        head.extend_from_slice(&column);
        Ok(Self {
            encoder,
            head,
            polls: times.len(),
            before: 0,
            count: 0,
            directory: Vec::new(),
            columns: Vec::new(),
            present: Vec::new(),
        })
    }

    /// Adds a column: a number for each poll, NaN where there is none. Keys ascend.
    pub(super) fn column(&mut self, key: u64, numbers: &[f64]) -> Result<()> {
        debug_assert_eq!(numbers.len(), self.polls, "a column has a number for each poll");
        self.present.clear();
        self.present.extend(numbers.iter().filter(|number| !number.is_nan()));
        if self.present.is_empty() {
            return Ok(());
        }
        let start = self.columns.len();
        let has_gaps = self.present.len() < numbers.len();
        if has_gaps {
            put_runs(numbers, &mut self.columns);
        }
        self.encoder.encode(&self.present, &mut self.columns)?;
        self.enter(key, self.columns.len() - start, has_gaps);
        Ok(())
    }

    /// The chunk's bytes.
    pub(super) fn finish(self) -> Vec<u8> {
        let mut body = self.head;
        put(&mut body, self.count);
        body.extend_from_slice(&self.directory);
        body.extend_from_slice(&self.columns);
        body
    }

    fn enter(&mut self, key: u64, length: usize, has_gaps: bool) {
        put(&mut self.directory, key - self.before);
        put(&mut self.directory, (length as u64) << 1 | u64::from(has_gaps));
        self.before = key;
        self.count += 1;
    }
}

/// A chunk as it is read.
pub(super) struct Chunk {
    /// When its polls were.
    pub(super) times: Vec<i64>,
    /// The interval of its polls, in milliseconds.
    pub(super) interval: u32,
    decoder: Decoder,
    body: Vec<u8>,
    head_length: usize,
    directory: Vec<Entry>,
}

struct Entry {
    key: u64,
    has_gaps: bool,
    place: Range<usize>,
}

impl Chunk {
    /// Reads the head and the directory.
    pub(super) fn parse(body: Vec<u8>) -> Result<Self> {
        Self::try_parse(body).ok_or_else(broken)?
    }

    fn try_parse(body: Vec<u8>) -> Option<Result<Self>> {
        let mut bytes = Bytes(&body);
        let format = bytes.byte()?;
        if format != FORMAT {
            return Some(Err(newer(format)));
        }
        let length = bytes.size()?;
        let decoder = match Decoder::new(bytes.take(length)?) {
            Ok(decoder) => decoder,
            Err(error) => return Some(Err(error)),
        };
        let polls = bytes.size()?;
        let interval = bytes.small()?;
        let start = bytes.signed()?;
        let length = bytes.size()?;
        let offsets = match decoder.decode(bytes.take(length)?, polls) {
            Ok(offsets) => offsets,
            Err(error) => return Some(Err(error)),
        };
        #[expect(clippy::cast_possible_truncation, reason = "offsets were whole milliseconds when written")]
        let times = (0_i64..)
            .zip(offsets)
            .map(|(beat, offset)| start + beat * i64::from(interval) + offset as i64)
            .collect();
        let head_length = body.len() - bytes.0.len();
        let count = bytes.size()?;
        let mut directory = Vec::with_capacity(count.min(body.len()));
        let mut key: u64 = 0;
        let mut place = 0;
        for _ in 0..count {
            key = key.checked_add(bytes.number()?)?;
            let length = bytes.size()?;
            let end = place + (length >> 1);
            directory.push(Entry { key, has_gaps: length & 1 == 1, place: place..end });
            place = end;
        }
        if bytes.0.len() != place {
            return None;
        }
        let first = body.len() - place;
        for entry in &mut directory {
            entry.place = entry.place.start + first..entry.place.end + first;
        }
        Some(Ok(Self { times, interval, decoder, body, head_length, directory }))
    }

    /// The keys of its columns, ascending.
    pub(super) fn keys(&self) -> impl Iterator<Item = u64> {
        self.directory.iter().map(|entry| entry.key)
    }

    /// A column: a number for each poll, NaN where there is none. Nothing where the chunk has no such column.
    pub(super) fn column(&self, key: u64) -> Result<Option<Vec<f64>>> {
        let Ok(place) = self.directory.binary_search_by_key(&key, |entry| entry.key) else { return Ok(None) };
        let entry = &self.directory[place];
        let mut bytes = Bytes(&self.body[entry.place.clone()]);
        if !entry.has_gaps {
            return self.decoder.decode(bytes.0, self.times.len()).map(Some);
        }
        let runs = take_runs(&mut bytes, self.times.len()).ok_or_else(broken)?;
        let count = runs.iter().step_by(2).sum();
        let mut present = self.decoder.decode(bytes.0, count)?.into_iter();
        let mut numbers = Vec::with_capacity(self.times.len());
        for (index, run) in runs.into_iter().enumerate() {
            if index % 2 == 0 {
                numbers.extend(present.by_ref().take(run));
            } else {
                numbers.resize(numbers.len() + run, f64::NAN);
            }
        }
        Ok(Some(numbers))
    }

    /// The same chunk without the columns for which `unwanted` says yes; nothing where none is left.
    pub(super) fn without(&self, unwanted: impl Fn(u64) -> bool) -> Option<Vec<u8>> {
        let kept: Vec<&Entry> = self.directory.iter().filter(|entry| !unwanted(entry.key)).collect();
        if kept.is_empty() {
            return None;
        }
        let mut body = self.body[..self.head_length].to_vec();
        put(&mut body, kept.len() as u64);
        let mut before = 0;
        for entry in &kept {
            put(&mut body, entry.key - before);
            put(&mut body, (entry.place.len() as u64) << 1 | u64::from(entry.has_gaps));
            before = entry.key;
        }
        for entry in kept {
            body.extend_from_slice(&self.body[entry.place.clone()]);
        }
        Some(body)
    }
}

fn put_runs(numbers: &[f64], bytes: &mut Vec<u8>) {
    let mut is_there = true;
    let mut run = 0;
    for number in numbers {
        if number.is_nan() == is_there {
            put(bytes, run);
            is_there = !is_there;
            run = 0;
        }
        run += 1;
    }
    put(bytes, run);
}

fn take_runs(bytes: &mut Bytes<'_>, polls: usize) -> Option<Vec<usize>> {
    let mut runs = Vec::new();
    let mut covered = 0;
    while covered < polls {
        let run = bytes.size()?;
        if run > polls - covered {
            return None;
        }
        covered += run;
        runs.push(run);
    }
    Some(runs)
}

fn broken() -> Error {
    Error::internal("a chunk of the history is broken")
}

fn newer(format: u8) -> Error {
    Error::internal(format!(
        "a chunk of the history has format {format}, and this version of Reeve reads {FORMAT}"
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(times: &[i64], columns: &[(u64, Vec<f64>)]) -> Vec<u8> {
        let mut writer = ChunkWriter::new(times, 30_000).unwrap();
        for (key, numbers) in columns {
            writer.column(*key, numbers).unwrap();
        }
        writer.finish()
    }

    fn bits(numbers: &[f64]) -> Vec<Option<u64>> {
        numbers.iter().map(|number| (!number.is_nan()).then(|| number.to_bits())).collect()
    }

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![
            (-1_000_i64..1_000).prop_map(|whole| whole as f64 / 100.0),
            any::<u64>().prop_map(f64::from_bits),
            Just(f64::NAN),
            Just(-0.0)
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_chunk_comes_back_with_its_times_and_gaps(
            steps in prop::collection::vec(1..100_000_i64, 1..60),
            seed in prop::collection::vec(prop::collection::vec(number(), 60), 1..6),
        ) {
            let times: Vec<i64> = steps.iter().scan(1_700_000_000_000, |at, step| { *at += step; Some(*at) }).collect();
            let columns: Vec<(u64, Vec<f64>)> =
                (0..).step_by(3).zip(seed).map(|(key, mut numbers)| { numbers.truncate(times.len()); (key, numbers) }).collect();
            let chunk = Chunk::parse(written(&times, &columns)).unwrap();
            prop_assert_eq!(&chunk.times, &times);
            for (key, numbers) in &columns {
                let back = chunk.column(*key).unwrap().unwrap_or_else(|| vec![f64::NAN; times.len()]);
                prop_assert_eq!(bits(&back), bits(numbers));
            }
        }

        #[test]
        fn broken_chunks_are_errors_and_no_panics(mut bytes: Vec<u8>) {
            if let Some(first) = bytes.first_mut() {
                *first = FORMAT;
            }
            if let Ok(chunk) = Chunk::parse(bytes) {
                for key in chunk.keys().collect::<Vec<_>>() {
                    let _ = chunk.column(key);
                }
            }
        }
    }

    #[test]
    fn a_chunk_without_some_columns_keeps_the_others() {
        let times = [0, 30_000, 60_001];
        let columns = [(1, vec![1.5, f64::NAN, 2.5]), (4, vec![7.0, 7.0, 7.0]), (9, vec![-0.0, 1.0, 2.0])];
        let chunk = Chunk::parse(written(&times, &columns)).unwrap();
        let rest = Chunk::parse(chunk.without(|key| key == 4).unwrap()).unwrap();
        assert_eq!(rest.keys().collect::<Vec<_>>(), [1, 9]);
        assert_eq!(bits(&rest.column(1).unwrap().unwrap()), bits(&columns[0].1));
        assert_eq!(rest.times, times);
        assert!(rest.without(|_| true).is_none());
    }

    #[test]
    fn a_chunk_of_a_newer_format_is_refused_by_number() {
        let error = Chunk::parse(vec![9, 0, 0]).err().unwrap();
        assert!(error.message().contains("format 9"), "{error}");
    }
}
