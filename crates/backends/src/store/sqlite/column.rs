//! One column of numbers, compressed so that every bit comes back.
//!
//! A column starts with a byte that names its coding and, where the numbers are decimals, how many places they have:
//! `44.25` with two places is kept as the whole number 4425, which compresses far better than its 64 bits do.

use domain::{Error, Result};
use pco::ChunkConfig;
use pco::wrapped::{FileCompressor, FileDecompressor};

use super::bytes::{Bytes, put, put_signed};

/// All numbers are one decimal.
const SAME_DECIMAL: u8 = 0;
/// All numbers are one, of any kind.
const SAME: u8 = 1;
/// Decimals as whole numbers, by `pco`.
const DECIMALS: u8 = 2;
/// Numbers as they are, by `pco`.
const FLOATS: u8 = 3;
/// Decimals as whole numbers: how long each stays, and by how much it then changes.
const STEPS: u8 = 4;

/// Most decimal places tried.
const MOST_PLACES: u8 = 9;
const POWERS: [f64; MOST_PLACES as usize + 1] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Whole numbers up to here are exact as `f64`.
const MOST_EXACT: f64 = 9_007_199_254_740_992.0;

/// Compresses columns. One is used for a whole chunk.
pub(super) struct Encoder {
    compressor: FileCompressor,
    config: ChunkConfig,
    whole: Vec<i64>,
}

impl Encoder {
    /// An encoder, and the header that its columns need to be decoded.
    pub(super) fn new() -> Result<(Self, Vec<u8>)> {
        let compressor = FileCompressor::default();
        let header = compressor.write_header(Vec::new()).map_err(failed)?;
        let encoder = Self { compressor, config: ChunkConfig::default(), whole: Vec::new() };
        Ok((encoder, header))
    }

    /// Appends `numbers`, which are not empty, to `bytes`.
    pub(super) fn encode(&mut self, numbers: &[f64], bytes: &mut Vec<u8>) -> Result<()> {
        let Some(first) = numbers.first() else { return Ok(()) };
        let all_same = numbers.iter().all(|number| number.to_bits() == first.to_bits());
        let places = decimal_places(numbers, &mut self.whole);
        match places {
            Some(places) if all_same => {
                bytes.push(SAME_DECIMAL | places << 3);
                put_signed(bytes, self.whole[0]);
            }
            None if all_same => {
                bytes.push(SAME);
                bytes.extend_from_slice(&first.to_le_bytes());
            }
            Some(places) => self.encode_decimals(places, bytes)?,
            None => {
                bytes.push(FLOATS);
                self.compress(numbers, bytes)?;
            }
        }
        Ok(())
    }

    /// The shorter of two codings: steps for what changes seldom, `pco` for what changes often.
    fn encode_decimals(&mut self, places: u8, bytes: &mut Vec<u8>) -> Result<()> {
        let start = bytes.len();
        bytes.push(STEPS | places << 3);
        put_steps(&self.whole, bytes);
        let steps_length = bytes.len() - start;
        // what is this short cannot be bettered: `pco` writes some ten bytes before the first number
        if steps_length <= 12 {
            return Ok(());
        }
        let whole = std::mem::take(&mut self.whole);
        let mut by_pco = vec![DECIMALS | places << 3];
        let compressed = self.compress(&whole, &mut by_pco);
        self.whole = whole;
        compressed?;
        if by_pco.len() < steps_length {
            bytes.truncate(start);
            bytes.extend_from_slice(&by_pco);
        }
        Ok(())
    }

    fn compress<T: pco::data_types::Number>(&self, numbers: &[T], bytes: &mut Vec<u8>) -> Result<()> {
        let mut chunk = self.compressor.chunk_compressor(numbers, &self.config).map_err(failed)?;
        chunk.write_meta(&mut *bytes).map_err(failed)?;
        chunk.write_page(0, bytes).map_err(failed)?;
        Ok(())
    }
}

/// Decompresses the columns of one chunk.
pub(super) struct Decoder(FileDecompressor);

impl Decoder {
    /// A decoder for columns that were written with this header.
    pub(super) fn new(header: &[u8]) -> Result<Self> {
        FileDecompressor::new(header).map(|(decoder, _)| Self(decoder)).map_err(failed)
    }

    /// The `count` numbers of a column.
    pub(super) fn decode(&self, column: &[u8], count: usize) -> Result<Vec<f64>> {
        let mut bytes = Bytes(column);
        let coding = bytes.byte().ok_or_else(cut_short)?;
        let power = POWERS.get(usize::from(coding >> 3)).copied().ok_or_else(cut_short)?;
        match coding & 7 {
            SAME_DECIMAL => {
                let whole = bytes.signed().ok_or_else(cut_short)?;
                Ok(vec![whole as f64 / power; count])
            }
            SAME => Ok(vec![bytes.float().ok_or_else(cut_short)?; count]),
            DECIMALS => {
                let whole: Vec<i64> = self.decompress(bytes.0, count)?;
                Ok(whole.into_iter().map(|whole| whole as f64 / power).collect())
            }
            FLOATS => self.decompress(bytes.0, count),
            STEPS => take_steps(bytes, count, power).ok_or_else(cut_short),
            other => Err(failed(format!("no coding has the number {other}"))),
        }
    }

