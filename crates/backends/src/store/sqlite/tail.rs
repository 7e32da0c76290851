//! The newest polls of a group, not yet sealed: in memory as columns, on disk as one small row a poll.
//!
//! A row says what changed since the poll before: which numbers (a bit each), and by how much, as the smallest whole
//! number of the decimal places that they have. The first row after a start, a seal or another layout stands alone.

use super::bytes::{Bytes, put, put_signed};
use super::column::{as_whole, from_whole, power};

/// Places that mean: the number's own bits.
const RAW: u8 = 15;
/// Most decimal places that a row tries.
const MOST_PLACES: u8 = 6;

/// The head of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowHead {
    /// Which group was polled.
    pub(super) group: u32,
    /// Which series, in which order.
    pub(super) layout: u32,
    /// Whether the row stands alone.
    pub(super) stands_alone: bool,
    /// When, in Unix milliseconds.
    pub(super) at: i64,
    /// The polls' interval, in milliseconds.
    pub(super) interval: u32,
}

/// Writes a row: `before` are the numbers of the row before, zeros where it stands alone.
pub(super) fn write_row(head: RowHead, before: &[f64], numbers: &[f64]) -> Vec<u8> {
    let mut row = Vec::with_capacity(16 + numbers.len() * 2);
    put(&mut row, u64::from(head.group));
    put(&mut row, u64::from(head.layout) << 1 | u64::from(head.stands_alone));
    put_signed(&mut row, head.at);
    put(&mut row, u64::from(head.interval));
    let bits = row.len();
    row.resize(bits + numbers.len().div_ceil(8), 0);
    for (index, (number, before)) in numbers.iter().zip(before).enumerate() {
        if number.to_bits() != before.to_bits() {
            row[bits + index / 8] |= 1 << (index % 8);
            put_change(*before, *number, &mut row);
        }
    }
    row
}

/// Reads a row's head; what is left are its numbers, for [`read_numbers`].
pub(super) fn read_head(bytes: &mut Bytes<'_>) -> Option<RowHead> {
    let group = bytes.small()?;
    let layout = bytes.number()?;
    let at = bytes.signed()?;
    let interval = bytes.small()?;
    let stands_alone = layout & 1 == 1;
    Some(RowHead { group, layout: u32::try_from(layout >> 1).ok()?, stands_alone, at, interval })
}

/// Turns the numbers of the row before into those of this row.
pub(super) fn read_numbers(mut bytes: Bytes<'_>, numbers: &mut [f64]) -> Option<()> {
    let bits = bytes.take(numbers.len().div_ceil(8))?;
    for (index, number) in numbers.iter_mut().enumerate() {
        if bits[index / 8] >> (index % 8) & 1 == 1 {
            *number = take_change(*number, &mut bytes)?;
        }
    }
    Some(())
}

fn put_change(before: f64, now: f64, row: &mut Vec<u8>) {
    let change = (0..=MOST_PLACES).find_map(|places| {
        let now = as_whole(now, places)?;
        // the reader rounds the number before in the same way, whether it has so few places or not
        let before = scaled(before, places)?;
        Some((places, now.wrapping_sub(before)))
    });
    if let Some((places, change)) = change {
        let folded = (change << 1 ^ change >> 63).cast_unsigned();
        let length = (64 - folded.leading_zeros()).div_ceil(8).max(1) as usize;
        if length < 8 {
            row.push(places << 4 | length.to_le_bytes()[0]);
            row.extend_from_slice(&folded.to_le_bytes()[..length]);
            return;
        }
    }
    row.push(RAW << 4 | 8);
    row.extend_from_slice(&now.to_le_bytes());
}

fn take_change(before: f64, bytes: &mut Bytes<'_>) -> Option<f64> {
    let control = bytes.byte()?;
    let (places, length) = (control >> 4, usize::from(control & 15));
    if places == RAW {
        return bytes.float();
    }
    if places > MOST_PLACES || length > 8 {
        return None;
    }
    let mut folded = [0; 8];
    folded[..length].copy_from_slice(bytes.take(length)?);
    let folded = u64::from_le_bytes(folded);
    let change = (folded >> 1).cast_signed() ^ -(folded & 1).cast_signed();
    Some(from_whole(scaled(before, places)?.wrapping_add(change), places))
}

/// `number` times ten to the power of `places`, rounded; nothing where it is too large to be whole.
fn scaled(number: f64, places: u8) -> Option<i64> {
    let scaled = (number * power(places)).round();
    #[expect(clippy::cast_possible_truncation, reason = "the bounds were checked")]
    (scaled.abs() < 4e18).then_some(scaled as i64)
}

