//! What a schema says of a field, and how text from an address or a command line becomes what the field wants.

mod portable;

pub use portable::portable_input;

use domain::operation::first_sentence;
use domain::operation::{OperationDef, enum_values};
use domain::{Error, Result};
use serde_json::{Map, Number, Value};

/// An input field of an operation.
#[derive(Debug)]
pub struct Field<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its schema.
    pub schema: &'a Value,
    /// What it takes.
    pub kind: Kind,
    /// Whether it must be given.
    pub is_required: bool,
}

/// What a field takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// Yes or no.
    Boolean,
    /// Several of something.
    List(Box<Kind>),
    /// An object.
    Object,
    /// Whatever is JSON.
    Any,
}

impl<'a> Field<'a> {
    /// The input fields of an operation, in the order of its struct.
    pub fn all(def: &'a OperationDef) -> Vec<Self> {
        let required: Vec<&str> = def
            .input
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let properties = def.input.get("properties").and_then(Value::as_object);
        properties
            .into_iter()
            .flatten()
            .map(|(name, schema)| Self {
                name,
                schema,
                kind: Kind::of(schema),
                is_required: required.contains(&name.as_str()),
            })
            .collect()
    }

    /// Its manual, without line breaks inside paragraphs.
    pub fn description(&self) -> String {
        folded(self.schema.get("description").and_then(Value::as_str).unwrap_or_default())
    }

    /// The texts that it takes, where they are few, each with its manual.
    pub fn choices(&self) -> Vec<(&'a str, &'a str)> {
        let mut choices = Vec::new();
        collect_choices(self.schema, &mut choices);
        if choices.is_empty() {
            let values = enum_values(self.schema).unwrap_or_default();
            choices.extend(values.into_iter().filter_map(Value::as_str).map(|value| (value, "")));
        }
        choices
    }
}

impl Kind {
    /// What a field of this schema takes.
    pub fn of(schema: &Value) -> Self {
        if let Some(values) = enum_values(schema)
            && !values.is_empty()
            && values.iter().all(|value| value.is_string() || value.is_null())
        {
            return Self::Text;
        }
        let named = match schema.get("type") {
            Some(Value::String(name)) => Some(name.as_str()),
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
            _ => None,
        };
        match named {
            Some("string") => Self::Text,
            Some("integer") => Self::Integer,
            Some("number") => Self::Number,
            Some("boolean") => Self::Boolean,
            Some("array") => Self::List(Box::new(schema.get("items").map_or(Self::Any, Self::of))),
            Some("object") => Self::Object,
            _ => first_alternative(schema).map_or(Self::Any, Self::of),
        }
    }

    /// The value that these texts mean. Text that does not fit stays text: the operation's own check then says what is
    /// wanted, in the same words on every surface.
    pub fn from_texts(&self, name: &str, texts: &[String]) -> Result<Value> {
        match (self, texts) {
            (Self::List(item), _) => Ok(Value::Array(item.items(texts))),
            (Self::Object, texts) if texts.iter().all(|text| is_pair(text)) => {
                Ok(Value::Object(pairs(texts)))
            }
            (kind, [text]) => Ok(kind.read(text)),
            _ => Err(Error::invalid(
                "field_twice",
                format!("“{name}” is given {} times", texts.len()),
                "give it once",
            )),
        }
    }

    /// A value that arrived as JSON, put right where it is the text of what is wanted (`"5"` for 5), or one item where
    /// several are wanted.
    pub fn mend(&self, value: Value) -> Value {
        match (self, value) {
            (kind @ (Self::Integer | Self::Number | Self::Boolean | Self::Object), Value::String(text)) => {
                kind.read(&text)
            }
            (Self::List(item), Value::String(text)) => {
                let given = Value::String(text.clone());
                let parsed = serde_json::from_str(&text).ok().filter(Value::is_array);
                parsed.unwrap_or_else(|| Value::Array(vec![item.mend(given)]))
            }
            (Self::List(item), Value::Array(items)) => {
                items.into_iter().map(|value| item.mend(value)).collect()
            }
            (_, value) => value,
        }
    }

    fn read(&self, text: &str) -> Value {
        let given = || Value::String(text.to_owned());
        match self {
            Self::Text | Self::List(_) => given(),
            Self::Integer => {
                let signed = text.parse::<i64>().map(Number::from);
                signed
                    .or_else(|_| text.parse::<u64>().map(Number::from))
                    .map_or_else(|_| given(), Value::Number)
            }
            Self::Number => {
                let whole = text.parse::<i64>().ok().map(Number::from);
                let number = whole.or_else(|| text.parse::<f64>().ok().and_then(Number::from_f64));
                number.map_or_else(given, Value::Number)
            }
            Self::Boolean => match text {
                "true" | "" => Value::Bool(true),
                "false" => Value::Bool(false),
                _ => given(),
            },
            Self::Object => serde_json::from_str(text).ok().filter(Value::is_object).unwrap_or_else(given),
            Self::Any => serde_json::from_str(text).unwrap_or_else(|_| given()),
        }
    }

