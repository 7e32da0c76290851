//! What Reeve knows, and the laws it keeps. No network, no SQL, no HTTP, no wall clock.
//!
//! # The words of this product
//!
//! - A **device** is one machine a person cares about. It is a UUID, a name and a set of sources.
//! - A **source** is one way of reaching that machine (this machine itself, SSH, later Proxmox or Beszel). What is
//!   read is kept by source, so that linking two sources to one device moves no row.
//! - A **capability** is what a machine can do (answer for systemd, let us at Docker). Code asks for it, never for
//!   what the machine *is*.
//! - An **ask** is a question to a machine: a file, an argument list, an API request. An **answer** is what came back.
//! - A **collector** says which asks make a **reading**, and which **samples** of it are history.
//! - A reading that has been **observed** carries when, by which source, and whether it is stale.
//! - An **operation** is what a caller may ask of Reeve; a **surface** is how they ask.
//! - A **problem** is a part of an answer that is missing, and why.

pub mod ask;
pub mod audit;
pub mod caller;
pub mod capability;
pub mod collector;
pub mod context;
pub mod device;
pub mod device_types;
pub mod error;
pub mod event;
pub mod facts;
pub mod fleet;
pub mod history;
pub mod host;
pub mod identity;
pub mod latest;
pub mod listing;
pub mod observed;
pub mod operation;
pub mod ports;
pub mod problem;
pub mod question;
pub mod readings;
pub mod redact;
pub mod sample;
pub mod scheduler;
pub mod secret;
pub mod settings;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod time;
pub mod untrusted;

pub use error::{Error, ErrorKind, Result};
pub use time::Timestamp;
pub use untrusted::Untrusted;

/// A future on the heap: what the ports return, so that a port can be a `dyn`.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
