//! The devices, how their sources are doing, and what a caller may see of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Mutex, broadcast, watch};

use crate::caller::Sight;
use crate::device::{Declared, Device, DeviceId, Health, SourceId, Status, check_name};
use crate::event::{DeviceChange, Event};
use crate::ports::{Clock, Store};
use crate::problem::Problem;
use crate::{Error, Result};

/// The devices and how they are doing. Changes are written to the store before they are seen.
pub struct Fleet {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    devices: RwLock<BTreeMap<String, Arc<Device>>>,
    health: RwLock<HashMap<SourceId, Health>>,
    changing: Mutex<()>,
    events: broadcast::Sender<Event>,
    version: watch::Sender<u64>,
}

/// Failures in a row after which a source that does not answer counts as offline.
const FAILURES_TO_OFFLINE: u32 = 3;

/// How long a device that is not polled counts as online after it last answered.
const ONLINE_UNPOLLED: Duration = Duration::from_secs(90);

/// Error codes that mean that nothing answered at address and port; any other means that something did.
const NO_ANSWER: [&str; 6] =
    ["ssh_refused", "ssh_no_route", "ssh_timeout", "ssh_resolve", "ssh_jump_failed", "ssh_closed"];

impl Fleet {
    /// The fleet as it is in the store.
    pub async fn load(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Result<Self> {
        let mut devices = store.devices().await?;
        // left over where the program was killed between the two steps of a link
        for emptied in devices.extract_if(.., |device| device.sources.is_empty()) {
            store.remove_device(emptied.id).await?;
        }
        let devices = devices.into_iter().map(|device| (device.name.clone(), Arc::new(device))).collect();
        Ok(Self {
            store,
            clock,
            devices: RwLock::new(devices),
            health: RwLock::default(),
            changing: Mutex::default(),
            events: broadcast::channel(1_024).0,
            version: watch::channel(0).0,
        })
    }

    /// All devices by name. For Reeve itself; callers go through [`FleetView`].
    pub fn devices(&self) -> Vec<Arc<Device>> {
        self.devices.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The device of this id.
    pub fn by_id(&self, id: DeviceId) -> Option<Arc<Device>> {
        let devices = self.devices.read().unwrap_or_else(PoisonError::into_inner);
        devices.values().find(|device| device.id == id).cloned()
    }

    /// The device that this source belongs to.
    pub fn of_source(&self, source: SourceId) -> Option<Arc<Device>> {
        let devices = self.devices.read().unwrap_or_else(PoisonError::into_inner);
        devices.values().find(|device| device.sources.iter().any(|s| s.id == source)).cloned()
    }

    /// Counts up with every change of the devices.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    pub(crate) fn tell(&self, event: Event) {
        // nobody listening is no failure
        let _ = self.events.send(event);
    }

    /// Adds a device under a name that is free.
    pub async fn add(&self, device: Device) -> Result<Arc<Device>> {
        check_name(&device.name)?;
        let _one_at_a_time = self.changing.lock().await;
        self.check_free(&device.name, device.id)?;
        self.store.save_device(&device).await?;
        Ok(self.put(device, DeviceChange::Added))
    }

    /// Writes changed devices, all or none, where those that they were made from, `before`, are still the same. A
    /// device that lost its last source is removed.
    pub async fn change(&self, before: &[&Arc<Device>], devices: Vec<Device>) -> Result<()> {
        let _one_at_a_time = self.changing.lock().await;
        for device in before {
            if self.by_id(device.id).is_none_or(|now| !Arc::ptr_eq(&now, device)) {
                return Err(Error::conflict(
                    "device_changed",
                    format!("“{}” was changed or removed by somebody else at the same moment", device.name),
                    "look at it again, then repeat the change if it is still wanted",
                ));
            }
        }
        for device in &devices {
            check_name(&device.name)?;
            self.check_free(&device.name, device.id)?;
        }
        let (kept, emptied): (Vec<_>, Vec<_>) = devices.into_iter().partition(|d| !d.sources.is_empty());
        self.store.save_devices(&kept).await?;
        for device in emptied {
            self.store.remove_device(device.id).await?;
            self.take(device.id);
        }
        for device in kept {
            self.put(device, DeviceChange::Changed);
        }
        Ok(())
    }

    /// Removes a device. Its history stays until it ages out.
    pub async fn remove(&self, id: DeviceId) -> Result<()> {
        let _one_at_a_time = self.changing.lock().await;
        self.store.remove_device(id).await?;
        self.take(id);
        Ok(())
    }

    /// Refuses to change what the configuration declares.
    pub fn check_changeable(device: &Device) -> Result<()> {
        match &device.declared {
            None => Ok(()),
            Some(Declared { file, line }) => Err(Error::conflict(
                "device_declared",
                format!("“{}” is declared in {file}, line {line}", device.name),
                "change it there and restart Reeve",
            )),
        }
    }

    /// How a source is doing.
    pub fn health(&self, source: SourceId) -> Health {
        let health = self.health.read().unwrap_or_else(PoisonError::into_inner);
        health.get(&source).cloned().unwrap_or_else(|| Health::never_asked(self.clock.now()))
    }

    /// How a device is doing: as its best source is. Of one that is not polled nobody knows after a while.
    pub fn device_health(&self, device: &Device) -> Health {
        let now = self.clock.now();
        let healths = device.sources.iter().map(|source| self.health(source.id));
        let best = healths.min_by_key(|health| health.status).unwrap_or_else(|| Health::never_asked(now));
        match best.last_seen {
            Some(seen)
                if !device.monitored
                    && best.status == Status::Online
                    && now.since(seen) > ONLINE_UNPOLLED =>
            {
                let help = format!("reeve change-device {} --monitored true", device.name);
                let why = Problem::new("not_monitored", "it is not polled").help(help);
                Health { status: Status::Pending, why: Some(why), since: seen.plus(ONLINE_UNPOLLED), ..best }
            }
            _ => best,
        }
    }

    /// A source answered.
    pub(crate) fn answered(&self, source: SourceId) {
        let now = self.clock.now();
        self.set_health(source, |before| Health {
            status: Status::Online,
            why: None,
            last_seen: Some(now),
            since: if before.status == Status::Online { before.since } else { now },
            failures: 0,
        });
    }

    /// A source could not be asked.
    pub(crate) fn failed(&self, source: SourceId, error: &Error) {
        let now = self.clock.now();
        self.set_health(source, |before| {
            let is_silent = NO_ANSWER.contains(&error.code());
            let was_silent = before.why.as_ref().is_some_and(|why| NO_ANSWER.contains(&why.code.as_str()));
            let failures = if is_silent == was_silent { before.failures + 1 } else { 1 };
            let status = if error.code() == "host_key_unknown" {
                Status::Pending
            } else if !is_silent {
                Status::Unreachable
            } else if failures >= FAILURES_TO_OFFLINE {
                Status::Offline
            } else {
                before.status
            };
            let since = if before.status == status { before.since } else { now };
            Health { status, why: Some(Problem::from(error)), last_seen: before.last_seen, since, failures }
        });
    }

    /// Forgets the health of sources that are not among `alive`.
    pub(crate) fn forget_health(&self, alive: &HashSet<SourceId>) {
        let mut health = self.health.write().unwrap_or_else(PoisonError::into_inner);
        health.retain(|source, _| alive.contains(source));
    }

    /// Remembers when a source was last seen before a restart.
    pub(crate) fn remember(&self, source: SourceId, last_seen: crate::Timestamp) {
        let mut health = self.health.write().unwrap_or_else(PoisonError::into_inner);
        let known = health.entry(source).or_insert_with(|| Health {
            why: Some(Problem::new("never_asked", "it has not been asked since Reeve started")),
            ..Health::never_asked(last_seen)
        });
        known.last_seen = known.last_seen.max(Some(last_seen));
    }

    fn set_health(&self, source: SourceId, change: impl FnOnce(&Health) -> Health) {
        let (before, now) = {
            let mut all = self.health.write().unwrap_or_else(PoisonError::into_inner);
            let before = all.get(&source).cloned();
            let first = Health::never_asked(self.clock.now());
            let now = change(before.as_ref().unwrap_or(&first));
            all.insert(source, now.clone());
            (before, now)
        };
        if before.as_ref().is_none_or(|before| before.status != now.status) {
            let why = now.why.as_ref().map(|problem| problem.message.as_str());
            tracing::info!(%source, status = now.status.name(), why, "a source's status changed");
            self.tell(Event::Status { source, before, now });
        }
    }

    fn check_free(&self, name: &str, id: DeviceId) -> Result<()> {
        let devices = self.devices.read().unwrap_or_else(PoisonError::into_inner);
        match devices.get(name) {
            Some(other) if other.id != id => Err(Error::conflict(
                "device_exists",
                format!("there is a device called “{name}” already"),
                format!("choose another name, or see: reeve device-info {name}"),
            )),
            _ => Ok(()),
        }
    }

    fn put(&self, device: Device, change: DeviceChange) -> Arc<Device> {
        let device = Arc::new(device);
        {
            let mut devices = self.devices.write().unwrap_or_else(PoisonError::into_inner);
            devices.retain(|_, other| other.id != device.id);
            devices.insert(device.name.clone(), Arc::clone(&device));
        }
        self.changed(&device, change);
        device
    }

    fn take(&self, id: DeviceId) {
        let taken = {
            let mut devices = self.devices.write().unwrap_or_else(PoisonError::into_inner);
            let name = devices.values().find(|device| device.id == id).map(|device| device.name.clone());
            name.and_then(|name| devices.remove(&name))
        };
        if let Some(device) = taken {
            self.changed(&device, DeviceChange::Removed);
        }
    }

    fn changed(&self, device: &Device, change: DeviceChange) {
        self.version.send_modify(|version| *version += 1);
        let at = self.clock.now();
        self.tell(Event::Device { id: device.id, name: device.name.clone(), change, at });
    }
}

/// The devices that exist for one caller.
pub struct FleetView<'a> {
    fleet: &'a Fleet,
    sight: &'a Sight,
}

