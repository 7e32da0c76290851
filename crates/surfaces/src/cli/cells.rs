//! One value as a person reads it in a table or beside a name.

use domain::Timestamp;
use domain::untrusted::clean;
use serde_json::{Map, Value};

use crate::words;

/// Widest cell, in characters; a longer one is cut.
const WIDEST: usize = 48;
/// Widest sparkline, in characters.
const LINE: usize = 30;

/// A value as text without a line break, by the unit in its field's name. Nothing for what is not known and for what
/// needs more room than a cell.
pub(super) fn cell(field: &str, value: &Value, row: &Map<String, Value>, now: Timestamp) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Bool(true) => Some("yes".to_owned()),
        Value::Bool(false) => Some("no".to_owned()),
        Value::Number(number) => Some(figure(field, number.as_f64()?, row)),
        Value::String(text) if text.is_empty() => None,
        Value::String(_) => Some(match words::moment(value) {
            Some(moment) => words::age(moment, now),
            None => clean(value.as_str()?),
        }),
        Value::Array(items) => listed(items),
        Value::Object(fields) => labels(fields),
    }
}

/// The same, cut to what a table can show.
pub(super) fn narrow(text: &str) -> String {
    if text.chars().count() <= WIDEST {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(WIDEST - 1).collect();
    cut.push('…');
    cut
}

/// Whether this is a series: numbers and gaps.
pub(super) fn series(value: &Value) -> Option<Vec<Option<f64>>> {
    let items = value.as_array().filter(|items| items.len() >= 3)?;
    let is_series = items.iter().all(|item| item.is_number() || item.is_null());
    is_series.then(|| items.iter().map(Value::as_f64).collect())
}

/// A number by its own unit; by that of the metric that its row is about, where it has none of its own.
fn figure(field: &str, value: f64, row: &Map<String, Value>) -> String {
    let metric = row.get("metric").and_then(Value::as_str);
    let Some(metric) = metric.filter(|_| matches!(field, "min" | "mean" | "max" | "last" | "value")) else {
        return words::figure(field, value);
    };
    let is_rate = row.get("kind").and_then(Value::as_str) == Some("counter");
    match (is_rate, metric.trim_end_matches("_total")) {
        (true, metric) if metric.ends_with("_seconds") => words::number(value),
        (true, metric) => format!("{}/s", words::figure(metric, value)),
        (false, metric) => words::figure(metric, value),
    }
}

fn listed(items: &[Value]) -> Option<String> {
    if items.is_empty() {
        return None;
    }
    let text = |item: &Value| match item {
        Value::String(text) => Some(clean(text)),
        Value::Number(number) => number.as_f64().map(words::number),
        Value::Bool(_) => Some(item.to_string()),
        _ => None,
    };
    if let Some(values) = series(&Value::Array(items.to_vec())) {
        return Some(words::sparkline(&values, LINE));
    }
    match items.iter().map(text).collect::<Option<Vec<String>>>() {
        Some(texts) => Some(texts.join(", ")),
        None => Some(items.len().to_string()),
    }
}

/// A small object of texts, as `name=value name=value`; of a problem, its message.
fn labels(fields: &Map<String, Value>) -> Option<String> {
    if let (Some(Value::String(_)), Some(Value::String(message))) =
        (fields.get("code"), fields.get("message"))
    {
        return Some(clean(message));
    }
    let pair = |(name, value): (&String, &Value)| Some(format!("{}={}", clean(name), clean(value.as_str()?)));
    let pairs: Option<Vec<String>> = fields.iter().map(pair).collect();
    pairs.filter(|pairs| !pairs.is_empty()).map(|pairs| pairs.join(" "))
}
