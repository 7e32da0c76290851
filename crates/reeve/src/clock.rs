//! The machine's clock, kept from running backwards.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use domain::Timestamp;
use domain::ports::Clock;

/// The system's clock. After it was set back, time creeps at a tenth of its speed until the clock has caught up, so
/// that the order of what happened stays right.
pub struct SystemClock {
    start: Instant,
    told: Mutex<Told>,
}

struct Told {
    millis: i64,
    at: Instant,
    is_creeping: bool,
}

/// Steps back smaller than this are noise between two readings of the clock.
const JUMP_MILLIS: i64 = 1_000;

impl SystemClock {
    /// Starts the monotonic clock at zero.
    pub fn new() -> Self {
        let now = Instant::now();
        Self { start: now, told: Mutex::new(Told { millis: system_millis(), at: now, is_creeping: false }) }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        Timestamp::from_millis(told.next(system_millis(), Instant::now()))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Told {
    fn next(&mut self, system: i64, at: Instant) -> i64 {
        if system >= self.millis {
            if self.is_creeping {
                tracing::warn!("the system's clock has caught up");
            }
            *self = Self { millis: system, at, is_creeping: false };
            return system;
        }
        if !self.is_creeping && system < self.millis - JUMP_MILLIS {
            self.is_creeping = true;
            let seconds = (self.millis - system) / 1_000;
            tracing::warn!(seconds, "the system's clock was set back; time creeps until it has caught up");
        }
        let creep = at.saturating_duration_since(self.at).as_millis() / 10;
        if creep > 0 {
            self.millis += i64::try_from(creep).unwrap_or(0);
            self.at = at;
        }
        self.millis
    }
}

fn system_millis() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_creeps_until_it_has_caught_up() {
        let start = Instant::now();
        let mut told = Told { millis: 1_000_000, at: start, is_creeping: false };
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(told.next(1_001_000, after(1)), 1_001_000);
        assert_eq!(told.next(500_000, after(2)), 1_001_100);
        assert_eq!(told.next(501_000, after(3)), 1_001_200);
        assert_eq!(told.next(1_002_000, after(4)), 1_002_000);
    }
}
