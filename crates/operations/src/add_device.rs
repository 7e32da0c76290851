//! `add_device`: a new device, reached over SSH.

use domain::context::Context;
use domain::device::{Device, DeviceId, Source};
use domain::operation::{Effect, Operation, Route, Toolset};
use domain::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use crate::destination::{Candidate, reached_by};
use crate::device_row::DeviceRow;

/// Adds a device that is reached over SSH. It is polled at once; a host key never seen waits for `approve_host_key`.
#[derive(Deserialize, JsonSchema)]
pub struct AddDevice {
    #[serde(flatten)]
    candidate: Candidate,
}

impl Operation for AddDevice {
    const NAME: &'static str = "add_device";
    const EFFECT: Effect = Effect::Configure;
    const ROUTE: Route = Route::post("/devices");
    const TOOLSET: Toolset = Toolset::Admin;
    type Output = DeviceRow;

    async fn run(self, ctx: &Context) -> Result<Self::Output> {
        let device = add(ctx, &self.candidate).await?;
        Ok(DeviceRow::of(ctx, &device))
    }
}

/// Adds what a person or an importer named.
pub(crate) async fn add(ctx: &Context, candidate: &Candidate) -> Result<std::sync::Arc<Device>> {
    let reach = candidate.reach()?;
    let name = candidate.device_name().to_owned();
    domain::device::check_name(&name)?;
    let devices = ctx.ports.fleet.devices();
    if let Some(other) = reached_by(devices.iter().map(AsRef::as_ref), &reach) {
        return Err(Error::conflict(
            "device_reached_already",
            format!("“{}” is reached this way already ({reach})", other.name),
            format!("see: reeve device-info {}", other.name),
        ));
    }
    let settled = ctx.ports.sources.settle(&reach)?;
    if let Some(key) = settled.unreadable_keys.first() {
        return Err(Error::invalid(
            "ssh_key_unreadable",
            format!("the key {key} cannot be read by the user that Reeve runs as"),
            "let that user read it, or name another with identity_files",
        ));
    }
    let source = Source { id: ctx.ports.store.next_source_id().await?, reach };
    let device = Device {
        id: DeviceId(Uuid::new_v4()),
        name,
        tags: candidate.tags.iter().flatten().cloned().collect(),
        location: candidate.location.clone(),
        description: candidate.description.clone(),
        monitored: true,
        sources: vec![source],
        declared: None,
    };
    ctx.ports.fleet.add(device).await
}
