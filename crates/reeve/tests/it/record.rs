//! `reeve record` writes conversations as the tests of collectors read them.

use domain::facts::Facts;
use domain::testing::{Played, Transcript, play};
use tempfile::TempDir;

use crate::figures::planted_secrets;
use crate::lab::Lab;
use crate::server::reeve;

/// A data directory whose configuration declares this machine.
fn with_this_machine() -> TempDir {
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("config.toml"), "[[devices]]\nname = \"here\"\n").unwrap();
    data
}

fn recorded(data: &TempDir, collector: &str) -> String {
    let mut command = reeve(data.path());
    command.args(["record", "here", collector, "--config"]).arg(data.path().join("config.toml"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a collector makes of a transcript that answers all that it asks, and nothing else.
fn played(collector: &str, transcript: &str, facts: &Facts) -> Played {
    let def = collectors::ALL.iter().find(|def| def.name == collector).unwrap();
    let played = play(def, &Transcript::parse(transcript).unwrap(), facts).unwrap();
    assert_eq!((&played.unrecorded, &played.unasked), (&Vec::new(), &Vec::new()), "{collector}");
    played
}

fn facts(data: &TempDir) -> Facts {
    let played = played("facts", &recorded(data, "facts"), &Facts::default());
    (*played.observed.value).as_any().downcast_ref::<Facts>().unwrap().clone()
}

#[test]
fn a_recorded_machine_is_understood_again() {
    let data = with_this_machine();
    let facts = facts(&data);
    let reading = |collector: &str| played(collector, &recorded(&data, collector), &facts);
    assert!(reading("memory").reading()["total_bytes"].is_number());
    assert!(reading("filesystems").reading()["filesystems"].is_array());
    // rates need two polls: both are there
    let load = reading("load");
    assert!(load.problems.iter().all(|problem| problem.code != "needs_two_polls"), "{:?}", load.problems);
}

#[test]
fn recorded_containers_keep_their_secrets() {
    let Some(lab) = Lab::find() else { return };
    let _held = lab.share("docker");
    let data = with_this_machine();
    let transcript = recorded(&data, "containers");
    for secret in planted_secrets() {
        assert!(!transcript.contains(&secret), "{secret} is written down");
    }
    let containers = played("containers", &transcript, &facts(&data)).reading();
    assert!(containers["containers"].as_array().map(Vec::len) > Some(10), "{containers}");
}
