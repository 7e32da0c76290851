//! A value with when it was seen, by which source, and whether it may be out of date.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::device::SourceId;

/// A value as it was seen. Its age is for the reader to compute, so that the same value is the same bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Observed<T> {
    /// What was seen.
    pub value: T,
    /// When, by Reeve's clock, at the middle of the question.
    pub as_of: Timestamp,
    /// Whether it is older than was asked for, because the machine did not answer.
    pub stale: bool,
    /// Whether the machine was asked for this answer.
    pub origin: Origin,
    /// The source that told it.
    pub source: SourceId,
}

/// Whether the machine was asked for this answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The machine was asked now.
    Live,
    /// It was known already.
    Cached,
}

impl<T> Observed<T> {
    /// The same circumstances with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Observed<U> {
        Observed {
            value: change(self.value),
            as_of: self.as_of,
            stale: self.stale,
            origin: self.origin,
            source: self.source,
        }
    }
}
