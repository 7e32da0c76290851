//! `import_devices`: several devices at once, each looked at before it is added.

use domain::Result;
use domain::context::Context;
use domain::device::Reach;
use domain::listing::{Listing, Page, Row};
use domain::operation::{Effect, Operation, Route, Toolset};
use domain::ports::{Inspection, KeyVerdict};
use domain::problem::Problem;
use domain::settings::Concurrency;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::add_device::add;
use crate::destination::{Candidate, reached_by};

/// Looks at each candidate side by side (address, host key, sign-in) and adds those that are new. A host key never seen
/// waits for `approve_host_key`. The command line makes candidates of `~/.ssh/config` and of `tailscale status`.
#[derive(Deserialize, JsonSchema)]
pub struct ImportDevices {
    /// The candidates; at most 500.
    candidates: Vec<Candidate>,
    /// Only looks, adds nothing.
    dry_run: Option<bool>,
}

/// What became of a candidate.
#[derive(Serialize, JsonSchema)]
pub struct Imported {
    /// The device's name.
    name: String,
    /// `added`, `new` (in a dry run), `known` already, or `refused`.
    outcome: String,
    /// Where it leads.
    destination: String,
    /// Whether we could sign in.
    connected: bool,
    /// Fingerprint of the key that the host showed, with its type.
    host_key: Option<String>,
    /// Whether that key waits to be approved.
    needs_approval: bool,
    /// Whether the server's own `ssh_config` knows the host; where it does not, what was resolved here is stored.
    known_to_server: bool,
    /// What stands in the way.
    problem: Option<Problem>,
}

impl Row for Imported {
    const KEY: &'static [&'static str] = &["name"];
}

impl Operation for ImportDevices {
    const NAME: &'static str = "import_devices";
    const EFFECT: Effect = Effect::Configure;
    const ROUTE: Route = Route::post("/devices/import");
    const TOOLSET: Toolset = Toolset::Admin;
    // 500 that do not answer, some at a time, each as long as a connection may take
    const DEADLINE: std::time::Duration = std::time::Duration::from_secs(900);
    type Output = Listing<Imported>;

    async fn run(self, ctx: &Context) -> Result<Self::Output> {
        if self.candidates.len() > 500 {
            let message = format!("{} candidates are too many", self.candidates.len());
            return Err(domain::Error::new(
                domain::ErrorKind::TooLarge,
                "too_many_candidates",
                message,
                "send at most 500",
            ));
        }
        let is_dry = self.dry_run == Some(true);
        let mut rows = Vec::with_capacity(self.candidates.len());
        for some in self.candidates.chunks(Concurrency::default().0) {
            let looks = some.iter().map(|candidate| look(ctx, candidate));
            for (candidate, look) in some.iter().zip(futures_util::future::join_all(looks).await) {
                rows.push(import(ctx, candidate, look, is_dry).await);
            }
        }
        let page = Page { limit: Some(500), ..Page::default() };
        Listing::new(summary(&rows), &rows, Vec::new(), &page)
    }
}

/// A candidate that was looked at.
struct Look {
    candidate: Candidate,
    destination: String,
    known_to_server: bool,
    inspection: Inspection,
}

async fn look(ctx: &Context, candidate: &Candidate) -> Result<Look> {
    let alias =
        Candidate { host_name: None, port: None, user: None, identity_files: None, ..candidate.clone() };
    let known_to_server = ctx.ports.sources.settle(&alias.reach()?)?.known_here;
    let candidate = if known_to_server { alias } else { candidate.clone() };
    let reach = candidate.reach()?;
    let inspection = ctx.ports.sources.inspect(&reach).await;
    Ok(Look { candidate, destination: describe(ctx, &reach), known_to_server, inspection })
}

fn describe(ctx: &Context, reach: &Reach) -> String {
    match ctx.ports.sources.settle(reach) {
        Ok(settled) => format!("{}@{}:{}", settled.user, settled.host_name, settled.port),
        Err(_) => reach.to_string(),
    }
}

async fn import(ctx: &Context, candidate: &Candidate, look: Result<Look>, is_dry: bool) -> Imported {
    let mut row = Imported {
        name: domain::untrusted::clean(candidate.device_name()),
        outcome: "refused".to_owned(),
        destination: domain::untrusted::clean(&candidate.host),
        connected: false,
        host_key: None,
        needs_approval: false,
        known_to_server: false,
        problem: None,
    };
    let look = match look {
        Ok(look) => look,
        Err(error) => {
            row.problem = Some(Problem::from(&error));
            return row;
        }
    };
    row.destination = look.destination;
    row.connected = look.inspection.signed_in;
    row.known_to_server = look.known_to_server;
    row.host_key =
        look.inspection.host_key.as_ref().map(|key| format!("{} {}", key.algorithm, key.fingerprint));
    row.needs_approval = look.inspection.host_key.is_some_and(|key| key.verdict == KeyVerdict::Unknown);
    row.problem = look.inspection.error;
    row.outcome = match outcome(ctx, &look.candidate, is_dry).await {
        Ok(outcome) => outcome.to_owned(),
        Err(error) => {
            row.problem = Some(Problem::from(&error));
            "refused".to_owned()
        }
    };
    row
}

async fn outcome(ctx: &Context, candidate: &Candidate, is_dry: bool) -> Result<&'static str> {
    let reach = candidate.reach()?;
    let devices = ctx.fleet().devices();
    if reached_by(devices.iter().map(AsRef::as_ref), &reach).is_some() {
        return Ok("known");
    }
    domain::device::check_name(candidate.device_name())?;
    if is_dry {
        return Ok("new");
    }
    add(ctx, candidate).await.map(|_| "added")
}

fn summary(rows: &[Imported]) -> String {
    let count = |outcome: &str| rows.iter().filter(|row| row.outcome == outcome).count();
    let parts: Vec<String> = ["added", "new", "known", "refused"]
        .into_iter()
        .filter(|outcome| count(outcome) > 0)
        .map(|outcome| format!("{} {outcome}", count(outcome)))
        .collect();
    let waiting = match rows.iter().filter(|row| row.needs_approval).count() {
        0 => String::new(),
        1 => "; 1 host key waits to be approved".to_owned(),
        count => format!("; {count} host keys wait to be approved"),
    };
    let noun = if rows.len() == 1 { "candidate" } else { "candidates" };
    format!("{} {noun}: {}{waiting}", rows.len(), parts.join(", "))
}
