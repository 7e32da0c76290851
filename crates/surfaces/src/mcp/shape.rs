//! How an answer is told to an assistant: lists as columns and rows, ages in words, nothing twice, nothing empty.

use domain::Timestamp;
use serde_json::{Map, Value, json};

use crate::words;

/// Whether an answer is a listing, known by its schema.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `{summary, items, problems, next_cursor, total}`, with the fields of its rows in order.
    Listing(Vec<String>),
    /// Anything else.
    Object,
}

impl Shape {
    /// The shape of answers of this schema.
    pub(super) fn of(schema: &Map<String, Value>) -> Self {
        let properties = schema.get("properties").and_then(Value::as_object);
        let type_of = |name: &str| properties?.get(name)?.get("type")?.as_str();
        let is_listing = type_of("summary") == Some("string")
            && type_of("items") == Some("array")
            && type_of("total") == Some("integer");
        if !is_listing {
            return Self::Object;
        }
        let row =
            properties.and_then(|fields| fields.get("items")?.get("items")?.get("properties")?.as_object());
        Self::Listing(row.map(|fields| fields.keys().cloned().collect()).unwrap_or_default())
    }

    /// What listings look like when they have been told. Of other answers nothing is said: every session pays for every
    /// tool's schema, and their fields name themselves.
    pub(super) fn schema(&self) -> Option<Map<String, Value>> {
        let schema = match self {
            Self::Object => return None,
            Self::Listing(_) => json!({
                "type": "object",
                "properties": {
                    "summary": { "type": "string" },
                    "columns": { "type": "array", "items": { "type": "string" } },
                    "rows": { "type": "array", "items": { "type": "array" } },
                    "next_cursor": { "type": "string" },
                },
            }),
        };
        schema.as_object().cloned()
    }

    /// An answer as it is told at `now`.
    pub(super) fn render(&self, answer: Value, now: Timestamp) -> Value {
        let answer = match (self, answer) {
            (Self::Listing(fields), Value::Object(listing)) => columnar(listing, fields, now),
            (_, answer) => aged(answer, now),
        };
        match answer {
            Value::Object(answer) => Value::Object(answer),
            other => json!({ "value": other }),
        }
    }
}

fn columnar(mut listing: Map<String, Value>, fields: &[String], now: Timestamp) -> Value {
    let items = match listing.shift_remove("items") {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    };
    let mut items: Vec<Map<String, Value>> = items
        .into_iter()
        .filter_map(|item| match aged(item, now) {
            Value::Object(item) => Some(item),
            _ => None,
        })
        .collect();
    // A column that no row of this page fills says nothing.
    let mut columns: Vec<String> =
        fields.iter().filter(|field| items.iter().any(|item| item.contains_key(*field))).cloned().collect();
    if let Some(place) = columns.iter().position(|column| column == "as_of") {
        columns.insert(place + 1, "age".to_owned());
    }
    let rows: Vec<Value> = items
        .iter_mut()
        .map(|item| {
            columns.iter().map(|column| item.get_mut(column).map_or(Value::Null, Value::take)).collect()
        })
        .collect();
    let mut told = Map::new();
    told.insert("summary".to_owned(), listing.shift_remove("summary").unwrap_or_default());
    told.insert("columns".to_owned(), json!(columns));
    told.insert("rows".to_owned(), Value::Array(rows));
    for (name, value) in listing {
        let is_empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        if !is_empty {
            told.insert(name, aged(value, now));
        }
    }
    Value::Object(told)
}

/// The value with an `age` beside each `as_of`, and without fields that are null: what is absent is not known.
fn aged(value: Value, now: Timestamp) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(|item| aged(item, now)).collect(),
        Value::Object(fields) => {
            let mut told = Map::new();
            for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_null()) {
                let moment = (name == "as_of").then(|| words::moment(&value)).flatten();
                told.insert(name, aged(value, now));
                if let Some(moment) = moment {
                    told.insert("age".to_owned(), json!(words::age(moment, now)));
                }
            }
            Value::Object(told)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_becomes_columns_and_rows_in_the_order_of_its_struct() {
        let shape = Shape::Listing(vec!["name".into(), "size_bytes".into(), "as_of".into(), "never".into()]);
        let now = Timestamp::from_millis(12_000);
        let listing = json!({
            "summary": "2 things", "total": 2, "problems": [], "items": [
                {"as_of": "1970-01-01T00:00:00.000Z", "name": "a", "size_bytes": 1, "never": null},
                {"name": "b", "size_bytes": null, "as_of": "1970-01-01T00:00:07.000Z"},
            ]
        });
        let expected = json!({
            "summary": "2 things", "columns": ["name", "size_bytes", "as_of", "age"], "rows": [
                ["a", 1, "1970-01-01T00:00:00.000Z", "12s ago"],
                ["b", null, "1970-01-01T00:00:07.000Z", "5s ago"],
            ], "total": 2
        });
        assert_eq!(shape.render(listing, now), expected);
    }

    #[test]
    fn what_is_not_known_is_left_out_and_gaps_in_series_stay() {
        let answer = json!({"a": null, "values": [1, null], "deep": {"b": null}});
        assert_eq!(
            Shape::Object.render(answer, Timestamp::default()),
            json!({"values": [1, null], "deep": {}})
        );
    }
}
