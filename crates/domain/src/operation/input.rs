//! The form of an operation's input: checked against its schema with errors that teach, and redacted for the audit.

use serde_json::{Map, Value};

use crate::error::nearest;
use crate::{Error, Result, redact};

/// Checks the form of an input against its schema, with errors that teach. Nulls count as absent.
pub(super) fn check_input(schema: &Map<String, Value>, input: Value) -> Result<Value> {
    let empty = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
    let mut input = match input {
        Value::Object(input) => input,
        Value::Null => Map::new(),
        _ => {
            return Err(Error::invalid(
                "input_malformed",
                "the input is not an object",
                "send a JSON object",
            ));
        }
    };
    input.retain(|_, value| !value.is_null());
    if let Some(unknown) = input.keys().find(|name| !properties.contains_key(*name)) {
        let known = nearest(unknown, properties.keys().map(String::as_str));
        let help = match unknown.as_str() {
            "page" | "offset" => "use cursor: the answer's next_cursor goes on where it ended".to_owned(),
            _ if known.is_empty() => "it takes no input".to_owned(),
            _ => format!("nearest: {}", known.join(", ")),
        };
        let unknown = crate::untrusted::clean(unknown);
        return Err(Error::invalid("field_unknown", format!("there is no input “{unknown}”"), help));
    }
    check_fields("", schema, &input)?;
    Ok(Value::Object(input))
}

/// Checks the fields of an object, and of the objects in them; `path` leads to it (`candidates[2].`).
fn check_fields(path: &str, schema: &Map<String, Value>, input: &Map<String, Value>) -> Result<()> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Ok(()) };
    let describe = |name: &str| {
        let text = properties.get(name).and_then(|p| p.get("description")).and_then(Value::as_str);
        text.unwrap_or("it is needed").to_owned()
    };
    for name in
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    {
        if !input.contains_key(name) {
            let message = format!("“{path}{name}” is missing");
            return Err(Error::invalid("field_missing", message, describe(name)));
        }
    }
    for (name, value) in input.iter().filter(|(_, value)| !value.is_null()) {
        let Some(property) = properties.get(name) else {
            let known = nearest(name, properties.keys().map(String::as_str)).join(", ");
            let message = format!("there is no input “{path}{}”", crate::untrusted::clean(name));
            return Err(Error::invalid("field_unknown", message, format!("nearest: {known}")));
        };
        if let Some(wanted) = wrong_type(property, value) {
            let message = format!("“{path}{name}” is not {wanted}");
            return Err(Error::invalid("field_type", message, describe(name)));
        }
        if let (Some(Value::Object(item)), Value::Array(values)) = (property.get("items"), value) {
            check_items(&format!("{path}{name}"), item, values, &describe(name))?;
        }
    }
    Ok(())
}

fn check_items(path: &str, schema: &Map<String, Value>, values: &[Value], help: &str) -> Result<()> {
    let whole = Value::Object(schema.clone());
    for (place, value) in values.iter().enumerate() {
        if let Some(wanted) = wrong_type(&whole, value) {
            let message = format!("“{path}[{place}]” is not {wanted}");
            return Err(Error::invalid("field_type", message, help.to_owned()));
        }
        if let Value::Object(fields) = value {
            check_fields(&format!("{path}[{place}]."), schema, fields)?;
        }
    }
    Ok(())
}

/// What the schema wants, in words, where the value is not of its type or not one of its values.
fn wrong_type(schema: &Value, value: &Value) -> Option<String> {
    if let Some(allowed) = enum_values(schema)
        && !allowed.contains(&value)
    {
        let names: Vec<String> = allowed.iter().filter(|v| !v.is_null()).map(ToString::to_string).collect();
        return Some(format!("one of {}", names.join(", ")));
    }
    let wanted: Vec<&str> = match schema.get("type")? {
        Value::String(wanted) => vec![wanted],
        Value::Array(wanted) => wanted.iter().filter_map(Value::as_str).filter(|t| *t != "null").collect(),
        _ => return None,
    };
    let fits = wanted.iter().any(|wanted| match *wanted {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    });
    let article = |wanted: &str| if wanted.starts_with(['i', 'a', 'o']) { "an" } else { "a" };
    if !fits {
        let wanted: Vec<String> =
            wanted.iter().map(|wanted| format!("{} {wanted}", article(wanted))).collect();
        return Some(wanted.join(" or "));
    }
    // what the field's type can hold; narrower ranges are the operation's own to explain
    let most = match schema.get("format")?.as_str()? {
        "uint8" => u64::from(u8::MAX),
        "uint16" => u64::from(u16::MAX),
        "uint32" => u64::from(u32::MAX),
        "uint64" => u64::MAX,
        _ => return None,
    };
    value.as_u64().is_none_or(|number| number > most).then(|| format!("a whole number from 0 to {most}"))
}

