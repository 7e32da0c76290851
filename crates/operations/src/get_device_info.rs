//! `get_device_info`: all that is known of one device that is not a figure.

use std::time::Duration;

use domain::context::Context;
use domain::device::{Device, Status};
use domain::facts::Facts;
use domain::identity::{Evidence, evidence};
use domain::operation::{Effect, Operation, Route, Toolset};
use domain::problem::Problem;
use domain::readings::Freshness;
use domain::{Result, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Tells what one device is: system, hardware, addresses, what it can do for us and what it refuses, how it is reached,
/// how it is doing and why, and which other devices may be the same machine.
#[derive(Deserialize, JsonSchema)]
pub struct GetDeviceInfo {
    /// The device's name or id.
    device: String,
    /// Asks the machine now instead of answering what is known.
    test_connectivity: Option<bool>,
    /// How many seconds to wait for the machine; 2 unless said.
    deadline_seconds: Option<f64>,
}

/// A device, in full.
#[derive(Serialize, JsonSchema)]
pub struct DeviceInfo {
    /// Its name.
    name: String,
    /// Its id.
    id: String,
    /// How it is doing.
    status: Status,
    /// Why it is not online.
    why: Option<Problem>,
    /// Since when it is doing so.
    since: Timestamp,
    /// When it last answered.
    last_seen: Option<Timestamp>,
    /// Labels given by people.
    tags: Vec<String>,
    /// Where it stands, in a person's words.
    location: Option<String>,
    /// What it is for, in a person's words.
    description: Option<String>,
    /// Whether it is polled.
    monitored: bool,
    /// File and line of the configuration that declares it, where one does.
    declared_in: Option<String>,
    /// The ways of reaching it.
    sources: Vec<SourceInfo>,
    /// What it is and what it can do, as it told.
    facts: Option<Facts>,
    /// When it told.
    facts_as_of: Option<Timestamp>,
    /// Its readings, and how old they are.
    readings: Vec<ReadingInfo>,
    /// Other devices that may be the same machine; `link_devices` makes them one.
    maybe_same_as: Vec<MaybeSame>,
    /// What is missing from this answer.
    problems: Vec<Problem>,
}

/// One way of reaching a device.
#[derive(Serialize, JsonSchema)]
struct SourceInfo {
    /// Its id.
    id: u32,
    /// `ssh` or `local`.
    kind: String,
    /// Where it leads.
    address: String,
    /// How it is doing.
    status: Status,
    /// Why it is not online.
    why: Option<Problem>,
    /// When it last answered.
    last_seen: Option<Timestamp>,
}

/// A reading that is known of a device.
#[derive(Serialize, JsonSchema)]
struct ReadingInfo {
    /// The collector that reads it.
    collector: String,
    /// How often it is read, in seconds.
    every_seconds: f64,
    /// When it was read; absent where it never was.
    as_of: Option<Timestamp>,
    /// How many parts are missing from it.
    problems: usize,
}

/// Another device that may be the same machine.
#[derive(Serialize, JsonSchema)]
struct MaybeSame {
    /// Its name.
    device: String,
    /// What the two share.
    evidence: Vec<Evidence>,
}

impl Operation for GetDeviceInfo {
    const NAME: &'static str = "get_device_info";
    const EFFECT: Effect = Effect::Read;
    const ROUTE: Route = Route::get("/devices/{device}");
    const TOOLSET: Toolset = Toolset::Fleet;
    type Output = DeviceInfo;

    async fn run(self, ctx: &Context) -> Result<Self::Output> {
        let device = ctx.fleet().device(&self.device)?;
        let mut problems = Vec::new();
        let mut freshness = Freshness::from_seconds(None, self.deadline_seconds)?;
        if self.test_connectivity == Some(true) {
            freshness.max_age = Some(Duration::ZERO);
            match ctx.ports.readings.latest(&device, Facts::COLLECTOR, freshness).await {
                Ok(seen) => problems.extend(seen.problems.iter().cloned()),
                Err(error) => problems.push(Problem::from(&error)),
            }
        }
        Ok(info(ctx, &device, problems))
    }
}

fn info(ctx: &Context, device: &Device, problems: Vec<Problem>) -> DeviceInfo {
    let fleet = ctx.fleet();
    let health = fleet.health(device);
    let seen = ctx.ports.readings.known(device, Facts::COLLECTOR);
    DeviceInfo {
        name: device.name.clone(),
        id: device.id.to_string(),
        status: health.status,
        why: health.why,
        since: health.since,
        last_seen: health.last_seen,
        tags: device.tags.iter().cloned().collect(),
        location: device.location.clone(),
        description: device.description.clone(),
        monitored: device.monitored,
        declared_in: device.declared.as_ref().map(|at| format!("{}:{}", at.file, at.line)),
        sources: device.sources.iter().map(|source| source_info(ctx, source)).collect(),
        facts: seen.as_ref().and_then(|seen| seen.reading::<Facts>()).cloned(),
        facts_as_of: seen.map(|seen| seen.observed.as_of),
        readings: readings(ctx, device),
        maybe_same_as: maybe_same_as(ctx, device),
        problems,
    }
}

fn source_info(ctx: &Context, source: &domain::device::Source) -> SourceInfo {
    let health = ctx.fleet().source_health(source.id);
    SourceInfo {
        id: source.id.0,
        kind: source.reach.kind().to_owned(),
        address: source.reach.to_string(),
        status: health.status,
        why: health.why,
        last_seen: health.last_seen,
    }
}

fn readings(ctx: &Context, device: &Device) -> Vec<ReadingInfo> {
    let readings = &ctx.ports.readings;
    let facts = readings.facts(device).unwrap_or_default();
    let able = readings.catalogue().iter().filter(|def| def.lacks(&facts).is_none());
    let info = able.map(|def| {
        let seen = readings.known(device, def.name);
        ReadingInfo {
            collector: def.name.to_owned(),
            every_seconds: readings.interval(device, def).as_secs_f64(),
            as_of: seen.as_ref().map(|seen| seen.observed.as_of),
            problems: seen.map_or(0, |seen| seen.problems.len()),
        }
    });
    info.collect()
}

fn maybe_same_as(ctx: &Context, device: &Device) -> Vec<MaybeSame> {
    let Some(facts) = ctx.ports.readings.facts(device) else { return Vec::new() };
    let others = ctx.fleet().devices().into_iter().filter(|other| other.id != device.id);
    let same = others.filter_map(|other| {
        let evidence = evidence(&facts, &ctx.ports.readings.facts(&other)?);
        (!evidence.is_empty()).then(|| MaybeSame { device: other.name.clone(), evidence })
    });
    same.collect()
}
