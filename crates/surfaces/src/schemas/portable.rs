//! Schemas that every MCP client reads: no references, no alternatives with null, no lists of types.

use serde_json::{Map, Value, json};

use domain::listing::Page;
use domain::operation::inline_schema;
use schemars::JsonSchema as _;

use super::folded;

/// An input's schema in the portable subset.
pub fn portable_input(schema: &Map<String, Value>) -> Map<String, Value> {
    let mut portable = match simplified(&Value::Object(schema.clone())) {
        Value::Object(portable) => portable,
        _ => Map::new(),
    };
    // The tool's own description says it.
    portable.shift_remove("description");
    tell_paging_once(&mut portable);
    portable.insert("type".to_owned(), json!("object"));
    if !portable.contains_key("properties") {
        portable.insert("properties".to_owned(), json!({}));
    }
    portable
}

/// Every listing takes the fields of a page, and the server's instructions tell what they mean: each session would pay
/// for it again with every listing.
fn tell_paging_once(portable: &mut Map<String, Value>) {
    let page = inline_schema(Page::json_schema);
    let page = page.get("properties").and_then(Value::as_object);
    let fields = portable.get_mut("properties").and_then(Value::as_object_mut);
    for (name, field) in fields.into_iter().flatten() {
        let told = page.and_then(|page| page.get(name)).map(simplified);
        if told.as_ref() == Some(field)
            && let Some(kind) = told.as_ref().and_then(|told| told.get("type"))
        {
            *field = json!({ "type": kind });
        }
    }
}

fn simplified(schema: &Value) -> Value {
    let Value::Object(schema) = schema else { return json!({}) };
    if let Some(merged) = without_null(schema) {
        return simplified(&merged);
    }
    if let Some(values) = domain::operation::enum_values(&Value::Object(schema.clone())) {
        return enumeration(schema, &values);
    }
    let mut portable = Map::new();
    for (name, value) in schema {
        let value = match name.as_str() {
            "$schema" | "$ref" | "$defs" | "title" => continue,
            "default" | "minimum" if value.is_null() || *value == json!(0) => continue,
            "format" if is_numeric(schema) => continue,
            "description" => json!(folded(value.as_str().unwrap_or_default())),
            "type" => not_null(value),
            "properties" => each(value),
            "items" | "additionalProperties" if value.is_object() => undescribed(simplified(value)),
            "anyOf" | "oneOf" | "allOf" => value.as_array().into_iter().flatten().map(simplified).collect(),
            _ => value.clone(),
        };
        portable.insert(name.clone(), value);
    }
    Value::Object(portable)
}

/// Fields inside a list's items or a map's values name themselves: their manual is in the `OpenAPI` document.
fn undescribed(schema: Value) -> Value {
    match schema {
        Value::Object(schema) => {
            let told = schema.into_iter().filter(|(name, value)| name != "description" || !value.is_string());
            Value::Object(told.map(|(name, value)| (name, undescribed(value))).collect())
        }
        Value::Array(items) => items.into_iter().map(undescribed).collect(),
        other => other,
    }
}

fn each(properties: &Value) -> Value {
    let properties = properties.as_object().into_iter().flatten();
    Value::Object(properties.map(|(name, schema)| (name.clone(), simplified(schema))).collect())
}

/// `anyOf [X, null]` is X that may be left out.
fn without_null(schema: &Map<String, Value>) -> Option<Value> {
    let alternatives = schema.get("anyOf")?.as_array()?;
    let mut others = alternatives.iter().filter(|schema| schema.get("type") != Some(&json!("null")));
    let (Some(Value::Object(only)), None) = (others.next(), others.next()) else { return None };
    let mut merged = only.clone();
    for (name, value) in schema.iter().filter(|(name, _)| *name != "anyOf") {
        merged.insert(name.clone(), value.clone());
    }
    Some(Value::Object(merged))
}

fn enumeration(schema: &Map<String, Value>, values: &[&Value]) -> Value {
    let values: Vec<&Value> = values.iter().copied().filter(|value| !value.is_null()).collect();
    let mut portable = Map::new();
    if values.iter().all(|value| value.is_string()) {
        portable.insert("type".to_owned(), json!("string"));
    }
    portable.insert("enum".to_owned(), json!(values));
    if let Some(description) = schema.get("description").and_then(Value::as_str) {
        portable.insert("description".to_owned(), json!(folded(description)));
    }
    Value::Object(portable)
}

fn not_null(types: &Value) -> Value {
    let Value::Array(names) = types else { return types.clone() };
    names.iter().find(|name| **name != json!("null")).cloned().unwrap_or(Value::Null)
}

fn is_numeric(schema: &Map<String, Value>) -> bool {
    let kind = schema.get("type").map(not_null);
    kind == Some(json!("integer")) || kind == Some(json!("number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_reject_is_gone() {
        let schema = json!({
            "$schema": "x", "title": "Input", "description": "Text.", "type": "object", "required": ["a"],
            "properties": {
                "a": {"type": ["integer", "null"], "format": "uint32", "minimum": 0, "default": null, "description": "Most\nitems."},
                "b": {"description": "State.", "anyOf": [
                    {"oneOf": [{"const": "on", "description": "On."}, {"const": "off"}]}, {"type": "null"}]},
                "c": {"type": "array", "items": {"type": ["string", "null"]}},
            }
        });
        let portable = portable_input(schema.as_object().expect("an object"));
        let expected = json!({
            "type": "object", "required": ["a"],
            "properties": {
                "a": {"type": "integer", "description": "Most items."},
                "b": {"type": "string", "enum": ["on", "off"], "description": "State."},
                "c": {"type": "array", "items": {"type": "string"}},
            }
        });
        assert_eq!(Value::Object(portable), expected);
    }
}
