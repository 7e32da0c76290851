//! `link_devices`: two devices are one machine.

use domain::context::Context;
use domain::device::Device;
use domain::fleet::Fleet;
use domain::operation::{Effect, Operation, Route, Toolset};
use domain::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::device_row::DeviceRow;

/// Makes two devices one: the sources and tags of the other go to the first, and the other is no more. History stays
/// where it is, by source.
#[derive(Deserialize, JsonSchema)]
pub struct LinkDevices {
    /// The device that stays: its name or id.
    device: String,
    /// The device that goes into it: its name or id.
    other: String,
}

impl Operation for LinkDevices {
    const NAME: &'static str = "link_devices";
    const EFFECT: Effect = Effect::Configure;
    const ROUTE: Route = Route::post("/devices/{device}/link");
    const TOOLSET: Toolset = Toolset::Admin;
    const SHORT: Option<&'static str> = Some("link");
    type Output = DeviceRow;

    async fn run(self, ctx: &Context) -> Result<Self::Output> {
        let (device, other) = (ctx.fleet().device(&self.device)?, ctx.fleet().device(&self.other)?);
        if device.id == other.id {
            let message = format!("“{}” cannot be linked with itself", device.name);
            return Err(Error::invalid("device_same", message, "name two devices"));
        }
        Fleet::check_changeable(&device)?;
        Fleet::check_changeable(&other)?;
        let mut linked = Device::clone(&device);
        linked.sources.extend(other.sources.iter().cloned());
        linked.tags.extend(other.tags.iter().cloned());
        let emptied = Device { sources: Vec::new(), ..Device::clone(&other) };
        ctx.ports.fleet.change(&[&device, &other], vec![linked.clone(), emptied]).await?;
        Ok(DeviceRow::of(ctx, &linked))
    }
}
