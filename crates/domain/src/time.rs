//! Moments and spans as Reeve writes them: Unix milliseconds UTC inside, RFC 3339 and seconds on the wire.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Error, Result};

/// A moment: milliseconds since 1970-01-01 UTC by Reeve's own clock. On the wire RFC 3339 with `Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The moment `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds after the Unix epoch.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// How long after `earlier` this is; zero where it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// This moment, `span` earlier.
    #[must_use]
    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This moment, `span` later.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Reads RFC 3339 (`2026-11-20T05:00:00Z`) or a span before `now` (`1h`, `30m`, `7d`), which reaches back to 1970 at
    /// most.
    pub fn parse(text: &str, now: Self) -> Result<Self> {
        if let Ok(moment) = text.parse::<jiff::Timestamp>() {
            return Ok(Self(moment.as_millisecond()));
        }
        match parse_span(text) {
            Ok(span) => Ok(now.minus(span).max(Self(0))),
            Err(_) => Err(Error::invalid(
                "time_malformed",
                format!("“{}” is neither a time nor a span", crate::untrusted::clean(text)),
                "write RFC 3339 such as 2026-11-20T05:00:00Z, or how long ago, such as 90s, 30m, 1h, 7d",
            )),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(moment) => write!(f, "{moment:.3}"),
            Err(_) => write!(f, "{} ms after 1970", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let moment = text.parse::<jiff::Timestamp>().map_err(serde::de::Error::custom)?;
        Ok(Self(moment.as_millisecond()))
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// Reads a span: a whole number and one of `ms`, `s`, `m`, `h`, `d`, `w` (`90s`, `30m`, `1h`, `7d`).
pub fn parse_span(text: &str) -> Result<Duration> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let unit_millis = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 604_800_000,
        _ => 0,
    };
    match text[..digits].parse::<u64>().ok().and_then(|n| n.checked_mul(unit_millis)) {
        Some(millis) if unit_millis > 0 => Ok(Duration::from_millis(millis)),
        _ => Err(Error::invalid(
            "span_malformed",
            format!("“{}” is not a span of time", crate::untrusted::clean(text)),
            "write a whole number and its unit: 500ms, 30s, 5m, 1h, 7d, 2w",
        )),
    }
}

/// A span in words short enough for a table: `12s`, `4m`, `3h 20m`, `12d`.
pub fn describe_span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 if seconds % 3_600 / 60 == 0 => format!("{}h", seconds / 3_600),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_reads_back_as_it_was_written() {
        let moment = Timestamp::from_millis(1_795_150_000_123);
        let json = serde_json::to_string(&moment).unwrap();
        assert_eq!(json, "\"2026-11-20T04:46:40.123Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), moment);
    }

    #[test]
    fn a_span_counts_back_from_now() {
        let now = Timestamp::from_millis(10_000_000);
        assert_eq!(Timestamp::parse("1h", now).unwrap().millis(), 6_400_000);
        assert!(Timestamp::parse("yesterday", now).is_err());
        assert!(parse_span("99999999999999999999d").is_err());
        assert!(parse_span("5").is_err());
    }
}
