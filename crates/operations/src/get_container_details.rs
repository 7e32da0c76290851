//! `get_container_details`: all that is known of one container.

use collectors::containers::{Container, Containers};
use domain::collector::Collector;
use domain::context::Context;
use domain::operation::{Effect, Operation, Route, Toolset};
use domain::problem::Problem;
use domain::readings::Freshness;
use domain::{Error, Result, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Tells all of one container: state and why, health, image, addresses, ports, mounts, labels, networks, Compose
/// project and what it depends on, and its figures. Values of its environment are never read.
#[derive(Deserialize, JsonSchema)]
pub struct GetContainerDetails {
    /// The device's name or id.
    device: String,
    /// The container's name, or the start of its id.
    name: String,
    /// A reading no older than this many seconds is good; 0 asks the machine now. 30 unless said.
    max_age_seconds: Option<f64>,
    /// How many seconds to wait for the machine before what is known is answered as stale. 2 unless said.
    deadline_seconds: Option<f64>,
}

/// A container, in full.
#[derive(Serialize, JsonSchema)]
pub struct ContainerDetails {
    /// The device's name.
    device: String,
    /// The container.
    container: Container,
    /// Containers of the same device that depend on this one, by Compose.
    needed_by: Vec<String>,
    /// When it was seen.
    as_of: Timestamp,
    /// Whether the machine did not answer and this is what is known.
    stale: bool,
    /// What is missing, and why.
    problems: Vec<Problem>,
}

impl Operation for GetContainerDetails {
    const NAME: &'static str = "get_container_details";
    const EFFECT: Effect = Effect::Read;
    const ROUTE: Route = Route::get("/containers/{device}/{name}");
    const TOOLSET: Toolset = Toolset::Containers;
    const SHORT: Option<&'static str> = Some("container");
    type Output = ContainerDetails;

    async fn run(self, ctx: &Context) -> Result<Self::Output> {
        let device = ctx.fleet().device(&self.device)?;
        let freshness = Freshness::from_seconds(self.max_age_seconds, self.deadline_seconds)?;
        let seen = ctx.ports.readings.latest(&device, Containers::NAME, freshness).await?;
        let reading = seen.reading::<<Containers as Collector>::Reading>();
        let containers = reading.map(|reading| reading.containers.as_slice()).unwrap_or_default();
        let container = find(containers, &self.name)?;
        Ok(ContainerDetails {
            device: device.name.clone(),
            needed_by: needed_by(containers, container),
            container: container.clone(),
            as_of: seen.observed.as_of,
            stale: seen.observed.stale,
            problems: seen.problems.to_vec(),
        })
    }
}

fn find<'a>(containers: &'a [Container], name: &str) -> Result<&'a Container> {
    let by_name = containers.iter().find(|container| container.name.as_str() == name);
    let is_id = |container: &&Container| name.len() >= 6 && container.id.starts_with(name);
    by_name.or_else(|| containers.iter().find(is_id)).ok_or_else(|| {
        let known = containers.iter().map(|container| container.name.as_str());
        Error::not_found("container_unknown", "container", &domain::untrusted::clean(name), known)
    })
}

fn needed_by(containers: &[Container], needed: &Container) -> Vec<String> {
    let Some(compose) = &needed.compose else { return Vec::new() };
    let depends = |container: &&Container| {
        container.compose.as_ref().is_some_and(|other| {
            other.project == compose.project
                && other.depends_on.iter().any(|needs| Some(&needs.service) == compose.service.as_ref())
        })
    };
    containers.iter().filter(depends).map(|container| container.name.to_string()).collect()
}
