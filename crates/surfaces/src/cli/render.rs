//! An answer as people read it: the summary first, lists as tables, the rest as names and values.

use std::fmt::Write as _;

use domain::Timestamp;
use domain::untrusted::clean;
use serde_json::{Map, Value};

use super::cells::cell;
use super::table::{WIDEST, columns, drawn, fit};
use crate::words;

/// An answer in two parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// For standard output.
    pub out: String,
    /// What is missing and how to see more, for standard error.
    pub notes: String,
}

/// Most rows that are told one after the other.
const MOST_TOLD: usize = 30;

/// Renders an answer for a terminal of `width` columns. `schema` is that of the operation's output: it has the order
/// of a row's fields.
pub fn render(value: &Value, schema: &Map<String, Value>, width: usize, now: Timestamp) -> Rendered {
    let mut page = Page { out: String::new(), notes: String::new(), width: width.max(20), now };
    match value {
        Value::Object(fields) => page.answer(fields, schema),
        other => page.line(0, &cell("", other, &Map::new(), now).unwrap_or_default()),
    }
    Rendered { out: page.out, notes: page.notes }
}

struct Page {
    out: String,
    notes: String,
    width: usize,
    now: Timestamp,
}

impl Page {
    fn answer(&mut self, fields: &Map<String, Value>, schema: &Map<String, Value>) {
        if let Some(summary) = fields.get("summary").and_then(Value::as_str) {
            self.line(0, &clean(summary));
        }
        if let Some(Value::Array(items)) = fields.get("items") {
            let order = row_fields(schema, "items");
            if !items.is_empty() {
                self.out.push('\n');
                self.rows(items, &order, 0);
            }
            if let Some(cursor) = fields.get("next_cursor").and_then(Value::as_str) {
                let total = fields.get("total").and_then(Value::as_u64).unwrap_or_default();
                let _ =
                    writeln!(self.notes, "{} of {total} shown; go on with --cursor {cursor}", items.len());
            }
        } else if let (Some(Value::Object(value)), Some(as_of)) = (fields.get("value"), fields.get("as_of")) {
            self.object("", value, &field_schema(schema, "value"), 0);
            self.seen(fields, as_of);
        } else {
            self.object("", fields, schema, 0);
        }
        self.problems(fields);
    }

    /// When a reading was seen, and whether it may be out of date.
    fn seen(&mut self, fields: &Map<String, Value>, as_of: &Value) {
        let age = words::moment(as_of).map(|moment| words::age(moment, self.now)).unwrap_or_default();
        let is_stale = fields.get("stale").and_then(Value::as_bool).unwrap_or(false);
        let stale = if is_stale { "; stale: the machine did not answer" } else { "" };
        let _ = writeln!(self.notes, "seen {age}{stale}");
    }

    /// Names and values, one a line; what needs more room comes after, under its name.
    fn object(
        &mut self,
        group: &str,
        fields: &Map<String, Value>,
        schema: &Map<String, Value>,
        indent: usize,
    ) {
        let shown: Vec<(&String, &Value)> = fields
            .iter()
            .filter(|(name, value)| {
                !is_empty(value) && (indent > 0 || !matches!(name.as_str(), "summary" | "problems"))
            })
            .collect();
        let (small, large): (Vec<_>, Vec<_>) = shown.into_iter().partition(|(_, value)| is_small(value));
        let pairs: Vec<(String, String)> = small
            .into_iter()
            .filter_map(|(name, value)| {
                let name = words::with_unit(group, name);
                Some((words::heading(&name), cell(&name, value, fields, self.now)?))
            })
            .collect();
        self.pairs(&pairs, indent);
        for (name, value) in large {
            if !self.out.is_empty() {
                self.out.push('\n');
            }
            match value {
                Value::Object(inner) => {
                    self.line(indent, &format!("{}:", words::heading(name)));
                    self.object(name, inner, &field_schema(schema, name), indent + 2);
                }
                Value::Array(items) if items.iter().all(Value::is_object) => {
                    self.line(indent, &format!("{} ({}):", words::heading(name), items.len()));
                    self.rows(items, &row_fields(schema, name), indent + 2);
                }
                other => {
                    self.line(indent, &format!("{}: {}", words::heading(name), clean(&other.to_string())));
                }
            }
        }
    }

