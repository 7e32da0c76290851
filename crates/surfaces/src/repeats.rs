//! Idempotency keys: the same command sent twice is done once, and both are told the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use domain::{Error, ErrorKind, Result};
use sha2::{Digest as _, Sha256};

/// How long an answer is remembered.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Most commands remembered at once.
const MOST: usize = 1_000;
/// Longest key, in bytes.
const LONGEST_KEY: usize = 255;

/// What a command answered.
#[derive(Clone, Debug)]
pub struct Told {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
}

/// The commands of the last minutes that carried a key.
#[derive(Debug, Default)]
pub struct Repeats(Arc<Mutex<HashMap<(String, String), Remembered>>>);

#[derive(Debug)]
struct Remembered {
    /// Of the operation and its input: the same key with another one is a mistake.
    digest: [u8; 32],
    begun: Duration,
    told: Option<Told>,
}

/// What a key means.
pub enum Admitted {
    /// Never seen: do it, then say what it answered.
    New(Place),
    /// Done before.
    Told(Told),
}

/// A command that is being done under a key. Dropped without an answer, the key is free again.
pub struct Place {
    repeats: Arc<Mutex<HashMap<(String, String), Remembered>>>,
    key: (String, String),
}

impl Repeats {
    /// Looks a key up, at the monotonic moment `now`, and takes it where it is new.
    pub fn admit(
        &self,
        principal: &str,
        key: &str,
        operation: &str,
        input: &[u8],
        now: Duration,
    ) -> Result<Admitted> {
        if key.is_empty() || key.len() > LONGEST_KEY || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::invalid(
                "idempotency_key_malformed",
                "this Idempotency-Key cannot be used",
                "send 1 to 255 visible ASCII characters, such as a UUID",
            ));
        }
        let digest: [u8; 32] =
            Sha256::new().chain_update(operation).chain_update([0]).chain_update(input).finalize().into();
        let key = (principal.to_owned(), key.to_owned());
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.retain(|_, entry| entry.told.is_none() || now < entry.begun + REMEMBERED);
        if let Some(entry) = remembered.get(&key) {
            return match &entry.told {
                _ if entry.digest != digest => Err(Error::conflict(
                    "idempotency_key_reused",
                    "this Idempotency-Key was sent with another command",
                    "make a new key for each command",
                )),
                Some(told) => Ok(Admitted::Told(told.clone())),
                None => Err(Error::conflict(
                    "idempotency_in_progress",
                    "the command with this Idempotency-Key is still being done",
                    "ask again in a moment with the same key",
                )),
            };
        }
        if remembered.len() >= MOST {
            let oldest = remembered
                .iter()
                .filter(|(_, entry)| entry.told.is_some())
                .min_by_key(|(_, entry)| entry.begun);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                return Err(Error::new(
                    ErrorKind::Busy,
                    "too_many_commands",
                    "too many commands at once",
                    "try again",
                ));
            };
            remembered.remove(&oldest);
        }
        remembered.insert(key.clone(), Remembered { digest, begun: now, told: None });
        Ok(Admitted::New(Place { repeats: Arc::clone(&self.0), key }))
    }
}

impl Place {
    /// Remembers the answer, unless asking again may well give another one.
    pub fn settle(self, told: &Told) {
        // a person may approve meanwhile
        let is_for_now =
            matches!(told.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::PRECONDITION_REQUIRED);
        let is_final = told.status.is_success() || (told.status.is_client_error() && !is_for_now);
        if !is_final {
            return;
        }
        let mut remembered = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = remembered.get_mut(&self.key) {
            entry.told = Some(told.clone());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut remembered = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.get(&self.key).is_some_and(|entry| entry.told.is_none()) {
            remembered.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);

    fn told() -> Told {
        Told { status: StatusCode::OK, body: Bytes::from_static(b"{}") }
    }

    #[test]
    fn a_key_is_good_for_one_command_of_one_caller() {
        let repeats = Repeats::default();
        let Ok(Admitted::New(place)) = repeats.admit("uid:0", "k", "add_thing", b"{}", NOW) else {
            panic!("new")
        };
        let busy = repeats.admit("uid:0", "k", "add_thing", b"{}", NOW).err().map(|error| error.code());
        assert_eq!(busy, Some("idempotency_in_progress"));
        place.settle(&told());
        assert!(matches!(repeats.admit("uid:0", "k", "add_thing", b"{}", NOW), Ok(Admitted::Told(_))));
        let reused = repeats.admit("uid:0", "k", "add_thing", b"{1}", NOW).err().map(|error| error.code());
        assert_eq!(reused, Some("idempotency_key_reused"));
        assert!(matches!(repeats.admit("uid:1", "k", "add_thing", b"{}", NOW), Ok(Admitted::New(_))));
        assert!(matches!(
            repeats.admit("uid:0", "k", "add_thing", b"{}", NOW + REMEMBERED),
            Ok(Admitted::New(_))
        ));
    }

    #[test]
    fn what_failed_for_now_may_be_tried_again() {
        let repeats = Repeats::default();
        for status in [StatusCode::BAD_GATEWAY, StatusCode::PRECONDITION_REQUIRED] {
            let Ok(Admitted::New(place)) = repeats.admit("uid:0", "k", "add_thing", b"{}", NOW) else {
                panic!("new")
            };
            place.settle(&Told { status, body: Bytes::new() });
        }
        assert!(matches!(repeats.admit("uid:0", "k", "add_thing", b"{}", NOW), Ok(Admitted::New(_))));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let repeats = Repeats::default();
        for key in 0..=MOST {
            let Ok(Admitted::New(place)) = repeats.admit("uid:0", &key.to_string(), "add_thing", b"{}", NOW)
            else {
                panic!("new")
            };
            place.settle(&told());
        }
        let remembered = repeats.0.lock().expect("not poisoned");
        assert_eq!(remembered.len(), MOST);
    }
}
