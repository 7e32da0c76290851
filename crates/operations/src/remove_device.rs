//! `remove_device`: stops watching a device.

use domain::Result;
use domain::context::Context;
use domain::fleet::Fleet;
use domain::history::Selector;
use domain::operation::{Effect, Operation, Route, Toolset};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Removes a device from Reeve; nothing happens on the machine. Its history ages out, or is forgotten at once if asked.
#[derive(Deserialize, JsonSchema)]
pub struct RemoveDevice {
    /// The device's name or id.
    device: String,
    /// Forgets its history at once.
    forget_history: Option<bool>,
}

/// What was removed.
#[derive(Serialize, JsonSchema)]
pub struct Removed {
    /// The device's name.
    removed: String,
    /// Whether its history was forgotten too.
    history_forgotten: bool,
}

impl Operation for RemoveDevice {
    const NAME: &'static str = "remove_device";
    const EFFECT: Effect = Effect::Configure;
    const ROUTE: Route = Route::delete("/devices/{device}");
    const TOOLSET: Toolset = Toolset::Admin;
    const PERSON: bool = true;
    type Output = Removed;

    async fn run(self, ctx: &Context) -> Result<Self::Output> {
        let device = ctx.fleet().device(&self.device)?;
        Fleet::check_changeable(&device)?;
        ctx.ports.fleet.remove(device.id).await?;
        let history_forgotten = self.forget_history == Some(true);
        if history_forgotten {
            let sources = device.sources.iter().map(|source| source.id).collect();
            ctx.ports.store.forget(Selector { sources, metric: None, labels: Vec::new() }).await?;
        }
        Ok(Removed { removed: device.name.clone(), history_forgotten })
    }
}
