//! `unlink_devices`: a source becomes a device of its own.

use domain::context::Context;
use domain::device::{Device, DeviceId, SourceId};
use domain::fleet::Fleet;
use domain::operation::{Effect, Operation, Route, Toolset};
use domain::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

use crate::device_row::DeviceRow;

/// Takes one source out of a device and makes it a device of its own. Its history goes with it, because history is kept
/// by source.
#[derive(Deserialize, JsonSchema)]
pub struct UnlinkDevices {
    /// The device's name or id.
    device: String,
    /// The source to take out: its id, as `get_device_info` tells it.
    source: u32,
    /// The name of the new device.
    name: String,
}

impl Operation for UnlinkDevices {
    const NAME: &'static str = "unlink_devices";
    const EFFECT: Effect = Effect::Configure;
    const ROUTE: Route = Route::post("/devices/{device}/unlink");
    const TOOLSET: Toolset = Toolset::Admin;
    const SHORT: Option<&'static str> = Some("unlink");
    type Output = DeviceRow;

    async fn run(self, ctx: &Context) -> Result<Self::Output> {
        let device = ctx.fleet().device(&self.device)?;
        Fleet::check_changeable(&device)?;
        let mut left = Device::clone(&device);
        let Some(place) = left.sources.iter().position(|source| source.id == SourceId(self.source)) else {
            let known: Vec<String> = left.sources.iter().map(|source| source.id.to_string()).collect();
            let wanted = self.source.to_string();
            return Err(Error::not_found(
                "source_unknown",
                "source",
                &wanted,
                known.iter().map(String::as_str),
            ));
        };
        if left.sources.len() == 1 {
            let message = format!("“{}” has only this source", device.name);
            return Err(Error::conflict("source_last", message, "use change_device to rename it"));
        }
        let source = left.sources.remove(place);
        let parted = Device {
            id: DeviceId(Uuid::new_v4()),
            name: self.name,
            sources: vec![source],
            declared: None,
            ..Device::clone(&device)
        };
        ctx.ports.fleet.change(&[&device], vec![left, parted.clone()]).await?;
        Ok(DeviceRow::of(ctx, &parted))
    }
}