    fn decompress<T: pco::data_types::Number + Default>(&self, bytes: &[u8], count: usize) -> Result<Vec<T>> {
        let mut numbers = vec![T::default(); count];
        let (mut chunk, rest) = self.0.chunk_decompressor::<T, _>(bytes).map_err(failed)?;
        let mut page = chunk.page_decompressor(rest, count).map_err(failed)?;
        let progress = page.read(&mut numbers).map_err(failed)?;
        if progress.n_processed == count { Ok(numbers) } else { Err(cut_short()) }
    }
}

/// The fewest decimal places with which all of `numbers` are exact; then `whole` holds them times that power of ten.
fn decimal_places(numbers: &[f64], whole: &mut Vec<i64>) -> Option<u8> {
    let mut places = 0;
    'places: loop {
        whole.clear();
        for number in numbers {
            match as_whole(*number, places) {
                Some(exact) => whole.push(exact),
                None if places == MOST_PLACES => return None,
                None => {
                    places += 1;
                    continue 'places;
                }
            }
        }
        return Some(places);
    }
}

/// `number` times ten to the power of `places`, where dividing gives back every bit.
pub(super) fn as_whole(number: f64, places: u8) -> Option<i64> {
    let scaled = (number * power(places)).round();
    if scaled.abs() > MOST_EXACT {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "the bounds were checked")]
    let whole = scaled as i64;
    (from_whole(whole, places).to_bits() == number.to_bits()).then_some(whole)
}

/// The number of which [`as_whole`] made `whole`.
pub(super) fn from_whole(whole: i64, places: u8) -> f64 {
    whole as f64 / power(places)
}

/// Ten to the power of `places`; of more places than are tried, that of the most.
pub(super) fn power(places: u8) -> f64 {
    POWERS[usize::from(places.min(MOST_PLACES))]
}

fn put_steps(whole: &[i64], bytes: &mut Vec<u8>) {
    let mut before = 0;
    let mut stays: u64 = 0;
    for number in whole {
        if *number == before {
            stays += 1;
        } else {
            put(bytes, stays);
            put_signed(bytes, number.wrapping_sub(before));
            before = *number;
            stays = 0;
        }
    }
    // what stays to the end is known from the count
}

fn take_steps(mut bytes: Bytes<'_>, count: usize, power: f64) -> Option<Vec<f64>> {
    let mut numbers = Vec::with_capacity(count);
    let mut before: i64 = 0;
    while !bytes.0.is_empty() {
        let stays = bytes.size()?;
        if stays >= count - numbers.len() {
            return None;
        }
        numbers.resize(numbers.len() + stays, before as f64 / power);
        before = before.wrapping_add(bytes.signed()?);
        numbers.push(before as f64 / power);
    }
    numbers.resize(count, before as f64 / power);
    Some(numbers)
}

fn cut_short() -> Error {
    failed("a column is cut short")
}

fn failed(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::internal("a column of the history could not be read or written").caused_by(cause)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn there_and_back(numbers: &[f64]) -> Vec<u64> {
        let (mut encoder, header) = Encoder::new().unwrap();
        let mut bytes = Vec::new();
        encoder.encode(numbers, &mut bytes).unwrap();
        let back = Decoder::new(&header).unwrap().decode(&bytes, numbers.len()).unwrap();
        back.into_iter().map(f64::to_bits).collect()
    }

    fn bits(numbers: &[f64]) -> Vec<u64> {
        numbers.iter().map(|number| number.to_bits()).collect()
    }

    fn finite() -> impl Strategy<Value = f64> {
        any::<u64>().prop_map(f64::from_bits).prop_filter("samples are finite", |number| number.is_finite())
    }

    fn decimal() -> impl Strategy<Value = f64> {
        (-10_000_000_i64..10_000_000, 0..4_u8).prop_map(|(whole, places)| from_whole(whole, places))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_bit_of_any_column_comes_back(numbers in prop::collection::vec(finite(), 1..300)) {
            prop_assert_eq!(there_and_back(&numbers), bits(&numbers));
        }

        #[test]
        fn every_bit_of_decimals_comes_back(numbers in prop::collection::vec(decimal(), 1..300)) {
            prop_assert_eq!(there_and_back(&numbers), bits(&numbers));
        }

        #[test]
        fn broken_columns_are_errors_and_no_panics(bytes: Vec<u8>, count in 1..200_usize) {
            let (_, header) = Encoder::new().unwrap();
            let _ = Decoder::new(&header).unwrap().decode(&bytes, count);
        }
    }

    #[test]
    fn odd_numbers_come_back() {
        for numbers in [
            &[-0.0][..],
            &[0.0, -0.0, 0.0],
            &[f64::MIN_POSITIVE, f64::MAX, f64::MIN],
            &[9_007_199_254_740_992.0, 9_007_199_254_740_991.0],
            &[0.1, 0.2, 0.300_000_000_000_000_04],
            &[1e300, 1e300],
        ] {
            assert_eq!(there_and_back(numbers), bits(numbers), "{numbers:?}");
        }
    }

    #[test]
    fn what_never_changes_takes_a_few_bytes() {
        let (mut encoder, _) = Encoder::new().unwrap();
        let mut bytes = Vec::new();
        encoder.encode(&[0.0; 1_440], &mut bytes).unwrap();
        assert_eq!(bytes.len(), 2);
    }
}
