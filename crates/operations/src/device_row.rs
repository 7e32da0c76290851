//! A device as a row: who it is, how it is doing, and its headline figures as known.

use collectors::containers::{ContainerState, Containers};
use collectors::load::Load;
use collectors::memory::Memory;
use domain::collector::Collector;
use domain::context::Context;
use domain::device::{Device, Status};
use domain::problem::Problem;
use domain::{Timestamp, Untrusted};
use schemars::JsonSchema;
use serde::Serialize;

/// A device, in a row.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct DeviceRow {
    /// Its name.
    pub name: String,
    /// How it is doing: `online`, `pending`, `unreachable` or `offline`.
    pub status: Status,
    /// Error code that says why it is not online.
    pub why: Option<String>,
    /// What kind of machine it is, such as `unraid`, `ubuntu_vm`, `debian`.
    pub device_type: Option<String>,
    /// Its operating system, in words.
    pub os: Option<Untrusted<String>>,
    /// Part of its processor time that was busy between the last two polls, 0 to 1.
    pub cpu_busy_ratio: Option<f64>,
    /// Part of its memory in use, as `free` counts, 0 to 1.
    pub memory_used_ratio: Option<f64>,
    /// How many of its containers run.
    pub containers_running: Option<u64>,
    /// How many containers it has.
    pub containers_total: Option<u64>,
    /// When it last answered.
    pub last_seen: Option<Timestamp>,
    /// Whether it is polled.
    pub monitored: bool,
    /// Labels given by people.
    pub tags: Vec<String>,
    /// Where it stands, in a person's words.
    pub location: Option<String>,
    /// How it is reached, preferred way first.
    pub reached: Vec<String>,
    /// Its id.
    pub id: String,
}

impl domain::listing::Row for DeviceRow {
    const KEY: &'static [&'static str] = &["name"];
}

impl DeviceRow {
    /// The row of a device, from what is known: nothing is asked.
    pub fn of(ctx: &Context, device: &Device) -> Self {
        let readings = &ctx.ports.readings;
        let health = ctx.fleet().health(device);
        let facts = readings.facts(device);
        let fresh = |collector| readings.known(device, collector).filter(|seen| !seen.observed.stale);
        let load = fresh(Load::NAME);
        let memory = fresh(Memory::NAME);
        let containers = fresh(Containers::NAME);
        let containers =
            containers.as_ref().and_then(|seen| seen.reading::<<Containers as Collector>::Reading>());
        Self {
            name: device.name.clone(),
            status: health.status,
            why: health.why.map(|why| why.code),
            device_type: facts.as_ref().map(|facts| facts.device_type.clone()),
            os: facts.and_then(|facts| facts.os.name),
            cpu_busy_ratio: load
                .as_ref()
                .and_then(|seen| seen.reading::<<Load as Collector>::Reading>())
                .and_then(|load| load.cpu_busy_ratio),
            memory_used_ratio: memory
                .as_ref()
                .and_then(|seen| seen.reading::<<Memory as Collector>::Reading>())
                .and_then(|memory| memory.used_ratio),
            containers_running: containers
                .map(|c| c.containers.iter().filter(|c| c.state == ContainerState::Running).count() as u64),
            containers_total: containers.map(|c| c.containers.len() as u64),
            last_seen: health.last_seen,
            monitored: device.monitored,
            tags: device.tags.iter().cloned().collect(),
            location: device.location.clone(),
            reached: readings.sources(device).iter().map(|source| source.reach.to_string()).collect(),
            id: device.id.to_string(),
        }
    }
}

/// A device that is not online, as a problem of an answer about several.
pub fn missing(ctx: &Context, device: &Device) -> Option<Problem> {
    let health = ctx.fleet().health(device);
    let why = health.why.filter(|_| health.status != Status::Online)?;
    let seen = match health.last_seen {
        Some(at) => format!("last seen {at}"),
        None => "never seen".to_owned(),
    };
    let message = format!("{} ({seen}): {}", health.status.name(), why.message);
    Some(Problem { message, about: Some(device.name.clone()), ..why })
}
