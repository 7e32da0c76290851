//! Samples folded into equal buckets of time: of a gauge its values, of a counter its rate between polls.

use domain::Timestamp;
use domain::history::Bucket;
use domain::sample::Kind;

/// What one bucket holds so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Held {
    /// Which bucket, counted from the fold's origin.
    pub(super) index: i32,
    /// Smallest value or rate.
    pub(super) min: f64,
    /// Largest value or rate.
    pub(super) max: f64,
    /// Sum of the values; of a counter, its increase.
    pub(super) sum: f64,
    /// How many polls, or pairs of polls.
    pub(super) count: u32,
    /// Of a counter: milliseconds that lie between polls.
    pub(super) covered: u64,
}

impl Held {
    fn join(&mut self, other: &Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.count = self.count.saturating_add(other.count);
        self.covered += other.covered;
    }

    /// The mean of a gauge's values, never outside of them.
    pub(super) fn mean(&self) -> f64 {
        (self.sum / f64::from(self.count)).max(self.min).min(self.max)
    }

    fn bucket(&self, kind: Kind, at: i64) -> Bucket {
        let at = Timestamp::from_millis(at);
        let Self { min, max, sum, count, covered, .. } = *self;
        match kind {
            Kind::Gauge => {
                Bucket { at, min, max, mean: self.mean(), count, increase: 0.0, covered_seconds: 0.0 }
            }
            Kind::Counter => {
                let covered_seconds = covered as f64 / 1_000.0;
                let mean = (sum / covered_seconds).max(min).min(max);
                Bucket { at, min, max, mean, count, increase: sum, covered_seconds }
            }
        }
    }
}

/// One sample on its way into a fold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Moment {
    /// When, in Unix milliseconds.
    pub(super) at: i64,
    /// The number.
    pub(super) value: f64,
    /// How far away the next may be without being a gap, in milliseconds.
    pub(super) reach: u32,
}

/// Buckets of one series.
#[derive(Clone, Debug)]
pub(super) struct Fold {
    kind: Kind,
    origin: i64,
    width: i64,
    /// Only buckets from this index on ...
    first: i32,
    /// ... and before this one are held.
    end: i32,
    before: Option<Moment>,
    held: Vec<Held>,
}

impl Fold {
    /// An empty fold: buckets of `width` milliseconds from `origin` on, and only those that begin before `end`.
    pub(super) fn between(kind: Kind, origin: i64, end: i64, width: i64) -> Self {
        let count = (end - origin + width - 1).div_euclid(width);
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        Self { kind, origin, width, first: 0, end: count, before: None, held: Vec::new() }
    }

    /// An empty fold whose buckets are counted from 1970 and have no bounds.
    pub(super) fn tier(kind: Kind, width: i64) -> Self {
        Self { kind, origin: 0, width, first: i32::MIN, end: i32::MAX, before: None, held: Vec::new() }
    }

    /// What the buckets hold, oldest first.
    pub(super) fn held(&self) -> &[Held] {
        &self.held
    }

    /// The sample that was folded last.
    pub(super) fn before(&self) -> Option<Moment> {
        self.before
    }

    /// Says which sample came before the first one that is folded.
    pub(super) fn set_before(&mut self, before: Option<Moment>) {
        self.before = before;
    }

    /// Folds a sample in. Of a counter it is the pair with the sample before that counts.
    pub(super) fn push(&mut self, moment: Moment) {
        match self.kind {
            Kind::Gauge => {
                let index = self.index(moment.at);
                let value = moment.value;
                self.join(Held { index, min: value, max: value, sum: value, count: 1, covered: 0 });
            }
            Kind::Counter => {
                if let Some(before) = self.before {
                    self.push_pair(before, moment);
                }
            }
        }
        self.before = Some(moment);
    }

    /// Folds in what another fold of the same series held for the `width` milliseconds from `at` on: all of it into
    /// the bucket in which their middle lies, or into the last one where that is too late, so that no peak is lost.
    pub(super) fn push_held(&mut self, at: i64, width: i64, held: &Held) {
        let index = self.index(at + width / 2).min(self.end - 1);
        self.join(Held { index, ..*held });
    }

    /// The buckets as they are answered.
    pub(super) fn buckets(&self) -> Vec<Bucket> {
        self.held
            .iter()
            .map(|held| held.bucket(self.kind, self.origin + i64::from(held.index) * self.width))
            .collect()
    }

