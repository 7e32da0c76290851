//! What of a reading is history: numbers with a metric's name and labels that survive a restart.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a number behaves over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only grows, and starts again from zero when what it counts restarts. Shown as a rate per second.
    Counter,
}

/// One number of one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric's name, as `node_exporter` or `cAdvisor` call it where they do.
    pub metric: &'static str,
    /// Its labels, sorted by name.
    pub labels: Labels,
    /// How it behaves over time.
    pub kind: Kind,
    /// The number.
    pub value: f64,
}

/// Labels of a series, sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Labels(std::collections::BTreeMap<String, String>);

impl Labels {
    /// Labels from pairs.
    pub fn new<K: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// The value of a label.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All pairs, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one text form of these labels: `a="x",b="y"`, with `\` and `"` escaped.
    pub fn canonical(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.0 {
            if !text.is_empty() {
                text.push(',');
            }
            let value = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            write!(text, "{name}=\"{value}\"").expect("a String takes all writes");
        }
        text
    }
}

/// The samples of one reading, as a collector gives them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples(Vec<Sample>);

impl Samples {
    /// A number that goes up and down. An absent value is no sample: unknown is not zero.
    pub fn gauge(&mut self, metric: &'static str, labels: &[(&str, &str)], value: impl Into<Option<f64>>) {
        self.push(metric, labels, Kind::Gauge, value.into());
    }

    /// A number that only grows. An absent value is no sample.
    pub fn counter(&mut self, metric: &'static str, labels: &[(&str, &str)], value: impl Into<Option<f64>>) {
        self.push(metric, labels, Kind::Counter, value.into());
    }

    fn push(&mut self, metric: &'static str, labels: &[(&str, &str)], kind: Kind, value: Option<f64>) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            let labels = Labels::new(labels.iter().map(|(name, value)| (*name, *value)));
            self.0.push(Sample { metric, labels, kind, value });
        }
    }

    /// All of them, in the order given.
    pub fn into_vec(self) -> Vec<Sample> {
        self.0
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
