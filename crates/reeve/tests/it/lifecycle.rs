//! Starting, stopping, being killed, being copied.

use std::time::Duration;

use crate::server::{Server, reeve};

#[test]
fn one_process_has_a_data_directory() {
    let server = Server::start();
    let output = reeve(server.data.path()).args(["serve", "--listen", "127.0.0.1:0"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains(&server.pid().to_string()), "{text}");
}

#[test]
fn a_command_without_a_server_answers_by_itself() {
    let data = tempfile::tempdir().unwrap();
    let output = reeve(data.path()).args(["devices", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list["total"], 1);
}

#[test]
fn a_stop_is_quick_and_a_restart_knows_what_was_known() {
    let server = Server::start();
    let name = server.get_json("/api/devices")["items"][0]["name"].as_str().unwrap().to_owned();
    server.until("memory", Duration::from_secs(60), |server| {
        server.get_json("/api/devices")["items"][0]["memory_used_ratio"].as_f64()
    });
    let (data, took) = server.stop();
    assert!(took < Duration::from_secs(10), "{took:?}");
    let output =
        reeve(data.path()).args(["memory", &name, "--max-age-seconds", "3600", "--json"]).output().unwrap();
    let seen: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(seen["origin"], "cached", "{seen}");
}

#[test]
fn what_was_kept_is_there_after_a_kill() {
    let config = "[polling.intervals]\nmemory = \"1s\"\nload = \"1s\"\n";
    let server = Server::start_with(config, &[]);
    let name = server.get_json("/api/devices")["items"][0]["name"].as_str().unwrap().to_owned();
    let path = format!("/api/metrics/{name}/history?metric=memory_used_ratio&since=10m&points=1");
    server.until("history", Duration::from_secs(60), |server| {
        let reply = server.get(&path);
        (reply.status == 200 && reply.json()["series"][0]["mean"].is_number()).then_some(())
    });
    let server = Server::start_in(server.kill(), config, &[]);
    assert!(server.get_json(&path)["series"][0]["mean"].is_number());
}

#[test]
fn a_copy_can_be_made_while_it_runs_and_taken_back() {
    let server = Server::start();
    let copy = server.data.path().join("copy.db");
    let copy = copy.to_str().unwrap();
    server.cli_json(&["backup", copy]);
    let again = server.cli(&["backup", copy]);
    assert!(!again.status.success(), "a copy is not written over");
    let names = server.get_json("/api/devices")["items"][0]["name"].clone();
    let (data, _) = server.stop();
    let fresh = tempfile::tempdir().unwrap();
    let output = reeve(fresh.path()).args(["restore", copy]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let server = Server::start_in(fresh, "", &[]);
    assert_eq!(server.get_json("/api/devices")["items"][0]["name"], names);
    drop(data);
}
