//! `back_up`: a copy of everything that Reeve keeps.

use domain::Result;
use domain::context::Context;
use domain::operation::{Effect, Operation, Route, Toolset};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Writes a copy of everything that Reeve keeps to a new file on the server, while it runs. `reeve restore` takes it back.
#[derive(Deserialize, JsonSchema)]
pub struct BackUp {
    /// Where to write it: an absolute path on the server that does not exist yet.
    path: String,
}

/// The copy.
#[derive(Serialize, JsonSchema)]
pub struct Copied {
    /// Where it is.
    path: String,
}

impl Operation for BackUp {
    const NAME: &'static str = "back_up";
    const EFFECT: Effect = Effect::Configure;
    const ROUTE: Route = Route::post("/backup");
    const TOOLSET: Toolset = Toolset::Admin;
    const PERSON: bool = true;
    const SHORT: Option<&'static str> = Some("backup");
    const DEADLINE: std::time::Duration = std::time::Duration::from_secs(3_600);
    type Output = Copied;

    async fn run(self, ctx: &Context) -> Result<Self::Output> {
        if !self.path.starts_with('/') {
            let message = format!("“{}” is not an absolute path", domain::untrusted::clean(&self.path));
            return Err(domain::Error::invalid("path_relative", message, "give a path that starts with /"));
        }
        ctx.ports.readings.keep().await?;
        ctx.ports.store.backup(&self.path).await?;
        Ok(Copied { path: self.path })
    }
}
