//! A machine with its line open: asked under a breaker, so that a dead one costs nobody anything.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;

use crate::ask::{Answer, Ask};
use crate::device::SourceId;
use crate::fleet::Fleet;
use crate::ports::{Clock, Shell};
use crate::{Error, Result};

/// A machine with its line open.
pub struct Host {
    source: SourceId,
    shell: Arc<dyn Shell>,
    breaker: Mutex<Breaker>,
    doubt: Semaphore,
    fleet: Arc<Fleet>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Breaker {
    failures: u32,
    /// Nothing is asked before this moment of the monotonic clock.
    closed_until: Duration,
    /// Why the last question failed.
    error: Option<Error>,
    /// Somebody tries whether it is back.
    is_trying: bool,
}

impl Breaker {
    fn refusal(&self, now: Duration) -> Option<Error> {
        let is_waiting = now < self.closed_until || self.is_trying;
        self.error.as_ref().filter(|_| is_waiting).map(Error::retold)
    }
}

/// The wait after the first failure; it doubles with each one more.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

impl Host {
    pub(crate) fn new(
        source: SourceId,
        shell: Arc<dyn Shell>,
        fleet: Arc<Fleet>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { source, shell, breaker: Mutex::default(), doubt: Semaphore::new(1), fleet, clock }
    }

    /// Asks questions that cannot hang, in one conversation. Answers come in the same order.
    pub async fn converse(&self, asks: Vec<Ask>) -> Result<Vec<Answer>> {
        if asks.is_empty() {
            return Ok(Vec::new());
        }
        let attempt = self.admit()?;
        attempt.ended(self.shell.converse(asks).await)
    }

    /// Asks one question that may hang.
    pub async fn ask(&self, ask: Ask) -> Result<Answer> {
        let attempt = self.admit()?;
        attempt.ended(self.shell.ask(ask).await)
    }

    /// Why nothing is asked at the moment, where nothing is.
    pub fn refusal(&self) -> Option<Error> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner).refusal(self.clock.monotonic())
    }

    /// Whether the last question failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner).failures > 0
    }

    /// Held by whoever finds out whether the machine is still there; nothing where somebody does already.
    pub(crate) fn doubted(&self) -> Option<SemaphorePermit<'_>> {
        self.doubt.try_acquire().ok()
    }

    /// Forgets past failures and the connection: the next question tries again at once.
    pub async fn forget_failures(&self) {
        *self.breaker.lock().unwrap_or_else(PoisonError::into_inner) = Breaker::default();
        self.shell.hang_up().await;
    }

    fn admit(&self) -> Result<Attempt<'_>> {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(refusal) = breaker.refusal(self.clock.monotonic()) {
            return Err(refusal);
        }
        let is_trial = breaker.failures > 0;
        breaker.is_trying = is_trial;
        Ok(Attempt { host: self, is_trial })
    }

    fn failed(&self, error: &Error) {
        {
            let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
            // several questions that were under way together fail once
            if self.clock.monotonic() < breaker.closed_until {
                return;
            }
            let wait = FIRST_WAIT.saturating_mul(1 << breaker.failures.min(10)).min(LONGEST_WAIT);
            breaker.failures += 1;
            breaker.closed_until = self.clock.monotonic() + jittered(wait);
            breaker.error = Some(error.retold());
        }
        self.fleet.failed(self.source, error);
    }
}

/// A question under way; where it is the trial after failures, nobody else asks meanwhile.
struct Attempt<'a> {
    host: &'a Host,
    is_trial: bool,
}

impl Attempt<'_> {
    fn ended<T>(self, result: Result<T>) -> Result<T> {
        match &result {
            Ok(_) => {
                if self.is_trial {
                    *self.host.breaker.lock().unwrap_or_else(PoisonError::into_inner) = Breaker::default();
                }
                self.host.fleet.answered(self.host.source);
            }
            Err(error) => self.host.failed(error),
        }
        result
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.is_trial {
            self.host.breaker.lock().unwrap_or_else(PoisonError::into_inner).is_trying = false;
        }
    }
}

/// Between 75 % and 125 % of `wait`, so that machines that died together are not tried together.
fn jittered(wait: Duration) -> Duration {
    let byte = u32::from(Uuid::new_v4().as_bytes()[0]);
    wait * 3 / 4 + wait / 2 * byte / 255
}
