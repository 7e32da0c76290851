//! SSH against real `sshd` processes: what a machine may be like, and what Reeve makes of it.

mod engine;
mod sshd;

use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::ask::{Answer, Ask, Outcome};
use domain::device::{Reach, SshTarget};
use domain::ports::{KeyVerdict, Shell, Sources};
use sshd::{World, approval, open, output, running, until};

async fn code(shell: &Arc<dyn Shell>) -> String {
    match shell.converse(vec![Ask::run(["true"])]).await {
        Ok(_) => "answered".to_owned(),
        Err(error) => {
            assert!(!error.help().is_empty(), "{error:?}");
            error.code().to_owned()
        }
    }
}

async fn answers(shell: &Arc<dyn Shell>, asks: Vec<Ask>) -> Vec<Answer> {
    shell.converse(asks).await.expect("answered")
}

macro_rules! world {
    () => {{
        if !sshd::is_here() {
            return;
        }
        World::new()
    }};
}

mod trust;

#[tokio::test]
async fn a_batch_is_answered_in_order_on_one_connection() {
    let world = world!();
    let sshd = world.sshd("nas", "SetEnv LC_ALL=de_DE.UTF-8 PATH=/nowhere");
    let machines = world.machines();
    let shell = open(&machines, sshd.target(&world));
    let asks = vec![
        Ask::file("/proc/version"),
        Ask::run(["sh", "-c", "echo $LC_ALL; echo words >&2; exit 5"]),
        Ask::file("/no/such/file"),
        Ask::file("/proc/uptime"),
        Ask::run(["no-such-program"]),
        Ask::file("/proc/version"),
    ];
    for _ in 0..3 {
        let said = answers(&shell, asks.clone()).await;
        assert!(said[0].text().starts_with("Linux version"));
        assert_eq!(said[5], said[0]);
        assert_eq!((said[1].text().as_ref(), said[1].error.as_str()), ("C\n", "words"));
        assert_eq!(said[1].outcome, Outcome::Done { status: 5 });
        assert_eq!((&said[2].outcome, &said[4].outcome), (&Outcome::Missing, &Outcome::Missing));
        assert!(said[3].ok().is_some());
    }
    assert_eq!(sshd.log().matches("Accepted publickey").count(), 1, "{}", sshd.log());
    let began = Instant::now();
    machines.close().await;
    assert!(began.elapsed() < Duration::from_secs(4), "closing waits for nothing");
}

#[tokio::test]
async fn many_callers_share_one_attempt_and_eight_channels() {
    let world = world!();
    let sshd = world.sshd("nas", "");
    let machines = world.machines();
    let shell = open(&machines, sshd.target(&world));
    let all =
        (0..24).map(|number| {
            let shell = Arc::clone(&shell);
            async move {
                answers(&shell, vec![Ask::run(["echo", &number.to_string()])]).await[0].text().into_owned()
            }
        });
    let said = futures_util::future::join_all(all).await;
    assert_eq!(said, (0..24).map(|number| format!("{number}\n")).collect::<Vec<_>>());
    assert_eq!(sshd.log().matches("Accepted publickey").count(), 1);
}

#[tokio::test]
async fn a_jump_host_leads_on_and_its_faults_are_named() {
    let world = world!();
    let (gate, inner) = (world.sshd("gate", ""), world.sshd("inner", ""));
    world.write(
        "ssh_config",
        &format!(
            "Host gate\n HostName 127.0.0.1\n Port {}\nHost *\n IdentityFile {}\n User {}\n",
            gate.port,
            world.path("key"),
            world.user
        ),
    );
    let machines = world.machines();
    let target = SshTarget { proxy_jump: Some("gate".to_owned()), ..inner.target(&world) };
    assert_eq!(code(&open(&machines, target.clone())).await, "answered");
    assert!(gate.log().contains("Accepted publickey") && inner.log().contains("Accepted publickey"));
    let through_two = SshTarget { proxy_jump: Some("gate,gate".to_owned()), ..target.clone() };
    assert_eq!(code(&open(&machines, through_two)).await, "answered");
    drop(inner);
    let error = open(&machines, target).converse(vec![Ask::run(["true"])]).await.expect_err("nobody there");
    assert_eq!(error.code(), "ssh_jump_failed", "{error:?}");
    drop(gate);
    let target =
        SshTarget { host: "x".to_owned(), proxy_jump: Some("gate".to_owned()), ..SshTarget::default() };
    let error = open(&machines, target).converse(vec![Ask::run(["true"])]).await.expect_err("nobody there");
    assert_eq!(error.code(), "ssh_jump_failed");
    assert!(error.message().contains("through gate"), "{error:?}");
}

