//! MCP: both eras at one address, in raw JSON.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use surfaces::mcp::{Toolsets, tool_list};
use surfaces::peer::Peer;

use crate::toys::{Answer, Toys, operations};

const PEER: Peer = Peer::Loopback;

/// A session of the older era.
struct Session {
    id: String,
}

fn message(id: u32, method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}

/// The JSON-RPC message in an answer, whether it came as JSON or as events.
fn told(answer: &Answer) -> Value {
    if answer.header("content-type").starts_with("text/event-stream") {
        let mut data = answer
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(str::trim)
            .filter(|data| !data.is_empty());
        serde_json::from_str(data.next_back().expect("an event")).expect("JSON")
    } else {
        answer.json()
    }
}

async fn initialize(toys: &Toys, peer: Peer) -> Answer {
    let params = json!({
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}
    });
    toys.post(peer, "/mcp", &[], &message(1, "initialize", &params)).await
}

impl Session {
    async fn open(toys: &Toys) -> Self {
        let answer = initialize(toys, PEER).await;
        let id = answer.header("mcp-session-id").to_owned();
        let session = Self { id };
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
        assert_eq!(session.send(toys, PEER, "", &initialized).await.status, StatusCode::ACCEPTED);
        session
    }

    async fn send(&self, toys: &Toys, peer: Peer, query: &str, body: &str) -> Answer {
        let headers = [("mcp-session-id", self.id.as_str()), ("mcp-protocol-version", "2025-11-25")];
        toys.post(peer, &format!("/mcp{query}"), &headers, body).await
    }

    async fn call(&self, toys: &Toys, tool: &str, arguments: Value) -> Value {
        let body = message(7, "tools/call", &json!({"name": tool, "arguments": arguments}));
        told(&self.send(toys, PEER, "", &body).await)
    }
}

/// A request of the newer era.
async fn modern(toys: &Toys, method: &str, name: Option<&str>, mut params: Value) -> Answer {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    });
    let mut headers = vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
    headers.extend(name.map(|name| ("mcp-name", name)));
    toys.post(PEER, "/mcp", &headers, &message(3, method, &params)).await
}

fn names(listed: &Value) -> Vec<&str> {
    listed["result"]["tools"]
        .as_array()
        .expect("tools")
        .iter()
        .filter_map(|tool| tool["name"].as_str())
        .collect()
}

#[tokio::test]
async fn the_older_era_initializes_lists_and_calls() {
    let toys = Toys::new().await;
    let answer = initialize(&toys, PEER).await;
    let hello = told(&answer);
    assert_eq!(hello["result"]["protocolVersion"], "2025-11-25");
    assert_eq!(hello["result"]["serverInfo"]["name"], "reeve");
    assert!(hello["result"]["instructions"].as_str().is_some_and(|text| text.len() <= 2_048));

    let session = Session::open(&toys).await;
    let listed = told(&session.send(&toys, PEER, "", &message(2, "tools/list", &json!({}))).await);
    assert_eq!(names(&listed), ["get_weather", "list_things"]);

    let called =
        session.call(&toys, "list_things", json!({"limit": 2, "fields": "name,size_bytes,as_of"})).await;
    let result = &called["result"];
    assert_eq!(result["isError"], false);
    assert_eq!(result["content"], json!([{"type": "text", "text": "3 things"}]));
    let told = &result["structuredContent"];
    assert_eq!(told["columns"], json!(["name", "size_bytes", "as_of", "age"]));
    assert_eq!(told["rows"][0][0], "anvil");
    assert_eq!(told["rows"][0][3], "5s ago");
    assert_eq!(told["rows"][1][3], "1m 10s ago");
    assert_eq!(told["total"], 3);
    assert!(told["next_cursor"].is_string());
    assert_eq!(told["problems"][0]["code"], "not_weighed");
}