/// The newest polls of a group as columns.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// The row of its first poll, where it has one.
    pub(super) first_row: Option<i64>,
    /// The row of its last poll.
    pub(super) last_row: i64,
    /// The interval of its polls, in milliseconds.
    pub(super) interval: u32,
    /// When its polls were, ascending.
    pub(super) times: Vec<i64>,
    /// Series and their numbers, ascending by series; NaN where a poll had none, cut off where no later poll had one.
    columns: Vec<(u32, Vec<f64>)>,
}

impl Tail {
    /// Adds a poll. `layout` ascends.
    pub(super) fn push(&mut self, row: i64, head: RowHead, layout: &[u32], numbers: &[f64]) {
        let polls = self.times.len();
        self.first_row.get_or_insert(row);
        self.last_row = row;
        self.interval = head.interval;
        self.times.push(head.at);
        let mut place = 0;
        for (series, number) in layout.iter().zip(numbers) {
            while self.columns.get(place).is_some_and(|(known, _)| known < series) {
                place += 1;
            }
            if self.columns.get(place).is_none_or(|(known, _)| known != series) {
                self.columns.insert(place, (*series, Vec::new()));
            }
            let column = &mut self.columns[place].1;
            column.resize(polls, f64::NAN);
            column.push(*number);
            place += 1;
        }
    }

    /// The numbers of a series, which may end before the times do.
    pub(super) fn column(&self, series: u32) -> Option<&[f64]> {
        let place = self.columns.binary_search_by_key(&series, |(series, _)| *series).ok()?;
        Some(&self.columns[place].1)
    }

    /// All series with their numbers.
    pub(super) fn columns(&self) -> &[(u32, Vec<f64>)] {
        &self.columns
    }

    /// How many numbers it holds in memory, about.
    pub(super) fn size(&self) -> usize {
        self.times.len() * self.columns.len()
    }

    /// Whether a poll that was at `at` can follow.
    pub(super) fn takes(&self, at: i64, interval: u32) -> bool {
        self.times.last().is_none_or(|last| at > *last && interval == self.interval)
    }

    /// Empties it.
    pub(super) fn clear(&mut self) {
        *self = Self { last_row: self.last_row, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: RowHead =
        RowHead { group: 300, layout: 7, stands_alone: true, at: 1_795_150_000_123, interval: 30_000 };

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![
            (-1_000_000_i64..1_000_000, 0..5_u8).prop_map(|(whole, places)| from_whole(whole, places)),
            any::<u64>()
                .prop_map(f64::from_bits)
                .prop_filter("samples are finite", |number| number.is_finite()),
            Just(-0.0)
        ]
    }

    proptest! {
        #[test]
        fn rows_come_back_one_after_the_other(polls in prop::collection::vec(prop::collection::vec(number(), 9), 1..8)) {
            let mut before = vec![0.0; 9];
            let mut read = vec![0.0; 9];
            for numbers in &polls {
                let row = write_row(HEAD, &before, numbers);
                let mut bytes = Bytes(&row);
                prop_assert_eq!(read_head(&mut bytes), Some(HEAD));
                prop_assert!(read_numbers(bytes, &mut read).is_some());
                let bits = |numbers: &[f64]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
                prop_assert_eq!(bits(&read), bits(numbers));
                before.clone_from(numbers);
            }
        }

        #[test]
        fn broken_rows_are_no_panics(bytes: Vec<u8>) {
            let mut bytes = Bytes(&bytes);
            if read_head(&mut bytes).is_some() {
                let _ = read_numbers(bytes, &mut [1.5; 20]);
            }
        }
    }

    #[test]
    fn a_row_of_small_changes_is_small() {
        let before: Vec<f64> = (0..90).map(|index| f64::from(index) * 1_000.25).collect();
        let now: Vec<f64> = before.iter().map(|number| number + 0.25).collect();
        assert!(write_row(HEAD, &before, &now).len() < 90 * 3, "{}", write_row(HEAD, &before, &now).len());
        assert!(write_row(HEAD, &before, &before).len() < 30);
    }

    #[test]
    fn series_that_come_and_go_leave_gaps() {
        let mut tail = Tail::default();
        tail.push(1, HEAD, &[1, 3], &[1.0, 3.0]);
        tail.push(2, HEAD, &[2, 3], &[2.0, 3.5]);
        tail.push(3, HEAD, &[1], &[1.5]);
        assert_eq!(tail.column(3), Some(&[3.0, 3.5][..]));
        let first = tail.column(1).unwrap();
        assert!(first[1].is_nan() && first.len() == 3);
        assert!(tail.column(2).unwrap()[0].is_nan());
    }
}
