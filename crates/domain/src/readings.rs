//! The one path of all data: `refresh` asks, parses, stores and tells; `latest` answers from memory what is fresh
//! enough, asks otherwise, and falls back to what is known when the machine does not answer.

mod round;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::capability::Capability;
use crate::collector::CollectorDef;
use crate::device::{Device, Source, SourceId, Status};
use crate::facts::Facts;
use crate::fleet::Fleet;
use crate::host::Host;
use crate::latest::Latest;
use crate::ports::{Clock, Sources, Store};
use crate::problem::Problem;
use crate::settings::Settings;
use crate::{Error, ErrorKind, Result};

pub use crate::latest::Seen;

/// What machines say. Cheap to clone: all clones are one.
#[derive(Clone)]
pub struct Readings(Arc<Inner>);

pub(crate) struct Inner {
    catalogue: &'static [CollectorDef],
    fleet: Arc<Fleet>,
    sources: Arc<dyn Sources>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    settings: watch::Receiver<Settings>,
    latest: Latest,
    hosts: Mutex<HashMap<SourceId, (Source, Arc<Host>)>>,
    flights: Mutex<HashMap<(SourceId, &'static str), Flight>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What a question in flight will have given; told to everyone who waits for it.
type Landing = Option<std::result::Result<Seen, Arc<Error>>>;

/// A question in flight: it lives as long as somebody is interested in it.
struct Flight {
    landing: watch::Receiver<Landing>,
    interest: Weak<Interest>,
}

/// Somebody's interest in a question. When the last one is dropped, the question is ended, on the machine too.
struct Interest(CancellationToken);

impl Drop for Interest {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A place in the waiting room of a question in flight.
pub(crate) struct Waiting {
    landing: watch::Receiver<Landing>,
    _interest: Arc<Interest>,
}

impl Waiting {
    async fn landed(mut self) -> std::result::Result<Seen, Arc<Error>> {
        match self.landing.wait_for(Option::is_some).await {
            Ok(landing) => landing.clone().unwrap_or_else(|| Err(Arc::new(Error::cancelled()))),
            Err(_) => Err(Arc::new(Error::cancelled())),
        }
    }
}

/// How fresh an answer is wanted, and how long to wait for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freshness {
    /// A reading no older than this is good. Zero asks now. Where absent: 30 s, or the collector's interval where asking
    /// costs the machine something.
    pub max_age: Option<Duration>,
    /// How long to wait before what is known is answered as stale. Where absent: 2 s.
    pub deadline: Option<Duration>,
}

const MAX_AGE: Duration = Duration::from_secs(30);
const DEADLINE: Duration = Duration::from_secs(2);

impl Readings {
    /// No readings yet. `catalogue` names the collectors.
    pub fn new(
        catalogue: &'static [CollectorDef],
        fleet: Arc<Fleet>,
        sources: Arc<dyn Sources>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        settings: watch::Receiver<Settings>,
        stop: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            catalogue,
            fleet,
            sources,
            store,
            clock,
            settings,
            latest: Latest::default(),
            hosts: Mutex::default(),
            flights: Mutex::default(),
            tasks: TaskTracker::new(),
            stop,
        }))
    }

    /// The collectors.
    pub fn catalogue(&self) -> &'static [CollectorDef] {
        self.0.catalogue
    }

    /// Takes up the readings that were kept over a restart.
    pub async fn restore(&self) -> Result<()> {
        let stored = self.0.store.latest().await?;
        for reading in &stored {
            self.0.fleet.remember(reading.source, reading.as_of);
        }
        self.0.latest.restore(stored, self.0.catalogue);
        Ok(())
    }

    /// Keeps the readings that are new since the last call.
    pub async fn keep(&self) -> Result<()> {
        self.forget_removed().await;
        let unkept = self.0.latest.take_unkept();
        if unkept.is_empty() { Ok(()) } else { self.0.store.keep_latest(unkept).await }
    }

    /// Forgets sources that belong to no device any more, and hangs up on their machines.
    pub async fn forget_removed(&self) {
        let alive: HashSet<SourceId> =
            self.0.fleet.devices().iter().flat_map(|d| d.sources.iter().map(|s| s.id)).collect();
        self.0.latest.retain(&alive);
        self.0.fleet.forget_health(&alive);
        let removed: Vec<Arc<Host>> = {
            let mut hosts = self.0.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            hosts.extract_if(|id, _| !alive.contains(id)).map(|(_, (_, host))| host).collect()
        };
        for host in removed {
            host.forget_failures().await;
        }
    }

    /// Waits until every question has ended. To be called after `stop` was cancelled.
    pub async fn closed(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Asks a source for these readings, all due ones in one conversation. A question already in flight is joined.
    pub async fn refresh(
        &self,
        source: &Source,
        collectors: &[&'static str],
    ) -> Vec<std::result::Result<Seen, Arc<Error>>> {
        let mut results = Vec::with_capacity(collectors.len());
        for waiting in self.depart(source, collectors) {
            results.push(waiting.landed().await);
        }
        results
    }

    /// The newest reading of a device as known: nothing is asked. Of several sources the preferred one that is online.
    pub fn known(&self, device: &Device, collector: &'static str) -> Option<Seen> {
        let seen = preferred(&self.0.fleet, device)
            .into_iter()
            .find_map(|source| self.0.latest.get(source.id, collector))?;
        Some(self.mark_stale(device, collector, seen))
    }

    /// What is known of a device that does not change from minute to minute.
    pub fn facts(&self, device: &Device) -> Option<Facts> {
        self.known(device, Facts::COLLECTOR)?.reading::<Facts>().cloned()
    }

    /// The reading of a device, as fresh as wanted; what is known, marked stale, where the machine does not answer in time.
    pub async fn latest(&self, device: &Device, collector: &str, freshness: Freshness) -> Result<Seen> {
        let def = self.def(collector)?;
        let sources = preferred(&self.0.fleet, device);
        let max_age = freshness
            .max_age
            .unwrap_or_else(|| if def.costly { self.interval(device, def) } else { MAX_AGE });
        let deadline = freshness.deadline.unwrap_or(DEADLINE);
        let mut first_error = None;
        for source in &sources {
            if let Some(seen) = self.0.latest.get(source.id, def.name)
                && max_age > Duration::ZERO
                && self.0.clock.now().since(seen.observed.as_of) <= max_age
            {
                return Ok(seen);
            }
            // a source that costs no wait leaves the time to the next one
            let (error, is_spent) = match self.host(source).refusal() {
                Some(refusal) => (refusal, false),
                None => match self.ask_one(source, def.name, deadline).await {
                    Ok(seen) => return Ok(seen),
                    Err(error) => {
                        let is_spent = error.kind() != ErrorKind::Unsupported;
                        (error, is_spent)
                    }
                },
            };
            first_error.get_or_insert(error);
            if is_spent {
                break;
            }
        }
        let error =
            first_error.unwrap_or_else(|| Error::internal(format!("“{}” has no source", device.name)));
        match sources.iter().find_map(|source| self.0.latest.get(source.id, def.name)) {
            Some(seen) => Ok(with_problem(seen.stale(), &error)),
            None => Err(error),
        }
    }

    /// A source's machine with its line open, for operations that ask what is not stored.
    pub fn host(&self, source: &Source) -> Arc<Host> {
        self.0.host(source)
    }

    /// The sources of a device, best first: online ones before others, then SSH before local.
    pub fn sources<'a>(&self, device: &'a Device) -> Vec<&'a Source> {
        preferred(&self.0.fleet, device)
    }

    /// How often a collector asks a device.
    pub fn interval(&self, device: &Device, def: &CollectorDef) -> Duration {
        let seen = self.known(device, Facts::COLLECTOR);
        let facts = seen.as_ref().and_then(Seen::reading::<Facts>);
        let device_type = facts.map_or("", |facts| facts.device_type.as_str());
        self.0.settings.borrow().intervals.of(def.name, &device.name, device_type, def.every)
    }

    /// The entry of the collector of this name.
    pub fn def(&self, collector: &str) -> Result<&'static CollectorDef> {
        let known = self.0.catalogue.iter().map(|def| def.name);
        self.0
            .catalogue
            .iter()
            .find(|def| def.name == collector)
            .ok_or_else(|| Error::not_found("collector_unknown", "collector", collector, known))
    }

    async fn ask_one(&self, source: &Source, collector: &'static str, deadline: Duration) -> Result<Seen> {
        let Some(waiting) = self.depart(source, &[collector]).pop() else {
            return Err(Error::cancelled());
        };
        match tokio::time::timeout(deadline, waiting.landed()).await {
            Ok(Ok(seen)) => Ok(seen),
            Ok(Err(error)) => Err(error.retold()),
            Err(_) => {
                self.0.tasks.spawn(round::doubt(Arc::clone(&self.0), self.host(source)));
                Err(Error::deadline("the machine's answer"))
            }
        }
    }

    /// Joins the questions in flight, and sends one round with those that are not.
    fn depart(&self, source: &Source, collectors: &[&'static str]) -> Vec<Waiting> {
        let mut waiting = Vec::with_capacity(collectors.len());
        let mut departing = Vec::new();
        {
            let mut flights = self.0.flights.lock().unwrap_or_else(PoisonError::into_inner);
            for name in collectors {
                let Some(def) = self.0.catalogue.iter().find(|def| def.name == *name) else { continue };
                let joined = flights.get(&(source.id, def.name)).and_then(|flight| {
                    Some(Waiting { landing: flight.landing.clone(), _interest: flight.interest.upgrade()? })
                });
                waiting.push(joined.unwrap_or_else(|| {
                    let (tell, landing) = watch::channel(None);
                    let interest = Arc::new(Interest(self.0.stop.child_token()));
                    let flight = Flight { landing: landing.clone(), interest: Arc::downgrade(&interest) };
                    departing.push(round::Member { def, tell, cancel: interest.0.clone() });
                    flights.insert((source.id, def.name), flight);
                    Waiting { landing, _interest: interest }
                }));
            }
        }
        if !departing.is_empty() {
            self.0.tasks.spawn(round::run(Arc::clone(&self.0), source.clone(), departing));
        }
        waiting
    }

    fn mark_stale(&self, device: &Device, collector: &'static str, seen: Seen) -> Seen {
        let Ok(def) = self.def(collector) else { return seen };
        let interval = if collector == Facts::COLLECTOR { def.every } else { self.interval(device, def) };
        let age = self.0.clock.now().since(seen.observed.as_of);
        if age > interval * 3 { seen.stale() } else { seen }
    }
}

