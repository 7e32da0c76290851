//! Machines that misbehave: each is named for what it is, and delays no other.

mod outages;
mod rights;
mod slow;

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::Lab;
use crate::server::Server;

const SOON: Duration = Duration::from_secs(90);

fn device(server: &Server, name: &str) -> Value {
    server.get_json(&format!("/api/devices/{name}"))
}

fn until_status(server: &Server, name: &str, status: &str) -> Value {
    server.until(&format!("{name} is {status}"), SOON, |server| {
        let device = device(server, name);
        (device["status"] == status).then_some(device)
    })
}

/// Ends a fault when the test ends, however it ends.
struct Fault<'a>(&'a Lab, &'static str, &'static str);

impl<'a> Fault<'a> {
    fn on(lab: &'a Lab, fault: &'static str, device: &'static str) -> Self {
        lab.fault(fault, device, true);
        Self(lab, fault, device)
    }
}

impl Drop for Fault<'_> {
    fn drop(&mut self) {
        self.0.fault(self.1, self.2, false);
    }
}

fn quick(config: &str) -> String {
    format!("{config}\n[polling.intervals]\nload = \"2s\"\nmemory = \"2s\"\n")
}

#[test]
fn a_changed_host_key_is_refused_loudly() {
    let Some(lab) = Lab::find() else { return };
    let _held = lab.borrow("tower");
    let server = Server::start_with(&quick(&lab.config_with(&["tower"])), &[]);
    until_status(&server, "tower", "online");
    let server = {
        let _fault = Fault::on(&lab, "host-key", "tower");
        let (data, _) = server.stop();
        let server = Server::start_in(data, &quick(&lab.config_with(&["tower"])), &[]);
        let device = until_status(&server, "tower", "unreachable");
        assert_eq!(device["why"]["code"], "host_key_changed", "{}", device["why"]);
        let memory = server.get_json("/api/devices/tower/memory?max_age_seconds=0");
        assert_eq!(memory["stale"], true, "what is known is told, marked");
        server
    };
    server.cli(&["test-connection", "tower"]);
    until_status(&server, "tower", "online");
}

#[test]
fn a_machine_that_is_cut_off_goes_offline_and_comes_back() {
    let Some(lab) = Lab::find() else { return };
    let _held = (lab.borrow("busybox"), lab.share("plain"));
    let server = Server::start_with(&quick(&lab.config_with(&["busybox", "plain"])), &[]);
    until_status(&server, "busybox", "online");
    until_status(&server, "plain", "online");
    {
        let _fault = Fault::on(&lab, "stop", "busybox");
        let device = until_status(&server, "busybox", "offline");
        assert!(device["last_seen"].is_string());
        // a device known to be dead is answered at once
        let start = Instant::now();
        let memory = server.get_json("/api/devices/busybox/memory?max_age_seconds=0");
        assert_eq!(memory["stale"], true);
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        assert_eq!(self::device(&server, "plain")["status"], "online", "no other is late");
    }
    let test = server.until("it answers again", SOON, |server| {
        let test = server.get_json("/api/devices/busybox/connection");
        (test["connected"] == true).then_some(test)
    });
    assert_eq!(test["host_key"], "trusted");
    until_status(&server, "busybox", "online");
}

#[test]
fn one_session_is_enough() {
    let Some(lab) = Lab::find() else { return };
    let _held = lab.borrow("plain");
    let _fault = Fault::on(&lab, "max-sessions", "plain");
    let server = Server::start_with(&quick(&lab.config_with(&["plain"])), &[]);
    until_status(&server, "plain", "online");
    let metrics = server.get_json("/api/metrics/plain?max_age_seconds=0&deadline_seconds=30");
    assert!(metrics["memory"]["used_bytes"].is_number(), "{metrics}");
    assert!(metrics["filesystems"].as_array().is_some_and(|list| !list.is_empty()), "{metrics}");
}

