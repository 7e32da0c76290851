//! `get_overview`: the whole fleet in one answer.

use collectors::containers::{ContainerState as State, Containers, Health};
use collectors::filesystems::{Filesystems, Storage};
use domain::collector::Collector;
use domain::context::Context;
use domain::device::{Device, Status};
use domain::operation::{Effect, Operation, Route, Toolset};
use domain::problem::Problem;
use domain::readings::Seen;
use domain::time::describe_span;
use domain::{Result, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::device_row::{DeviceRow, missing};

/// Tells how the whole fleet is doing: counts, what is wrong now, what is stale. As known from the last poll: nothing is
/// asked. Start here.
#[derive(Deserialize, JsonSchema)]
pub struct GetOverview {}

/// How the fleet is doing.
#[derive(Serialize, JsonSchema)]
pub struct Overview {
    /// The fleet in a sentence.
    summary: String,
    /// Devices by how they are doing.
    devices: DeviceCounts,
    /// Containers by what they do.
    containers: ContainerCounts,
    /// What is wrong now, worst first; at most 50.
    wrong: Vec<Wrong>,
    /// How many things are wrong in all.
    wrong_total: usize,
    /// Readings that are older than three intervals, by device; at most 50.
    stale: Vec<Stale>,
    /// When this was put together.
    as_of: Timestamp,
}

/// Devices by how they are doing.
#[derive(Default, Serialize, JsonSchema)]
struct DeviceCounts {
    /// All.
    total: usize,
    /// That answer.
    online: usize,
    /// That were never asked, or whose host key waits to be approved.
    pending: usize,
    /// Where something answers that does not let us in.
    unreachable: usize,
    /// That do not answer.
    offline: usize,
}

/// Containers by what they do.
#[derive(Default, Serialize, JsonSchema)]
struct ContainerCounts {
    /// All.
    total: usize,
    /// That run.
    running: usize,
    /// That run and whose health check fails.
    unhealthy: usize,
    /// That are restarted again and again.
    restarting: usize,
    /// That ended with an error.
    failed: usize,
}

/// Something that is wrong.
#[derive(Serialize, JsonSchema)]
struct Wrong {
    /// How bad it is.
    severity: Severity,
    /// The device.
    device: String,
    /// The part of it, where it is not the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<String>,
    /// What is wrong, and why.
    message: String,
    /// What would mend it, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<String>,
}

/// How bad something is, worst first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Severity {
    /// It does not work.
    Critical,
    /// It will not work much longer, or not all of it does.
    Warning,
    /// Something is not known.
    Unknown,
}

/// A device's readings that are too old.
#[derive(Serialize, JsonSchema)]
struct Stale {
    /// The device.
    device: String,
    /// The collectors.
    readings: Vec<String>,
    /// When the oldest was read.
    oldest: Timestamp,
}

/// Most entries of each list.
const MOST: usize = 50;
/// A file system this full is a warning, as with `sanoid` and `df` checks everywhere.
const NEARLY_FULL: f64 = 0.9;
/// A file system this full does not work much longer.
const FULL: f64 = 0.98;

impl Operation for GetOverview {
    const NAME: &'static str = "get_overview";
    const EFFECT: Effect = Effect::Read;
    const ROUTE: Route = Route::get("/overview");
    const TOOLSET: Toolset = Toolset::Fleet;
    type Output = Overview;

    async fn run(self, ctx: &Context) -> Result<Self::Output> {
        let mut overview = Overview {
            summary: String::new(),
            devices: DeviceCounts::default(),
            containers: ContainerCounts::default(),
            wrong: Vec::new(),
            wrong_total: 0,
            stale: Vec::new(),
            as_of: ctx.ports.clock.now(),
        };
        for device in ctx.fleet().devices() {
            overview.look_at(ctx, &device);
        }
        overview.wrong.sort_by_key(|wrong| wrong.severity);
        overview.wrong_total = overview.wrong.len();
        overview.summary = overview.sentence();
        overview.wrong.truncate(MOST);
        overview.stale.truncate(MOST);
        Ok(overview)
    }
}

/// A reading that is not too old: how things stand on a machine that is silent is not known.
fn fresh(ctx: &Context, device: &Device, collector: &'static str) -> Option<Seen> {
    ctx.ports.readings.known(device, collector).filter(|seen| !seen.observed.stale)
}

impl Overview {
    fn look_at(&mut self, ctx: &Context, device: &Device) {
        let row = DeviceRow::of(ctx, device);
        self.devices.total += 1;
        match row.status {
            Status::Online => self.devices.online += 1,
            Status::Pending => self.devices.pending += 1,
            Status::Unreachable => self.devices.unreachable += 1,
            Status::Offline => self.devices.offline += 1,
        }
        if let Some(problem) = missing(ctx, device).filter(|_| device.monitored) {
            let severity = if row.status == Status::Pending { Severity::Unknown } else { Severity::Critical };
            self.add(severity, device, None, problem);
        }
        self.look_at_containers(ctx, device);
        self.look_at_filesystems(ctx, device);
        let facts = ctx.ports.readings.facts(device).unwrap_or_default();
        for refusal in facts.refusals {
            self.add(Severity::Unknown, device, None, refusal.problem);
        }
        if device.monitored {
            self.look_at_ages(ctx, device);
        }
    }

