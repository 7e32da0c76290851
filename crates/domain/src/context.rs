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
    surface: &'static str,
    code: &'static str,
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

    pub(crate) async fn ended(&self, id: u64, outcome: &str) -> Result<()> {
        self.store.audit_end(id, self.clock.now(), outcome.to_owned()).await
    }

    /// Writes a refusal. Repeats within a minute are counted: [`Audit::tell_repeats`] writes them.
    pub(crate) async fn refused(&self, ctx: &Context, operation: &str, refusal: &Error) {
        let now = self.clock.monotonic();
        let principal = ctx.caller.principal.to_string();
        let key = (principal.clone(), operation.to_owned());
        let (surface, code) = (ctx.caller.surface.name(), refusal.code());
        {
            let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(repeat) = repeats.get_mut(&key)
                && now < repeat.row_written + REPEATS_WITHIN
            {
                repeat.since_then += 1;
                return;
            }
            let unsaid = repeats.get(&key).map_or(0, |repeat| repeat.since_then);
            // what is still unsaid of the minute before stays counted
            repeats.insert(key, Repeats { row_written: now, since_then: unsaid, surface, code });
        }
        self.write_refusal(principal, surface, operation.to_owned(), "{}".to_owned(), code).await;
    }

    /// Writes the refusals that were only counted since the last call, a row for each caller and operation.
    pub async fn tell_repeats(&self) {
        let now = self.clock.monotonic();
        let told: Vec<_> = {
            let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
            let unsaid = repeats.iter_mut().filter(|(_, repeat)| repeat.since_then > 0);
            let told = unsaid.map(|((principal, operation), repeat)| {
                let count = std::mem::take(&mut repeat.since_then);
                (principal.clone(), repeat.surface, operation.clone(), count, repeat.code)
            });
            let told = told.collect();
            repeats.retain(|_, repeat| now < repeat.row_written + REPEATS_WITHIN);
            told
        };
        for (principal, surface, operation, count, code) in told {
            let arguments = format!("{{\"repeats\":{count}}}");
            self.write_refusal(principal, surface, operation, arguments, code).await;
        }
    }

    async fn write_refusal(
        &self,
        principal: String,
        surface: &'static str,
        operation: String,
        arguments: String,
        code: &'static str,
    ) {
        let start = AuditStart { at: self.clock.now(), principal, surface, operation, arguments };
        let written = async {
            let id = self.store.audit_start(start).await?;
            self.store.audit_end(id, self.clock.now(), code.to_owned()).await
        };
        if let Err(error) = written.await {
            tracing::error!(cause = %error.chain(), "a refusal could not be written to the audit: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::caller::Surface;
    use crate::testing::world::World;

    #[tokio::test]
    async fn every_refusal_is_in_the_audit_and_repeats_are_one_row() {
        let world = World::new(&[]).await;
        let ctx = Context::new(world.ports.clone(), Caller::loopback(Surface::Rest));
        let refusal = Error::new(ErrorKind::Forbidden, "read_only", "no", "");
        for _ in 0..100 {
            world.ports.audit.refused(&ctx, "remove_device", &refusal).await;
        }
        world.ports.audit.tell_repeats().await;
        world.ports.audit.tell_repeats().await;
        let rows = world.ports.store.audit(None, 10).await.unwrap();
        let told: Vec<(&str, &str)> =
            rows.iter().rev().map(|row| (row.arguments.as_str(), row.outcome.as_str())).collect();
        let repeats = r#"{"repeats":99}"#;
        let expected = [("{}", "started"), ("{}", "read_only"), (repeats, "started"), (repeats, "read_only")];
        assert_eq!(told, expected);
    }
}
