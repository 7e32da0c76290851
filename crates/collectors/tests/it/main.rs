//! Collectors against recorded machines, and the laws of their list.

#![expect(clippy::disallowed_methods, reason = "the crate opens no file; its tests read the recordings")]

mod hostile;
mod laws;
mod recordings;
