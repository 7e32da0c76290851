//! `list_containers`: the containers of one device or of all, a row for each.

use collectors::containers::{Container, ContainerState as State, Containers, Health};
use domain::collector::Collector;
use domain::context::Context;
use domain::device::Device;
use domain::listing::{Listing, Page, Row};
use domain::operation::{Effect, Operation, Route, Toolset};
use domain::problem::Problem;
use domain::readings::{Freshness, Seen};
use domain::{Result, Timestamp, Untrusted};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::device_row::missing;
use crate::list_devices::first_few;

/// Lists containers of one device, or of the whole fleet: state, health, image, ports, Compose project, figures. An answer
/// about one device may ask it; an answer about the fleet is as known from the last poll.
#[derive(Deserialize, JsonSchema)]
pub struct ListContainers {
    /// Only containers of this device: its name or id.
    device: Option<String>,
    /// Only containers in this state.
    status: Option<State>,
    /// Only containers of this health.
    health: Option<Health>,
    /// Only containers of this Compose project.
    project: Option<String>,
    /// Only containers in whose name or image this text occurs.
    search: Option<String>,
    /// Containers that do not run too; true unless said.
    all_containers: Option<bool>,
    /// With `device`: a reading no older than this many seconds is good; 0 asks the machine now. 30 unless said.
    max_age_seconds: Option<f64>,
    /// With `device`: how many seconds to wait for the machine. 2 unless said.
    deadline_seconds: Option<f64>,
    #[serde(flatten)]
    page: Page,
}

/// A container, in a row.
#[derive(Serialize, JsonSchema)]
pub struct ContainerRow {
    /// The device that it runs on.
    device: String,
    /// Its name.
    name: Untrusted<String>,
    /// What it does.
    status: State,
    /// Health, where it has a health check.
    health: Option<Health>,
    /// Status it exited with, where it does not run.
    exit_code: Option<i64>,
    /// How often its engine restarted it.
    restart_count: Option<u64>,
    /// Processors' worth of time it took between the last two polls: 1 is one core all the time.
    cpu_ratio: Option<f64>,
    /// Memory it holds without the page cache, as `docker stats` shows, in bytes.
    memory_bytes: Option<u64>,
    /// Its image, as it was named.
    image: Untrusted<String>,
    /// Published ports: `address:port->port/protocol`.
    ports: Vec<String>,
    /// Its Compose project.
    project: Option<Untrusted<String>>,
    /// Its Compose service.
    service: Option<Untrusted<String>>,
    /// When it was started.
    started_at: Option<Timestamp>,
    /// When this was seen.
    as_of: Timestamp,
    /// Whether it is older than it should be.
    stale: bool,
    /// Its id.
    id: String,
}

impl Row for ContainerRow {
    const KEY: &'static [&'static str] = &["device", "name", "id"];
}

impl Operation for ListContainers {
    const NAME: &'static str = "list_containers";
    const EFFECT: Effect = Effect::Read;
    const ROUTE: Route = Route::get("/containers");
    const TOOLSET: Toolset = Toolset::Containers;
    type Output = Listing<ContainerRow>;

    async fn run(self, ctx: &Context) -> Result<Self::Output> {
        Self::Output::check(&self.page)?;
        let freshness = Freshness::from_seconds(self.max_age_seconds, self.deadline_seconds)?;
        let mut problems = Vec::new();
        let mut rows = Vec::new();
        match &self.device {
            Some(name) => {
                let device = ctx.fleet().device(name)?;
                let seen = ctx.ports.readings.latest(&device, Containers::NAME, freshness).await?;
                problems.extend(seen.problems.iter().cloned());
                rows.extend(rows_of(&device, &seen));
            }
            None => {
                for device in ctx.fleet().devices() {
                    fleet_rows(ctx, &device, &mut rows, &mut problems);
                }
            }
        }
        rows.retain(|row| self.matches(row));
        Listing::new(summary(&rows), &rows, problems, &self.page)
    }
}

