//! Runs a program in a process group of its own, which is killed when nobody waits for it any more.

use std::io::ErrorKind;
use std::process::Stdio;
use std::time::Duration;

use domain::ask::{Answer, Outcome};
use domain::{Error, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::sources::Account;
use crate::sources::hanging::Process;
use crate::sources::ssh::SAFE_PATH;

/// Most of standard error that is kept, in bytes.
const LONGEST_ERROR_BYTES: usize = 4096;
/// How long a killed program may take to end before it counts as one that hangs.
const ENDING_DEADLINE: Duration = Duration::from_millis(500);

/// What a program may take.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub deadline: Duration,
    pub cap_bytes: usize,
}

/// Runs `argv`, tells `note` of its process, and gives the answer and whether the process has ended.
pub(super) async fn run(
    argv: &[String],
    account: &Account,
    limits: Limits,
    tasks: &TaskTracker,
    note: impl Fn(Process),
) -> Result<(Answer, bool)> {
    let began = Instant::now();
    let mut child = match start(argv, account) {
        Ok(child) => child,
        Err(error) => return Ok((not_started(argv, &error), true)),
    };
    let process = child.id().and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok());
    if let Some(process) = process.as_deref().and_then(Process::parse) {
        note(process);
    }
    let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(Error::internal("a program was started without its outputs"));
    };
    let group = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let is_by_sudo = argv.first().is_some_and(|program| program == "sudo");
    let mut running = Running { child: Some(child), group, is_by_sudo, tasks: tasks.clone() };
    let heard = tokio::time::timeout(limits.deadline, async {
        let (output, errors) = listen_to_both(output, errors, limits.cap_bytes).await;
        // more than is taken: it is ended for it, and what it said is the answer
        let status = if output.1 { None } else { running.wait().await };
        (output, errors, status)
    })
    .await;
    let mut answer = if let Ok(((output, truncated), errors, status)) = heard {
        let error = String::from_utf8_lossy(&errors).trim().to_owned();
        Answer { truncated, error, ..Answer::done(status.unwrap_or_default(), output) }
    } else {
        let seconds = limits.deadline.as_secs_f64();
        Answer::without_output(Outcome::TimedOut, format!("no answer within {seconds:.1} s"))
    };
    answer.took = began.elapsed();
    Ok((answer, running.end().await))
}

fn start(argv: &[String], account: &Account) -> std::io::Result<Child> {
    let (program, arguments) = argv.split_first().ok_or(ErrorKind::InvalidInput)?;
    Command::new(program)
        .args(arguments)
        // a program needs nothing of our environment, which may hold secrets
        .env_clear()
        .env("PATH", SAFE_PATH)
        .env("LC_ALL", "C")
        .env("HOME", &account.home)
        .env("USER", &account.user)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
}

fn not_started(argv: &[String], error: &std::io::Error) -> Answer {
    let program = argv.first().map_or("", String::as_str);
    let outcome = match error.kind() {
        ErrorKind::PermissionDenied => Outcome::Denied,
        _ => Outcome::Missing,
    };
    Answer::without_output(outcome, format!("{program}: {error}"))
}

/// Listens until both outputs end, or the first says too much.
async fn listen_to_both(
    output: impl AsyncRead + Unpin,
    errors: impl AsyncRead + Unpin,
    cap: usize,
) -> ((Vec<u8>, bool), Vec<u8>) {
    let mut kept = Vec::new();
    let output = {
        let (listening, errors) = (listen(output, cap), listen_on(errors, &mut kept));
        tokio::pin!(listening, errors);
        tokio::select! {
            output = &mut listening => {
                if !output.1 {
                    errors.await;
                }
                output
            }
            () = &mut errors => listening.await,
        }
    };
    (output, kept)
}

/// Reads up to `cap` bytes; whether there were more, in which case it stops.
async fn listen(mut from: impl AsyncRead + Unpin, cap: usize) -> (Vec<u8>, bool) {
    let mut output = Vec::new();
    let most = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
    // what was read before an error is still an answer
    let _ = (&mut from).take(most).read_to_end(&mut output).await;
    let is_more = output.len() > cap;
    output.truncate(cap);
    (output, is_more)
}

/// Reads to the end, keeping the beginning.
async fn listen_on(mut from: impl AsyncRead + Unpin, kept: &mut Vec<u8>) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let room = LONGEST_ERROR_BYTES.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..length.min(room)]);
    }
}

/// A program that runs; it and all it started are killed when this is dropped.
struct Running {
    child: Option<Child>,
    group: Option<Pid>,
    is_by_sudo: bool,
    tasks: TaskTracker,
}

impl Running {
    /// Waits for its end and gives its exit status, as a shell counts it.
    async fn wait(&mut self) -> Option<i32> {
        use std::os::unix::process::ExitStatusExt;
        let status = self.child.as_mut()?.wait().await.ok()?;
        self.child = None;
        status.code().or_else(|| status.signal().map(|signal| 128 + signal))
    }

    /// Kills what still runs; whether it has ended.
    async fn end(mut self) -> bool {
        if self.child.is_none() {
            return true;
        }
        self.kill();
        tokio::time::timeout(ENDING_DEADLINE, self.wait()).await.is_ok()
    }

    fn kill(&self) {
        if let Some(group) = self.group {
            // sudo passes on SIGTERM; killed, it would leave root's command behind
            let signal = if self.is_by_sudo { Signal::TERM } else { Signal::KILL };
            // it may have ended by itself
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        self.kill();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        // reaped when it ends, however long that takes
        self.tasks.spawn_on(
            async move { drop(tokio::time::timeout(Duration::from_secs(60), child.wait()).await) },
            &runtime,
        );
    }
}
