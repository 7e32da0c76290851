//! Machines that vanish without a word, stand still, hang up or start again: callers are answered, and they come back.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Fault, device, quick, until_status};
use crate::lab::Lab;
use crate::server::Server;

/// Nobody waits longer than this for an answer to which 2 s were given: the rest is for a busy machine.
const A_CALLERS_DEADLINE: Duration = Duration::from_secs(5);
/// What is known to be dead, or is not broken at all, is answered within this.
const AT_ONCE: Duration = Duration::from_secs(2);
/// A machine that is back is read again within this.
const BACK: Duration = Duration::from_secs(60);

/// `GET path` and how long it took.
fn timed(server: &Server, path: &str) -> (Value, Duration) {
    let start = Instant::now();
    let answer = server.get_json(path);
    (answer, start.elapsed())
}

/// Asks a machine's memory now; gives the answer and how long it took.
fn memory_now(server: &Server, name: &str) -> (Value, Duration) {
    timed(server, &format!("/api/devices/{name}/memory?max_age_seconds=0&deadline_seconds=2"))
}

/// What is known of `name` is told as stale and in time, again and again, while `other` is read as always.
fn is_answered_in_time_beside(server: &Server, name: &str, other: &str) {
    for _ in 0..3 {
        let (memory, took) = memory_now(server, name);
        assert_eq!(memory["stale"], true, "{memory}");
        assert!(memory["value"]["total_bytes"].is_number(), "{memory}");
        assert!(took < A_CALLERS_DEADLINE, "{took:?}");
        let (list, took) = timed(server, "/api/devices");
        assert_eq!(list["total"], 2);
        assert!(took < AT_ONCE, "the list asks nobody: {took:?}");
        let (memory, took) = memory_now(server, other);
        assert_eq!(memory["stale"], false, "{other} is not broken: {memory}");
        assert!(took < A_CALLERS_DEADLINE, "{other}: {took:?}");
    }
}

/// Waits until `name` is read anew, by the polls alone.
fn until_read_again(server: &Server, name: &str) {
    let before = server.get_json(&format!("/api/devices/{name}/memory?max_age_seconds=86400"));
    server.until(&format!("{name} is read again"), BACK, |server| {
        let memory = server.get_json(&format!("/api/devices/{name}/memory?max_age_seconds=86400"));
        (memory["as_of"] != before["as_of"] && memory["stale"] == false).then_some(())
    });
    until_status(server, name, "online");
}

/// Memory is known, and the machine is online.
fn until_known(server: &Server, name: &str) {
    until_status(server, name, "online");
    server.until(&format!("memory of {name}"), BACK, |server| {
        let reply = server.get(&format!("/api/devices/{name}/memory?deadline_seconds=10"));
        (reply.status == 200).then_some(())
    });
}

#[test]
fn a_machine_whose_packets_are_lost_goes_offline_with_the_reason_and_comes_back() {
    let Some(lab) = Lab::find() else { return };
    let _held = (lab.borrow("busybox"), lab.share("plain"));
    let server = Server::start_with(&quick(&lab.config_with(&["busybox", "plain"])), &[]);
    until_known(&server, "busybox");
    until_known(&server, "plain");
    {
        let _fault = Fault::on(&lab, "cut", "busybox");
        is_answered_in_time_beside(&server, "busybox", "plain");
        let device = server.until("it is told why", BACK, |server| {
            let device = device(server, "busybox");
            device["why"]["code"].is_string().then_some(device)
        });
        assert_eq!(device["why"]["code"], "ssh_timeout", "{}", device["why"]);
        assert!(device["last_seen"].is_string());
        assert_eq!(self::device(&server, "plain")["status"], "online");
    }
    // a person who mends the line does not wait for the next try
    server.until("it answers again", BACK, |server| {
        (server.get_json("/api/devices/busybox/connection")["connected"] == true).then_some(())
    });
    until_read_again(&server, "busybox");
}

#[test]
fn a_machine_that_stands_still_holds_nobody_up_and_comes_back() {
    let Some(lab) = Lab::find() else { return };
    let _held = (lab.borrow("tower"), lab.share("debian"));
    let server = Server::start_with(&quick(&lab.config_with(&["tower", "debian"])), &[]);
    until_known(&server, "tower");
    until_known(&server, "debian");
    {
        // the session that stands goes silent
        let _fault = Fault::on(&lab, "freeze", "tower");
        is_answered_in_time_beside(&server, "tower", "debian");
        // connections open, and nobody says a word on them
        let start = Instant::now();
        let test = server.get_json("/api/devices/tower/connection");
        assert_eq!(test["connected"], false, "{test}");
        assert_eq!(test["problem"]["code"], "ssh_timeout", "{test}");
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
        is_answered_in_time_beside(&server, "tower", "debian");
    }
    server.until("it answers again", BACK, |server| {
        (server.get_json("/api/devices/tower/connection")["connected"] == true).then_some(())
    });
    until_read_again(&server, "tower");
}

#[test]
fn a_connection_that_the_machine_ends_is_made_anew() {
    let Some(lab) = Lab::find() else { return };
    let _held = lab.borrow("plain");
    let server = Server::start_with(&quick(&lab.config_with(&["plain"])), &[]);
    until_known(&server, "plain");
    for _ in 0..3 {
        on_the_lab(&["exec", "lab-plain", "pkill", "-f", "^sshd: root"]);
        // the end of a connection costs nobody an answer
        let memory = server.get_json("/api/devices/plain/memory?max_age_seconds=0&deadline_seconds=20");
        assert_eq!(memory["stale"], false, "{memory}");
    }
    assert_eq!(device(&server, "plain")["status"], "online");
}

#[test]
fn a_machine_that_starts_again_is_read_again() {
    let Some(lab) = Lab::find() else { return };
    let _held = lab.borrow("busybox");
    let server = Server::start_with(&quick(&lab.config_with(&["busybox"])), &[]);
    until_known(&server, "busybox");
    on_the_lab(&["restart", "-t", "1", "lab-busybox"]);
    until_read_again(&server, "busybox");
    assert_eq!(server.get_json("/api/devices/busybox/connection")["host_key"], "trusted");
}

/// `docker ARGUMENTS` on the machine that carries the lab.
fn on_the_lab(arguments: &[&str]) {
    let output = Command::new("docker").args(arguments).output().expect("docker runs");
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