/// The rows of a device as known, or why there are none.
fn fleet_rows(ctx: &Context, device: &Device, rows: &mut Vec<ContainerRow>, problems: &mut Vec<Problem>) {
    problems.extend(missing(ctx, device));
    let Some(seen) = ctx.ports.readings.known(device, Containers::NAME) else {
        let facts = ctx.ports.readings.facts(device).unwrap_or_default();
        let refused = facts.refusals.into_iter().filter(|r| Containers::NEEDS.contains(&r.capability));
        problems.extend(refused.map(|refusal| refusal.problem.about(device.name.clone())));
        return;
    };
    // a first poll has no rates: that mends itself
    let lasting = seen.problems.iter().filter(|problem| problem.code != "needs_two_polls");
    problems.extend(lasting.cloned().map(|problem| Problem { about: Some(device.name.clone()), ..problem }));
    rows.extend(rows_of(device, &seen));
}

fn rows_of(device: &Device, seen: &Seen) -> Vec<ContainerRow> {
    let reading = seen.reading::<<Containers as Collector>::Reading>();
    let containers = reading.map(|reading| reading.containers.as_slice()).unwrap_or_default();
    containers.iter().map(|container| row(device, container, seen)).collect()
}

fn row(device: &Device, container: &Container, seen: &Seen) -> ContainerRow {
    let (compose, usage) = (container.compose.as_ref(), container.usage.as_ref());
    ContainerRow {
        device: device.name.clone(),
        name: container.name.clone(),
        status: container.state,
        health: container.health,
        exit_code: container.exit_code.filter(|_| container.state != State::Running),
        restart_count: container.restart_count,
        cpu_ratio: usage.and_then(|usage| usage.cpu_ratio),
        memory_bytes: usage.and_then(|usage| usage.memory_bytes),
        image: container.image.clone(),
        ports: container.ports.iter().filter_map(published).collect(),
        project: compose.map(|compose| compose.project.clone()),
        service: compose.and_then(|compose| compose.service.clone()),
        started_at: container.started_at,
        as_of: seen.observed.as_of,
        stale: seen.observed.stale,
        id: container.id.chars().take(12).collect(),
    }
}

fn published(port: &collectors::containers::Port) -> Option<String> {
    let host_port = port.host_port?;
    let address = port.host_address.as_deref().unwrap_or("*");
    Some(format!("{address}:{host_port}->{}/{}", port.container_port, port.protocol))
}

impl ListContainers {
    fn matches(&self, row: &ContainerRow) -> bool {
        let text = self.search.as_ref().map(|text| text.to_lowercase());
        let occurs = |word: &Untrusted<String>, text: &str| word.as_str().to_lowercase().contains(text);
        self.status.is_none_or(|status| row.status == status)
            && self.health.is_none_or(|health| row.health == Some(health))
            && self.project.as_ref().is_none_or(|p| row.project.as_ref().is_some_and(|q| q.as_str() == p))
            && (self.all_containers != Some(false) || row.status == State::Running)
            && text.is_none_or(|text| occurs(&row.name, &text) || occurs(&row.image, &text))
    }
}

/// `25 containers on 2 devices: 14 running, 1 restarting (shop_worker_1), 1 unhealthy (sonarr)`.
fn summary(rows: &[ContainerRow]) -> String {
    if rows.is_empty() {
        return "no container matches".to_owned();
    }
    let mut devices: Vec<&str> = rows.iter().map(|row| row.device.as_str()).collect();
    devices.dedup();
    let running = rows.iter().filter(|row| row.status == State::Running).count();
    let mut parts = vec![format!("{running} running")];
    let mut name = |what: &str, is_it: &dyn Fn(&ContainerRow) -> bool| {
        let names: Vec<&str> = rows.iter().filter(|row| is_it(row)).map(|row| row.name.as_str()).collect();
        if !names.is_empty() {
            parts.push(format!("{} {what} ({})", names.len(), first_few(&names)));
        }
    };
    name("unhealthy", &|row| row.health == Some(Health::Unhealthy));
    name("restarting", &|row| row.status == State::Restarting);
    name("paused", &|row| row.status == State::Paused);
    name("failed", &|row| row.status == State::Exited && row.exit_code.is_some_and(|code| code != 0));
    let device_word = if devices.len() == 1 { "device" } else { "devices" };
    format!("{} containers on {} {device_word}: {}", rows.len(), devices.len(), parts.join(", "))
}
