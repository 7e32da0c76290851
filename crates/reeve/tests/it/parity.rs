//! The same question gets the same answer, and the same mistake the same words, on every surface.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::lab::Lab;
use crate::mcp::Session;
use crate::questions::Question;
use crate::server::Server;

/// Every toolset: what one surface is asked, all are asked.
const TOOLSETS: &str = "fleet,containers,metrics,admin,readings";
const SOON: Duration = Duration::from_secs(60);

/// A server of this machine that has read everything once and does not read again.
fn settled() -> (Server, String) {
    let calm: Vec<String> = collectors::ALL.iter().map(|def| format!("{} = \"1h\"\n", def.name)).collect();
    let config = format!("[polling.intervals]\n{}\n[[devices]]\nname = \"here\"\n", calm.concat());
    let server = Server::start_with(&config, &[]);
    for def in collectors::ALL {
        server.until(def.name, SOON, |server| {
            let path = format!("/api/devices/here/{}?max_age_seconds=3600&deadline_seconds=20", def.name);
            (server.get(&path).status == 200).then_some(())
        });
    }
    (server, "here".to_owned())
}

/// An answer over MCP as it was before it was put into columns.
fn in_objects(mut told: Value) -> Value {
    let Some(listing) = told.as_object_mut() else { return told };
    if let (Some(Value::Array(columns)), Some(Value::Array(rows))) =
        (listing.remove("columns"), listing.remove("rows"))
    {
        let items = rows.iter().map(|row| {
            let cells = row.as_array().cloned().unwrap_or_default();
            let pairs =
                columns.iter().map(|column| column.as_str().unwrap_or_default().to_owned()).zip(cells);
            Value::Object(pairs.collect())
        });
        listing.insert("items".to_owned(), items.collect());
        listing.entry("problems").or_insert_with(|| json!([]));
    }
    told
}

