//! `approve_host_key`: a person says that a host's key is the right one.

use domain::context::Context;
use domain::device::{Device, Reach, Source};
use domain::facts::Facts;
use domain::operation::{Effect, Operation, Route, Toolset};
use domain::ports::{ApprovedHostKey, KeyVerdict, ShownHostKey};
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
        let (source, key) = self.shown_key(ctx, &device).await?;
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
        match ctx.ports.readings.refresh(source, &[Facts::COLLECTOR]).await.pop() {
            // known_hosts says otherwise, and goes before what is approved here
            Some(Err(error)) if matches!(error.code(), "host_key_changed" | "host_key_revoked") => {
                Err(error.retold())
            }
            // whatever else stands in the way, the key is approved; the device's status tells
            _ => Ok(Approved { host: key.host, host_key_type: key.algorithm, fingerprint: key.fingerprint }),
        }
    }
}

impl ApproveHostKey {
    /// The key that the device's host shows now; of several hosts that of the one whose key is meant.
    async fn shown_key<'a>(&self, ctx: &Context, device: &'a Device) -> Result<(&'a Source, ShownHostKey)> {
        let mut why = "it is not reached over SSH".to_owned();
        let mut shown = None;
        for source in device.sources.iter().filter(|source| matches!(source.reach, Reach::Ssh(_))) {
            let inspection = ctx.ports.sources.inspect(&source.reach).await;
            match inspection.host_key {
                Some(key) if key.fingerprint == self.fingerprint => return Ok((source, key)),
                Some(key) => shown = Some((source, key)),
                None => why = inspection.error.map(|why| why.message).unwrap_or_default(),
            }
        }
        shown.ok_or_else(|| {
            let message = format!("“{}” shows no host key: {why}", device.name);
            Error::unreachable("host_key_absent", message, format!("see: reeve doctor {}", device.name))
        })
    }
}
