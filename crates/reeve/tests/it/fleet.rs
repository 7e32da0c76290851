//! Several machines over SSH, from import to history.

use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::Lab;
use crate::server::Server;

const SOON: Duration = Duration::from_secs(60);

fn row(server: &Server, name: &str) -> Value {
    let list = server.get_json("/api/devices?limit=500");
    list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|row| row["name"] == name)
        .cloned()
        .unwrap_or_default()
}

fn is_read(row: &Value) -> bool {
    row["status"] == "online" && row["memory_used_ratio"].is_number() && row["cpu_busy_ratio"].is_number()
}

#[test]
fn three_machines_are_read_over_ssh() {
    let Some(lab) = Lab::find() else { return };
    let _held = ["debian", "plain", "busybox", "tower"].map(|device| lab.share(device));
    let config = lab.config_with(&["debian", "plain", "busybox", "tower"]);
    let config = format!("{config}\n[polling.intervals]\nload = \"2s\"\n");
    let server = Server::start_with(&config, &[]);
    for device in ["debian", "plain", "busybox", "tower"] {
        server.until(device, SOON, |server| is_read(&row(server, device)).then_some(()));
        let kernel = lab.ssh(device, "cat /proc/sys/kernel/osrelease");
        let info = server.get_json(&format!("/api/devices/{device}"));
        assert_eq!(info["facts"]["kernel"].as_str(), Some(kernel.trim()), "{device}");
        let uptime = server.get_json(&format!("/api/devices/{device}/processes?deadline_seconds=30"));
        assert!(uptime["value"]["process_count"].as_u64() > Some(0), "{device}: {uptime}");
    }
    assert_eq!(row(&server, "tower")["device_type"], "unraid");
    assert_eq!(row(&server, "debian")["device_type"], "debian");
    let busybox = server.get_json("/api/devices/busybox");
    let capabilities = busybox["facts"]["capabilities"].as_array().cloned().unwrap_or_default();
    assert!(
        !capabilities.contains(&json!("systemd")) && !capabilities.contains(&json!("gnu_df")),
        "{capabilities:?}"
    );
    let containers = server.get_json("/api/containers?device=debian&limit=500&deadline_seconds=20");
    assert!(containers["total"].as_u64() > Some(10), "{}", containers["summary"]);
    let metrics = server.until("history", SOON, |server| {
        let answer = server.get_json("/api/metrics/debian/history?since=1h&points=10");
        (answer["series"].as_array().map(Vec::len) >= Some(3)).then_some(answer)
    });
    assert_eq!(metrics["problems"], json!([]));
}

