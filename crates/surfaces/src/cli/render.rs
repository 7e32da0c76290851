//! An answer as people read it: the summary first, lists as tables, the rest as names and values.

use std::fmt::Write as _;

use comfy_table::{ContentArrangement, Table, presets};
use domain::Timestamp;
use domain::untrusted::clean;
use serde_json::{Map, Value};

use super::cells::{cell, narrow};
use crate::words;

/// An answer in two parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// For standard output.
    pub out: String,
    /// What is missing and how to see more, for standard error.
    pub notes: String,
}

/// Space between the columns of a table, in characters.
const GAP: usize = 2;

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
                self.table(items, &order, 0);
            }
            if let Some(cursor) = fields.get("next_cursor").and_then(Value::as_str) {
                let total = fields.get("total").and_then(Value::as_u64).unwrap_or_default();
                let _ =
                    writeln!(self.notes, "{} of {total} shown; go on with --cursor {cursor}", items.len());
            }
        } else {
            self.object(fields, schema, 0);
        }
        self.problems(fields);
    }

    /// Names and values, one a line; what needs more room comes after, under its name.
    fn object(&mut self, fields: &Map<String, Value>, schema: &Map<String, Value>, indent: usize) {
        let shown: Vec<(&String, &Value)> = fields
            .iter()
            .filter(|(name, value)| {
                !is_empty(value) && (indent > 0 || !matches!(name.as_str(), "summary" | "problems"))
            })
            .collect();
        let (small, large): (Vec<_>, Vec<_>) = shown.into_iter().partition(|(_, value)| is_small(value));
        let widest = small.iter().map(|(name, _)| words::heading(name).chars().count()).max().unwrap_or(0);
        for (name, value) in small {
            let heading = words::heading(name);
            if let Some(text) = cell(name, value, fields, self.now) {
                self.line(
                    indent,
                    &format!("{heading}:{:pad$}  {text}", "", pad = widest - heading.chars().count()),
                );
            }
        }
        for (name, value) in large {
            if !self.out.is_empty() {
                self.out.push('\n');
            }
            match value {
                Value::Object(inner) => {
                    self.line(indent, &format!("{}:", words::heading(name)));
                    self.object(inner, &field_schema(schema, name), indent + 2);
                }
                Value::Array(items) if items.iter().all(Value::is_object) => {
                    self.line(indent, &format!("{} ({}):", words::heading(name), items.len()));
                    self.table(items, &row_fields(schema, name), indent + 2);
                }
                other => {
                    self.line(indent, &format!("{}: {}", words::heading(name), clean(&other.to_string())));
                }
            }
        }
    }

    /// As many columns as fit, the first ones first. Those that do not are named among the notes.
    fn table(&mut self, items: &[Value], order: &[String], indent: usize) {
        let rows: Vec<&Map<String, Value>> = items.iter().filter_map(Value::as_object).collect();
        let mut order = order.to_vec();
        for name in rows.iter().flat_map(|row| row.keys()) {
            if !order.contains(name) {
                order.push(name.clone());
            }
        }
        let room = self.width.saturating_sub(indent);
        let mut used = 0;
        let mut columns: Vec<(String, Vec<String>)> = Vec::new();
        let mut left_out: Vec<String> = Vec::new();
        for name in order {
            let column: Vec<Option<String>> = rows
                .iter()
                .map(|row| {
                    cell(&name, row.get(&name).unwrap_or(&Value::Null), row, self.now)
                        .map(|text| narrow(&text))
                })
                .collect();
            if column.iter().all(Option::is_none) {
                continue;
            }
            let texts: Vec<String> =
                column.into_iter().map(|text| text.unwrap_or_else(|| "-".to_owned())).collect();
            let heading = words::heading(&name).to_uppercase();
            let width = texts.iter().chain([&heading]).map(|text| text.chars().count()).max().unwrap_or(0);
            let wanted = used + width + if columns.is_empty() { 0 } else { GAP };
            if wanted > room && !columns.is_empty() {
                left_out.push(name);
                continue;
            }
            used = wanted;
            columns.push((heading, texts));
        }
        self.out.push_str(&drawn(&columns, rows.len(), indent));
        if !left_out.is_empty() {
            let _ = writeln!(self.notes, "not enough room for: {} (--json has all)", left_out.join(", "));
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

fn drawn(columns: &[(String, Vec<String>)], rows: usize, indent: usize) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|(heading, _)| heading));
    for row in 0..rows {
        table.add_row(columns.iter().filter_map(|(_, texts)| texts.get(row)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines = table.to_string();
    lines.lines().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{:indent$}{}", "", line.trim_end());
        text
    })
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
