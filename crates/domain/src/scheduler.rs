//! When each source is asked for what: by the monotonic clock, spread over time, never more begun at once than is set.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ErrorKind;
use crate::context::Ports;
use crate::device::{Device, Source, SourceId};

/// When each source's collectors are due next, by the monotonic clock.
type Due = HashMap<(SourceId, &'static str), Turn>;

/// When a collector is due next.
struct Turn {
    when: Duration,
    is_first: bool,
}

/// The beat by which a source's collectors are aligned, so that all that are due go in one conversation.
const BEAT: Duration = Duration::from_secs(30);
/// At the start, sources are asked for the first time within this time, one after the other.
const START_SPREAD: Duration = Duration::from_secs(5);
/// A collector that is cheap to ask is asked a second time this soon after its first, so that rates are there at once.
const SECOND_LOOK: Duration = Duration::from_secs(4);
/// How far ahead a wake-up takes what is due.
const TOGETHER: Duration = Duration::from_millis(50);
/// Longest sleep: settings may have changed.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);
/// A poll that takes longer than this waits for its machine and costs us nothing: it gives its place to the next.
const PLACE_HELD: Duration = Duration::from_secs(2);

/// Asks every monitored source for what is due, until `stop` is cancelled.
pub async fn run(ports: Arc<Ports>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(ports.settings.borrow().concurrency.0));
    let polls = TaskTracker::new();
    let due: Arc<Mutex<Due>> = Arc::default();
    let mut changes = ports.fleet.changes();
    let mut is_start = true;
    while !stop.is_cancelled() {
        let now = ports.clock.monotonic();
        let (round, next) = {
            let mut due = due.lock().unwrap_or_else(PoisonError::into_inner);
            plan(&ports, &mut due, now, is_start)
        };
        is_start = false;
        for (source, collectors) in round {
            polls.spawn(poll(
                Arc::clone(&ports),
                source,
                collectors,
                Arc::clone(&places),
                Arc::clone(&due),
                stop.clone(),
            ));
        }
        let sleep =
            next.saturating_sub(ports.clock.monotonic()).clamp(Duration::from_millis(5), LONGEST_SLEEP);
        tokio::select! {
            () = tokio::time::sleep(sleep) => {}
            _ = changes.changed() => ports.readings.forget_removed().await,
            () = stop.cancelled() => {}
        }
    }
    polls.close();
    polls.wait().await;
}