#[tokio::test]
async fn one_session_is_enough_and_none_is_an_error() {
    let world = world!();
    let sshd = world.sshd("nas", "MaxSessions 1");
    let shell = open(&world.machines(), sshd.target(&world));
    let all = (0..6).map(|number| {
        let shell = Arc::clone(&shell);
        async move {
            let ask = Ask::run(["echo", &number.to_string()]);
            let answer = if number % 2 == 0 {
                shell.ask(ask.may_hang()).await
            } else {
                shell.converse(vec![ask]).await.map(|mut all| all.remove(0))
            };
            answer.expect("answered").text().into_owned()
        }
    });
    let said = futures_util::future::join_all(all).await;
    assert_eq!(said, (0..6).map(|number| format!("{number}\n")).collect::<Vec<_>>());
    let none = world.sshd("none", "MaxSessions 0");
    assert_eq!(code(&open(&world.machines(), none.target(&world))).await, "ssh_sessions_full");
}

#[tokio::test]
async fn a_question_that_hangs_is_ended_and_leaves_nothing() {
    let world = world!();
    let sshd = world.sshd("nas", "");
    let shell = open(&world.machines(), sshd.target(&world));
    let nap = format!("{}", 300_000 + std::process::id());
    let ask = Ask::run(["sleep", &nap]).may_hang();
    let began = Instant::now();
    let answer = shell.ask(ask.clone().deadline(Duration::from_millis(700))).await.expect("an answer");
    assert_eq!(answer.outcome, Outcome::TimedOut);
    assert!(began.elapsed() < Duration::from_secs(15));
    until("nothing is left after the deadline", || running(&["sleep", &nap]) == 0).await;
    // a caller that leaves ends it too
    let leaving = tokio::time::timeout(Duration::from_secs(20), async {
        let asking = shell.ask(ask);
        tokio::pin!(asking);
        tokio::select! {
            answer = &mut asking => panic!("answered: {answer:?}"),
            () = until("it sleeps", || running(&["sleep", &nap]) == 1) => {}
        }
    });
    leaving.await.expect("in time");
    until("nothing is left after the caller", || running(&["sleep", &nap]) == 0).await;
    assert_eq!(code(&shell).await, "answered");
    assert_eq!(sshd.log().matches("Accepted publickey").count(), 1, "the connection was kept");
}

#[tokio::test]
async fn a_process_that_does_not_die_is_not_started_again() {
    let world = world!();
    let sshd = world.sshd("nas", "");
    let shell = open(&world.machines(), sshd.target(&world));
    let nap = format!("{}", 600_000 + std::process::id());
    // it stops the watcher that would kill it, and so survives as one in a dead disk's call would
    let undying = format!(
        "until [ \"$w\" ]; do read k </proc/$PPID/task/$PPID/children; set -- $k; w=$2; done; kill -STOP $w; exec sleep {nap}"
    );
    let ask = Ask::run(["sh", "-c", &undying]).may_hang().deadline(Duration::from_secs(2));
    assert_eq!(shell.ask(ask.clone()).await.expect("an answer").outcome, Outcome::TimedOut);
    assert_eq!(running(&["sleep", &nap]), 1);
    for _ in 0..2 {
        assert_eq!(shell.ask(ask.clone()).await.expect("an answer").outcome, Outcome::StillHanging);
    }
    assert_eq!(running(&["sleep", &nap]), 1);
    sshd::send("-KILL", &sshd::pids(&["sleep", &nap]));
    until("it has ended", || running(&["sleep", &nap]) == 0).await;
    assert_eq!(shell.ask(ask).await.expect("an answer").outcome, Outcome::TimedOut, "asked again");
    sshd::send("-KILL", &sshd::pids(&["sleep", &nap]));
}

