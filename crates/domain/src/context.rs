//! What an operation is handed: the ports, and who asks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::audit::AuditStart;
use crate::caller::Caller;
use crate::fleet::{Fleet, FleetView};
use crate::ports::{Clock, Sources, Store};
use crate::readings::Readings;
use crate::settings::Settings;
use crate::{Error, Result};

/// What every call shares.
pub struct Ports {
    /// Devices and how they are doing.
    pub fleet: Arc<Fleet>,
    /// What machines say.
    pub readings: Readings,
    /// What is kept.
    pub store: Arc<dyn Store>,
    /// How machines are reached.
    pub sources: Arc<dyn Sources>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What the configuration says now.
    pub settings: watch::Receiver<Settings>,
    /// The record of what was done.
    pub audit: Audit,
    /// Commands that run on when their caller leaves.
    pub tasks: TaskTracker,
    /// Places for reads that run at once.
    pub calls: Semaphore,
}

/// Most reads that run at once; more are told that we are busy.
pub const MOST_CALLS: usize = 256;

/// One call's circumstances.
pub struct Context {
    /// What every call shares.
    pub ports: Arc<Ports>,
    /// Who asks.
    pub caller: Caller,
    /// Names this call in the log.
    pub trace_id: Uuid,
}

impl Context {
    /// The circumstances of a new call.
    pub fn new(ports: Arc<Ports>, caller: Caller) -> Self {
        Self { ports, caller, trace_id: Uuid::new_v4() }
    }

    /// The devices that exist for this caller: the only way to them.
    pub fn fleet(&self) -> FleetView<'_> {
        FleetView::new(&self.ports.fleet, &self.caller.sight)
    }
}

/// Writes the audit.
pub struct Audit {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    repeats: Mutex<BTreeMap<(String, String), Repeats>>,
}

struct Repeats {
    row_written: Duration,
    since_then: u64,
}

/// Refusals of the same caller and operation within this time are counted into one row.
const REPEATS_WITHIN: Duration = Duration::from_secs(60);

impl Audit {
    /// An audit in this store.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, repeats: Mutex::default() }
    }

    pub(crate) async fn started(&self, ctx: &Context, operation: &str, arguments: String) -> Result<u64> {
        let start = AuditStart {
            at: self.clock.now(),
            principal: ctx.caller.principal.to_string(),
            surface: ctx.caller.surface.name(),
            operation: operation.to_owned(),
            arguments,
        };
        self.store.audit_start(start).await
    }

    pub(crate) async fn ended(&self, _: &Context, id: u64, outcome: &str) -> Result<()> {
        self.store.audit_end(id, self.clock.now(), outcome.to_owned()).await
    }

    /// Writes a refusal; repeats within a minute are counted into the next row.
    pub(crate) async fn refused(&self, ctx: &Context, operation: &str, refusal: &Error) {
        let now = self.clock.monotonic();
        let key = (ctx.caller.principal.to_string(), operation.to_owned());
        let unsaid = {
            let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
            repeats.retain(|_, repeat| repeat.since_then > 0 || now < repeat.row_written + REPEATS_WITHIN);
            match repeats.get_mut(&key) {
                Some(repeat) if now < repeat.row_written + REPEATS_WITHIN => {
                    repeat.since_then += 1;
                    return;
                }
                Some(repeat) => {
                    repeat.row_written = now;
                    std::mem::take(&mut repeat.since_then)
                }
                None => {
                    repeats.insert(key, Repeats { row_written: now, since_then: 0 });
                    0
                }
            }
        };
        let arguments = if unsaid > 0 { format!("{{\"repeats_before\":{unsaid}}}") } else { "{}".to_owned() };
        let written = async {
            let id = self.started(ctx, operation, arguments).await?;
            self.ended(ctx, id, refusal.code()).await
        };
        if let Err(error) = written.await {
            tracing::error!(cause = %error.chain(), "a refusal could not be written to the audit: {error}");
        }
    }
}
