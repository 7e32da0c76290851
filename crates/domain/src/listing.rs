//! A bounded list with its summary, what is missing from it, and where it goes on.

use std::borrow::Cow;
use std::cmp::Ordering;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::error::nearest;
use crate::problem::Problem;
use crate::{Error, Result};

/// How much of a list, in which order, which fields. Every listing takes these.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Page {
    /// Most items to answer: 1 to 500, 50 unless said.
    #[schemars(range(min = 1, max = 500))]
    pub limit: Option<u32>,
    /// Where to go on: `next_cursor` of the answer before.
    pub cursor: Option<String>,
    /// Fields to sort by, separated by commas; `-` before one sorts it downwards, as in `-cpu_busy_ratio,name`.
    pub sort: Option<String>,
    /// Fields to answer, separated by commas; all unless said.
    pub fields: Option<String>,
}

/// A row of a listing.
pub trait Row: Serialize + JsonSchema + Send + Sync + 'static {
    /// Fields whose values together name one row: the order of a list that is not sorted otherwise.
    const KEY: &'static [&'static str];
}

/// A bounded list.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Listing<R: Row> {
    /// The whole list in a sentence: counts, and what stands out.
    pub summary: String,
    /// The items of this page.
    pub items: Items<R>,
    /// What is missing, and why.
    pub problems: Vec<Problem>,
    /// Where the list goes on; absent on its last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// How many items match in all.
    pub total: u64,
}

/// The items of a page: rows, with the fields that were asked for.
#[derive(Debug)]
pub struct Items<R>(Vec<Map<String, Value>>, std::marker::PhantomData<fn() -> R>);

impl<R> Items<R> {
    /// The rows.
    pub fn rows(&self) -> &[Map<String, Value>] {
        &self.0
    }
}

impl<R> Serialize for Items<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<R: JsonSchema> JsonSchema for Items<R> {
    fn schema_name() -> Cow<'static, str> {
        format!("{}Items", R::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    /// An array of rows whose fields may be left out, because `fields` chooses among them.
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut row = R::json_schema(generator);
        row.remove("required");
        schemars::json_schema!({ "type": "array", "items": row })
    }
}

const DEFAULT_LIMIT: usize = 50;
const MOST: u32 = 500;

impl<R: Row> Listing<R> {
    /// Says what is wrong with `page`, where something is: before a machine is asked for its rows.
    pub fn check(page: &Page) -> Result<()> {
        Self::new(String::new(), &[], Vec::new(), page).map(drop)
    }

    /// Sorts, pages and cuts `rows` as `page` says.
    pub fn new(summary: String, rows: &[R], problems: Vec<Problem>, page: &Page) -> Result<Self> {
        let limit = items_of(page.limit)?;
        let known = field_names::<R>();
        let order = sort_order::<R>(page.sort.as_deref(), &known)?;
        let fields = chosen_fields(page.fields.as_deref(), &known)?;
        let total = rows.len() as u64;

        let mut keyed: Vec<(Vec<Value>, Map<String, Value>)> = Vec::with_capacity(rows.len());
        for row in rows {
            let Ok(Value::Object(row)) = serde_json::to_value(row) else {
                return Err(Error::internal("a row is not an object"));
            };
            let key =
                order.iter().map(|(field, _)| row.get(*field).cloned().unwrap_or(Value::Null)).collect();
            keyed.push((key, row));
        }
        let sort = page.sort.as_deref().unwrap_or_default();
        let compare = |a: &[Value], b: &[Value]| {
            let by_field =
                order.iter().zip(a.iter().zip(b)).map(|((_, is_down), (a, b))| compare(a, b, *is_down));
            by_field.fold(Ordering::Equal, Ordering::then)
        };
        keyed.sort_by(|(a, _), (b, _)| compare(a, b));
        if let Some(cursor) = &page.cursor {
            let after = read_cursor(cursor, sort, order.len())?;
            let start = keyed.partition_point(|(key, _)| compare(key, &after) != Ordering::Greater);
            keyed.drain(..start);
        }
        let next_cursor = (keyed.len() > limit).then(|| write_cursor(sort, &keyed[limit - 1].0));
        keyed.truncate(limit);

        let mut items: Vec<Map<String, Value>> = keyed.into_iter().map(|(_, row)| row).collect();
        if let Some(fields) = fields {
            for row in &mut items {
                row.retain(|name, _| fields.contains(&name.as_str()));
            }
        }
        Ok(Self { summary, items: Items(items, std::marker::PhantomData), problems, next_cursor, total })
    }
}

/// How many items a page of this limit has at most: 1 to 500, 50 unless said.
pub fn items_of(limit: Option<u32>) -> Result<usize> {
    match limit {
        None => Ok(DEFAULT_LIMIT),
        Some(limit @ 1..=MOST) => Ok(limit as usize),
        Some(limit) => {
            let message = format!("a limit of {limit} is out of range");
            Err(Error::invalid("limit_range", message, "ask for 1 to 500, then follow next_cursor"))
        }
    }
}

fn field_names<R: Row>() -> Vec<String> {
    let schema = crate::operation::inline_schema(|generator| R::json_schema(generator));
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.map(|fields| fields.keys().cloned().collect()).unwrap_or_default()
}

fn sort_order<'a, R: Row>(sort: Option<&'a str>, known: &[String]) -> Result<Vec<(&'a str, bool)>> {
    let mut order = Vec::new();
    for field in sort.unwrap_or_default().split(',').map(str::trim).filter(|field| !field.is_empty()) {
        let (name, is_down) = field.strip_prefix('-').map_or((field, false), |name| (name, true));
        check_field("sort", name, known)?;
        order.push((name, is_down));
    }
    order.extend(R::KEY.iter().map(|key| (*key, false)));
    Ok(order)
}

