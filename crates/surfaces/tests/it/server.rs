//! The doors, on real sockets.

use std::path::PathBuf;
use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};
use surfaces::client::Client;
use surfaces::mcp::{Toolsets, bridge};
use tokio::io::{
    AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, Lines, ReadHalf,
    WriteHalf,
};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::task::JoinSet;

use crate::toys::{Toys, operations};

/// A socket whose file is gone when the test is over.
struct Door(PathBuf);

impl Door {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("reeve-{}.sock", uuid::Uuid::new_v4())))
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn exchange(stream: &mut TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    answer
}

#[tokio::test]
async fn the_loopback_address_answers_and_stops() {
    let toys = Toys::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let server = toys.server.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { server.serve_tcp(listener).await });
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let answer = exchange(
        &mut stream,
        &format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("{\"status\":\"ok\"}"), "{answer}");
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let answer =
        exchange(&mut stream, "GET /health HTTP/1.1\r\nHost: evil.com\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let idle = TcpStream::connect(address).await.expect("connected");
    toys.world.stop.cancel();
    tasks.join_next().await.expect("a task").expect("no panic").expect("served");
    tokio::time::timeout(Duration::from_secs(8), toys.server.finish())
        .await
        .expect("an idle connection does not hold us");
    drop(idle);
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_refused() {
    let toys = Toys::new().await;
    let listener = TcpListener::bind("0.0.0.0:0").await.expect("a port");
    let error = toys.server.serve_tcp(listener).await.expect_err("refused");
    assert_eq!(error.code(), "listen_not_loopback");
}

#[tokio::test]
async fn readiness_is_what_the_program_says() {
    let toys = Toys::new().await;
    assert_eq!(toys.get("/ready").await.status, StatusCode::OK);
    toys.ready.send(false).expect("the server listens");
    let starting = toys.get("/ready").await;
    assert_eq!(
        (starting.status, starting.json()),
        (StatusCode::SERVICE_UNAVAILABLE, json!({"status": "starting"}))
    );
    assert_eq!(toys.get("/health").await.status, StatusCode::OK);
    assert_eq!(toys.get("/version").await.json()["name"], "reeve");
}

#[tokio::test]
async fn the_command_line_is_served_at_the_socket() {
    let toys = Toys::new().await;
    let door = Door::new();
    let listener = UnixListener::bind(&door.0).expect("a socket");
    let server = toys.server.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { server.serve_unix(listener).await });
    let client = Client::new(&door.0);
    let operations = operations();
    let find = |name: &str| operations.iter().find(|def| def.name == name).expect("the operation");

    let weather =
        client.call(find("get_weather"), json!({"place": "new york/é", "days": 2})).await.expect("an answer");
    assert_eq!((&weather["place"], &weather["days"]), (&json!("new york/é"), &json!(2)));
    let things = client.call(find("list_things"), json!({"tags": ["all", "cog"]})).await.expect("an answer");
    assert_eq!(things["total"], 1);
    let added = client
        .call(find("add_thing"), json!({"name": "nut", "labels": {"a": "1"}}))
        .await
        .expect("an answer");
    assert!(
        added["by"].as_str().is_some_and(|by| by.starts_with("uid:") && by.ends_with(" by cli")),
        "{added}"
    );
    let removed = client.call(find("remove_thing"), json!({"name": "nut"})).await.expect("an answer");
    assert_eq!(removed, json!({"name": "nut"}));
    let refusal = client.call(find("get_weather"), json!({"place": "nowhere"})).await.expect_err("refused");
    assert_eq!((refusal.code.as_str(), refusal.help.as_str()), ("place_unknown", "nearest: paris, parma"));
    assert_eq!(refusal.kind, domain::ErrorKind::NotFound);
    toys.world.stop.cancel();

    let nobody =
        Client::new("/nowhere/reeve.sock").call(find("list_things"), json!({})).await.expect_err("nobody");
    assert_eq!(nobody.code, "server_unreachable");
}

#[tokio::test]
async fn standard_input_speaks_mcp_through_the_socket() {
    let toys = Toys::new().await;
    let mut door = Bridged::open(&toys);
    door.say(&json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}}))
        .await;
    assert_eq!(door.hear().await["result"]["serverInfo"]["name"], "reeve");
    door.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    door.say(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"})).await;
    assert_eq!(names(&door.hear().await), ["break_down", "hang"]);
    toys.world.stop.cancel();
    let rest = door.lines.next_line().await.expect("read");
    assert_eq!(rest, None, "the bridge ends with the server, although the client stays");
}

#[tokio::test]
async fn standard_input_speaks_the_newer_era_too() {
    let toys = Toys::new().await;
    let mut door = Bridged::open(&toys);
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    door.say(&json!({"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": meta}}))
        .await;
    let versions = door.hear().await["result"]["supportedVersions"].clone();
    assert!(versions.as_array().is_some_and(|versions| versions.contains(&json!("2026-07-28"))));
    door.say(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {"_meta": meta}})).await;
    assert_eq!(names(&door.hear().await), ["break_down", "hang"]);
    toys.world.stop.cancel();
}

/// A client of the readings' tools at standard input and output.
struct Bridged {
    lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
    write: WriteHalf<DuplexStream>,
    /// The server, the bridge, and the socket between them, until the test is over.
    _held: (JoinSet<()>, Door),
}

impl Bridged {
    fn open(toys: &Toys) -> Self {
        let door = Door::new();
        let listener = UnixListener::bind(&door.0).expect("a socket");
        let server = toys.server.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = server.serve_unix(listener).await;
        });
        let (here, there) = tokio::io::duplex(65_536);
        let (read, write) = tokio::io::split(there);
        let path = door.0.clone();
        tasks.spawn(async move {
            bridge(&path, &Toolsets::named("readings"), read, write).await.expect("bridged");
        });
        let (read, write) = tokio::io::split(here);
        Self { lines: BufReader::new(read).lines(), write, _held: (tasks, door) }
    }

    async fn say(&mut self, message: &Value) {
        self.write.write_all(format!("{message}\n").as_bytes()).await.expect("written");
    }

    async fn hear(&mut self) -> Value {
        let line = self.lines.next_line().await.expect("read").expect("a line");
        serde_json::from_str(&line).expect("JSON")
    }
}

fn names(listed: &Value) -> Vec<&str> {
    let tools = listed["result"]["tools"].as_array().expect("tools");
    tools.iter().filter_map(|tool| tool["name"].as_str()).collect()
}
