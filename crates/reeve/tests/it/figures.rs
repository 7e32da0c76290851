//! Figures equal what the machine's own tools say.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::lab::Lab;
use crate::server::Server;

/// Within one poll of the start.
const SOON: Duration = Duration::from_secs(60);

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C").output().expect("it runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The name of the one device of a fresh server.
fn this_machine(server: &Server) -> String {
    server.get_json("/api/devices")["items"][0]["name"].as_str().expect("it watches its machine").to_owned()
}

fn close(ours: f64, theirs: f64, share: f64) -> bool {
    (ours - theirs).abs() <= theirs.abs() * share
}

#[test]
fn a_fresh_start_watches_its_own_machine_at_once() {
    let server = Server::start();
    let row = server.until("it is online", SOON, |server| {
        let row = server.get_json("/api/devices")["items"][0].clone();
        (row["status"] == "online" && row["memory_used_ratio"].is_number()).then_some(row)
    });
    assert_eq!(row["reached"][0], "this machine");
    let shown = String::from_utf8_lossy(&server.cli(&["devices"]).stdout).into_owned();
    assert!(shown.contains("1 device: 1 online"), "{shown}");
}

#[test]
fn memory_is_what_free_counts() {
    let server = Server::start();
    let name = this_machine(&server);
    let ours = server.get_json(&format!("/api/devices/{name}/memory?max_age_seconds=0&deadline_seconds=20"));
    let theirs = run("free", &["-b"]);
    let line: Vec<f64> = theirs
        .lines()
        .find(|line| line.starts_with("Mem:"))
        .expect("free tells memory")
        .split_whitespace()
        .skip(1)
        .map(|figure| figure.parse().expect("a number"))
        .collect();
    let value = &ours["value"];
    assert_eq!(value["total_bytes"].as_f64(), Some(line[0]));
    for (field, theirs) in [("used_bytes", line[1]), ("shared_bytes", line[3]), ("available_bytes", line[5])]
    {
        let ours = value[field].as_f64().expect("it is told");
        // the machine works on between the two questions
        assert!(close(ours, theirs, 0.1) || (ours - theirs).abs() < 3e8, "{field}: {ours} and {theirs}");
    }
}

#[test]
fn file_systems_are_what_df_counts() {
    let server = Server::start();
    let name = this_machine(&server);
    let ours =
        server.get_json(&format!("/api/devices/{name}/filesystems?max_age_seconds=0&deadline_seconds=20"));
    let told = ours["value"]["filesystems"].as_array().expect("a list");
    let root = told.iter().find(|filesystem| filesystem["mount_point"] == "/").expect("the root is there");
    let theirs = run("df", &["-B1", "--output=size,used,avail", "/"]);
    let line: Vec<f64> = theirs
        .lines()
        .nth(1)
        .expect("a line")
        .split_whitespace()
        .map(|n| n.parse().expect("a number"))
        .collect();
    assert_eq!(root["size_bytes"].as_f64(), Some(line[0]), "{}", ours["problems"]);
    for (field, theirs) in [("used_bytes", line[1]), ("available_bytes", line[2])] {
        let ours = root[field].as_f64().expect("it is told");
        assert!(close(ours, theirs, 0.05), "{field}: {ours} and {theirs}");
    }
    let points: Vec<&str> = told.iter().filter_map(|filesystem| filesystem["device"].as_str()).collect();
    let mut once = points.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(points.len(), once.len(), "no device is counted twice: {points:?}");
}

#[test]
fn facts_are_what_the_machine_says_of_itself() {
    let server = Server::start();
    let name = this_machine(&server);
    let info = server.until("facts", SOON, |server| {
        let info = server.get_json(&format!("/api/devices/{name}"));
        info["facts"].is_object().then_some(info)
    });
    let facts = &info["facts"];
    assert_eq!(facts["kernel"].as_str(), Some(run("uname", &["-r"]).trim()));
    assert_eq!(facts["architecture"].as_str(), Some(run("uname", &["-m"]).trim()));
    assert_eq!(
        facts["hardware"]["cpu_count"].as_u64().map(|n| n.to_string()),
        Some(run("nproc", &[]).trim().to_owned())
    );
    let total: u64 = run("awk", &["/MemTotal/ {printf \"%.0f\", $2 * 1024}", "/proc/meminfo"])
        .trim()
        .parse()
        .expect("a number");
    assert_eq!(facts["hardware"]["memory_bytes"].as_u64(), Some(total));
}