    fn push_pair(&mut self, before: Moment, after: Moment) {
        let span = after.at - before.at;
        if span <= 0 || span > i64::from(before.reach) {
            return;
        }
        // a counter that is smaller than before started again from zero
        let increase = if after.value < before.value { after.value } else { after.value - before.value };
        let rate = increase / (span as f64 / 1_000.0);
        // the last moment belongs to the pair, so that a pair that ends at a bucket's start lies wholly before it
        let last = self.index(after.at - 1).min(self.end - 1);
        for index in self.index(before.at).max(self.first)..=last {
            let start = self.origin + i64::from(index) * self.width;
            let part = (start + self.width).min(after.at) - start.max(before.at);
            let sum = increase * (part as f64 / span as f64);
            self.join(Held { index, min: rate, max: rate, sum, count: 1, covered: part.unsigned_abs() });
        }
    }

    fn index(&self, at: i64) -> i32 {
        let index = (at - self.origin).div_euclid(self.width);
        // what is too far away for the type is outside of every fold's bounds
        i32::try_from(index).unwrap_or(if index < 0 { i32::MIN } else { i32::MAX })
    }

    fn join(&mut self, held: Held) {
        if held.index < self.first || held.index >= self.end {
            return;
        }
        match self.held.last_mut() {
            Some(last) if last.index == held.index => last.join(&held),
            Some(last) if last.index > held.index => {
                match self.held.binary_search_by_key(&held.index, |held| held.index) {
                    Ok(place) => self.held[place].join(&held),
                    Err(place) => self.held.insert(place, held),
                }
            }
            _ => self.held.push(held),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(kind: Kind, samples: &[(i64, f64)], width: i64) -> Vec<Bucket> {
        let mut fold = Fold::between(kind, 0, 600_000, width);
        for (at, value) in samples {
            fold.push(Moment { at: *at, value: *value, reach: 90_000 });
        }
        fold.buckets()
    }

    #[test]
    fn a_peak_of_one_poll_is_kept() {
        let mut samples: Vec<(i64, f64)> = (0..10).map(|poll| (poll * 30_000, 1.0)).collect();
        samples[4].1 = 99.0;
        let buckets = folded(Kind::Gauge, &samples, 300_000);
        assert_eq!((buckets.len(), buckets[0].min, buckets[0].max, buckets[0].count), (1, 1.0, 99.0, 10));
    }

    #[test]
    fn a_counter_that_starts_again_has_no_negative_rate() {
        let buckets = folded(Kind::Counter, &[(0, 100.0), (30_000, 400.0), (60_000, 30.0)], 300_000);
        let bucket = buckets[0];
        assert!((bucket.increase - 330.0).abs() < 1e-9);
        assert!((bucket.covered_seconds - 60.0).abs() < 1e-9);
        assert!((bucket.min - 1.0).abs() < 1e-9 && (bucket.max - 10.0).abs() < 1e-9);
        assert!((bucket.mean - 5.5).abs() < 1e-9);
    }

    #[test]
    fn a_pair_that_is_too_far_apart_is_a_gap() {
        let buckets = folded(Kind::Counter, &[(0, 0.0), (30_000, 30.0), (400_000, 4_000.0)], 300_000);
        assert_eq!(buckets.len(), 1);
        assert!((buckets[0].increase - 30.0).abs() < 1e-9);
    }

    #[test]
    fn a_pair_over_a_border_is_shared_between_its_buckets() {
        let buckets = folded(Kind::Counter, &[(290_000, 0.0), (320_000, 30.0)], 300_000);
        let increases: Vec<f64> = buckets.iter().map(|bucket| bucket.increase).collect();
        assert!((increases[0] - 10.0).abs() < 1e-9 && (increases[1] - 20.0).abs() < 1e-9, "{increases:?}");
    }

    #[test]
    fn what_is_outside_of_the_range_is_left_out() {
        let buckets = folded(Kind::Gauge, &[(-1, 1.0), (0, 2.0), (599_999, 3.0), (600_000, 4.0)], 300_000);
        assert_eq!(buckets.iter().map(|bucket| bucket.count).sum::<u32>(), 2);
        let buckets = folded(Kind::Counter, &[(-30_000, 0.0), (30_000, 60.0)], 300_000);
        assert!((buckets[0].increase - 30.0).abs() < 1e-9);
    }

    #[test]
    fn samples_that_come_late_find_their_bucket() {
        let buckets = folded(Kind::Gauge, &[(310_000, 1.0), (10_000, 2.0), (20_000, 4.0)], 300_000);
        assert_eq!(buckets.iter().map(|bucket| bucket.mean).collect::<Vec<_>>(), [3.0, 1.0]);
    }
}
