//! The operations as the OpenAPI document lists them, each with an input that it answers.

use domain::Timestamp;
use serde_json::{Map, Value, json};

use crate::server::{Reply, Server};

/// Old enough for every reading of a test: what is known is told, and nobody is asked again.
const AN_HOUR: u64 = 3_600;

/// An operation of the document.
pub struct Question {
    /// Its name on every surface.
    pub name: String,
    /// `GET` …
    pub method: String,
    /// Its path below `/api`, with `{fields}`.
    pub path: String,
    /// The fields that it takes in path and query, and the type of each.
    pub fields: Vec<(String, String)>,
}

impl Question {
    /// All operations that the server's document lists.
    pub fn all(server: &Server) -> Vec<Self> {
        let document = server.get_json("/api/openapi.json");
        let paths = document["paths"].as_object().expect("paths");
        let mut all = Vec::new();
        for (path, methods) in paths {
            for (method, operation) in methods.as_object().expect("methods") {
                let name = operation["operationId"].as_str().expect("a name").to_owned();
                let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
                let fields = parameters
                    .iter()
                    .filter(|parameter| parameter["in"] != "header")
                    .filter_map(|parameter| {
                        Some((parameter["name"].as_str()?.to_owned(), type_of(&parameter["schema"])))
                    })
                    .collect();
                let path = path.strip_prefix("/api").unwrap_or(path).to_owned();
                all.push(Self { name, method: method.to_uppercase(), path, fields });
            }
        }
        all
    }

    /// Those that only read.
    pub fn reads(server: &Server) -> Vec<Self> {
        let mut all = Self::all(server);
        all.retain(|question| question.method == "GET");
        assert!(all.len() >= 10, "the document lists what may be asked");
        all
    }

    /// Whether it has such a field.
    pub fn takes(&self, field: &str) -> bool {
        self.fields.iter().any(|(name, _)| name == field)
    }

    /// The first field of this type that is not in the path.
    pub fn field_of_type(&self, wanted: &[&str]) -> Option<&str> {
        let fits = |(name, of): &&(String, String)| {
            wanted.contains(&of.as_str()) && !self.path.contains(&format!("{{{name}}}"))
        };
        self.fields.iter().find(fits).map(|(name, _)| name.as_str())
    }

    /// An input that is answered of `device`, from what is known. A new operation that needs more than a device, or is
    /// better asked with more, gets its line here.
    pub fn example(&self, device: &str) -> Value {
        let own = match self.name.as_str() {
            "list_devices" => json!({ "sort": "-name", "limit": 10 }),
            "list_containers" => json!({ "device": device, "all_containers": true, "limit": 500 }),
            "get_container_details" => json!({ "name": "lab-exit2" }),
            "get_system_metrics" => json!({ "include_processes": false }),
            "query_metrics" => {
                json!({ "metric": "memory_used_ratio", "since": moment(-600), "until": moment(60), "points": 5 })
            }
            "list_audit" => json!({ "limit": 5 }),
            "diagnose_device" => json!({ "commands": true }),
            "get_overview" | "get_device_info" | "test_connection" => json!({}),
            name => {
                let is_reading = self.path == format!("/devices/{{device}}/{}", &name["get_".len()..]);
                assert!(is_reading, "{name} has no example: give it one in questions.rs");
                json!({})
            }
        };
        let mut input = own.as_object().cloned().unwrap_or_else(Map::new);
        if self.path.contains("{device}") {
            input.insert("device".to_owned(), json!(device));
        }
        if self.takes("max_age_seconds") {
            input.insert("max_age_seconds".to_owned(), json!(AN_HOUR));
        }
        Value::Object(input)
    }

    /// Asks it over REST.
    pub fn over_rest(&self, server: &Server, input: &Value) -> Reply {
        let mut path = self.path.clone();
        let mut query = Vec::new();
        for (name, value) in input.as_object().into_iter().flatten() {
            let text = encoded(&text(value));
            let place = format!("{{{name}}}");
            if path.contains(&place) {
                path = path.replace(&place, &text);
            } else {
                query.push(format!("{name}={text}"));
            }
        }
        server.send(&self.method, &format!("/api{path}?{}", query.join("&")), &[], "")
    }

    /// The same as words of the command line.
    pub fn as_words(&self, input: &Value) -> Vec<String> {
        let mut words = vec![self.name.clone()];
        let places = self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let places: Vec<&str> = places.collect();
        words.extend(places.iter().map(|name| text(&input[*name])));
        for (name, value) in input.as_object().into_iter().flatten() {
            if !places.contains(&name.as_str()) {
                words.push(format!("--{}={}", name.replace('_', "-"), text(value)));
            }
        }
        words
    }
}

/// A moment as callers write it, this many seconds from now: the same whenever the question is asked.
fn moment(seconds: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    let millis = i64::try_from(now.as_millis()).expect("this century");
    Timestamp::from_millis(millis + seconds * 1_000).to_string()
}

fn type_of(schema: &Value) -> String {
    let has_choices =
        schema.get("enum").is_some() || schema.get("oneOf").is_some() || schema.get("anyOf").is_some();
    let named = match &schema["type"] {
        Value::Array(names) => names.iter().find(|name| *name != "null").and_then(Value::as_str),
        other => other.as_str(),
    };
    if has_choices { "choice".to_owned() } else { named.unwrap_or_default().to_owned() }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