    fn items(&self, texts: &[String]) -> Vec<Value> {
        let mut items = Vec::new();
        for text in texts {
            match serde_json::from_str(text) {
                Ok(Value::Array(values)) => items.extend(values),
                _ if *self == Self::Object => items.push(self.read(text)),
                _ => {
                    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                    items.extend(parts.map(|part| self.read(part)));
                }
            }
        }
        items
    }
}

/// Puts right each field of an input that arrived as JSON.
pub fn mend_input(def: &OperationDef, input: Map<String, Value>) -> Map<String, Value> {
    let properties = def.input.get("properties").and_then(Value::as_object);
    let kind_of = |name: &str| properties.and_then(|fields| fields.get(name)).map_or(Kind::Any, Kind::of);
    input
        .into_iter()
        .map(|(name, value)| {
            let value = kind_of(&name).mend(value);
            (name, value)
        })
        .collect()
}

/// Text whose paragraphs are one line each: comments in code are wrapped, what people read is not.
pub fn folded(text: &str) -> String {
    let paragraphs =
        text.split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    paragraphs.filter(|paragraph| !paragraph.is_empty()).collect::<Vec<_>>().join("\n\n")
}

/// The first sentence of a text, up to its colon or semicolon: what fits in a list.
pub fn first_clause(text: &str) -> String {
    let sentence = first_sentence(text);
    let end = sentence.find([':', ';']).unwrap_or(sentence.len());
    sentence[..end].to_owned()
}

fn first_alternative(schema: &Value) -> Option<&Value> {
    let alternatives =
        ["anyOf", "oneOf", "allOf"].into_iter().find_map(|name| schema.get(name))?.as_array()?;
    alternatives.iter().find(|schema| schema.get("type").and_then(Value::as_str) != Some("null"))
}

fn collect_choices<'a>(schema: &'a Value, choices: &mut Vec<(&'a str, &'a str)>) {
    for name in ["oneOf", "anyOf"] {
        for alternative in schema.get(name).and_then(Value::as_array).into_iter().flatten() {
            match alternative.get("const").and_then(Value::as_str) {
                Some(value) => {
                    let manual = alternative.get("description").and_then(Value::as_str).unwrap_or_default();
                    choices.push((value, manual));
                }
                None => collect_choices(alternative, choices),
            }
        }
    }
}

/// `name=value`, as the command line gives the fields of an object one by one.
fn is_pair(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, _)| !name.is_empty() && !name.starts_with('{'))
}

fn pairs(texts: &[String]) -> Map<String, Value> {
    let pairs = texts.iter().filter_map(|text| text.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), Value::String(value.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reading(schema: &Value, texts: &[&str]) -> Value {
        let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
        Kind::of(schema).from_texts("field", &texts).expect("texts fit")
    }

    #[test]
    fn text_becomes_what_its_field_wants() {
        assert_eq!(reading(&json!({"type": ["integer", "null"]}), &["5"]), json!(5));
        assert_eq!(reading(&json!({"type": "integer"}), &["five"]), json!("five"));
        assert_eq!(reading(&json!({"type": "number"}), &["0.5"]), json!(0.5));
        assert_eq!(reading(&json!({"type": "number"}), &["NaN"]), json!("NaN"));
        assert_eq!(reading(&json!({"type": "boolean"}), &["true"]), json!(true));
        assert_eq!(reading(&json!({"type": "boolean"}), &[""]), json!(true));
        assert_eq!(reading(&json!({"type": "string"}), &["5"]), json!("5"));
        assert_eq!(reading(&json!({"type": "object"}), &["a=1", "b=x"]), json!({"a": "1", "b": "x"}));
        assert_eq!(reading(&json!({"type": "object"}), &["{\"a\":1}"]), json!({"a": 1}));
        let list = json!({"type": "array", "items": {"type": "integer"}});
        assert_eq!(reading(&list, &["1,2", "3"]), json!([1, 2, 3]));
        let list = json!({"type": "array", "items": {"type": "object"}});
        assert_eq!(reading(&list, &["{\"a\":\"x,y\"}"]), json!([{"a": "x,y"}]));
    }

    #[test]
    fn a_field_given_twice_is_refused() {
        let error = Kind::Integer.from_texts("limit", &["1".into(), "2".into()]).expect_err("twice");
        assert_eq!(error.code(), "field_twice");
    }

    #[test]
    fn values_that_arrive_as_text_are_mended_and_others_are_left() {
        let list = Kind::List(Box::new(Kind::Integer));
        assert_eq!(Kind::Integer.mend(json!("5")), json!(5));
        assert_eq!(Kind::Integer.mend(json!([5])), json!([5]));
        assert_eq!(Kind::Boolean.mend(json!("false")), json!(false));
        assert_eq!(Kind::Text.mend(json!("true")), json!("true"));
        assert_eq!(list.mend(json!("7")), json!([7]));
        assert_eq!(list.mend(json!("[7,8]")), json!([7, 8]));
        assert_eq!(list.mend(json!(["7"])), json!([7]));
    }
}