    /// A table of as many columns as fit, the first ones first; those that do not are named among the notes. Rows of
    /// long texts inside an answer are told one after the other instead.
    fn rows(&mut self, items: &[Value], order: &[String], indent: usize) {
        let rows: Vec<&Map<String, Value>> = items.iter().filter_map(Value::as_object).collect();
        let fitted = fit(columns(&rows, order, self.now), self.width.saturating_sub(indent));
        let is_wordy = fitted.left_out.iter().any(|column| column.width() > WIDEST);
        if indent > 0 && is_wordy && rows.len() <= MOST_TOLD {
            for row in rows {
                self.told(row, indent);
            }
            return;
        }
        self.out.push_str(&drawn(&fitted.columns, rows.len(), indent));
        if !fitted.left_out.is_empty() {
            let names: Vec<&str> = fitted.left_out.iter().map(|column| column.name.as_str()).collect();
            let _ = writeln!(self.notes, "not enough room for: {} (--json has all)", names.join(", "));
        }
    }

    /// One row: its first value as the heading of the others.
    fn told(&mut self, row: &Map<String, Value>, indent: usize) {
        let mut cells = row
            .iter()
            .filter_map(|(name, value)| Some((words::heading(name), cell(name, value, row, self.now)?)));
        let first = cells.next().map(|(_, text)| text).unwrap_or_default();
        let others: Vec<(String, String)> = cells.collect();
        self.line(indent, &first);
        self.pairs(&others, indent + 2);
    }

    fn pairs(&mut self, pairs: &[(String, String)], indent: usize) {
        let widest = pairs.iter().map(|(heading, _)| heading.chars().count()).max().unwrap_or(0);
        for (heading, text) in pairs {
            let pad = widest - heading.chars().count();
            self.line(indent, &format!("{heading}:{:pad$}  {text}", ""));
        }
    }

    fn problems(&mut self, fields: &Map<String, Value>) {
        for problem in fields.get("problems").and_then(Value::as_array).into_iter().flatten() {
            let text = |name: &str| problem.get(name).and_then(Value::as_str).map(clean);
            let about = text("about").map(|about| format!("{about}: ")).unwrap_or_default();
            let help = text("help").map(|help| format!("; {help}")).unwrap_or_default();
            let _ = writeln!(self.notes, "! {about}{}{help}", text("message").unwrap_or_default());
        }
    }

    fn line(&mut self, indent: usize, text: &str) {
        let _ = writeln!(self.out, "{:indent$}{text}", "");
    }
}

fn is_small(value: &Value) -> bool {
    match value {
        Value::Array(items) => !items.iter().any(|item| item.is_object() || item.is_array()),
        Value::Object(fields) => fields.len() <= 4 && fields.values().all(Value::is_string),
        _ => true,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// The names of the fields of the rows in the array `name`, in order.
fn row_fields(schema: &Map<String, Value>, name: &str) -> Vec<String> {
    let rows = field_schema(schema, name);
    let row = rows.get("items").and_then(|row| row.get("properties")).and_then(Value::as_object);
    row.map(|fields| fields.keys().cloned().collect()).unwrap_or_default()
}

/// The schema of a field that may be left out or not.
fn field_schema(schema: &Map<String, Value>, name: &str) -> Map<String, Value> {
    let field = schema.get("properties").and_then(|fields| fields.get(name)).and_then(Value::as_object);
    let Some(field) = field else { return Map::new() };
    let alternatives = field.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    let inner = alternatives.filter_map(Value::as_object).find(|inner| inner.contains_key("properties"));
    inner.unwrap_or(field).clone()
}