impl Inner {
    fn host(&self, source: &Source) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, host)) = hosts.get(&source.id)
            && known.reach == source.reach
        {
            return Arc::clone(host);
        }
        let shell = self.sources.open(source.id, &source.reach);
        let host = Arc::new(Host::new(source.id, shell, Arc::clone(&self.fleet), Arc::clone(&self.clock)));
        hosts.insert(source.id, (source.clone(), Arc::clone(&host)));
        host
    }

    fn facts(&self, source: SourceId) -> Option<Facts> {
        self.latest.get(source, Facts::COLLECTOR)?.reading::<Facts>().cloned()
    }
}

/// The sources of a device, best first: online ones before others, then SSH before local.
fn preferred<'a>(fleet: &Fleet, device: &'a Device) -> Vec<&'a Source> {
    let mut sources: Vec<&Source> = device.sources.iter().collect();
    let order = |source: &Source| ["ssh", "local"].iter().position(|kind| *kind == source.reach.kind());
    sources
        .sort_by_key(|source| (fleet.health(source.id).status != Status::Online, order(source), source.id));
    sources
}

fn with_problem(mut seen: Seen, error: &Error) -> Seen {
    let mut problems = seen.problems.to_vec();
    problems.push(Problem::from(error));
    seen.problems = problems.into();
    seen
}

/// The error for a machine that cannot answer a collector, with the machine's own reason where there is one.
fn lacking(def: &CollectorDef, capability: Capability, facts: &Facts) -> Error {
    let code = "capability_missing";
    let name = serde_json::to_string(&capability).unwrap_or_default();
    match facts.refusals.iter().find(|refusal| refusal.capability == capability) {
        Some(refusal) => {
            let help = refusal.problem.help.clone().unwrap_or_default();
            Error::new(ErrorKind::Unsupported, code, refusal.problem.message.clone(), help)
        }
        None => Error::new(
            ErrorKind::Unsupported,
            code,
            format!("this machine has no {}, which {} needs", name.trim_matches('"'), def.name),
            "nothing to do, unless it should have it",
        ),
    }
}
