//! Rows as a table: which columns say something, which fit, and how they are drawn.

use std::fmt::Write as _;

use comfy_table::{ContentArrangement, Table, presets};
use domain::Timestamp;
use serde_json::{Map, Value};

use super::cells::{cell, cut};
use crate::words;

/// Widest column, in characters, as long as other columns want the room.
pub(super) const WIDEST: usize = 48;
/// Space between columns, in characters.
const GAP: u16 = 2;

/// A column.
pub(super) struct Column {
    /// The field.
    pub(super) name: String,
    heading: String,
    texts: Vec<String>,
}

/// The columns that fit into a table's room, and those that do not.
pub(super) struct Fitted {
    pub(super) columns: Vec<Column>,
    pub(super) left_out: Vec<Column>,
}

impl Column {
    /// Width of its widest cell, in characters.
    pub(super) fn width(&self) -> usize {
        self.texts.iter().chain([&self.heading]).map(|text| text.chars().count()).max().unwrap_or(0)
    }
}

/// The columns that say something, in the order of the row's struct; yes and no come last.
pub(super) fn columns(rows: &[&Map<String, Value>], order: &[String], now: Timestamp) -> Vec<Column> {
    let mut names = order.to_vec();
    for name in rows.iter().flat_map(|row| row.keys()) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let values =
        |name: &str| rows.iter().map(|row| row.get(name).unwrap_or(&Value::Null)).collect::<Vec<_>>();
    names.retain(|name| values(name).iter().any(|value| !value.is_null() && **value != Value::Bool(false)));
    names.sort_by_key(|name| values(name).iter().any(|value| value.is_boolean()));
    let columns = names.into_iter().filter_map(|name| {
        let texts: Vec<Option<String>> =
            rows.iter().zip(values(&name)).map(|(row, value)| cell(&name, value, row, now)).collect();
        let says_something = texts.iter().any(Option::is_some);
        let texts = texts.into_iter().map(|text| text.unwrap_or_else(|| "-".to_owned())).collect();
        says_something.then(|| Column { heading: words::heading(&name).to_uppercase(), name, texts })
    });
    columns.collect()
}

/// Takes columns while there is room for them; texts are cut where that makes room, and no more than needed.
pub(super) fn fit(columns: Vec<Column>, room: usize) -> Fitted {
    let mut fitted = Fitted { columns: Vec::new(), left_out: Vec::new() };
    let mut used = 0;
    for column in columns {
        let gap = if fitted.columns.is_empty() { 0 } else { usize::from(GAP) };
        let wanted = used + gap + column.width().min(WIDEST);
        if wanted > room && !fitted.columns.is_empty() {
            fitted.left_out.push(column);
        } else {
            used = wanted;
            fitted.columns.push(column);
        }
    }
    let mut spare = room.saturating_sub(used);
    for column in &mut fitted.columns {
        let width = column.width().min(WIDEST + spare);
        spare -= width.saturating_sub(WIDEST);
        for text in &mut column.texts {
            *text = cut(text, width);
        }
    }
    fitted
}

/// The columns as text, each line indented.
pub(super) fn drawn(columns: &[Column], rows: usize, indent: usize) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|column| &column.heading));
    for row in 0..rows {
        table.add_row(columns.iter().filter_map(|column| column.texts.get(row)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    let lines = table.to_string();
    lines.lines().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{:indent$}{}", "", line.trim_end());
        text
    })
}
