//! The words in which history is written and asked for. How it is kept is the store's own affair.

use std::time::Duration;

use crate::Timestamp;
use crate::device::SourceId;
use crate::sample::{Kind, Labels, Sample};

/// What one collector saw of one source at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Poll {
    /// Whom.
    pub source: SourceId,
    /// Which collector: polls of one source and collector share their times.
    pub collector: &'static str,
    /// When, by Reeve's clock.
    pub at: Timestamp,
    /// How long until the next is due. A pair of polls further apart than three of these is a gap.
    pub interval: Duration,
    /// The numbers.
    pub samples: Vec<Sample>,
}

/// Which series are meant.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    /// Of these sources.
    pub sources: Vec<SourceId>,
    /// Of this metric; of all where absent (only to forget).
    pub metric: Option<String>,
    /// With these label values.
    pub labels: Vec<(String, String)>,
}

/// A question about the past.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeQuery {
    /// Which series.
    pub selector: Selector,
    /// From, inclusive.
    pub from: Timestamp,
    /// To, exclusive.
    pub to: Timestamp,
    /// Into how many equal buckets the range is cut.
    pub points: u32,
    /// Most series answered; more is `TooLarge`.
    pub max_series: u32,
}

impl RangeQuery {
    /// Width of a bucket, in milliseconds; at least one.
    pub fn bucket_millis(&self) -> i64 {
        (self.to.millis().saturating_sub(self.from.millis()) / i64::from(self.points.max(1))).max(1)
    }
}

/// One series over a range.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Whose.
    pub source: SourceId,
    /// The metric's name.
    pub metric: String,
    /// Its labels.
    pub labels: Labels,
    /// How it behaves; a counter's buckets are rates per second.
    pub kind: Kind,
    /// The buckets that hold something, oldest first. A bucket that is not there is a gap.
    pub buckets: Vec<Bucket>,
}

/// What is known of one stretch of time. Of a gauge its values, of a counter its rate per second between polls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// Start of the bucket.
    pub at: Timestamp,
    /// Smallest value, or rate.
    pub min: f64,
    /// Largest value, or rate: peaks are kept.
    pub max: f64,
    /// Mean value; of a counter, its increase over the covered time.
    pub mean: f64,
    /// How many polls, or pairs of polls, made it.
    pub count: u32,
    /// Of a counter: by how much it grew, resets corrected; of a gauge zero.
    pub increase: f64,
    /// Of a counter: how much of the bucket lies between polls that are no gap, in seconds; of a gauge zero.
    pub covered_seconds: f64,
}

/// What the history takes and holds, for people and for benchmarks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryFigures {
    /// Series ever seen and not forgotten.
    pub series: u64,
    /// Samples accepted since the start.
    pub samples_accepted: u64,
    /// Polls dropped since the start because the queue or the disk was full.
    pub polls_dropped: u64,
    /// Size of the store's files, in bytes.
    pub size_bytes: u64,
}

/// How long each tier is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Every sample as it was read.
    pub raw: Duration,
    /// Rollups of five minutes and of an hour.
    pub rollups: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        const DAY: u64 = 86_400;
        Self { raw: Duration::from_secs(30 * DAY), rollups: Duration::from_secs(366 * DAY) }
    }
}
