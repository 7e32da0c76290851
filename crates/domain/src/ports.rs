//! What we ask of the world: shells, a store, a clock. Each is a `dyn`, and each has at least two implementations.

use std::sync::Arc;
use std::time::Duration;

use crate::ask::{Answer, Ask};
use crate::audit::{AuditRow, AuditStart};
use crate::device::{Device, DeviceId, Reach, SourceId};
use crate::history::{HistoryFigures, Line, Poll, RangeQuery, Retention, Selector};
use crate::{BoxFuture, Result, Timestamp};

/// The time. Implemented by the program and by tests.
pub trait Clock: Send + Sync {
    /// Now: milliseconds UTC that never run backwards.
    fn now(&self) -> Timestamp;
    /// A monotonic moment, for intervals: milliseconds since some fixed start.
    fn monotonic(&self) -> Duration;
}

/// A way of asking one machine. Dropping a future it gave ends the question, on the machine too.
pub trait Shell: Send + Sync {
    /// Asks all of these in one conversation and gives the answers in the same order. Only asks that cannot hang.
    /// An error means that the machine could not be asked at all.
    fn converse(&self, asks: Vec<Ask>) -> BoxFuture<'_, Result<Vec<Answer>>>;

    /// Asks one question that may hang, on a channel of its own.
    fn ask(&self, ask: Ask) -> BoxFuture<'_, Result<Answer>>;

    /// Forgets the connection, so that the next question makes a new one.
    fn hang_up(&self) -> BoxFuture<'_, ()>;
}

/// Makes shells: one per source, kept by the caller.
pub trait Sources: Send + Sync {
    /// A shell to the machine at `reach`. Nothing is connected yet.
    fn open(&self, source: SourceId, reach: &Reach) -> Arc<dyn Shell>;

    /// Looks at the machine at `reach` without asking anything of it: resolves, connects, reads the host key, signs in.
    fn inspect(&self, reach: &Reach) -> BoxFuture<'_, Inspection>;

    /// Trusts a host key from now on, in place of an older one for the same host and algorithm.
    fn trust(&self, key: &ApprovedHostKey);

    /// How the server's own `ssh_config` resolves `reach`.
    fn settle(&self, reach: &Reach) -> Result<Settled>;
}

/// An SSH destination as the server's own configuration resolves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Whether the server's `ssh_config` has a `Host` block (not `*`) for it.
    pub known_here: bool,
    /// Host name or address to connect to; empty for this machine.
    pub host_name: String,
    /// TCP port.
    pub port: u16,
    /// User to sign in as.
    pub user: String,
    /// Key files that exist and that this process cannot read.
    pub unreadable_keys: Vec<String>,
}

/// What a look at a machine showed, step by step.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    /// The address that was connected to.
    pub address: Option<String>,
    /// The key that the host showed.
    pub host_key: Option<ShownHostKey>,
    /// Whether we could sign in.
    pub signed_in: bool,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Why it went no further.
    pub error: Option<crate::problem::Problem>,
}

/// A host key as a host showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownHostKey {
    /// Host name as connected to, `[host]:port` where the port is not 22: the form of `known_hosts`.
    pub host: String,
    /// Key type, such as `ssh-ed25519`.
    pub algorithm: String,
    /// `SHA256:…` as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// Public key, as in `known_hosts`: base64.
    pub public_key: String,
    /// Whether it is trusted, unknown, changed or revoked.
    pub verdict: KeyVerdict,
}

/// What we know of a host key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyVerdict {
    /// It is in `known_hosts`, or was approved.
    Trusted,
    /// Never seen.
    Unknown,
    /// Another one is known for this host.
    Changed,
    /// It is marked as revoked.
    Revoked,
}

/// A host key that a person approved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovedHostKey {
    /// Host in the form of `known_hosts`.
    pub host: String,
    /// Key type.
    pub algorithm: String,
    /// Public key, base64.
    pub public_key: String,
    /// When it was approved.
    pub approved_at: Timestamp,
    /// By whom.
    pub approved_by: String,
}

