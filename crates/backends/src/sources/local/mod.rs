//! A shell on the machine that Reeve runs on: files are read directly, programs are started without any shell.

mod files;
mod process;

use std::path::Path;
use std::sync::Arc;

use domain::ask::{Answer, Ask, Outcome, Question};
use domain::ports::Shell;
use domain::{BoxFuture, Error, Result};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Account;
use super::docker::{Dial, Dialled, Engines};
use super::hanging::{Hanging, Places, Process, late};
use process::{Limits, run};

/// Threads that read files, at once.
const MOST_READERS: usize = 4;
/// Programs that cannot hang, at once.
const MOST_PROGRAMS: usize = 4;

/// A shell on this machine.
pub(crate) struct LocalShell {
    account: Arc<Account>,
    tasks: TaskTracker,
    hanging: Hanging,
    places: Places,
    readers: Semaphore,
    programs: Semaphore,
    engines: Engines,
}

impl LocalShell {
    /// A shell whose tasks are `tasks`.
    pub fn new(account: Arc<Account>, tasks: TaskTracker, closing: CancellationToken) -> Self {
        let engines = Engines::new(tasks.clone(), closing);
        Self {
            account,
            tasks,
            hanging: Hanging::default(),
            places: Places::new(),
            readers: Semaphore::new(MOST_READERS),
            programs: Semaphore::new(MOST_PROGRAMS),
            engines,
        }
    }

    /// Answers what can be read without a program, on one thread; the rest one after the other.
    async fn all(&self, asks: Vec<Ask>) -> Result<Vec<Answer>> {
        let is_read = |ask: &Ask| {
            matches!(
                ask.question,
                Question::File(_) | Question::Files(_) | Question::Which(_) | Question::Probe(_)
            )
        };
        let to_read: Vec<Ask> = asks.iter().filter(|ask| is_read(ask)).cloned().collect();
        let mut read = self.read(to_read).await?.into_iter();
        let mut answers = Vec::with_capacity(asks.len());
        for ask in asks {
            let answer = match read.next_if_read(is_read(&ask)) {
                Some(answer) if answer.outcome == Outcome::Denied && ask.root && !is_root() => {
                    self.program(&ask, None).await?
                }
                Some(answer) => answer,
                None => {
                    let _place = self.programs.acquire().await.map_err(|_| Error::cancelled())?;
                    self.program(&ask, None).await?
                }
            };
            answers.push(answer);
        }
        Ok(answers)
    }

    async fn read(&self, asks: Vec<Ask>) -> Result<Vec<Answer>> {
        if asks.is_empty() {
            return Ok(Vec::new());
        }
        let _place = self.readers.acquire().await.map_err(|_| Error::cancelled())?;
        let deadline = asks.iter().map(|ask| ask.deadline).max().unwrap_or_default();
        let late: Vec<Answer> = asks.iter().map(late).collect();
        let reading = self.tasks.spawn_blocking(move || asks.iter().map(files::read).collect());
        match tokio::time::timeout(deadline, reading).await {
            Ok(answers) => answers.map_err(|_| Error::internal("reading files broke off")),
            Err(_) => Ok(late),
        }
    }

    /// Answers by a program; `key` remembers it while it hangs.
    async fn program(&self, ask: &Ask, key: Option<&Ask>) -> Result<Answer> {
        let Some(argv) = argv(ask) else {
            return Ok(Answer::without_output(Outcome::Refused, "this cannot be asked by a program"));
        };
        let limits = Limits { deadline: ask.deadline, cap_bytes: ask.cap_bytes };
        let note = |process: Process| {
            if let Some(key) = key {
                self.hanging.note(key, process);
            }
        };
        let (mut answer, has_ended) = run(&argv, &self.account, limits, &self.tasks, note).await?;
        if let (Some(key), true) = (key, has_ended) {
            self.hanging.forget(key);
        }
        if ask.root && argv.first().is_some_and(|program| program == "sudo") {
            answer.outcome = sudo_outcome(&answer);
        }
        if let (Question::File(_), Outcome::Done { status: 1 }) = (&ask.question, &answer.outcome) {
            answer.outcome = file_outcome(&answer.error);
        }
        Ok(answer)
    }