impl<'a> FleetView<'a> {
    pub(crate) fn new(fleet: &'a Fleet, sight: &'a Sight) -> Self {
        Self { fleet, sight }
    }

    /// Those that exist for the caller, by name.
    pub fn devices(&self) -> Vec<Arc<Device>> {
        self.fleet.devices().into_iter().filter(|device| self.sight.sees(device)).collect()
    }

    /// The device of this name or id. One that the caller may not see is not there.
    pub fn device(&self, name_or_id: &str) -> Result<Arc<Device>> {
        let devices = self.devices();
        let is_it = |device: &&Arc<Device>| device.name == name_or_id || device.id.to_string() == name_or_id;
        match devices.iter().find(is_it) {
            Some(device) => Ok(Arc::clone(device)),
            None => Err(Error::no_device(
                &crate::untrusted::clean(name_or_id),
                devices.iter().map(|device| device.name.as_str()),
            )),
        }
    }

    /// How a device is doing.
    pub fn health(&self, device: &Device) -> Health {
        self.fleet.device_health(device)
    }

    /// How a source of a device is doing.
    pub fn source_health(&self, source: SourceId) -> Health {
        self.fleet.health(source)
    }

    /// Whether the caller sees every device there is.
    pub fn is_whole(&self) -> bool {
        *self.sight == Sight::All
    }
}

#[cfg(test)]
mod tests {
    use crate::ask::Answer;
    use crate::device::Device;
    use crate::testing::world::World;

    #[tokio::test]
    async fn of_two_changes_at_one_moment_the_second_is_refused() {
        let world = World::new(&[]).await;
        let nas = world.device("nas", |_| Answer::done(0, "")).await;
        let renamed = Device { name: "nas-1".to_owned(), ..Device::clone(&nas) };
        let moved = Device { location: Some("cellar".to_owned()), ..Device::clone(&nas) };
        world.ports.fleet.change(&[&nas], vec![renamed]).await.unwrap();
        let error = world.ports.fleet.change(&[&nas], vec![moved.clone()]).await.unwrap_err();
        assert_eq!(error.code(), "device_changed");
        world.ports.fleet.remove(nas.id).await.unwrap();
        assert!(world.ports.fleet.change(&[&nas], vec![moved]).await.is_err(), "what was removed stays so");
    }
}