    fn add(&mut self, severity: Severity, device: &Device, part: Option<String>, problem: Problem) {
        let Problem { message, help, .. } = problem;
        self.wrong.push(Wrong { severity, device: device.name.clone(), part, message, help });
    }

    fn look_at_containers(&mut self, ctx: &Context, device: &Device) {
        let Some(seen) = fresh(ctx, device, Containers::NAME) else { return };
        let Some(reading) = seen.reading::<<Containers as Collector>::Reading>() else { return };
        for container in &reading.containers {
            self.containers.total += 1;
            let is_failed =
                container.state == State::Exited && container.exit_code.is_some_and(|code| code != 0);
            let ended = match container.exit_code {
                Some(code) => format!("ended with status {code}"),
                None => "ended".to_owned(),
            };
            let (severity, message) = match container.state {
                State::Running if container.health == Some(Health::Unhealthy) => {
                    self.containers.unhealthy += 1;
                    (Severity::Critical, "its health check fails".to_owned())
                }
                State::Running => {
                    self.containers.running += 1;
                    continue;
                }
                State::Restarting => {
                    self.containers.restarting += 1;
                    let times = container.restart_count.map(|times| format!(" ({times} times)"));
                    let times = times.unwrap_or_default();
                    (Severity::Critical, format!("is restarted again and again{times}: it {ended}"))
                }
                State::Dead => (Severity::Warning, "could not be removed whole".to_owned()),
                State::Exited if is_failed && container.oom_killed == Some(true) => {
                    self.containers.failed += 1;
                    (Severity::Warning, "was killed because it ran out of memory".to_owned())
                }
                State::Exited if is_failed => {
                    self.containers.failed += 1;
                    (Severity::Warning, ended)
                }
                _ => continue,
            };
            if container.state == State::Running {
                self.containers.running += 1;
            }
            let part = format!("container {}", container.name);
            self.add(severity, device, Some(part), Problem::new("container", message));
        }
    }

    fn look_at_filesystems(&mut self, ctx: &Context, device: &Device) {
        let Some(seen) = fresh(ctx, device, Filesystems::NAME) else { return };
        let Some(reading) = seen.reading::<<Filesystems as Collector>::Reading>() else { return };
        for filesystem in
            reading.filesystems.iter().filter(|f| f.storage != Storage::Union && !f.is_read_only)
        {
            let ratios = [("full", filesystem.used_ratio), ("out of inodes", filesystem.inodes_used_ratio)];
            for (what, ratio) in ratios {
                let Some(ratio) = ratio.filter(|ratio| *ratio >= NEARLY_FULL) else { continue };
                let severity = if ratio >= FULL { Severity::Critical } else { Severity::Warning };
                let message = format!("is {:.1} % {what}", ratio * 100.0);
                self.add(
                    severity,
                    device,
                    Some(filesystem.mount_point.to_string()),
                    Problem::new("full", message),
                );
            }
        }
        for problem in seen.problems.iter() {
            self.add(Severity::Unknown, device, problem.about.clone(), problem.clone());
        }
    }

    fn look_at_ages(&mut self, ctx: &Context, device: &Device) {
        let catalogue = ctx.ports.readings.catalogue().iter();
        let known = catalogue.filter_map(|def| Some((def.name, ctx.ports.readings.known(device, def.name)?)));
        let old: Vec<_> = known.filter(|(_, seen)| seen.observed.stale).collect();
        if let Some(oldest) = old.iter().map(|(_, seen)| seen.observed.as_of).min() {
            let readings = old.iter().map(|(name, _)| (*name).to_owned()).collect();
            self.stale.push(Stale { device: device.name.clone(), readings, oldest });
        }
    }

    fn sentence(&self) -> String {
        let DeviceCounts { total, online, .. } = self.devices;
        let containers = &self.containers;
        let wrong = match (self.wrong_total, self.wrong.first()) {
            (0, _) | (_, None) => "nothing is wrong".to_owned(),
            (count, Some(worst)) => {
                let part = worst.part.as_ref().map(|part| format!(" {part}")).unwrap_or_default();
                format!("{count} wrong, worst: {}{part}: {}", worst.device, worst.message)
            }
        };
        let stale = match self.stale.iter().map(|stale| stale.oldest).min() {
            Some(oldest) => {
                let age = describe_span(self.as_of.since(oldest));
                format!("; readings of {} devices are stale, up to {age}", self.stale.len())
            }
            None => String::new(),
        };
        format!(
            "{online} of {total} devices online, {} of {} containers running; {wrong}{stale}",
            containers.running, containers.total
        )
    }
}
