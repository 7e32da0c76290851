//! `change_device`: what people say of a device, and how it is reached.

use domain::context::Context;
use domain::device::{Device, Reach};
use domain::fleet::Fleet;
use domain::operation::{Effect, Operation, Route, Toolset};
use domain::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::destination::Candidate;
use crate::device_row::DeviceRow;

/// Changes a device's name, tags, place, description, whether it is polled, or where it is found over SSH. What is not
/// named stays as it is; an empty text removes a place or description.
#[derive(Deserialize, JsonSchema)]
pub struct ChangeDevice {
    /// The device's name or id.
    device: String,
    /// Its new name.
    new_name: Option<String>,
    /// Its tags, in place of those it has.
    tags: Option<Vec<String>>,
    /// Where it stands, in your words.
    location: Option<String>,
    /// What it is for, in your words.
    description: Option<String>,
    /// Whether it is polled.
    monitored: Option<bool>,
    /// Alias in the server's `~/.ssh/config`, or a host name or address.
    host: Option<String>,
    /// TCP port.
    port: Option<u16>,
    /// User to sign in as.
    user: Option<String>,
}

impl Operation for ChangeDevice {
    const NAME: &'static str = "change_device";
    const EFFECT: Effect = Effect::Configure;
    const ROUTE: Route = Route::patch("/devices/{device}");
    const TOOLSET: Toolset = Toolset::Admin;
    type Output = DeviceRow;

    async fn run(self, ctx: &Context) -> Result<Self::Output> {
        let device = ctx.fleet().device(&self.device)?;
        Fleet::check_changeable(&device)?;
        let mut changed = Device::clone(&device);
        self.change_destination(&mut changed)?;
        if let Some(name) = self.new_name {
            changed.name = name;
        }
        if let Some(tags) = self.tags {
            changed.tags = tags.into_iter().collect();
        }
        if let Some(location) = self.location {
            changed.location = Some(location).filter(|text| !text.is_empty());
        }
        if let Some(description) = self.description {
            changed.description = Some(description).filter(|text| !text.is_empty());
        }
        changed.monitored = self.monitored.unwrap_or(changed.monitored);
        ctx.ports.fleet.change(&[&device], vec![changed]).await?;
        let device =
            ctx.ports.fleet.by_id(device.id).ok_or_else(|| Error::internal("a changed device is gone"))?;
        Ok(DeviceRow::of(ctx, &device))
    }
}

impl ChangeDevice {
    fn change_destination(&self, device: &mut Device) -> Result<()> {
        if self.host.is_none() && self.port.is_none() && self.user.is_none() {
            return Ok(());
        }
        let mut over_ssh = device.sources.iter_mut().filter_map(|source| match &mut source.reach {
            Reach::Ssh(target) => Some(target),
            Reach::Local => None,
        });
        let (Some(target), None) = (over_ssh.next(), over_ssh.next()) else {
            return Err(Error::conflict(
                "source_ambiguous",
                format!("“{}” is not reached over SSH in exactly one way", device.name),
                "use unlink_devices to part its sources first",
            ));
        };
        let moved = Candidate {
            host: self.host.clone().unwrap_or_else(|| target.host.clone()),
            port: self.port.or(target.port),
            ..Candidate::default()
        };
        moved.reach()?;
        if self.host.is_some() {
            target.host_name = None;
        }
        target.host = moved.host;
        target.port = moved.port;
        target.user = self.user.clone().or_else(|| target.user.take());
        Ok(())
    }
}
