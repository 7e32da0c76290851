//! The OpenAPI 3.1 document of the list, and the page that shows it.

use axum::body::Bytes;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use domain::operation::{Effect, Method, OperationDef};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::schemas::{Field, Kind, folded};

/// The document as bytes.
pub fn document_bytes(operations: &[OperationDef]) -> Bytes {
    Bytes::from(document(operations).to_string())
}

/// The document.
pub fn document(operations: &[OperationDef]) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.meta_schema = None;
        settings.definitions_path = "/components/schemas".into();
    });
    let mut generator = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for def in operations {
        let item = paths.entry(def.route.path.to_string()).or_insert_with(|| json!({}));
        if let Some(item) = item.as_object_mut() {
            item.insert(def.route.method.name().to_lowercase(), operation(def, &mut generator));
        }
    }
    let mut schemas = generator.take_definitions(true);
    schemas.insert("ProblemDetails".to_owned(), problem_schema());
    let mut tags: Vec<&str> = Vec::new();
    for def in operations {
        if !tags.contains(&def.toolset.name()) {
            tags.push(def.toolset.name());
        }
    }
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Reeve",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Watches a self-hosted fleet and answers for it. `/api` is version 1: fields are added, never \
                changed or removed. Over TCP it may only be read; everything else goes through the data directory's socket.",
        },
        "servers": [{ "url": "/api" }],
        "tags": tags.iter().map(|name| json!({ "name": name })).collect::<Value>(),
        "paths": paths,
        "components": { "schemas": schemas, "responses": { "Problem": problem_response() } },
    })
}

/// The page that shows the document: one file each of HTML, style and script, all from here.
pub fn page(path: &str) -> Option<Response> {
    const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
        img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    let (kind, text) = match path {
        "" => ("text/html; charset=utf-8", include_str!("../assets/docs.html")),
        "docs.css" => ("text/css; charset=utf-8", include_str!("../assets/docs.css")),
        "icon.svg" => ("image/svg+xml", include_str!("../assets/icon.svg")),
        "docs.js" => ("text/javascript; charset=utf-8", include_str!("../assets/docs.js")),
        _ => return None,
    };
    Some(([(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, POLICY)], text).into_response())
}

fn operation(def: &OperationDef, generator: &mut SchemaGenerator) -> Value {
    let segments: Vec<&str> = def.route.segments().collect();
    let takes_body = matches!(def.route.method, Method::Post | Method::Patch);
    let fields = Field::all(def);
    let parameters: Vec<Value> = fields
        .iter()
        .filter(|field| segments.contains(&field.name) || !takes_body)
        .map(|field| parameter(field, segments.contains(&field.name)))
        .collect();
    let mut operation = json!({
        "operationId": def.name,
        "tags": [def.toolset.name()],
        "summary": def.summary,
        "description": folded(&def.description),
        "x-effect": def.effect.name(),
        "responses": responses(def, generator),
    });
    let entries = operation.as_object_mut();
    let Some(entries) = entries else { return operation };
    if def.effect != Effect::Read && def.route.method == Method::Post {
        let mut parameters = parameters;
        parameters.push(idempotency_key());
        entries.insert("parameters".to_owned(), Value::Array(parameters));
    } else if !parameters.is_empty() {
        entries.insert("parameters".to_owned(), Value::Array(parameters));
    }
    if takes_body {
        let in_body = fields.iter().filter(|field| !segments.contains(&field.name));
        entries.insert("requestBody".to_owned(), body(&in_body.collect::<Vec<_>>()));
    }
    operation
}

fn parameter(field: &Field<'_>, is_in_path: bool) -> Value {
    let mut schema = field.schema.clone();
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("description");
    }
    let mut parameter = json!({
        "name": field.name,
        "in": if is_in_path { "path" } else { "query" },
        "required": is_in_path || field.is_required,
        "description": field.description(),
        "schema": schema,
    });
    if matches!(field.kind, Kind::List(_)) {
        parameter["style"] = json!("form");
        parameter["explode"] = json!(false);
    }
    parameter
}

fn body(fields: &[&Field<'_>]) -> Value {
    let properties: Map<String, Value> =
        fields.iter().map(|field| (field.name.to_owned(), field.schema.clone())).collect();
    let required: Vec<&str> =
        fields.iter().filter(|field| field.is_required).map(|field| field.name).collect();
    let mut schema = json!({ "type": "object", "properties": properties, "additionalProperties": false });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    json!({ "required": !required.is_empty(), "content": { "application/json": { "schema": schema } } })
}

fn responses(def: &OperationDef, generator: &mut SchemaGenerator) -> Value {
    let schema = def.output(generator);
    let mut responses = json!({
        "200": { "description": "The answer.", "content": { "application/json": { "schema": schema } } },
        "default": { "$ref": "#/components/responses/Problem" },
    });
    if def.effect == Effect::Read {
        responses["304"] = json!({ "description": "The answer is what If-None-Match names." });
        responses["200"]["headers"] =
            json!({ "ETag": { "description": "Names this answer.", "schema": { "type": "string" } } });
    }
    responses
}

fn idempotency_key() -> Value {
    json!({
        "name": "Idempotency-Key",
        "in": "header",
        "required": false,
        "description": "The same command with the same key is done once; for ten minutes, a repeat is told the first answer.",
        "schema": { "type": "string", "maxLength": 255 },
    })
}

fn problem_response() -> Value {
    json!({
        "description": "What went wrong, and what to do about it.",
        "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/ProblemDetails" } } },
    })
}

fn problem_schema() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    json!({
        "type": "object",
        "description": "An error, as RFC 9457 writes it.",
        "required": ["type", "title", "status", "code", "detail", "help", "kind"],
        "properties": {
            "type": text("Always about:blank: the code names the situation."),
            "title": text("The status in words."),
            "status": { "type": "integer", "description": "The status." },
            "code": text("Stable name of the situation, such as device_unknown."),
            "detail": text("What went wrong, for people."),
            "help": text("What to do about it, for people."),
            "kind": text("What a caller can do about it, in a word."),
        },
    })
}