#[test]
fn a_stopped_container_engine_is_told_from_an_absent_one() {
    let Some(lab) = Lab::find() else { return };
    let _held = lab.borrow("plain");
    let config = quick(&lab.config_with(&["plain"]));
    let server = Server::start_with(&config, &[]);
    server.until("containers", SOON, |server| {
        let reply = server.get("/api/containers?device=plain&max_age_seconds=0&deadline_seconds=20");
        (reply.status == 200 && reply.json()["total"].as_u64() >= Some(1)).then_some(())
    });
    let _fault = Fault::on(&lab, "dockerd", "plain");
    let doctor = server.get_json("/api/devices/plain/diagnosis");
    let text = doctor.to_string();
    assert!(
        text.contains("docker_not_running") || text.contains("nobody serves") || text.contains("not run"),
        "{text}"
    );
    let absent = server.get_json("/api/devices/plain");
    assert_eq!(absent["status"], "online", "the machine itself answers");
}

#[test]
fn a_hung_mount_is_named_and_delays_nothing_else() {
    let Some(lab) = Lab::find() else { return };
    let _held = lab.borrow("debian");
    lab.hang_mount("debian", true);
    let server = Server::start_with(&quick(&lab.config_with(&["debian"])), &[]);
    until_status(&server, "debian", "online");
    let start = Instant::now();
    let memory = server.get_json("/api/devices/debian/memory?max_age_seconds=0&deadline_seconds=20");
    assert!(start.elapsed() < Duration::from_secs(4), "memory waits for nobody: {:?}", start.elapsed());
    assert_eq!(memory["stale"], false);
    let filesystems =
        server.get_json("/api/devices/debian/filesystems?max_age_seconds=0&deadline_seconds=30");
    let named = filesystems["problems"].to_string();
    lab.hang_mount("debian", false);
    assert!(named.contains("/mnt/hung"), "{filesystems}");
}

#[test]
fn nothing_is_left_on_a_machine() {
    let Some(lab) = Lab::find() else { return };
    let _held = lab.borrow("debian");
    let processes = || lab.ssh("debian", "ls /proc | grep -c '^[0-9]'").trim().parse::<i64>().unwrap_or(0);
    let files = || lab.ssh("debian", "find /tmp /root /var/tmp -newer /proc/1/cmdline 2>/dev/null | sort");
    let (before, files_before) = (processes(), files());
    let server = Server::start_with(&quick(&lab.config_with(&["debian"])), &[]);
    until_status(&server, "debian", "online");
    for _ in 0..3 {
        server.get_json("/api/metrics/debian?max_age_seconds=0&deadline_seconds=30");
    }
    drop(server);
    let mut after = 0;
    for _ in 0..50 {
        after = processes();
        if after <= before + 1 {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(after <= before + 1, "{before} processes before, {after} after");
    assert_eq!(files(), files_before);
}

#[test]
fn awkward_logins_are_handled_or_named() {
    let Some(lab) = Lab::find() else { return };
    let _held = lab.share("debian");
    let mut config = lab.config();
    for user in ["noisy", "fishy", "tcshy", "nopath", "german", "nologin", "forced", "monitor", "ops"] {
        config += &format!("\n[[devices]]\nname = \"{user}\"\nhost = \"lab-debian\"\nuser = \"{user}\"\n");
    }
    let server = Server::start_with(&quick(&config), &[]);
    for user in ["noisy", "fishy", "tcshy", "nopath", "german", "monitor", "ops"] {
        until_status(&server, user, "online");
        let metrics = server.get_json(&format!("/api/metrics/{user}?max_age_seconds=0&deadline_seconds=30"));
        assert!(metrics["memory"]["used_bytes"].is_number(), "{user}: {metrics}");
        assert!(metrics["filesystems"].as_array().is_some_and(|list| !list.is_empty()), "{user}: {metrics}");
    }
    for user in ["nologin", "forced"] {
        let device = until_status(&server, user, "unreachable");
        assert_eq!(device["why"]["code"], "ssh_command_refused", "{user}: {}", device["why"]);
    }
    let doctor = server.get_json("/api/devices/monitor/diagnosis");
    assert!(doctor.to_string().contains("usermod -aG docker monitor"), "{doctor}");
}
