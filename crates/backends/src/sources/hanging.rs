//! Questions whose program was told to die and may not have: the same is not asked again before it has ended.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::ask::{Answer, Ask, Outcome, Question};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Programs that may hang, at once on one machine.
const MOST_PROGRAMS: usize = 4;
/// API requests at once on one machine. With the programs they leave one of SSH's eight channels free.
const MOST_REQUESTS: usize = 3;
/// Longest wait for a place.
const PLACE_WITHIN: Duration = Duration::from_secs(30);

/// Places for questions that may hang: programs and API requests each have their own, so that a machine with many
/// containers does not keep `df` waiting.
pub(crate) struct Places {
    programs: Semaphore,
    requests: Semaphore,
}

impl Places {
    /// All free.
    pub fn new() -> Self {
        Self { programs: Semaphore::new(MOST_PROGRAMS), requests: Semaphore::new(MOST_REQUESTS) }
    }

    /// A place for `ask`, whose deadline begins when it has one; or the answer where none becomes free.
    pub async fn take(&self, ask: &Ask) -> Result<SemaphorePermit<'_>, Answer> {
        let places = match ask.question {
            Question::Api { .. } => &self.requests,
            _ => &self.programs,
        };
        match tokio::time::timeout(PLACE_WITHIN, places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(Answer::without_output(
                Outcome::TimedOut,
                "too many other questions hang on this machine",
            )),
        }
    }
}

/// The answer to `ask` where none came in time.
pub(crate) fn late(ask: &Ask) -> Answer {
    let seconds = ask.deadline.as_secs_f64();
    Answer::without_output(Outcome::TimedOut, format!("no answer within {seconds:.1} s"))
}

/// A process by its number and the moment it started, in ticks since boot: the number alone may be given out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its number.
    pub pid: u32,
    started: u64,
}

impl Process {
    /// Reads a line of `/proc/PID/stat`; `None` where it tells of no living process.
    pub fn parse(stat: &str) -> Option<Self> {
        let pid = stat.split(' ').next()?.trim().parse().ok()?;
        // the name is in brackets and may hold anything
        let mut rest = stat.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = rest.next()?;
        if matches!(state, "Z" | "X") {
            return None;
        }
        let started = rest.nth(18)?.parse().ok()?;
        Some(Self { pid, started })
    }
}

/// Which processes may still hang, by the question they were to answer.
#[derive(Debug, Default)]
pub(crate) struct Hanging(Mutex<HashMap<Ask, Process>>);

impl Hanging {
    /// Notes that `process` answers `ask`. The note stays until it is forgotten.
    pub fn note(&self, ask: &Ask, process: Process) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(ask.clone(), process);
    }

    /// The process that was to answer `ask` and was not seen to end.
    pub fn of(&self, ask: &Ask) -> Option<Process> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(ask).copied()
    }

    /// Forgets the process of `ask`: it has ended.
    pub fn forget(&self, ask: &Ask) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(ask);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_told_apart_by_their_start() {
        let line = |state, started| {
            format!("4711 (a) (b) {state} 1 4711 4711 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 {started} 99 1")
        };
        let process = Process::parse(&line("D", 77)).expect("a process");
        assert_eq!((process.pid, process.started), (4711, 77));
        assert_ne!(Process::parse(&line("D", 78)), Some(process));
        assert_eq!(Process::parse(&line("Z", 77)), None);
        assert_eq!(Process::parse(""), None);
    }
}
