//! A thread that reads, with a connection of its own.

use std::panic::AssertUnwindSafe;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};

use domain::Result;
use rusqlite::Connection;

use super::{Shared, file};

/// Something to be read.
pub(super) type Question = Box<dyn FnOnce(&Reader) + Send>;

/// A reader's own state.
pub(super) struct Reader {
    pub(super) connection: Connection,
    pub(super) shared: Arc<Shared>,
}

impl Reader {
    pub(super) fn open(shared: Arc<Shared>) -> Result<Self> {
        Ok(Self { connection: file::open_reader(&shared.file)?, shared })
    }

    /// Answers questions until nobody is left to ask.
    pub(super) fn run(self, questions: &Mutex<Receiver<Question>>) {
        loop {
            let question = questions.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(question) = question else { return };
            // a defect in one answer must not end the reader
            if std::panic::catch_unwind(AssertUnwindSafe(|| question(&self))).is_err() {
                tracing::error!("a question to the store panicked");
            }
        }
    }
}