#[tokio::test]
async fn the_newer_era_discovers_lists_and_calls_without_a_session() {
    let toys = Toys::new().await;
    let answer = modern(&toys, "server/discover", None, json!({})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    let discovered = told(&answer);
    let versions = discovered["result"]["supportedVersions"].as_array().expect("versions");
    assert!(versions.contains(&json!("2026-07-28")) && versions.contains(&json!("2025-11-25")));

    let listed = modern(&toys, "tools/list", None, json!({})).await;
    assert_eq!(listed.header("content-type"), "application/json");
    let listed = told(&listed);
    assert_eq!(listed["result"]["cacheScope"], "private");
    assert!(listed["result"]["ttlMs"].as_u64().is_some_and(|ttl| ttl > 0));

    let called = modern(
        &toys,
        "tools/call",
        Some("get_weather"),
        json!({"name": "get_weather", "arguments": {"place": "paris"}}),
    )
    .await;
    assert_eq!(called.header("content-type"), "application/json");
    let called = told(&called);
    let told = &called["result"]["structuredContent"];
    assert_eq!((&told["place"], &told["age"]), (&json!("paris"), &json!("12s ago")));
    assert!(told.get("days").is_none(), "what is not known is not there");

    let mismatch = toys.post(
        PEER,
        "/mcp",
        &[("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list")],
        &message(4, "tools/call", &json!({"name": "get_weather", "arguments": {"place": "paris"}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}})),
    ).await;
    assert_eq!(
        (mismatch.status, mismatch.json()["error"]["code"].as_i64()),
        (StatusCode::BAD_REQUEST, Some(-32_020))
    );
}

#[tokio::test]
async fn what_a_model_writes_as_text_is_mended_and_errors_teach() {
    let toys = Toys::new().await;
    let session = Session::open(&toys).await;
    let mended = session.call(&toys, "get_weather", json!({"place": "paris", "days": "5"})).await;
    assert_eq!(mended["result"]["structuredContent"]["days"], 5);
    let wrong = session.call(&toys, "get_weather", json!({"place": "paris", "days": "soon"})).await;
    assert_eq!(wrong["result"]["isError"], true);
    assert_eq!(wrong["result"]["structuredContent"]["code"], "field_type");
    let nowhere = session.call(&toys, "get_weather", json!({"place": "nowhere"})).await;
    assert_eq!(nowhere["result"]["structuredContent"]["help"], "nearest: paris, parma");
    let unknown = session.call(&toys, "get_wether", json!({})).await;
    assert_eq!(unknown["error"]["code"], -32_602);
    assert!(
        unknown["error"]["message"].as_str().is_some_and(|text| text.contains("get_weather")),
        "{unknown}"
    );
}

#[tokio::test]
async fn what_is_for_people_is_neither_shown_nor_done() {
    let toys = Toys::new().await;
    let all = told(
        &Session::open(&toys)
            .await
            .send(&toys, PEER, "?toolsets=all", &message(2, "tools/list", &json!({})))
            .await,
    );
    assert_eq!(names(&all), ["break_down", "get_weather", "hang", "list_things"]);
    let session = Session::open(&toys).await;
    let refused = session.call(&toys, "remove_thing", json!({"name": "anvil"})).await;
    assert_eq!(refused["result"]["structuredContent"]["code"], "person_needed");
    let read_only = session.call(&toys, "add_thing", json!({"name": "nut"})).await;
    assert_eq!(read_only["result"]["structuredContent"]["code"], "read_only");
}

#[tokio::test]
async fn lists_that_we_do_not_have_are_empty() {
    let toys = Toys::new().await;
    for (method, list) in [
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
        ("prompts/list", "prompts"),
    ] {
        let listed = told(&modern(&toys, method, None, json!({})).await);
        assert_eq!(listed["result"][list], json!([]), "{method}");
        assert!(listed["result"]["ttlMs"].is_u64() && listed["result"]["cacheScope"].is_string(), "{method}");
    }
}

#[tokio::test]
async fn toolsets_are_chosen_by_address_or_header() {
    let toys = Toys::new().await;
    let session = Session::open(&toys).await;
    let by_address = told(
        &session.send(&toys, PEER, "?toolsets=readings,fleet", &message(2, "tools/list", &json!({}))).await,
    );
    assert_eq!(names(&by_address), ["break_down", "get_weather", "hang"]);
    let headers = [("mcp-session-id", session.id.as_str()), ("x-mcp-toolsets", "containers")];
    let by_header = told(&toys.post(PEER, "/mcp", &headers, &message(2, "tools/list", &json!({}))).await);
    assert_eq!(names(&by_header), ["list_things"]);
}

#[tokio::test]
async fn a_tool_that_panics_or_hangs_answers_and_the_server_lives() {
    let toys = Toys::new().await;
    let session = Session::open(&toys).await;
    let broken = session.call(&toys, "break_down", json!({})).await;
    assert_eq!(
        (&broken["result"]["isError"], &broken["result"]["structuredContent"]["code"]),
        (&json!(true), &json!("internal"))
    );
    let hanging = session.call(&toys, "hang", json!({})).await;
    assert_eq!(hanging["result"]["structuredContent"]["code"], "deadline_exceeded");
    let after = session.call(&toys, "get_weather", json!({"place": "paris"})).await;
    assert_eq!(after["result"]["isError"], false);
}