    fn still_hangs(&self, key: &Ask) -> bool {
        let Some(process) = self.hanging.of(key) else { return false };
        let now = std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).ok();
        let is_there = now.and_then(|stat| Process::parse(&stat)) == Some(process);
        if !is_there {
            self.hanging.forget(key);
        }
        is_there
    }

    async fn ask_alone(&self, ask: Ask) -> Result<Answer> {
        let _place = match self.places.take(&ask).await {
            Ok(place) => place,
            Err(answer) => return Ok(answer),
        };
        if let Question::Api { socket, path } = &ask.question {
            let answering = self.engines.get(self, socket, path, ask.cap_bytes);
            return tokio::time::timeout(ask.deadline, answering).await.unwrap_or_else(|_| Ok(late(&ask)));
        }
        let key = Ask { deadline: std::time::Duration::ZERO, ..ask.clone() };
        if self.still_hangs(&key) {
            return Ok(Answer::without_output(Outcome::StillHanging, "an earlier one has not ended"));
        }
        match ask.question {
            // the file system's own answer, where it cannot be one of a dead disk
            Question::Which(_) | Question::Probe(_) | Question::Files(_) => {
                let answers = self.read(vec![ask]).await?;
                answers.into_iter().next().ok_or_else(|| Error::internal("a question went without an answer"))
            }
            _ => self.program(&ask, Some(&key)).await,
        }
    }
}

/// The answers that were read, taken in order by the asks they belong to.
trait NextIfRead {
    fn next_if_read(&mut self, is_read: bool) -> Option<Answer>;
}

impl NextIfRead for std::vec::IntoIter<Answer> {
    fn next_if_read(&mut self, is_read: bool) -> Option<Answer> {
        if is_read { self.next() } else { None }
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The program that answers `ask`; a file that may hang is read by one, because a program can be killed.
fn argv(ask: &Ask) -> Option<Vec<String>> {
    let own = match &ask.question {
        Question::Run(argv) => argv.clone(),
        Question::File(path) => {
            let bytes = ask.cap_bytes.saturating_add(1).to_string();
            ["head", "-c", &bytes, "--", path].map(String::from).to_vec()
        }
        _ => return None,
    };
    let sudo = ["sudo", "-n", "--"].map(String::from);
    Some(if ask.root && !is_root() { sudo.into_iter().chain(own).collect() } else { own })
}

fn sudo_outcome(answer: &Answer) -> Outcome {
    let said = answer.error.as_str();
    let is_sudos = said.starts_with("sudo:") || said.contains("Sorry, user") || said.contains("sudoers");
    match &answer.outcome {
        Outcome::Missing => Outcome::Denied,
        Outcome::Done { status: 1 } if answer.output.is_empty() && is_sudos => {
            if said.contains("command not found") { Outcome::Missing } else { Outcome::Denied }
        }
        other => other.clone(),
    }
}

fn file_outcome(said: &str) -> Outcome {
    if said.contains("No such file") {
        Outcome::Missing
    } else if said.contains("Permission denied") {
        Outcome::Denied
    } else {
        Outcome::Done { status: 1 }
    }
}

impl Shell for LocalShell {
    fn converse(&self, asks: Vec<Ask>) -> BoxFuture<'_, Result<Vec<Answer>>> {
        Box::pin(self.all(asks))
    }

    fn ask(&self, ask: Ask) -> BoxFuture<'_, Result<Answer>> {
        Box::pin(self.ask_alone(ask))
    }

    fn hang_up(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.engines.forget() })
    }
}

impl Dial for LocalShell {
    fn dial<'a>(&'a self, socket: &'a str) -> BoxFuture<'a, Result<Dialled>> {
        Box::pin(async move {
            Ok(match UnixStream::connect(Path::new(socket)).await {
                Ok(stream) => Dialled::Open(Box::new(stream)),
                Err(error) => match error.kind() {
                    std::io::ErrorKind::NotFound => {
                        Dialled::Not(Outcome::Missing, format!("there is no socket {socket}"))
                    }
                    std::io::ErrorKind::PermissionDenied => Dialled::Not(
                        Outcome::Denied,
                        format!("{} may not use the socket {socket}", self.account.user),
                    ),
                    _ => Dialled::Not(Outcome::Refused, format!("nobody serves {socket}: {error}")),
                },
            })
        })
    }
}