/// An answer without what MCP leaves out or adds (nulls, ages in words) and without the moment of the answer itself.
fn lasting(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let told = fields.into_iter().filter(|(name, value)| {
                !value.is_null()
                    && !["age", "took_ms", "took_seconds", "as_of", "origin"].contains(&name.as_str())
            });
            Value::Object(told.map(|(name, value)| (name, lasting(value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => items.into_iter().map(lasting).collect(),
        other => other,
    }
}

#[test]
fn every_question_has_one_answer_on_all_surfaces() {
    let Some(lab) = Lab::find() else { return };
    let _held = lab.share("docker");
    let (server, device) = settled();
    let session = Session::open(&server, TOOLSETS);
    for question in Question::reads(&server) {
        let input = question.example(&device);
        let name = &question.name;
        // what moves by itself between two questions may move once or twice, and not always
        let mut told = None;
        for _ in 0..4 {
            let rest = question.over_rest(&server, &input);
            assert_eq!(rest.status, 200, "{name}: {}", String::from_utf8_lossy(&rest.body));
            let rest = lasting(rest.json());
            let words = question.as_words(&input);
            let cli = lasting(server.cli_json(&words.iter().map(String::as_str).collect::<Vec<_>>()));
            let call = session.call(name, &input);
            assert_ne!(call["isError"], true, "{name}: {call}");
            let mcp = lasting(in_objects(call["structuredContent"].clone()));
            let is_same = rest == cli && rest == mcp;
            told = Some((rest, cli, mcp));
            if is_same {
                break;
            }
        }
        let (rest, cli, mcp) = told.expect("it was asked");
        assert!(rest.as_object().is_some_and(|answer| !answer.is_empty()), "{name} says nothing");
        assert_eq!(rest, cli, "{name}: REST and the command line");
        assert_eq!(rest, mcp, "{name}: REST and MCP");
    }
}

/// Wrong inputs of a question, each with the code that names the mistake, and whether the command line lets it be typed.
fn mistakes(question: &Question, device: &str) -> Vec<(Value, &'static str, bool)> {
    let with = |field: &str, value: Value| {
        let mut input = question.example(device);
        input[field] = value;
        input
    };
    let mut mistakes = vec![(with("nonsense", json!("1")), "field_unknown", false)];
    if question.takes("device") {
        mistakes.push((with("device", json!("nobody")), "device_unknown", true));
    }
    if let Some(field) = question.field_of_type(&["integer", "number", "boolean"]) {
        mistakes.push((with(field, json!("lots")), "field_type", false));
    }
    if let Some(field) = question.field_of_type(&["choice"]) {
        mistakes.push((with(field, json!("lots")), "field_type", false));
    }
    for (field, value, code) in [
        ("max_age_seconds", json!(-1), "span_range"),
        ("deadline_seconds", json!(61), "span_range"),
        ("limit", json!(0), "limit_range"),
        ("limit", json!(501), "limit_range"),
        ("points", json!(0), "points_range"),
        ("cursor", json!("nonsense"), "cursor_malformed"),
        ("sort", json!("nonsense"), "field_unknown"),
        ("fields", json!("nonsense"), "field_unknown"),
    ] {
        if question.takes(field) {
            mistakes.push((with(field, value), code, true));
        }
    }
    mistakes
}

#[test]
fn every_mistake_is_told_in_the_same_words_on_all_surfaces() {
    let server = Server::start_with("[[devices]]\nname = \"here\"\n", &[]);
    let session = Session::open(&server, TOOLSETS);
    for question in Question::reads(&server) {
        for (input, code, is_typed) in mistakes(&question, "here") {
            let what = format!("{} {input}", question.name);
            let rest = question.over_rest(&server, &input).json();
            assert_eq!(rest["code"], code, "{what}: {rest}");
            let call = session.call(&question.name, &input);
            assert_eq!(call["isError"], true, "{what}: {call}");
            let mcp = &call["structuredContent"];
            assert_eq!(
                (&mcp["code"], &mcp["message"], &mcp["help"]),
                (&rest["code"], &rest["detail"], &rest["help"]),
                "{what}"
            );
            let words = question.as_words(&input);
            let output = server.cli(&words.iter().map(String::as_str).collect::<Vec<_>>());
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success(), "{what}");
            if is_typed {
                let told = format!("error: {} ({code})", rest["detail"].as_str().unwrap_or_default());
                let help = rest["help"].as_str().unwrap_or_default();
                assert!(text.contains(&told) && text.contains(help), "{what}: “{text}” and “{told}”");
            } else {
                assert_eq!(output.status.code(), Some(2), "{what}: {text}");
            }
        }
    }
}

#[test]
fn who_may_only_read_is_refused_every_command_alike() {
    let server = Server::start_with("[[devices]]\nname = \"here\"\n", &[]);
    let session = Session::open(&server, TOOLSETS);
    let listed = session.list_tools().to_string();
    let of_people: Vec<String> =
        operations::all().iter().filter(|def| def.person).map(|def| def.name.to_string()).collect();
    let mut commands = Question::all(&server);
    commands.retain(|question| question.method != "GET");
    assert!(commands.len() >= 5);
    for command in commands {
        let path = command.path.replace("{device}", "here");
        let headers = [("Content-Type", "application/json")];
        let reply = server.send(&command.method, &format!("/api{path}"), &headers, "{}");
        let rest = reply.json();
        assert_eq!((reply.status, &rest["code"]), (403, &json!("read_only")), "{}: {rest}", command.name);
        let call = session.call(&command.name, &json!({ "device": "here" }));
        assert_eq!(call["isError"], true, "{}: {call}", command.name);
        let wanted = if of_people.contains(&command.name) { "person_needed" } else { "read_only" };
        assert_eq!(call["structuredContent"]["code"], wanted, "{}: {call}", command.name);
        assert!(!listed.contains(&format!("\"{}\"", command.name)), "{} is not offered either", command.name);
    }
    assert_eq!(server.get_json("/api/devices")["total"], 1);
}
