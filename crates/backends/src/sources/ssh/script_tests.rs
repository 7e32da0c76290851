//! Scripts, run by every shell that this machine has, against what machines say at their worst.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use domain::ask::{Answer, Outcome};

use super::super::answers::{answers, cap};
use super::super::framing::Reader;
use super::*;

const WORD: &str = "b5c1f4d6a3e84bb0a7c2c6e1d2f30718";

/// The shells that stand behind some machine's `/bin/sh`.
fn shells() -> Vec<Vec<&'static str>> {
    let known = [
        vec!["sh", "-s"],
        vec!["dash", "-s"],
        vec!["bash", "--posix", "-s"],
        vec!["busybox", "sh", "-s"],
        vec!["ksh", "-s"],
        vec!["mksh", "-s"],
        vec!["yash", "-s"],
    ];
    let is_here = |program: &str| {
        ["/bin", "/usr/bin"].iter().any(|folder| std::path::Path::new(folder).join(program).exists())
    };
    known.into_iter().filter(|argv| is_here(argv[0])).collect()
}

fn start(argv: &[&str]) -> Child {
    Command::new(argv[0])
        .args(&argv[1..])
        .env("LC_ALL", "de_DE.UTF-8")
        .env("PATH", SAFE_PATH)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("a shell")
}

fn converse(argv: &[&str], script: &Script, asks: &[Ask], noise: &[u8]) -> Vec<Answer> {
    let mut shell = start(argv);
    let mut input = shell.stdin.take().expect("piped");
    let text = script.text.clone();
    let writing = std::thread::spawn(move || {
        input.write_all(text.as_bytes()).expect("taken");
        input
    });
    let mut errors = shell.stderr.take().expect("piped");
    let listening = std::thread::spawn(move || {
        let mut said = Vec::new();
        errors.read_to_end(&mut said).expect("read");
        said
    });
    let mut said = noise.to_vec();
    shell.stdout.take().expect("piped").read_to_end(&mut said).expect("read");
    let _input = writing.join().expect("written");
    let complained = listening.join().expect("read");
    shell.wait().expect("ended");
    let mut output = Reader::new(WORD, script.parts.iter().map(|part| cap(asks, part)).collect());
    output.feed(&said);
    output.finish();
    let mut error = Reader::new(WORD, vec![4096; script.parts.len()]);
    error.feed(&complained);
    error.finish();
    assert!(output.is_complete(), "{argv:?} said {}", String::from_utf8_lossy(&said));
    assert!(error.is_over, "{argv:?} complained {}", String::from_utf8_lossy(&complained));
    answers(asks, &script.parts, output.into_pieces(), &error.into_pieces())
}

fn files() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let write =
        |name: &str, content: &[u8]| std::fs::write(folder.path().join(name), content).expect("written");
    write("plain", b"one\ntwo\n");
    write("no newline", b"end");
    write("empty", b"");
    write("binary", b"a\xff\x80b\x1b[31m\n");
    write("frames", format!("\n{} d 0 1 m\n\nW b 7\n", WORD.to_uppercase()).as_bytes());
    write("long", &vec![b'x'; 1 << 20]);
    std::fs::create_dir(folder.path().join("folder")).expect("made");
    folder
}