/// The values that an enumeration's schema allows (unit enums with documented variants are a `oneOf` of constants).
pub fn enum_values(schema: &Value) -> Option<Vec<&Value>> {
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return Some(values.iter().collect());
    }
    let alternatives = schema.get("oneOf").or_else(|| schema.get("anyOf"))?.as_array()?;
    let mut values = Vec::new();
    for alternative in alternatives {
        if let Some(constant) = alternative.get("const") {
            values.push(constant);
        } else if alternative.get("type").and_then(Value::as_str) != Some("null") {
            values.extend(enum_values(alternative)?);
        }
    }
    Some(values)
}

pub(super) fn redacted(input: &Value) -> Value {
    match input {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| match value {
                Value::String(text) => (name.clone(), Value::String(redact::value(name, text))),
                Value::Array(_) | Value::Object(_) | Value::Number(_) if redact::is_secret_name(name) => {
                    (name.clone(), redact::HIDDEN.into())
                }
                other => (name.clone(), redacted(other)),
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(redacted).collect::<Vec<_>>().into(),
        Value::String(text) => Value::String(redact::text(text)),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde_json::json;

    use super::*;
    use crate::operation::{Effect, inline_schema};

    /// A form with all that inputs are made of.
    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Form {
        /// Its port.
        port: Option<u16>,
        /// Its effect.
        effect: Option<Effect>,
        /// Its parts.
        parts: Option<Vec<Part>>,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Part {
        /// Its host.
        host: String,
        /// Its names.
        names: Option<Vec<String>>,
    }

    #[test]
    fn what_is_wrong_is_named_wherever_it_is() {
        let schema = inline_schema(Form::json_schema);
        let check = |input: Value| {
            check_input(&schema, input).map_err(|error| (error.code(), error.message().to_owned()))
        };
        let refused = |input: Value| check(input).unwrap_err();
        assert!(
            check(json!({"port": 22, "effect": "read", "parts": [{"host": "a", "names": null}]})).is_ok()
        );
        assert!(check(json!({"port": null, "effect": null})).is_ok());
        for port in [json!(70_000), json!(-1)] {
            let expected = ("field_type", "“port” is not a whole number from 0 to 65535".to_owned());
            assert_eq!(refused(json!({ "port": port })), expected);
        }
        assert_eq!(refused(json!({"port": 2.5})).1, "“port” is not an integer");
        assert!(refused(json!({"effect": "reed"})).1.starts_with("“effect” is not one of \"read\""));
        let parts = |part: Value| refused(json!({"parts": [{"host": "a"}, part]}));
        assert_eq!(parts(json!({})), ("field_missing", "“parts[1].host” is missing".to_owned()));
        assert_eq!(
            parts(json!({"host": "a", "hots": 1})),
            ("field_unknown", "there is no input “parts[1].hots”".to_owned())
        );
        assert_eq!(parts(json!("a")).1, "“parts[1]” is not an object");
        assert_eq!(parts(json!({"host": "a", "names": [1]})).1, "“parts[1].names[0]” is not a string");
    }

    #[test]
    fn secrets_in_arguments_are_hidden_in_lists_too() {
        let input = json!({"tokens": ["abc"], "names": ["abc"], "parts": [{"password": 7}]});
        assert_eq!(
            redacted(&input),
            json!({"tokens": redact::HIDDEN, "names": ["abc"], "parts": [{"password": redact::HIDDEN}]})
        );
    }
}
