//! The Model Context Protocol as clients of both eras speak it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::server::{Server, reeve};

/// A session of the 2025-11-25 era over HTTP.
pub struct Session<'a> {
    server: &'a Server,
    id: String,
    query: String,
}

impl<'a> Session<'a> {
    /// Initializes one; `toolsets` as in the address, empty for the default ones.
    pub fn open(server: &'a Server, toolsets: &str) -> Self {
        let query = if toolsets.is_empty() { String::new() } else { format!("?toolsets={toolsets}") };
        let mut session = Self { server, id: String::new(), query };
        let reply = session.post(&json!({
            "jsonrpc": "2.0", "id": 1, "method": "initialize",
            "params": { "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } }
        }));
        let header = reply.head.lines().find(|line| line.to_lowercase().starts_with("mcp-session-id:"));
        session.id = header
            .and_then(|line| line.split_once(": "))
            .map(|(_, id)| id.trim().to_owned())
            .unwrap_or_default();
        let answer = message(&reply.body);
        assert_eq!(answer["result"]["serverInfo"]["name"], "reeve", "{answer}");
        session.post(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        session
    }

    /// All tools.
    pub fn list_tools(&self) -> Value {
        self.ask("tools/list", &json!({}))["tools"].clone()
    }

    /// Calls a tool; gives its result.
    pub fn call(&self, tool: &str, arguments: &Value) -> Value {
        self.ask("tools/call", &json!({ "name": tool, "arguments": arguments }))
    }

    fn ask(&self, method: &str, params: &Value) -> Value {
        let reply = self.post(&json!({ "jsonrpc": "2.0", "id": 2, "method": method, "params": params }));
        let answer = message(&reply.body);
        assert!(answer["result"].is_object(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// Sends a message; gives the answer over HTTP as it came.
    pub fn post(&self, body: &Value) -> crate::server::Reply {
        let mut headers = vec![
            ("Content-Type", "application/json"),
            ("Accept", "application/json, text/event-stream"),
            ("MCP-Protocol-Version", "2025-11-25"),
        ];
        if !self.id.is_empty() {
            headers.push(("Mcp-Session-Id", &self.id));
        }
        self.server.send("POST", &format!("/mcp{}", self.query), &headers, &body.to_string())
    }
}

/// The message of an answer, as JSON or as the last event of a stream.
pub fn message(body: &[u8]) -> Value {
    let text = String::from_utf8_lossy(body);
    let data = text
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .map(str::trim)
        .rfind(|data| !data.is_empty());
    serde_json::from_str(data.unwrap_or(&text)).unwrap_or_default()
}

#[test]
fn the_default_tools_fit_into_four_thousand_tokens() {
    let server = Server::start();
    let tools = Session::open(&server, "").list_tools();
    // o200k takes about 4 bytes a token of such JSON; 3.6 is on the safe side
    let tokens = tools.to_string().len() as f64 / 3.6;
    let count = tools.as_array().map_or(0, Vec::len);
    assert!(tokens <= 4_000.0 * 1.0, "{tokens} tokens for {count} tools");
    for tool in tools.as_array().unwrap() {
        let hints = &tool["annotations"];
        for hint in ["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"] {
            assert!(hints[hint].is_boolean(), "{}: {hint}", tool["name"]);
        }
    }
    let names: Vec<&str> =
        tools.as_array().unwrap().iter().filter_map(|tool| tool["name"].as_str()).collect();
    assert!(
        !names.contains(&"approve_host_key") && !names.contains(&"remove_device"),
        "people's operations: {names:?}"
    );
}

#[test]
fn both_eras_get_the_same_answer() {
    let server = Server::start();
    let older = Session::open(&server, "").call("list_devices", &json!({}));
    assert!(older["structuredContent"]["summary"].as_str().unwrap().contains("1 device"), "{older}");
    let body = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {
            "name": "list_devices", "arguments": {},
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" }
            }
        }
    });
    let headers = [
        ("Content-Type", "application/json"),
        ("Accept", "application/json, text/event-stream"),
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "list_devices"),
    ];
    let reply = server.send("POST", "/mcp", &headers, &body.to_string());
    let newer = message(&reply.body);
    assert_eq!(
        newer["result"]["structuredContent"]["columns"], older["structuredContent"]["columns"],
        "{newer}"
    );
}

#[test]
fn a_wrong_call_is_told_so_that_an_assistant_can_mend_it() {
    let server = Server::start();
    let session = Session::open(&server, "");
    let wrong = session.call("get_device_info", &json!({ "device": "nsa" }));
    assert_eq!(wrong["isError"], true);
    assert_eq!(wrong["structuredContent"]["code"], "device_unknown", "{wrong}");
    let coerced = session.call("list_devices", &json!({ "limit": "5" }));
    assert_ne!(coerced["isError"], true, "{coerced}");
    let refused = session.call("add_device", &json!({ "host": "x" }));
    assert_eq!(refused["isError"], true);
    assert_eq!(refused["structuredContent"]["code"], "read_only", "{refused}");
}

#[test]
fn an_assistant_on_this_machine_speaks_over_standard_input() {
    let server = Server::start();
    for data in [Some(server.data.path().to_owned()), None] {
        let own = tempfile::tempdir().unwrap();
        let path = data.as_deref().unwrap_or(own.path());
        let mut child = reeve(path).arg("mcp").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for message in [
            json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": { "protocolVersion": "2025-11-25",
                "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } } }),
            json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
            json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call",
                "params": { "name": "get_overview", "arguments": {} } }),
        ] {
            writeln!(input, "{message}").unwrap();
        }
        let answers: Vec<Value> =
            lines.by_ref().take(2).map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
        assert_eq!(answers[1]["result"]["structuredContent"]["devices"]["total"], 1, "{answers:?}");
        drop(input);
        assert!(child.wait().unwrap().success());
    }
}
