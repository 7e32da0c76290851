//! The document says all that there is, and the page that shows it asks nobody else.

use serde_json::Value;
use surfaces::openapi::document;

use crate::toys::{Toys, operations};

#[test]
fn every_operation_is_in_the_document() {
    let document = document(&operations());
    for def in operations() {
        let entry = &document["paths"][def.route.path.as_ref()][def.route.method.name().to_lowercase()];
        assert_eq!(entry["operationId"], def.name.as_ref());
        assert_eq!(entry["responses"]["default"]["$ref"], "#/components/responses/Problem");
        for name in def.route.segments() {
            let parameters = entry["parameters"].as_array().expect("parameters");
            assert!(
                parameters.iter().any(|p| p["name"] == name && p["in"] == "path" && p["required"] == true)
            );
        }
    }
    let weather = &document["paths"]["/weather/{place}"]["get"];
    assert_eq!(weather["summary"], "Tells the weather at a place");
    assert_eq!(weather["description"], "Tells the weather at a place. As it was last seen.");
    let body = &document["paths"]["/things"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(body["required"], serde_json::json!(["name"]));
}

#[test]
fn every_reference_leads_somewhere() {
    let document = document(&operations());
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 3);
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("in the document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn the_page_and_its_parts_are_served_from_here() {
    let toys = Toys::new().await;
    for (path, kind) in [("", "text/html"), ("/docs.css", "text/css"), ("/docs.js", "text/javascript")] {
        let answer = toys.get(&format!("/api/docs{path}")).await;
        assert!(answer.header("content-type").starts_with(kind), "{path}");
        assert!(answer.header("content-security-policy").contains("script-src 'self'"));
        assert!(
            !answer.body.contains("https://") && !answer.body.contains("http://"),
            "{path} asks nobody else"
        );
        assert!(!answer.body.is_empty(), "{path}");
    }
    assert_eq!(toys.get("/api/docs/other").await.status.as_u16(), 404);
    assert_eq!(toys.get("/api/openapi.json").await.json()["openapi"], "3.1.1");
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            references.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| collect(value, references));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}