#[test]
fn hosts_are_imported_and_keys_approved_by_a_person() {
    let Some(lab) = Lab::find() else { return };
    let _held = lab.share("plain");
    // an ssh_config of our own, without the lab's known_hosts: the key was never seen
    let dir = tempfile::tempdir().unwrap();
    let ssh_config = dir.path().join("ssh_config");
    let none = dir.path().join("no_known_hosts");
    let text = format!(
        "Host fresh\n HostName 127.0.0.1\n Port 22002\n User root\n IdentityFile {}\n IdentitiesOnly yes\n \
         UserKnownHostsFile {}\n GlobalKnownHostsFile /dev/null\n",
        lab.file("id_ed25519").display(),
        none.display()
    );
    std::fs::write(&ssh_config, text).unwrap();
    let config = format!("[ssh]\nconfig = \"{}\"\n", ssh_config.display());
    let server = Server::start_with(&config, &[]);
    let file = ssh_config.to_str().unwrap();

    let look = server.cli(&["import", "--ssh-config", file, "--dry-run"]);
    let text = String::from_utf8_lossy(&look.stdout);
    assert!(text.contains("1 new") && text.contains("SHA256:"), "{text}");
    assert_eq!(server.get_json("/api/devices")["total"], 1, "a dry run adds nothing");

    let added = server.cli(&["import", "--ssh-config", file, "--yes"]);
    let text = String::from_utf8_lossy(&added.stdout).into_owned();
    assert!(text.contains("it waits: reeve approve-host-key fresh SHA256:"), "{text}");
    let pending = server.until("it is pending", SOON, |server| {
        let row = row(server, "fresh");
        (row["why"] == "host_key_unknown").then_some(row)
    });
    assert_eq!(pending["status"], "pending");

    let wrong =
        server.cli(&["approve-host-key", "fresh", "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]);
    assert_eq!(wrong.status.code(), Some(5), "{}", String::from_utf8_lossy(&wrong.stderr));
    let fingerprint = text.split("SHA256:").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
    let approved = server.cli_json(&["approve-host-key", "fresh", &format!("SHA256:{fingerprint}")]);
    assert_eq!(approved["host"], "[127.0.0.1]:22002");
    assert_eq!(row(&server, "fresh")["status"], "online");

    let audit = server.cli_json(&["audit", "--verify"]);
    let operations: Vec<&str> =
        audit["items"].as_array().unwrap().iter().filter_map(|row| row["operation"].as_str()).collect();
    assert!(
        operations.contains(&"approve_host_key") && operations.contains(&"import_devices"),
        "{operations:?}"
    );
}

#[test]
fn devices_are_added_changed_linked_parted_and_removed() {
    let Some(lab) = Lab::find() else { return };
    let _held = lab.share("busybox");
    let server = Server::start_with(&lab.config(), &[]);
    let own = server.get_json("/api/devices")["items"][0]["name"].as_str().unwrap().to_owned();
    let added = server.cli_json(&["add-device", "lab-busybox", "--name", "bb", "--tags", "odd,small"]);
    assert_eq!(added["tags"], json!(["odd", "small"]));
    server.until("it is online", SOON, |server| (row(server, "bb")["status"] == "online").then_some(()));

    let twice = server.cli(&["add-device", "lab-busybox", "--name", "other"]);
    assert!(String::from_utf8_lossy(&twice.stderr).contains("bb"), "it names the device that is there");
    assert_eq!(twice.status.code(), Some(5));

    let changed = server.cli_json(&["change-device", "bb", "--new-name", "box", "--location", "cellar"]);
    assert_eq!((&changed["name"], &changed["location"]), (&json!("box"), &json!("cellar")));

    let linked = server.cli_json(&["link", &own, "box"]);
    assert_eq!(linked["reached"].as_array().map(Vec::len), Some(2));
    assert_eq!(server.get_json("/api/devices")["total"], 1);
    let info = server.get_json(&format!("/api/devices/{own}"));
    let source = info["sources"][1]["id"].to_string();
    let parted = server.cli_json(&["unlink", &own, &source, "again"]);
    assert_eq!(parted["name"], "again");
    assert_eq!(server.get_json("/api/devices")["total"], 2);

    let removed = server.cli_json(&["remove-device", "again", "--forget-history"]);
    assert_eq!(removed["history_forgotten"], true);
    assert_eq!(server.get("/api/devices/again").status, 404);
}

#[test]
fn what_the_configuration_declares_is_changed_only_there() {
    let config = "[[devices]]\nname = \"here\"\ntags = [\"own\"]\n";
    let server = Server::start_with(config, &[]);
    let refused = server.cli(&["change-device", "here", "--location", "attic"]);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(5));
    assert!(text.contains("config.toml") && text.contains("line 1"), "{text}");
    let id = server.get_json("/api/devices/here")["id"].clone();
    let (data, _) = server.stop();

    // it keeps its identity over a restart, and is retired when it is declared no more
    let server = Server::start_in(data, config, &[]);
    assert_eq!(server.get_json("/api/devices/here")["id"], id);
    let (data, _) = server.stop();
    let server = Server::start_in(data, "", &[]);
    assert_eq!(server.get("/api/devices/here").status, 404);
}

#[test]
fn hosts_that_the_server_does_not_know_are_stored_as_they_resolve_here() {
    use std::os::unix::fs::PermissionsExt as _;

    let Some(lab) = Lab::find() else { return };
    let _held = lab.share("plain");
    let dir = tempfile::tempdir().unwrap();
    let ours = dir.path().join("ours");
    let text = format!(
        "Host elsewhere\n HostName 127.0.0.1\n Port 22002\n User root\n IdentityFile {}\n",
        lab.file("id_ed25519").display()
    );
    std::fs::write(&ours, text).unwrap();
    // a machine of a Tailscale network, as its own command tells it
    let tailscale = dir.path().join("tailscale");
    let status = json!({ "Peer": {
        "a": { "DNSName": "cellar.tail1234.ts.net.", "OS": "linux" },
        "b": { "DNSName": "phone.tail1234.ts.net.", "OS": "android" },
    } });
    std::fs::write(&tailscale, format!("#!/bin/sh\necho '{status}'\n")).unwrap();
    std::fs::set_permissions(&tailscale, std::fs::Permissions::from_mode(0o755)).unwrap();

    let server = Server::start_with(&lab.config(), &[]);
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let import = |arguments: &[&str]| {
        let mut command = crate::server::reeve(server.data.path());
        command.env("PATH", &path).arg("import").args(arguments).arg("--ssh-config").arg(&ours);
        String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
    };
    let look = import(&["--dry-run"]);
    assert!(look.contains("elsewhere") && look.contains("cellar") && !look.contains("phone"), "{look}");
    assert!(look.contains("does not resolve"), "what stands in the way is told: {look}");

    import(&["elsewhere", "--yes", "--approve-keys"]);
    assert_eq!(server.get_json("/api/devices")["total"], 2, "only the named one is added");
    let device = server.until("it is online", SOON, |server| {
        let device = row(server, "elsewhere");
        (device["status"] == "online").then_some(device)
    });
    assert_eq!(device["reached"][0], "root@127.0.0.1:22002");
}