#[test]
fn every_shell_gives_the_same_answers() {
    let folder = files();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let asks = [
        Ask::file(path("plain")),
        Ask::run(["printf", "%s", "it's $HOME `id`"]),
        Ask::file(path("no newline")),
        Ask::file(path("empty")),
        Ask::file(path("missing")),
        Ask::file(path("binary")),
        Ask::file(path("frames")),
        Ask::file(path("long")).cap_bytes((1 << 20) - 1),
        Ask::run(["no-such-program", "x"]),
        Ask::run(["ls", "/no-such-folder"]),
        Ask::run(["cat"]),
        Ask::which(["cat", "no-such-program"]),
        Ask::probe([path("plain"), path("folder"), path("missing")]),
        Ask::files(format!("{}/[bp]*a*", folder.path().display())),
        Ask::files("/no/such/*"),
        Ask::files("/tmp/$(touch x)"),
        Ask::run(["sh", "-c", "exit 3"]).root(),
    ];
    for shell in shells() {
        let answers = converse(&shell, &batch(&asks, WORD), &asks, b"Welcome to nowhere\n");
        let text = |index: usize| answers[index].text().into_owned();
        let done = |status| Outcome::Done { status };
        assert_eq!(text(0), "one\ntwo\n", "{shell:?}");
        assert_eq!(text(1), "it's $HOME `id`", "{shell:?}");
        assert_eq!(text(2), "end\n", "{shell:?}: files that are read together end in a newline");
        assert_eq!((text(3).as_str(), &answers[3].outcome), ("", &done(0)), "{shell:?}");
        assert_eq!(answers[4].outcome, Outcome::Missing, "{shell:?}");
        assert_eq!(answers[5].output, b"a\xff\x80b\x1b[31m\n", "{shell:?}");
        assert!(text(6).contains("W b 7"), "{shell:?}");
        assert_eq!((answers[7].output.len(), answers[7].truncated), ((1 << 20) - 1, true), "{shell:?}");
        assert_eq!(answers[8].outcome, Outcome::Missing, "{shell:?}");
        assert!(matches!(answers[9].outcome, Outcome::Done { status: 1 | 2 }), "{shell:?}");
        assert!(answers[9].error.contains("No such file"), "{shell:?}: {}", answers[9].error);
        assert_eq!((text(10).as_str(), &answers[10].outcome), ("", &done(0)), "{shell:?}: input is empty");
        assert!(text(11).ends_with("/cat\n") && text(11).starts_with('/'), "{shell:?}: {}", text(11));
        assert_eq!(text(12), format!("frw {}\ndrw {}\n", path("plain"), path("folder")), "{shell:?}");
        assert!(
            text(13).contains("/plain:one\n") && text(13).contains("/binary:a"),
            "{shell:?}: {}",
            text(13)
        );
        assert_eq!(answers[14].outcome, Outcome::Missing, "{shell:?}");
        assert_eq!(answers[15].outcome, Outcome::Refused, "{shell:?}");
        let is_root = rustix::process::geteuid().is_root();
        assert!(!is_root || answers[16].outcome == done(3), "{shell:?}: {:?}", answers[16]);
    }
}

#[test]
fn a_question_alone_gives_the_same_answer_and_names_its_process() {
    let folder = files();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let cases = [
        (Ask::run(["sh", "-c", "echo out; echo err >&2; exit 4"]), Outcome::Done { status: 4 }, "out\n"),
        (Ask::run(["no-such-program"]), Outcome::Missing, ""),
        (Ask::file(path("plain")), Outcome::Done { status: 0 }, "one\ntwo\n"),
        (Ask::file(path("no newline")), Outcome::Done { status: 0 }, "end"),
        (Ask::file(path("missing")), Outcome::Missing, ""),
        (Ask::files(format!("{}/pl*", folder.path().display())), Outcome::Done { status: 0 }, "/plain:two\n"),
        (Ask::which(["cat"]), Outcome::Done { status: 0 }, "/cat\n"),
    ];
    for shell in shells() {
        for (ask, outcome, ending) in &cases {
            let asks = std::slice::from_ref(ask);
            let answer = converse(&shell, &alone(ask, WORD), asks, b"").remove(0);
            assert_eq!(answer.outcome, *outcome, "{shell:?}: {ask}: {answer:?}");
            assert!(answer.text().ends_with(ending), "{shell:?}: {ask}: {answer:?}");
        }
    }
}

#[test]
fn closing_the_input_ends_all_that_was_started() {
    for shell in shells() {
        // found again by its argument; a process of the program's own is to end as well
        let mark = format!("{}", 100_000 + std::process::id() % 100_000);
        let script = alone(&Ask::run(["sh", "-c", &format!("sleep {mark} & sleep {mark}")]), WORD);
        let mut child = start(&shell);
        let mut input = child.stdin.take().expect("piped");
        input.write_all(script.text.as_bytes()).expect("taken");
        wait_until(|| running(&mark) >= 2, &format!("{shell:?}: both sleep"));
        drop(input);
        wait_until(|| running(&mark) == 0, &format!("{shell:?}: none sleeps"));
        child.wait().expect("ended");
    }
}

fn running(argument: &str) -> usize {
    let processes = std::fs::read_dir("/proc").expect("proc").flatten();
    let is_it = |line: Vec<u8>| line == format!("sleep\0{argument}\0").into_bytes();
    processes.filter(|entry| std::fs::read(entry.path().join("cmdline")).is_ok_and(is_it)).count()
}

fn wait_until(is_so: impl Fn() -> bool, what: &str) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn half_a_script_runs_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace").to_string_lossy().into_owned();
    let script = batch(&[Ask::run(["touch", &trace]), Ask::run(["true"])], WORD);
    for shell in shells() {
        let mut child = start(&shell);
        let half = &script.text[..script.text.len() - 3];
        child.stdin.take().expect("piped").write_all(half.as_bytes()).expect("taken");
        child.wait().expect("ended");
        assert!(!std::path::Path::new(&trace).exists(), "{shell:?}");
    }
}
