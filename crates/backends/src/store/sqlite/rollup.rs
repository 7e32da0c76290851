//! Rollups as they are kept: a chunk whose times are the buckets' starts, with a column for each figure of a series.

use domain::Result;
use domain::sample::Kind;

use super::chunk::{Chunk, ChunkWriter};
use super::fold::{Fold, Held};

/// Width of the narrow buckets, in milliseconds.
pub(super) const FIVE_MINUTES: i64 = 300_000;
/// Width of the wide buckets, in milliseconds.
pub(super) const HOUR: i64 = 3_600_000;

/// A column's key is its series times this, plus the figure.
const FIGURES: u64 = 8;
const MIN: u64 = 0;
const MAX: u64 = 1;
/// Of a gauge the mean, of a counter the increase.
const SUM: u64 = 2;
const COUNT: u64 = 3;
const COVERED: u64 = 4;

/// The series of a rollup's column.
pub(super) fn series_of(key: u64) -> u64 {
    key / FIGURES
}

/// Writes the buckets of several series, which ascend; nothing where there are none.
pub(super) fn write(folds: &[(u32, Kind, Fold)], width: i64) -> Result<Option<Vec<u8>>> {
    let mut indexes: Vec<i32> =
        folds.iter().flat_map(|(_, _, fold)| fold.held().iter().map(|held| held.index)).collect();
    indexes.sort_unstable();
    indexes.dedup();
    if indexes.is_empty() {
        return Ok(None);
    }
    let times: Vec<i64> = indexes.iter().map(|index| i64::from(*index) * width).collect();
    let mut chunk = ChunkWriter::new(&times, u32::try_from(width).unwrap_or(u32::MAX))?;
    let mut numbers = vec![f64::NAN; indexes.len()];
    for (series, kind, fold) in folds {
        let figures: &[u64] = match kind {
            Kind::Gauge => &[MIN, MAX, SUM, COUNT],
            Kind::Counter => &[MIN, MAX, SUM, COUNT, COVERED],
        };
        for figure in figures {
            numbers.fill(f64::NAN);
            let mut place = 0;
            for held in fold.held() {
                while indexes[place] < held.index {
                    place += 1;
                }
                numbers[place] = figure_of(*kind, held, *figure);
            }
            chunk.column(u64::from(*series) * FIGURES + figure, &numbers)?;
        }
    }
    Ok(Some(chunk.finish()))
}

/// Reads the buckets of a series that begin at `from` or later into `fold`, which is a tier of that width.
pub(super) fn read(chunk: &Chunk, series: u32, kind: Kind, width: i64, fold: &mut Fold) -> Result<()> {
    let column = |figure| chunk.column(u64::from(series) * FIGURES + figure);
    let (Some(min), Some(max), Some(sum), Some(count)) =
        (column(MIN)?, column(MAX)?, column(SUM)?, column(COUNT)?)
    else {
        return Ok(());
    };
    let covered = column(COVERED)?;
    for (place, at) in chunk.times.iter().enumerate() {
        if count[place].is_nan() {
            continue;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "small whole numbers when written"
        )]
        let held = Held {
            index: 0,
            min: min[place],
            max: max[place],
            sum: if kind == Kind::Gauge { sum[place] * count[place] } else { sum[place] },
            count: count[place] as u32,
            covered: covered.as_ref().map_or(0, |covered| covered[place] as u64),
        };
        fold.push_held(*at, width, &held);
    }
    Ok(())
}

fn figure_of(kind: Kind, held: &Held, figure: u64) -> f64 {
    match (figure, kind) {
        // a gauge's extremes are samples, and kept to the bit
        (MIN, Kind::Gauge) => held.min,
        (MAX, Kind::Gauge) => held.max,
        (MIN, Kind::Counter) => shortened(held.min),
        (MAX, Kind::Counter) => shortened(held.max),
        (SUM, Kind::Gauge) if held.min.to_bits() == held.max.to_bits() => held.min,
        (SUM, Kind::Gauge) => shortened(held.mean()),
        (SUM, Kind::Counter) => shortened(held.sum),
        (COUNT, _) => f64::from(held.count),
        _ => held.covered as f64,
    }
}

/// A quotient to 28 binary places, which is 8 decimal ones: the rest would take half of the room.
fn shortened(number: f64) -> f64 {
    const DROPPED: u32 = 24;
    let rounded = (number.to_bits() + (1 << (DROPPED - 1))) >> DROPPED << DROPPED;
    let rounded = f64::from_bits(rounded);
    if rounded.is_finite() { rounded } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::fold::Moment;

    fn fold(kind: Kind, values: &[f64]) -> Fold {
        let mut fold = Fold::tier(kind, FIVE_MINUTES);
        for (poll, value) in (0..).zip(values) {
            fold.push(Moment { at: poll * 30_000, value: *value, reach: 90_000 });
        }
        fold
    }

    #[test]
    fn rollups_come_back_as_they_were_folded() {
        let values: Vec<f64> = (0..40).map(|poll| f64::from(poll * poll % 17)).collect();
        let folds =
            [(3, Kind::Gauge, fold(Kind::Gauge, &values)), (4, Kind::Counter, fold(Kind::Counter, &values))];
        let chunk = Chunk::parse(write(&folds, FIVE_MINUTES).unwrap().unwrap()).unwrap();
        for (series, kind, folded) in &folds {
            let mut back = Fold::tier(*kind, FIVE_MINUTES);
            read(&chunk, *series, *kind, FIVE_MINUTES, &mut back).unwrap();
            assert_eq!(back.held().len(), 4);
            for (back, held) in back.held().iter().zip(folded.held()) {
                assert_eq!((back.index, back.count, back.covered), (held.index, held.count, held.covered));
                assert!((back.sum - held.sum).abs() < 1e-5 && (back.max - held.max).abs() < 1e-7);
            }
        }
    }

    #[test]
    fn shortened_numbers_are_near() {
        for number in [1.0 / 3.0, -1e9 / 7.0, 0.0, 25_276_510_208.0] {
            assert!((shortened(number) - number).abs() <= number.abs() * 2e-9);
        }
        assert!(shortened(f64::MAX).is_finite());
    }
}
