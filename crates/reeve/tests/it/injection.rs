//! Text that means something to a shell, a path or a database is only text, in every input of every tool.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Map, Value, json};

use crate::lab::Lab;
use crate::mcp::{Session, message};
use crate::server::{Server, reeve};

const TOOLSETS: &str = "fleet,containers,metrics,admin,readings";

/// Texts that somewhere, to something, are more than text. Where one of them were run, it would make `canary`.
fn texts(canary: &str) -> Vec<String> {
    let mut texts: Vec<String> = [
        ";id",
        "$(id)",
        "`id`",
        "|id",
        "a|id",
        "&&id",
        "a\nid",
        "\r\nid",
        "a\0b",
        "\0",
        "-",
        "--",
        "-h",
        "--help",
        "-oProxyCommand=id",
        "../",
        "../../etc/passwd",
        "%2e%2e",
        "%2e%2e%2fetc%2fpasswd",
        "*",
        "?",
        "[a-z]*",
        "~",
        "~root",
        "${IFS}",
        "a${IFS}b",
        "‘x’",
        "“x”",
        "'",
        "\"",
        "\\",
        "' OR '1'='1",
        "%s%n",
        "\u{202e}x",
        "",
    ]
    .map(str::to_owned)
    .into();
    for run in
        [";{}", "$({})", "`{}`", "|{}", "&&{}", "\n{}\n", "'; {} ;'", "\"; {} ;\"", "-oProxyCommand={}"]
    {
        texts.push(run.replace("{}", &format!("touch {canary}")));
        texts.push(run.replace("{}", &format!("touch${{IFS}}{canary}")));
    }
    texts
}

/// The fields of a tool that take text, and an input that names what is there in all that are needed.
fn inputs(tool: &Value, device: &str) -> (Vec<String>, Map<String, Value>) {
    let schema = &tool["inputSchema"];
    let mut known = Map::new();
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let value = match name {
            "device" | "other" => json!(device),
            "source" => json!(1),
            "name" => json!("lab-tick"),
            "host" => json!("nowhere.invalid"),
            _ => json!("x"),
        };
        known.insert(name.to_owned(), value);
    }
    let fields = schema["properties"].as_object().cloned().unwrap_or_default();
    if fields.contains_key("max_age_seconds") {
        known.insert("max_age_seconds".to_owned(), json!(3_600));
    }
    let takes_text =
        |schema: &Value| schema.to_string().contains("\"string\"") || schema.get("type").is_none();
    let fields = fields.into_iter().filter(|(_, schema)| takes_text(schema)).map(|(name, _)| name).collect();
    (fields, known)
}

/// Where a file would be if a text had been run.
struct Canary(PathBuf);

impl Canary {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("reeve-canary-{name}-{}", std::process::id())))
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("the path is text")
    }

    fn was_never_made(&self, lab: Option<&Lab>) {
        assert!(!self.0.exists(), "a text was run on this machine");
        if let Some(lab) = lab {
            let seen = lab.ssh("plain", &format!("ls -d {} 2>/dev/null; echo looked", self.path()));
            assert_eq!(seen.trim(), "looked", "a text was run on the watched machine");
        }
    }
}

/// An error that an answer may not be: one that nobody foresaw.
fn is_foreseen(answer: &Value) -> bool {
    let code = answer["result"]["structuredContent"]["code"].as_str().unwrap_or_default();
    let refused = answer["error"]["code"].as_i64();
    (answer["result"].is_object() || refused.is_some_and(|code| code != -32603))
        && !code.starts_with("internal")
}