#[tokio::test]
async fn an_engine_is_asked_over_the_connection() {
    let world = world!();
    let sshd = world.sshd("nas", "");
    let engine = engine::Engine::start(&world.path("docker.sock"), "1.44");
    let shell = open(&world.machines(), sshd.target(&world));
    let get = |socket: &str, path: &str| shell.ask(Ask::api(world.path(socket), path));
    for _ in 0..3 {
        let answer = get("docker.sock", "/containers/json?all=1").await.expect("an answer");
        assert_eq!(
            (answer.outcome.clone(), answer.text().as_ref()),
            (Outcome::Done { status: 200 }, "GET /v1.44/containers/json?all=1"),
            "{answer:?}"
        );
    }
    assert_eq!(get("docker.sock", "/version").await.expect("an answer").text(), "GET /version");
    assert_eq!(get("docker.sock", "/404").await.expect("an answer").outcome, Outcome::Done { status: 404 });
    let long = Ask::api(world.path("docker.sock"), "/long").cap_bytes(1000);
    let long = shell.ask(long).await.expect("an answer");
    assert_eq!((long.output.len(), long.truncated), (1000, true));
    let slow = Ask::api(world.path("docker.sock"), "/slow").deadline(Duration::from_millis(500));
    assert_eq!(shell.ask(slow).await.expect("an answer").outcome, Outcome::TimedOut);
    assert!(engine.connections() <= 3, "{} connections", engine.connections());
    assert_eq!(get("absent.sock", "/version").await.expect("an answer").outcome, Outcome::Missing);
    drop(std::os::unix::net::UnixListener::bind(world.path("dead.sock")).expect("bound"));
    assert_eq!(get("dead.sock", "/version").await.expect("an answer").outcome, Outcome::Refused);
    let all = (0..12).map(|number| get("docker.sock", if number % 2 == 0 { "/a" } else { "/b" }));
    for answer in futures_util::future::join_all(all).await {
        assert!(answer.expect("an answer").ok().is_some());
    }
}

#[tokio::test]
async fn where_nothing_is_forwarded_dockers_own_command_connects() {
    let world = world!();
    let bin = world.path("bin");
    std::fs::create_dir(&bin).expect("made");
    let _engine = engine::Engine::start(&world.path("docker.sock"), "1.44");
    // stands for the docker program: connects its input and output to the socket
    let docker = world.write("bin/docker", DIAL_STDIO);
    output("chmod", &["+x", &docker]);
    let sshd = world.sshd("nas", &format!("AllowStreamLocalForwarding no\nSetEnv PATH={bin}"));
    let shell = open(&world.machines(), sshd.target(&world));
    let answer = shell.ask(Ask::api(world.path("docker.sock"), "/info")).await.expect("an answer");
    if std::path::Path::new("/usr/bin/python3").exists() {
        assert_eq!(answer.text(), "GET /v1.44/info", "{answer:?}");
    } else {
        eprintln!("skipped: needs python3");
    }
}

const DIAL_STDIO: &str = r#"#!/usr/bin/python3
import os, socket, sys, threading
assert sys.argv[1:] == ["system", "dial-stdio"]
s = socket.socket(socket.AF_UNIX)
s.connect(os.environ["DOCKER_HOST"].removeprefix("unix://"))
def up():
    while data := os.read(0, 65536): s.sendall(data)
    os._exit(0)
threading.Thread(target=up, daemon=True).start()
while data := s.recv(65536): os.write(1, data)
"#;

#[tokio::test]
async fn an_answer_without_end_is_cut_at_its_cap() {
    let world = world!();
    let sshd = world.sshd("nas", "");
    let shell = open(&world.machines(), sshd.target(&world));
    let shout = format!("flood{}", std::process::id());
    let answer = shell.ask(Ask::run(["yes", &shout]).may_hang().cap_bytes(100_000)).await.expect("an answer");
    assert_eq!((answer.output.len(), answer.truncated), (100_000, true));
    let answers = answers(&shell, vec![Ask::run(["echo", "before"]), Ask::run(["yes", &shout])]).await;
    assert_eq!(answers[0].text(), "before\n");
    until("nothing is left", || running(&["yes", &shout]) == 0).await;
    assert_eq!(code(&shell).await, "answered");
}