#[tokio::test]
async fn sessions_are_capped_and_the_newer_era_is_served_all_the_same() {
    let toys = Toys::new().await;
    let mut first = String::new();
    for _ in 0..surfaces::mcp::MOST_SESSIONS {
        let answer = initialize(&toys, PEER).await;
        assert_eq!(answer.status, StatusCode::OK);
        first = answer.header("mcp-session-id").to_owned();
    }
    let over = initialize(&toys, PEER).await;
    assert_eq!((over.status, over.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "30"));
    assert_eq!(modern(&toys, "tools/list", None, json!({})).await.status, StatusCode::OK);
    let close =
        Request::delete("/mcp").header("mcp-session-id", &first).body(Body::empty()).expect("a request");
    assert!(toys.ask(close).await.status.is_success());
    assert_eq!(initialize(&toys, PEER).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_session_is_its_owners_alone() {
    let toys = Toys::new().await;
    let session = Session::open(&toys).await;
    let list = message(2, "tools/list", &json!({}));
    for other in [Peer::User(0), Peer::User(1_000)] {
        assert_eq!(session.send(&toys, other, "", &list).await.status, StatusCode::NOT_FOUND);
        let close = Request::delete("/mcp")
            .header("mcp-session-id", &session.id)
            .body(Body::empty())
            .expect("a request");
        assert_eq!(toys.ask_as(other, close).await.status, StatusCode::NOT_FOUND);
    }
    let guessed = Session { id: "00000000-0000-0000-0000-000000000000".to_owned() };
    assert_eq!(guessed.send(&toys, PEER, "", &list).await.status, StatusCode::NOT_FOUND);
    assert_eq!(session.send(&toys, PEER, "", &list).await.status, StatusCode::OK);
}

#[tokio::test]
async fn clients_that_accept_anything_are_served_and_malformed_messages_told() {
    let toys = Toys::new().await;
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let any = toys.post(PEER, "/mcp", &[("accept", "*/*")], &message(1, "initialize", &params)).await;
    assert_eq!(any.status, StatusCode::OK, "{}", any.body);
    let broken = toys.post(PEER, "/mcp", &[], "{").await;
    assert_eq!(
        (broken.status, broken.json()["error"]["code"].as_i64()),
        (StatusCode::BAD_REQUEST, Some(-32_700))
    );
    let batch = toys.post(PEER, "/mcp", &[], "[{}]").await;
    assert_eq!(batch.json()["error"]["code"], -32_600);
}

#[tokio::test]
async fn a_client_is_shown_what_it_may_call() {
    let toys = Toys::new().await;
    let list = message(2, "tools/list", &json!({}));
    let answer = initialize(&toys, Peer::User(0)).await;
    let session = Session { id: answer.header("mcp-session-id").to_owned() };
    let listed = told(&session.send(&toys, Peer::User(0), "", &list).await);
    assert_eq!(names(&listed), ["add_thing", "get_weather", "list_things"]);
}

#[test]
fn paging_is_told_once_in_the_instructions() {
    let tools = tool_list(&operations(), &Toolsets::default());
    let things = tools.iter().find(|tool| tool.name == "list_things").expect("the tool");
    let fields = &things.input_schema["properties"];
    assert_eq!(fields["cursor"], json!({"type": "string"}));
    assert!(fields["tags"]["description"].is_string());
}

#[test]
fn tools_tell_all_hints_and_portable_schemas() {
    let tools = tool_list(&operations(), &Toolsets::named("all"));
    for tool in &tools {
        let hints = tool.annotations.as_ref().expect("annotations");
        let all =
            [hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint, hints.open_world_hint];
        assert!(all.iter().all(Option::is_some), "{}", tool.name);
        let text = serde_json::to_string(tool).expect("JSON");
        for rejected in
            ["$ref", "$schema", "\"null\"", "uint", "\"default\":null", "anyOf", "oneOf", "\"type\":["]
        {
            assert!(!text.contains(rejected), "{}: {rejected} in {text}", tool.name);
        }
        assert_eq!(
            tool.output_schema.is_some(),
            tool.name == "list_things",
            "listings say what they look like"
        );
    }
    let weather = tools.iter().find(|tool| tool.name == "get_weather").expect("the tool");
    assert_eq!(weather.description.as_deref(), Some("Tells the weather at a place. As it was last seen."));
    assert_eq!(weather.input_schema["properties"]["unit"]["enum"], json!(["celsius", "fahrenheit"]));
    assert_eq!(weather.annotations.as_ref().and_then(|hints| hints.read_only_hint), Some(true));
}