#[test]
fn containers_are_what_docker_says() {
    let Some(lab) = Lab::find() else { return };
    let _lab = lab.share("docker");
    let server = Server::start();
    let name = this_machine(&server);
    let containers = server.until("containers", SOON, |server| {
        let list = server.get_json(&format!("/api/containers?device={name}&limit=500&deadline_seconds=20"));
        (list["total"].as_u64() > Some(10)).then_some(list)
    });
    let theirs = run("docker", &["ps", "-aq"]);
    assert_eq!(containers["total"].as_u64(), Some(theirs.lines().count() as u64));
    for container in
        ["lab-paused", "lab-created", "lab-exit0", "lab-exit2", "lab-killed", "lab-oom", "media-library-1"]
    {
        let details = &server.get_json(&format!("/api/containers/{name}/{container}"))["container"];
        let inspected: Value = serde_json::from_str(&run("docker", &["inspect", container])).expect("JSON");
        let inspected = &inspected[0];
        assert_eq!(details["state"], inspected["State"]["Status"], "{container}");
        if inspected["State"]["Status"] == "exited" {
            assert_eq!(details["exit_code"], inspected["State"]["ExitCode"], "{container}");
        }
        assert_eq!(details["oom_killed"], inspected["State"]["OOMKilled"], "{container}");
        assert_eq!(
            details["health"].as_str(),
            inspected["State"]["Health"]["Status"].as_str(),
            "{container}"
        );
        assert_eq!(details["restart_count"], inspected["RestartCount"], "{container}");
    }
    let web = &server.get_json(&format!("/api/containers/{name}/shop_web_1"))["container"];
    assert_eq!(web["compose"]["project"], "shop");
    let ports = web["ports"].as_array().expect("a list");
    assert!(
        ports.iter().any(|port| port["host_address"] == "127.0.0.1" && port["container_port"] == 8080),
        "{ports:?}"
    );
}

#[test]
fn container_memory_is_what_docker_stats_shows() {
    let Some(lab) = Lab::find() else { return };
    let _lab = lab.share("docker");
    let server = Server::start();
    let name = this_machine(&server);
    let path = format!("/api/containers/{name}/shop_cache_1?max_age_seconds=0&deadline_seconds=20");
    let details = server.until("usage", SOON, |server| {
        let details = server.get(&path);
        (details.status == 200 && details.json()["container"]["usage"]["memory_bytes"].is_number())
            .then(|| details.json())
    });
    let usage = &details["container"]["usage"];
    // `docker stats` rounds to four digits: 64MiB, 1.234MiB
    let shown = run("docker", &["stats", "--no-stream", "--format", "{{.MemUsage}}", "shop_cache_1"]);
    let (used, limit) = shown.trim().split_once(" / ").expect("used / limit");
    assert!(
        close(usage["memory_limit_bytes"].as_f64().expect("a limit"), bytes(limit), 0.01),
        "{shown} {usage}"
    );
    assert!(close(usage["memory_bytes"].as_f64().expect("use"), bytes(used), 0.2), "{shown} {usage}");
}

fn bytes(text: &str) -> f64 {
    let digits = text.find(|c: char| c.is_alphabetic()).expect("a unit");
    let unit = match &text[digits..] {
        "B" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        other => panic!("the unit {other}"),
    };
    text[..digits].parse::<f64>().expect("a number") * unit
}

#[test]
fn no_secret_of_a_container_is_told_or_kept() {
    let Some(lab) = Lab::find() else { return };
    let _lab = lab.share("docker");
    let server = Server::start();
    let name = this_machine(&server);
    server.until("containers", SOON, |server| {
        (server.get_json("/api/containers?limit=500")["total"].as_u64() > Some(10)).then_some(())
    });
    let planted = planted_secrets();
    let mut told =
        String::from_utf8_lossy(&server.get(&format!("/api/devices/{name}/containers")).body).into_owned();
    told += &String::from_utf8_lossy(&server.get(&format!("/api/devices/{name}/processes")).body);
    let (data, _) = server.stop();
    for file in std::fs::read_dir(data.path()).expect("the data directory").flatten() {
        told += &String::from_utf8_lossy(&std::fs::read(file.path()).unwrap_or_default());
    }
    for secret in planted {
        assert!(!told.contains(&secret), "{secret} is told");
    }
}

/// The lab's secrets: values of environment variables, labels and arguments whose name says that they are.
pub fn planted_secrets() -> Vec<String> {
    let inspected = run("docker", &["inspect", "lab-secrets", "shop_db_1", "shop_api_1"]);
    let containers: Vec<Value> = serde_json::from_str(&inspected).expect("JSON");
    let mut secrets = Vec::new();
    for container in &containers {
        let config = &container["Config"];
        let pairs = config["Env"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .filter_map(|v| v.split_once('='));
        let labels = config["Labels"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(k, v)| Some((k.as_str(), v.as_str()?)));
        let named = pairs.chain(labels).filter(|(name, _)| domain::redact::is_secret_name(name));
        secrets.extend(named.map(|(_, value)| value.to_owned()));
        let words = container["Args"].as_array().into_iter().flatten().filter_map(Value::as_str);
        secrets.extend(words.filter_map(|word| word.strip_prefix("--password=")).map(str::to_owned));
    }
    secrets.retain(|secret| secret.len() > 5);
    assert!(secrets.len() >= 3, "the lab plants secrets: {secrets:?}");
    secrets
}
