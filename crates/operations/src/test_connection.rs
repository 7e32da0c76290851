//! `test_connection`: looks at a machine step by step, without asking anything of it.

use domain::context::Context;
use domain::device::{Device, Reach};
use domain::operation::{Effect, Operation, Route, Toolset};
use domain::ports::{Inspection, KeyVerdict};
use domain::problem::Problem;
use domain::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Tries to reach a device now: finds its address, connects, reads its host key, signs in. Says how far it came and why it
/// went no further. Past failures are forgotten, so the next poll tries again at once.
#[derive(Deserialize, JsonSchema)]
pub struct TestConnection {
    /// The device's name or id.
    device: String,
}

/// How far a test came.
#[derive(Serialize, JsonSchema)]
pub struct ConnectionTest {
    /// Whether we could sign in.
    pub connected: bool,
    /// Where it leads.
    pub destination: String,
    /// The address that was connected to.
    pub address: Option<String>,
    /// Type of the key that the host showed, such as `ssh-ed25519`.
    pub host_key_type: Option<String>,
    /// Fingerprint of that key, as `ssh-keygen -l` prints it.
    pub host_key_fingerprint: Option<String>,
    /// `trusted`, `unknown`, `changed` or `revoked`.
    pub host_key: Option<String>,
    /// How long it took, in seconds.
    pub took_seconds: f64,
    /// Why it went no further.
    pub problem: Option<Problem>,
}

impl Operation for TestConnection {
    const NAME: &'static str = "test_connection";
    const EFFECT: Effect = Effect::Read;
    const ROUTE: Route = Route::get("/devices/{device}/connection");
    const TOOLSET: Toolset = Toolset::Fleet;
    type Output = ConnectionTest;

    async fn run(self, ctx: &Context) -> Result<Self::Output> {
        let device = ctx.fleet().device(&self.device)?;
        let source = device.sources.first().ok_or_else(|| Error::internal("a device without a source"))?;
        let test = ConnectionTest::of(&source.reach, ctx.ports.sources.inspect(&source.reach).await);
        if test.connected {
            forget_failures(ctx, &device).await;
        }
        Ok(test)
    }
}

async fn forget_failures(ctx: &Context, device: &Device) {
    for source in &device.sources {
        let host = ctx.ports.readings.host(source);
        if host.refusal().is_some() {
            host.forget_failures().await;
        }
    }
}

impl ConnectionTest {
    /// What a look at a machine showed.
    pub fn of(reach: &Reach, inspection: Inspection) -> Self {
        let key = inspection.host_key;
        Self {
            connected: inspection.signed_in,
            destination: reach.to_string(),
            address: inspection.address,
            host_key_type: key.as_ref().map(|key| key.algorithm.clone()),
            host_key_fingerprint: key.as_ref().map(|key| key.fingerprint.clone()),
            host_key: key.as_ref().map(|key| verdict_name(key.verdict).to_owned()),
            took_seconds: inspection.took_ms as f64 / 1_000.0,
            problem: inspection.error,
        }
    }
}

fn verdict_name(verdict: KeyVerdict) -> &'static str {
    match verdict {
        KeyVerdict::Trusted => "trusted",
        KeyVerdict::Unknown => "unknown",
        KeyVerdict::Changed => "changed",
        KeyVerdict::Revoked => "revoked",
    }
}
