//! Users who may not do everything: what they may see is told, and what they may not is named with the line that mends it.

use serde_json::{Value, json};

use super::{Fault, device, quick, until_status};
use crate::lab::Lab;
use crate::server::Server;

/// A server that watches `plain` as this user.
fn as_user(lab: &Lab, user: &str) -> Server {
    let config = lab.config();
    let config =
        format!("{config}\n[[devices]]\nname = \"{user}\"\nhost = \"lab-plain\"\nuser = \"{user}\"\n");
    let server = Server::start_with(&quick(&config), &[]);
    until_status(&server, user, "online");
    server
}

/// The finding about `what`.
fn finding(server: &Server, name: &str, what: &str) -> Value {
    let diagnosis = server.get_json(&format!("/api/devices/{name}/diagnosis"));
    let findings = diagnosis["findings"].as_array().cloned().unwrap_or_default();
    findings.into_iter().find(|finding| finding["what"] == what).unwrap_or_else(|| panic!("{diagnosis}"))
}

/// Everything that wants no rights is there and has no gap.
fn sees_the_machine(server: &Server, name: &str) {
    for collector in ["load", "memory", "filesystems", "network", "processes"] {
        let path = format!("/api/devices/{name}/{collector}?max_age_seconds=0&deadline_seconds=30");
        let seen = server.get_json(&path);
        assert_eq!(seen["stale"], false, "{collector}: {seen}");
        let problems = seen["problems"].as_array().cloned().unwrap_or_default();
        let lasting: Vec<&Value> =
            problems.iter().filter(|problem| problem["code"] != "needs_two_polls").collect();
        assert!(lasting.is_empty(), "{collector}: {lasting:?}");
    }
}

#[test]
fn a_user_who_lost_sudo_is_told_the_line_that_gives_it_back() {
    let Some(lab) = Lab::find() else { return };
    let _held = lab.borrow("plain");
    let _fault = Fault::on(&lab, "sudo-deny", "plain");
    let server = as_user(&lab, "ops");
    let facts = server.get_json("/api/devices/ops/facts?deadline_seconds=30")["value"].clone();
    let refusals = facts["refusals"].as_array().cloned().unwrap_or_default();
    let sudo = refusals.iter().find(|refusal| refusal["capability"] == "sudo");
    let sudo = sudo.unwrap_or_else(|| panic!("{refusals:?}"));
    assert!(sudo.to_string().contains("sudo_not_allowed"), "{sudo}");
    assert!(!facts["capabilities"].as_array().unwrap().contains(&json!("sudo")), "{facts}");
    let finding = finding(&server, "ops", "sudo");
    assert_eq!(finding["works"], false);
    let mend = finding["mend"].as_str().unwrap_or_default();
    assert!(mend.contains("ops ALL=(root) NOPASSWD: ") && mend.contains("/etc/sudoers.d/"), "{finding}");
    sees_the_machine(&server, "ops");
}

#[test]
fn a_user_without_rights_sees_all_but_the_containers_and_is_told_the_command() {
    let Some(lab) = Lab::find() else { return };
    let _held = lab.share("plain");
    let server = as_user(&lab, "monitor");
    sees_the_machine(&server, "monitor");
    let containers =
        server.get("/api/containers?device=monitor&max_age_seconds=0&deadline_seconds=20").json();
    assert!(containers["total"].as_u64().unwrap_or(0) == 0, "{containers}");
    let finding = finding(&server, "monitor", "container_engine");
    assert_eq!(finding["works"], false);
    assert!(
        finding["mend"].as_str().is_some_and(|mend| mend.contains("usermod -aG docker monitor")),
        "{finding}"
    );
    assert!(
        containers.to_string().contains("usermod -aG docker monitor"),
        "the answer itself says so: {containers}"
    );
    assert_eq!(device(&server, "monitor")["status"], "online");
}