/// A latest reading as it is kept over a restart.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredReading {
    /// Whose.
    pub source: SourceId,
    /// Of which collector.
    pub collector: String,
    /// When it was seen.
    pub as_of: Timestamp,
    /// The reading as JSON.
    pub value: Vec<u8>,
}

/// What is kept: configuration, latest readings, history, audit. What it acknowledged is there after a crash.
pub trait Store: Send + Sync {
    /// All devices.
    fn devices(&self) -> BoxFuture<'_, Result<Vec<Device>>>;
    /// Writes a device as given, its sources too; a source of another device moves here.
    fn save_device<'a>(&'a self, device: &'a Device) -> BoxFuture<'a, Result<()>>;
    /// Writes several devices at once: all or none.
    fn save_devices<'a>(&'a self, devices: &'a [Device]) -> BoxFuture<'a, Result<()>>;
    /// Removes a device and its sources' latest readings. Its history is kept until it is forgotten or ages out.
    fn remove_device(&self, id: DeviceId) -> BoxFuture<'_, Result<()>>;
    /// A source id that was never given out before.
    fn next_source_id(&self) -> BoxFuture<'_, Result<SourceId>>;

    /// Host keys that were approved.
    fn host_keys(&self) -> BoxFuture<'_, Result<Vec<ApprovedHostKey>>>;
    /// Approves a host key, in place of an older one for the same host and algorithm.
    fn approve_host_key<'a>(&'a self, key: &'a ApprovedHostKey) -> BoxFuture<'a, Result<()>>;

    /// Latest readings as they were kept.
    fn latest(&self) -> BoxFuture<'_, Result<Vec<StoredReading>>>;
    /// Keeps latest readings, in place of older ones of the same source and collector.
    fn keep_latest(&self, readings: Vec<StoredReading>) -> BoxFuture<'_, Result<()>>;

    /// Takes a poll into the history. Ready when it is written (within about a second), or dropped and counted: then an
    /// error of kind `Busy` or `TooLarge` says so.
    fn append(&self, poll: Poll) -> BoxFuture<'_, Result<()>>;
    /// The series that match, each cut into buckets, ordered by source and labels.
    fn range(&self, query: RangeQuery) -> BoxFuture<'_, Result<Vec<Line>>>;
    /// The names of the metrics that these sources ever told, sorted.
    fn metrics(&self, sources: Vec<SourceId>) -> BoxFuture<'_, Result<Vec<String>>>;
    /// Forgets the series that match.
    fn forget(&self, selector: Selector) -> BoxFuture<'_, Result<()>>;
    /// Seals, compacts, rolls up and forgets what is due at `now`.
    fn tend(&self, now: Timestamp, retention: Retention) -> BoxFuture<'_, Result<()>>;
    /// What the history takes and holds.
    fn figures(&self) -> BoxFuture<'_, Result<HistoryFigures>>;

    /// Writes that an act begins; gives its number.
    fn audit_start(&self, start: AuditStart) -> BoxFuture<'_, Result<u64>>;
    /// Writes how the act `id` ended: `done` or an error's code.
    fn audit_end(&self, id: u64, at: Timestamp, outcome: String) -> BoxFuture<'_, Result<()>>;
    /// At most `limit` rows before the row `before` (or the newest), newest first.
    fn audit(&self, before: Option<u64>, limit: usize) -> BoxFuture<'_, Result<Vec<AuditRow>>>;
    /// Checks the audit's chain; gives the number of rows, or an error that names the first bad one.
    fn verify_audit(&self) -> BoxFuture<'_, Result<u64>>;

    /// Writes a copy of everything to `path`, while in use.
    fn backup<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<()>>;
    /// Writes what waits and closes.
    fn close(&self) -> BoxFuture<'_, Result<()>>;
}
