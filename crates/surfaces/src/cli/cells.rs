//! One value as a person reads it in a table or beside a name.

use domain::Timestamp;
use domain::untrusted::clean;
use serde_json::{Map, Value};

use crate::words;

/// Widest sparkline, in characters.
const LINE: usize = 30;
/// Fewest numbers that are drawn as a line rather than written out.
const SERIES: usize = 8;

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
        Value::Array(items) => listed(field, items, row),
        Value::Object(fields) => labels(fields),
    }
}

/// The same, cut to so many characters.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
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

fn listed(field: &str, items: &[Value], row: &Map<String, Value>) -> Option<String> {
    if items.is_empty() {
        return None;
    }
    let is_series = items.iter().all(|item| item.is_number() || item.is_null());
    if is_series && items.len() >= SERIES {
        let values: Vec<Option<f64>> = items.iter().map(Value::as_f64).collect();
        return Some(words::sparkline(&values, LINE)).filter(|line| !line.is_empty());
    }
    // `core_busy_ratios` holds several of what `core_busy_ratio` would hold.
    let one = field.strip_suffix("ratios").map(|stem| format!("{stem}ratio"));
    let one = one.as_deref().unwrap_or(field);
    let text = |item: &Value| match item {
        Value::String(text) => Some(clean(text)),
        Value::Number(number) => number.as_f64().map(|number| figure(one, number, row)),
        Value::Bool(_) => Some(item.to_string()),
        Value::Null if is_series => Some("-".to_owned()),
        _ => None,
    };
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
