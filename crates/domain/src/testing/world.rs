//! A world in memory: a clock that stands still, machines that answer what they were given, a store that forgets.

#![expect(clippy::missing_panics_doc, reason = "a world for tests panics where the test is wrong")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::ask::{Answer, Ask, Outcome};
use crate::collector::CollectorDef;
use crate::context::{Audit, MOST_CALLS, Ports};
use crate::device::{Device, DeviceId, Reach, Source, SourceId, SshTarget};
use crate::fleet::Fleet;
use crate::ports::{ApprovedHostKey, Clock, Inspection, Settled, Shell, Sources};
use crate::readings::Readings;
use crate::settings::Settings;
use crate::testing::store::MemoryStore;
use crate::{BoxFuture, Error, Result, Timestamp};

/// A world for a test.
pub struct World {
    /// What operations are handed.
    pub ports: Arc<Ports>,
    /// The time, moved by hand.
    pub clock: Arc<StoppedClock>,
    /// The machines.
    pub machines: Arc<Machines>,
    /// The store.
    pub store: Arc<MemoryStore>,
    /// Ends everything.
    pub stop: CancellationToken,
}

impl World {
    /// A world with these collectors and no device.
    pub async fn new(catalogue: &'static [CollectorDef]) -> Self {
        let clock = Arc::new(StoppedClock::default());
        let store = Arc::new(MemoryStore::default());
        let machines = Arc::new(Machines::default());
        let stop = CancellationToken::new();
        let (_, settings) = watch::channel(Settings::default());
        let fleet = Fleet::load(store.clone(), clock.clone()).await.expect("an empty store can be loaded");
        let fleet = Arc::new(fleet);
        let readings = Readings::new(
            catalogue,
            fleet.clone(),
            machines.clone(),
            store.clone(),
            clock.clone(),
            settings.clone(),
            stop.clone(),
        );
        let ports = Arc::new(Ports {
            fleet,
            readings,
            store: store.clone(),
            sources: machines.clone(),
            clock: clock.clone(),
            settings,
            audit: Audit::new(store.clone(), clock.clone()),
            tasks: TaskTracker::new(),
            calls: Semaphore::new(MOST_CALLS),
        });
        Self { ports, clock, machines, store, stop }
    }

    /// Adds a device that is reached over SSH and answers by `answer`.
    pub async fn device(
        &self,
        name: &str,
        answer: impl Fn(&Ask) -> Answer + Send + Sync + 'static,
    ) -> Arc<Device> {
        let source = Source {
            id: SourceId(self.store.next_id()),
            reach: Reach::Ssh(SshTarget { host: name.to_owned(), ..SshTarget::default() }),
        };
        self.machines.put(name, answer);
        let device = Device {
            id: DeviceId(Uuid::new_v4()),
            name: name.to_owned(),
            tags: [].into(),
            location: None,
            description: None,
            monitored: true,
            sources: vec![source],
            declared: None,
        };
        self.ports.fleet.add(device).await.expect("the name is free")
    }
}

/// A clock that is moved by hand.
pub struct StoppedClock(AtomicI64);

impl Default for StoppedClock {
    fn default() -> Self {
        Self(AtomicI64::new(1_795_150_000_000))
    }
}

impl StoppedClock {
    /// Moves it.
    pub fn forward(&self, span: Duration) {
        self.0.fetch_add(i64::try_from(span.as_millis()).unwrap_or(0), Ordering::SeqCst);
    }
}

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.load(Ordering::SeqCst)).unwrap_or(0))
    }
}

type AnswerFn = Arc<dyn Fn(&Ask) -> Answer + Send + Sync>;

/// The machines of a world, by the host that they are reached at.
#[derive(Default)]
pub struct Machines(Mutex<HashMap<String, Arc<Machine>>>);

/// One machine: it answers, or it is dead, or it hangs.
pub struct Machine {
    answer: AnswerFn,
    error: Mutex<Option<Error>>,
    /// How many conversations and questions there were.
    pub asked: AtomicUsize,
    /// How many questions were dropped before they were answered.
    pub dropped: AtomicUsize,
    /// How often its line was hung up.
    pub hung_up: AtomicUsize,
    hanging: AtomicU32,
    wake: tokio::sync::Notify,
}

impl Machines {
    fn put(&self, host: &str, answer: impl Fn(&Ask) -> Answer + Send + Sync + 'static) {
        let machine = Machine {
            answer: Arc::new(answer),
            error: Mutex::default(),
            asked: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
            hung_up: AtomicUsize::new(0),
            hanging: AtomicU32::new(0),
            wake: tokio::sync::Notify::new(),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(host.to_owned(), Arc::new(machine));
    }

    /// The machine at this host.
    pub fn get(&self, host: &str) -> Arc<Machine> {
        let machines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(machines.get(host).expect("the machine was added before"))
    }
}

impl Machine {
    /// From now on every question fails so; or none does any more.
    pub fn fail(&self, error: Option<Error>) {
        *self.error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    /// From now on questions wait, or those that wait go on.
    pub fn hang(&self, is_hanging: bool) {
        self.hanging.store(u32::from(is_hanging), Ordering::SeqCst);
        self.wake.notify_waiters();
    }

    async fn answer(&self, asks: Vec<Ask>) -> Result<Vec<Answer>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let unanswered = Unanswered(self);
        loop {
            let woken = self.wake.notified();
            if self.hanging.load(Ordering::SeqCst) == 0 {
                break;
            }
            woken.await;
        }
        std::mem::forget(unanswered);
        match &*self.error.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error.retold()),
            None => Ok(asks.iter().map(|ask| (self.answer)(ask)).collect()),
        }
    }
}

struct Unanswered<'a>(&'a Machine);

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

impl Shell for Machine {
    fn converse(&self, asks: Vec<Ask>) -> BoxFuture<'_, Result<Vec<Answer>>> {
        Box::pin(self.answer(asks))
    }

    fn ask(&self, ask: Ask) -> BoxFuture<'_, Result<Answer>> {
        Box::pin(async move {
            let mut answers = self.answer(vec![ask]).await?;
            Ok(answers.pop().unwrap_or_else(|| Answer::without_output(Outcome::Missing, "")))
        })
    }

    fn hang_up(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.hung_up.fetch_add(1, Ordering::SeqCst);
        })
    }
}

impl Sources for Machines {
    fn open(&self, _: SourceId, reach: &Reach) -> Arc<dyn Shell> {
        match reach {
            Reach::Local => self.get("local"),
            Reach::Ssh(target) => self.get(&target.host),
        }
    }

    fn inspect(&self, _: &Reach) -> BoxFuture<'_, Inspection> {
        Box::pin(async { Inspection { signed_in: true, ..Inspection::default() } })
    }

    fn trust(&self, _: &ApprovedHostKey) {}

    fn settle(&self, reach: &Reach) -> Result<Settled> {
        let Reach::Ssh(target) = reach else { return Err(Error::internal("this machine needs no settling")) };
        Ok(Settled {
            known_here: false,
            host_name: target.host_name.clone().unwrap_or_else(|| target.host.clone()),
            port: target.port.unwrap_or(22),
            user: target.user.clone().unwrap_or_else(|| "root".to_owned()),
            unreadable_keys: Vec::new(),
        })
    }
}