/// What is due now, by source, and when something is due next. New sources and collectors are due at once, those of
/// the start spread over [`START_SPREAD`].
fn plan(
    ports: &Ports,
    due: &mut Due,
    now: Duration,
    is_start: bool,
) -> (Vec<(Source, Vec<&'static str>)>, Duration) {
    let devices = ports.fleet.devices();
    let monitored: Vec<&Arc<Device>> = devices.iter().filter(|device| device.monitored).collect();
    let sources: Vec<(&Device, &Source)> = monitored
        .iter()
        .flat_map(|device| device.sources.iter().map(move |source| (&***device, source)))
        .collect();
    let alive: HashSet<SourceId> = sources.iter().map(|(_, source)| source.id).collect();
    due.retain(|(source, _), _| alive.contains(source));

    let mut next = now + LONGEST_SLEEP;
    let mut round = Vec::new();
    for (place, (device, source)) in sources.iter().enumerate() {
        let mut collectors = Vec::new();
        for def in ports.readings.catalogue() {
            let spread =
                START_SPREAD * u32::try_from(place).unwrap_or(0) / u32::try_from(sources.len()).unwrap_or(1);
            let first = if is_start { now + spread } else { now };
            let interval = ports.readings.interval(device, def);
            let turn = due.entry((source.id, def.name)).or_insert(Turn { when: first, is_first: true });
            if turn.when <= now + TOGETHER {
                collectors.push(def.name);
                let is_second_soon = turn.is_first && def.live && interval > SECOND_LOOK;
                let when =
                    if is_second_soon { now + SECOND_LOOK } else { following(source.id, now, interval) };
                *turn = Turn { when, is_first: false };
            }
            next = next.min(turn.when);
        }
        if !collectors.is_empty() {
            round.push(((*source).clone(), collectors));
        }
    }
    (round, next)
}

/// The next moment after `now` at which this source's collectors of this interval are due. Each source has a phase of
/// its own; intervals that are multiples of the beat fall together.
fn following(source: SourceId, now: Duration, interval: Duration) -> Duration {
    let beat = millis(interval.min(BEAT)).max(1);
    let phase = u64::from(source.0).wrapping_mul(0x9e37_79b9_7f4a_7c15) % beat;
    let interval = millis(interval).max(1);
    // at least half an interval from now, so that a late poll is not followed by the next at once
    let earliest = millis(now) + interval / 2;
    let count = earliest.saturating_sub(phase) / interval + 1;
    Duration::from_millis(phase + count * interval)
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

async fn poll(
    ports: Arc<Ports>,
    source: Source,
    collectors: Vec<&'static str>,
    places: Arc<Semaphore>,
    due: Arc<Mutex<Due>>,
    stop: CancellationToken,
) {
    let polling = async {
        let Ok(place) = places.acquire().await else { return };
        let mut refresh = pin!(ports.readings.refresh(&source, &collectors));
        let quick = tokio::time::timeout(PLACE_HELD, refresh.as_mut()).await;
        drop(place);
        let results = match quick {
            Ok(results) => results,
            Err(_) => refresh.await,
        };
        // what was read and makes no sense is asked again in its own time: only a silent machine may be back sooner
        let failed = collectors.iter().zip(results).filter(|(_, result)| {
            let kind = result.as_ref().err().map(|error| error.kind());
            kind.is_some_and(|kind| !matches!(kind, ErrorKind::Unsupported | ErrorKind::Internal))
        });
        // each beat it is seen whether the breaker lets us try again
        let retry = ports.clock.monotonic() + BEAT;
        let mut due = due.lock().unwrap_or_else(PoisonError::into_inner);
        for (collector, _) in failed {
            if let Some(turn) = due.get_mut(&(source.id, *collector)) {
                turn.when = retry.min(turn.when);
            }
        }
    };
    tokio::select! {
        () = polling => {}
        () = stop.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::ask::{Answer, Ask};
    use crate::collector::{AnyParsed, CollectorDef};
    use crate::sample::Samples;
    use crate::testing::world::World;

    const CATALOGUE: &[CollectorDef] = &[CollectorDef {
        name: crate::facts::Facts::COLLECTOR,
        why: "nothing",
        every: Duration::from_secs(300),
        needs: &[],
        costly: false,
        live: false,
        asks: |_| vec![Ask::file("/facts")],
        parse: |_, _, _| Ok(AnyParsed::Reading(Arc::new(()), Vec::new(), Samples::default())),
        decode: |_| Ok(Arc::new(())),
        schema: |_| schemars::Schema::default(),
    }];

    #[tokio::test(start_paused = true)]
    async fn devices_that_hang_delay_no_other() {
        let world = World::new(CATALOGUE).await;
        for number in 0..16 {
            let name = format!("hung-{number}");
            world.device(&name, |_| Answer::done(0, "")).await;
            world.machines.get(&name).hang(true);
        }
        world.device("well", |_| Answer::done(0, "")).await;
        let watch = async {
            // all are due, and those that hang are first
            world.clock.forward(START_SPREAD);
            tokio::time::sleep(LONGEST_SLEEP + PLACE_HELD * 2).await;
            let asked = world.machines.get("well").asked.load(Ordering::SeqCst);
            world.stop.cancel();
            asked
        };
        let ((), asked) = futures_util::join!(run(Arc::clone(&world.ports), world.stop.clone()), watch);
        assert_eq!(asked, 1);
    }

    #[test]
    fn long_and_short_intervals_of_a_source_fall_together() {
        let now = Duration::from_secs(1_000);
        let short = following(SourceId(7), now, Duration::from_secs(30));
        let long = following(SourceId(7), now, Duration::from_secs(300));
        assert!(short > now && short <= now + Duration::from_secs(45));
        assert_eq!((millis(long) - millis(short)) % 30_000, 0);
    }

    #[test]
    fn sources_have_phases_of_their_own() {
        let now = Duration::from_secs(1_000);
        let phases: HashSet<Duration> = (1..=20).map(|id| following(SourceId(id), now, BEAT)).collect();
        assert!(phases.len() > 15);
    }
}