fn chosen_fields<'a>(fields: Option<&'a str>, known: &[String]) -> Result<Option<Vec<&'a str>>> {
    let Some(fields) = fields else { return Ok(None) };
    let fields: Vec<&str> = fields.split(',').map(str::trim).filter(|field| !field.is_empty()).collect();
    for field in &fields {
        check_field("fields", field, known)?;
    }
    Ok(Some(fields).filter(|fields| !fields.is_empty()))
}

fn check_field(input: &str, name: &str, known: &[String]) -> Result<()> {
    if known.iter().any(|field| field == name) {
        return Ok(());
    }
    let near = nearest(name, known.iter().map(String::as_str)).join(", ");
    let name = crate::untrusted::clean(name);
    Err(Error::invalid(
        "field_unknown",
        format!("{input} names “{name}”, which no item has"),
        format!("nearest: {near}"),
    ))
}

/// Absent values last, whichever way.
fn compare(a: &Value, b: &Value, is_down: bool) -> Ordering {
    let ordering = match (a, b) {
        (Value::Null, Value::Null) => return Ordering::Equal,
        (Value::Null, _) => return Ordering::Greater,
        (_, Value::Null) => return Ordering::Less,
        (Value::Number(a), Value::Number(b)) => {
            a.as_f64().unwrap_or(f64::NAN).total_cmp(&b.as_f64().unwrap_or(f64::NAN))
        }
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (a, b) => a.to_string().cmp(&b.to_string()),
    };
    if is_down { ordering.reverse() } else { ordering }
}

/// A cursor is the order and the last row's sort key as JSON, in hexadecimal: opaque, and right whatever came or went
/// meanwhile. Numbers with a fraction are in it by their bits, because reading them from decimals may change the last one.
fn write_cursor(sort: &str, key: &[Value]) -> String {
    use std::fmt::Write as _;
    let exact = key.iter().map(|value| match value.as_f64() {
        Some(number) if value.is_f64() => Value::from(vec![number.to_bits()]),
        _ => value.clone(),
    });
    let json: Value = [Value::from(sort)].into_iter().chain(exact).collect();
    let json = json.to_string();
    json.bytes().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a String takes all writes");
        hex
    })
}

fn read_cursor(cursor: &str, sort: &str, fields: usize) -> Result<Vec<Value>> {
    let bytes: Option<Vec<u8>> = (cursor.len() <= 8_192
        && cursor.len().is_multiple_of(2)
        && cursor.is_ascii())
    .then(|| (0..cursor.len()).step_by(2).map(|i| u8::from_str_radix(&cursor[i..i + 2], 16).ok()).collect())
    .flatten();
    let key: Option<Vec<Value>> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let key = key.filter(|key| key.len() == fields + 1 && key[0] == sort);
    let exact = |value: Value| match value.get(0).and_then(Value::as_u64) {
        Some(bits) => Value::from(f64::from_bits(bits)),
        None => value,
    };
    key.map(|key| key.into_iter().skip(1).map(exact).collect()).ok_or_else(|| {
        let help = "pass next_cursor of the answer before, unchanged, with the same sort";
        Error::invalid("cursor_malformed", "this cursor is not one of ours", help)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, JsonSchema)]
    struct Thing {
        name: String,
        size_ratio: Option<f64>,
    }

    impl Row for Thing {
        const KEY: &'static [&'static str] = &["name"];
    }

    fn things() -> Vec<Thing> {
        let sizes = [Some(0.1 + 0.2), None, Some(1.0 / 3.0), Some(2.0), None, Some(0.3), Some(1.0 / 3.0)];
        let thing = |(place, size_ratio)| Thing { name: format!("thing-{place}"), size_ratio };
        sizes.into_iter().enumerate().map(thing).collect()
    }

    fn walk(sort: Option<&str>) -> Vec<String> {
        let mut names = Vec::new();
        let mut page = Page { limit: Some(2), sort: sort.map(Into::into), ..Page::default() };
        loop {
            let listing = Listing::new(String::new(), &things(), Vec::new(), &page).unwrap();
            let rows = listing.items.rows().iter();
            names.extend(rows.map(|row| row["name"].as_str().unwrap().to_owned()));
            page.cursor = listing.next_cursor;
            if page.cursor.is_none() {
                return names;
            }
        }
    }

    #[test]
    fn a_list_that_is_walked_shows_each_row_once_in_every_order() {
        let numbered = |order: [u8; 7]| order.map(|place| format!("thing-{place}"));
        assert_eq!(walk(None), numbered([0, 1, 2, 3, 4, 5, 6]));
        assert_eq!(walk(Some("size_ratio")), numbered([5, 0, 2, 6, 3, 1, 4]));
        assert_eq!(walk(Some("-size_ratio,-name")), numbered([3, 6, 2, 0, 5, 4, 1]));
    }

    #[test]
    fn a_cursor_of_another_order_is_refused() {
        let page = Page { limit: Some(2), sort: Some("size_ratio".into()), ..Page::default() };
        let first = Listing::new(String::new(), &things(), Vec::new(), &page).unwrap();
        let other = Page { sort: Some("-size_ratio".into()), cursor: first.next_cursor, ..page };
        let error = Listing::new(String::new(), &things(), Vec::new(), &other).unwrap_err();
        assert_eq!(error.code(), "cursor_malformed");
    }
}