#[test]
fn text_is_never_more_than_text_in_any_tool_that_reads() {
    let lab = Lab::find();
    let _held = lab.as_ref().map(|lab| lab.share("plain"));
    let (config, device) = match &lab {
        Some(lab) => (lab.config_with(&["plain"]), "plain"),
        None => ("[[devices]]\nname = \"plain\"\n".to_owned(), "plain"),
    };
    let server = Server::start_with(&config, &[]);
    let session = Session::open(&server, TOOLSETS);
    let canary = Canary::new("read");
    let before = server.get_json("/api/devices")["items"][0]["name"].clone();
    let mut asked = 0;
    for tool in session.list_tools().as_array().expect("tools") {
        let (fields, known) = inputs(tool, device);
        for field in &fields {
            for text in texts(canary.path()) {
                let mut input = known.clone();
                input.insert(field.clone(), json!(text));
                let body = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call",
                    "params": { "name": tool["name"], "arguments": input } });
                let reply = session.post(&body);
                let answer = message(&reply.body);
                assert!(
                    reply.status < 500 && is_foreseen(&answer),
                    "{field} = {text:?}: {} {answer}",
                    tool["name"]
                );
                asked += 1;
            }
        }
    }
    assert!(asked > 500, "only {asked} questions");
    let list = server.get_json("/api/devices");
    assert_eq!((&list["total"], &list["items"][0]["name"]), (&json!(1), &before));
    canary.was_never_made(lab.as_ref());
}

#[test]
fn a_megabyte_of_text_is_refused_or_answered_and_the_server_lives() {
    let server = Server::start_with("[[devices]]\nname = \"here\"\n", &[]);
    let session = Session::open(&server, TOOLSETS);
    let long = "a".repeat(1 << 20);
    for tool in session.list_tools().as_array().expect("tools") {
        let (fields, known) = inputs(tool, "here");
        for field in fields {
            let mut input = known.clone();
            input.insert(field.clone(), json!(long));
            let body = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call",
                "params": { "name": tool["name"], "arguments": input } });
            let reply = session.post(&body);
            assert!(reply.status != 0 && reply.status < 500, "{field} of {}: {}", tool["name"], reply.status);
            assert!(reply.body.len() < 100_000, "{field} of {}: it is not sent back", tool["name"]);
        }
    }
    assert_eq!(server.get_json("/api/devices")["total"], 1);
}

/// An assistant with all rights, at standard input.
struct Assistant {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Assistant {
    fn of(server: &Server) -> Self {
        let mut command = reeve(server.data.path());
        command.args(["mcp", "--toolsets", TOOLSETS]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("reeve mcp starts");
        let input = child.stdin.take().expect("its input is ours");
        let output = BufReader::new(child.stdout.take().expect("its output is ours"));
        let mut assistant = Self { child, input, output };
        let about = json!({ "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": { "name": "test", "version": "1" } });
        assistant.ask("initialize", &about);
        writeln!(assistant.input, "{}", json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }))
            .expect("it reads");
        assistant
    }

    fn ask(&mut self, method: &str, params: &Value) -> Value {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        writeln!(self.input, "{message}").expect("it reads");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it answers");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }
}

impl Drop for Assistant {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn text_is_never_more_than_text_in_any_tool_that_changes_records() {
    let server = Server::start_with("[[devices]]\nname = \"here\"\n", &[]);
    let canary = Canary::new("change");
    let mut assistant = Assistant::of(&server);
    let tools = assistant.ask("tools/list", &json!({}))["result"]["tools"].clone();
    let commands = tools.as_array().expect("tools").iter();
    let commands: Vec<&Value> =
        commands.filter(|tool| tool["annotations"]["readOnlyHint"] == false).collect();
    assert!(commands.len() >= 4, "{tools}");
    for tool in commands {
        let (fields, known) = inputs(tool, "here");
        for field in &fields {
            for text in texts(canary.path()) {
                let mut input = known.clone();
                input.insert(field.clone(), json!(text));
                let answer =
                    assistant.ask("tools/call", &json!({ "name": tool["name"], "arguments": input }));
                assert!(is_foreseen(&answer), "{field} = {text:?}: {} {answer}", tool["name"]);
            }
        }
    }
    // names and hosts that were taken are plain ones
    for device in server.get_json("/api/devices?limit=500")["items"].as_array().expect("a list") {
        let name = device["name"].as_str().unwrap_or_default();
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)), "{device}");
        assert!(!name.starts_with(['-', '.']), "{device}");
    }
    canary.was_never_made(None);
}
