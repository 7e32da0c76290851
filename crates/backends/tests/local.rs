//! The machine that the tests run on, asked as Reeve asks its own.

mod engine;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backends::sources::{Account, Machines};
use domain::ask::{Ask, Outcome};
use domain::device::{Reach, SourceId};
use domain::ports::{Shell, Sources};

fn shell(home: &Path) -> (Machines, Arc<dyn Shell>) {
    let account = Account {
        home: home.to_owned(),
        user: "me".to_owned(),
        ssh_config: None,
        known_hosts: Vec::new(),
        agent_socket: None,
    };
    let machines = Machines::new(account, Vec::new());
    let shell = machines.open(SourceId(0), &Reach::Local);
    (machines, shell)
}

#[tokio::test]
async fn a_batch_is_answered_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
    write("a1", "one\ntwo\n");
    write("a2", "end");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (machines, shell) = shell(folder.path());
    let asks = vec![
        Ask::file(path("a1")),
        Ask::run(["sh", "-c", "echo $LC_ALL; echo words >&2; exit 5"]),
        Ask::file(path("none")),
        Ask::files(path("a[0-9]")),
        Ask::which(["cat", "no-such-program"]),
        Ask::probe([path("a1"), path("none"), "/".to_owned()]),
        Ask::run(["no-such-program"]),
        Ask::file(path("a1")).cap_bytes(3),
    ];
    let said = shell.converse(asks).await.expect("answered");
    assert_eq!(said[0].text(), "one\ntwo\n");
    assert_eq!((said[1].text().as_ref(), said[1].error.as_str()), ("C\n", "words"));
    assert_eq!(said[1].outcome, Outcome::Done { status: 5 });
    assert_eq!(said[2].outcome, Outcome::Missing);
    assert_eq!(said[3].text(), format!("{0}:one\n{0}:two\n{1}:end\n", path("a1"), path("a2")));
    assert!(said[4].text().ends_with("/cat\n"));
    assert!(said[5].text().starts_with(&format!("frw {}\nd", path("a1"))));
    assert_eq!(said[6].outcome, Outcome::Missing);
    assert_eq!((said[7].text().as_ref(), said[7].truncated), ("one", true));
    machines.close().await;
}

#[tokio::test]
async fn a_program_that_hangs_is_ended_with_all_it_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_machines, shell) = shell(folder.path());
    let nap = format!("{}", 900_000 + std::process::id());
    let script = format!("sleep {nap} & sleep {nap}");
    let ask = Ask::run(["sh", "-c", &script]).may_hang();
    let answer = shell.ask(ask.clone().deadline(Duration::from_millis(300))).await.expect("an answer");
    assert_eq!(answer.outcome, Outcome::TimedOut);
    ended(&nap).await;
    let left = tokio::time::timeout(Duration::from_millis(300), shell.ask(ask)).await;
    assert!(left.is_err());
    ended(&nap).await;
}

async fn ended(nap: &str) {
    let line = format!("sleep\0{nap}\0").into_bytes();
    let is_running = || {
        let processes = std::fs::read_dir("/proc").expect("proc").flatten();
        processes
            .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
            .any(|found| found == line)
    };
    let began = Instant::now();
    while is_running() {
        assert!(began.elapsed() < Duration::from_secs(20), "it still runs");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_answer_without_end_is_cut_at_its_cap() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_machines, shell) = shell(folder.path());
    let answer = shell.ask(Ask::run(["yes"]).may_hang().cap_bytes(100_000)).await.expect("an answer");
    assert_eq!((answer.output.len(), answer.truncated), (100_000, true));
}

#[tokio::test]
async fn sockets_are_absent_dead_forbidden_or_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (_machines, shell) = shell(folder.path());
    let engine = engine::Engine::start(&path("live.sock"), "1.99");
    drop(std::os::unix::net::UnixListener::bind(path("dead.sock")).expect("bound"));
    let get = |name: &str| shell.ask(Ask::api(path(name), "/info"));
    assert_eq!(get("live.sock").await.expect("an answer").text(), "GET /v1.51/info");
    assert_eq!(engine.connections(), 1, "the connection is kept");
    assert_eq!(get("none.sock").await.expect("an answer").outcome, Outcome::Missing);
    assert_eq!(get("dead.sock").await.expect("an answer").outcome, Outcome::Refused);
    std::fs::set_permissions(path("live.sock"), std::fs::Permissions::from_mode(0o000)).expect("forbidden");
    // root may use it all the same, and a kept connection needs no permission
    let other = shell.ask(Ask::api(path("live.sock"), "/info")).await.expect("an answer").outcome;
    assert!(matches!(other, Outcome::Denied | Outcome::Done { status: 200 }));
}
