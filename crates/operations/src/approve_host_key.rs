//! `approve_host_key`: a person says that a host's key is the right one.

use std::time::Duration;

use domain::context::Context;
use domain::facts::Facts;
use domain::operation::{Effect, Operation, Route, Toolset};
use domain::ports::{ApprovedHostKey, KeyVerdict};
use domain::readings::Freshness;
use domain::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Approves the key that a device's host shows now, if its fingerprint is the one given. Compare it with what
/// `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` prints on that machine.
#[derive(Deserialize, JsonSchema)]
pub struct ApproveHostKey {
    /// The device's name or id.
    device: String,
    /// The key's fingerprint: `SHA256:` and 43 characters.
    fingerprint: String,
}

/// The key that was approved.
#[derive(Serialize, JsonSchema)]
pub struct Approved {
    /// The host, as `known_hosts` names it.
    host: String,
    /// The key's type.
    host_key_type: String,
    /// Its fingerprint.
    fingerprint: String,
}

impl Operation for ApproveHostKey {
    const NAME: &'static str = "approve_host_key";
    const EFFECT: Effect = Effect::Configure;
    const ROUTE: Route = Route::post("/devices/{device}/host-key");
    const TOOLSET: Toolset = Toolset::Admin;
    const PERSON: bool = true;
    type Output = Approved;

    async fn run(self, ctx: &Context) -> Result<Self::Output> {
        let device = ctx.fleet().device(&self.device)?;
        let source = device.sources.first().ok_or_else(|| Error::internal("a device without a source"))?;
        let inspection = ctx.ports.sources.inspect(&source.reach).await;
        let Some(key) = inspection.host_key else {
            let why = inspection.error.map(|why| why.message).unwrap_or_default();
            let message = format!("“{}” shows no host key: {why}", device.name);
            return Err(Error::unreachable(
                "host_key_absent",
                message,
                format!("see: reeve doctor {}", device.name),
            ));
        };
        if key.fingerprint != self.fingerprint {
            return Err(Error::conflict(
                "fingerprint_differs",
                format!(
                    "the host shows {}, not {}",
                    key.fingerprint,
                    domain::untrusted::clean(&self.fingerprint)
                ),
                "if you cannot explain the difference, somebody may stand between: do not approve it",
            ));
        }
        if matches!(key.verdict, KeyVerdict::Revoked) {
            let help = "remove the @revoked line from known_hosts on the server, if it is wrong";
            return Err(Error::conflict("host_key_revoked", "this key is marked as revoked", help));
        }
        let approved = ApprovedHostKey {
            host: key.host.clone(),
            algorithm: key.algorithm.clone(),
            public_key: key.public_key,
            approved_at: ctx.ports.clock.now(),
            approved_by: ctx.caller.principal.to_string(),
        };
        ctx.ports.store.approve_host_key(&approved).await?;
        ctx.ports.sources.trust(&approved);
        ctx.ports.readings.host(source).forget_failures().await;
        // a first question, so that the device's status is right when this answers; the rest is due within a beat
        let now = Freshness { max_age: Some(Duration::ZERO), deadline: Some(Duration::from_secs(10)) };
        ctx.ports.readings.latest(&device, Facts::COLLECTOR, now).await?;
        Ok(Approved { host: key.host, host_key_type: key.algorithm, fingerprint: key.fingerprint })
    }
}