#[tokio::test]
async fn a_cut_connection_is_made_anew() {
    let world = world!();
    let sshd = world.sshd("nas", "");
    let shell = open(&world.machines(), sshd.target(&world));
    assert_eq!(code(&shell).await, "answered");
    sshd.signal_connections("-KILL");
    assert_eq!(code(&shell).await, "answered");
    assert_eq!(sshd.log().matches("Accepted publickey").count(), 2);
}

#[tokio::test]
async fn a_half_open_connection_is_noticed_and_made_anew() {
    let world = world!();
    let sshd = world.sshd("nas", "");
    let shell = open(&world.machines(), sshd.target(&world));
    assert_eq!(code(&shell).await, "answered");
    sshd.signal_connections("-STOP");
    let ask = Ask::run(["true"]).deadline(Duration::from_secs(1));
    let error = shell.converse(vec![ask]).await.expect_err("nobody answers");
    assert_eq!(error.code(), "ssh_timeout");
    assert_eq!(code(&shell).await, "answered");
}

#[tokio::test]
async fn an_account_that_runs_no_commands_is_told_by_its_words() {
    let world = world!();
    let sshd = world.sshd("nas", "ForceCommand printf 'only \\033[31mbackups\\033[0m here\\n'; exit 77");
    let error = open(&world.machines(), sshd.target(&world))
        .converse(vec![Ask::run(["true"])])
        .await
        .expect_err("refused");
    assert_eq!(error.code(), "ssh_command_refused");
    assert!(error.message().contains("“only backups here”"), "{error:?}");
}

#[tokio::test]
async fn what_is_said_at_sign_in_does_not_matter() {
    let world = world!();
    // as a shell's start-up file would: words on both outputs before the command
    let noisy =
        "ForceCommand echo Welcome; echo beware >&2; printf 'no newline'; eval \"$SSH_ORIGINAL_COMMAND\"";
    let sshd = world.sshd("nas", noisy);
    let shell = open(&world.machines(), sshd.target(&world));
    let said = answers(&shell, vec![Ask::run(["sh", "-c", "echo out; echo err >&2"])]).await;
    assert_eq!((said[0].text().as_ref(), said[0].error.as_str()), ("out\n", "err"));
}

#[tokio::test]
async fn addresses_where_no_ssh_answers_are_told_apart() {
    let world = world!();
    let machines = world.machines();
    world.write("ssh_config", "Host *\n ConnectTimeout 1\n");
    let at = |host: &str, port| {
        open(&machines, SshTarget { host: host.to_owned(), port: Some(port), ..SshTarget::default() })
    };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    assert_eq!(code(&at("127.0.0.1", port)).await, "ssh_timeout", "accepted by the system, never answered");
    let answering = std::thread::spawn(move || {
        use std::io::Write;
        // the first connection is the one that was given up
        for stream in listener.incoming().take(2).flatten() {
            let _ = (&stream).write_all(b"220 ftp.example.org ready\r\n");
        }
    });
    assert_eq!(code(&at("127.0.0.1", port)).await, "ssh_banner");
    answering.join().expect("ended");
    assert_eq!(code(&at("127.0.0.1", port)).await, "ssh_refused");
    assert_eq!(code(&at("no-such-host.invalid", 22)).await, "ssh_resolve");
}

#[tokio::test]
async fn settling_says_what_this_servers_configuration_knows() {
    let world = World::new();
    world.write("ssh_config", "Host nas\n HostName nas.lan\n Port 2222\n User bob\n");
    let machines = world.machines();
    let reach = |host: &str| Reach::Ssh(SshTarget { host: host.to_owned(), ..SshTarget::default() });
    let nas = machines.settle(&reach("nas")).expect("settled");
    assert_eq!(
        (nas.known_here, nas.host_name.as_str(), nas.port, nas.user.as_str()),
        (true, "nas.lan", 2222, "bob")
    );
    let other = machines.settle(&reach("other")).expect("settled");
    assert_eq!((other.known_here, other.host_name.as_str(), other.port), (false, "other", 22));
    assert_eq!(other.user, world.user);
}
