//! The path of data, walked in a world made of text.

use std::sync::atomic::Ordering;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Freshness;
use crate::ask::{Answer, Answers, Ask};
use crate::capability::Capability;
use crate::collector::{Collector, CollectorDef, Parsed};
use crate::device::Status;
use crate::facts::Facts;
use crate::observed::{Observed, Origin};
use crate::sample::Samples;
use crate::testing::world::World;
use crate::{Error, ErrorKind, Result};

/// Reads a thermometer.
struct Heat;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct HeatReading {
    celsius: f64,
}

impl Collector for Heat {
    const NAME: &'static str = "heat";
    const WHY: &'static str = "how warm it is";
    const EVERY: Duration = Duration::from_secs(30);
    const NEEDS: &'static [Capability] = &[];
    type Reading = HeatReading;

    fn asks(_: &Facts) -> Vec<Ask> {
        vec![Ask::file("/heat")]
    }

    fn parse(_: &Facts, answers: &Answers, _: Option<&Observed<HeatReading>>) -> Result<Parsed<HeatReading>> {
        let celsius = answers.file_text("/heat").and_then(|text| text.trim().parse().ok());
        let celsius = celsius.ok_or_else(|| Error::internal("no thermometer"))?;
        Ok(Parsed::Reading(HeatReading { celsius }, Vec::new()))
    }

    fn samples(reading: &HeatReading, samples: &mut Samples) {
        samples.gauge("heat_celsius", &[], reading.celsius);
    }
}

const CATALOGUE: &[CollectorDef] = &[CollectorDef::of::<NoFacts>(), CollectorDef::of::<Heat>()];

struct NoFacts;

impl Collector for NoFacts {
    const NAME: &'static str = Facts::COLLECTOR;
    const WHY: &'static str = "nothing";
    const EVERY: Duration = Duration::from_secs(300);
    const NEEDS: &'static [Capability] = &[];
    type Reading = Facts;

    fn asks(_: &Facts) -> Vec<Ask> {
        vec![Ask::file("/facts")]
    }

    fn parse(_: &Facts, _: &Answers, _: Option<&Observed<Facts>>) -> Result<Parsed<Facts>> {
        Ok(Parsed::Reading(Facts::default(), Vec::new()))
    }

    fn samples(_: &Facts, _: &mut Samples) {}
}

const NOW: Freshness = Freshness { max_age: Some(Duration::ZERO), deadline: Some(Duration::from_secs(2)) };

fn refused() -> Error {
    Error::unreachable("ssh_refused", "nothing listens there", "start sshd")
}

#[tokio::test]
async fn a_fresh_reading_is_answered_from_memory() {
    let world = World::new(CATALOGUE).await;
    let nas = world.device("nas", |_| Answer::done(0, "21.5\n")).await;
    let first = world.ports.readings.latest(&nas, "heat", Freshness::default()).await.unwrap();
    assert_eq!(first.observed.origin, Origin::Live);
    let asked = world.machines.get("nas").asked.load(Ordering::SeqCst);
    world.clock.forward(Duration::from_secs(29));
    let second = world.ports.readings.latest(&nas, "heat", Freshness::default()).await.unwrap();
    assert_eq!(second.observed.origin, Origin::Cached);
    assert_eq!(second.reading::<HeatReading>(), Some(&HeatReading { celsius: 21.5 }));
    assert_eq!(world.machines.get("nas").asked.load(Ordering::SeqCst), asked);
    world.clock.forward(Duration::from_secs(2));
    let third = world.ports.readings.latest(&nas, "heat", Freshness::default()).await.unwrap();
    assert_eq!(third.observed.origin, Origin::Live);
    world.stop.cancel();
    world.ports.readings.closed().await;
    assert_eq!(world.store.polls().len(), 2, "each reading is kept once");
}

#[tokio::test]
async fn many_callers_share_one_question() {
    let world = World::new(CATALOGUE).await;
    let nas = world.device("nas", |_| Answer::done(0, "21.5\n")).await;
    world.ports.readings.latest(&nas, Facts::COLLECTOR, NOW).await.unwrap();
    let machine = world.machines.get("nas");
    let before = machine.asked.load(Ordering::SeqCst);
    machine.hang(true);
    let callers = (0..10).map(|_| world.ports.readings.latest(&nas, "heat", NOW));
    let wake = async {
        tokio::task::yield_now().await;
        machine.hang(false);
    };
    let (answers, ()) = futures_util::join!(futures_util::future::join_all(callers), wake);
    assert!(answers.iter().all(std::result::Result::is_ok));
    assert_eq!(machine.asked.load(Ordering::SeqCst), before + 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_caller_to_leave_ends_the_question_on_the_machine() {
    let world = World::new(CATALOGUE).await;
    let nas = world.device("nas", |_| Answer::done(0, "21.5\n")).await;
    world.ports.readings.latest(&nas, "heat", NOW).await.unwrap();
    let machine = world.machines.get("nas");
    machine.hang(true);
    // the caller waits out its deadline, then is told what is known
    let seen = world.ports.readings.latest(&nas, "heat", NOW).await.unwrap();
    assert!(seen.observed.stale);
    assert_eq!(seen.problems.last().unwrap().code, "deadline_exceeded");
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(machine.dropped.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_falls_silent_keeps_only_the_first_caller_waiting() {
    let world = World::new(CATALOGUE).await;
    let nas = world.device("nas", |_| Answer::done(0, "21.5\n")).await;
    let (machine, readings) = (world.machines.get("nas"), &world.ports.readings);
    readings.latest(&nas, "heat", NOW).await.unwrap();
    machine.hang(true);
    let began = tokio::time::Instant::now();
    assert!(readings.latest(&nas, "heat", NOW).await.unwrap().observed.stale);
    assert_eq!(began.elapsed(), Duration::from_secs(2));
    // the shell gives up, as shells do
    machine.fail(Some(refused()));
    machine.hang(false);
    while readings.host(&nas.sources[0]).refusal().is_none() {
        tokio::task::yield_now().await;
    }
    let began = tokio::time::Instant::now();
    assert!(readings.latest(&nas, "heat", NOW).await.unwrap().observed.stale);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_dead_device_is_answered_from_what_is_known_and_asked_no_more() {
    let world = World::new(CATALOGUE).await;
    let nas = world.device("nas", |_| Answer::done(0, "21.5\n")).await;
    world.ports.readings.latest(&nas, "heat", NOW).await.unwrap();
    let machine = world.machines.get("nas");
    machine.fail(Some(refused()));
    for failures in 1..=3 {
        let seen = world.ports.readings.latest(&nas, "heat", NOW).await.unwrap();
        assert!(seen.observed.stale);
        let expected = if failures == 3 { Status::Offline } else { Status::Online };
        assert_eq!(world.ports.fleet.device_health(&nas).status, expected, "after {failures} failures");
        let asked = machine.asked.load(Ordering::SeqCst);
        world.ports.readings.latest(&nas, "heat", NOW).await.unwrap();
        assert_eq!(machine.asked.load(Ordering::SeqCst), asked, "the breaker is open");
        world.clock.forward(Duration::from_secs(600));
    }
    machine.fail(None);
    let seen = world.ports.readings.latest(&nas, "heat", NOW).await.unwrap();
    assert_eq!(seen.observed.origin, Origin::Live);
    assert_eq!(world.ports.fleet.device_health(&nas).status, Status::Online);
}

#[tokio::test]
async fn an_unknown_device_of_a_dead_machine_is_an_error_that_says_why() {
    let world = World::new(CATALOGUE).await;
    let nas = world.device("nas", |_| Answer::done(0, "21.5\n")).await;
    world.machines.get("nas").fail(Some(refused()));
    let error = world.ports.readings.latest(&nas, "heat", NOW).await.err().unwrap();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unreachable, "ssh_refused"));
}

#[tokio::test]
async fn readings_come_back_after_a_restart() {
    let world = World::new(CATALOGUE).await;
    let nas = world.device("nas", |_| Answer::done(0, "21.5\n")).await;
    world.ports.readings.latest(&nas, "heat", NOW).await.unwrap();
    world.ports.readings.keep().await.unwrap();
    let restarted = super::Readings::new(
        CATALOGUE,
        world.ports.fleet.clone(),
        world.machines.clone(),
        world.store.clone(),
        world.clock.clone(),
        world.ports.settings.clone(),
        world.stop.clone(),
    );
    restarted.restore().await.unwrap();
    let seen = restarted.known(&nas, "heat").unwrap();
    assert_eq!(seen.reading::<HeatReading>(), Some(&HeatReading { celsius: 21.5 }));
}

#[tokio::test]
async fn rounds_that_lack_facts_ask_for_them_once() {
    let world = World::new(CATALOGUE).await;
    let nas = world.device("nas", |_| Answer::done(0, "21.5\n")).await;
    let machine = world.machines.get("nas");
    machine.hang(true);
    let (source, readings) = (&nas.sources[0], &world.ports.readings);
    let wake = async {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        machine.hang(false);
    };
    let (heat, facts, ()) = futures_util::join!(
        readings.refresh(source, &["heat"]),
        readings.refresh(source, &[Facts::COLLECTOR]),
        wake
    );
    assert!(heat[0].is_ok() && facts[0].is_ok());
    assert_eq!(machine.asked.load(Ordering::SeqCst), 2, "one conversation for the facts, one for the heat");
}

#[tokio::test]
async fn a_source_that_may_not_be_asked_leaves_the_answer_to_the_next() {
    let world = World::new(CATALOGUE).await;
    let nas = world.device("nas", |_| Answer::done(0, "21.5\n")).await;
    let other = world.device("other", |_| Answer::done(0, "19\n")).await;
    let mut linked = crate::device::Device::clone(&nas);
    linked.sources.extend(other.sources.iter().cloned());
    let emptied = crate::device::Device { sources: Vec::new(), ..crate::device::Device::clone(&other) };
    world.ports.fleet.change(&[&nas, &other], vec![linked, emptied]).await.unwrap();
    let linked = world.ports.fleet.by_id(nas.id).unwrap();
    let readings = &world.ports.readings;
    readings.latest(&linked, "heat", NOW).await.unwrap();
    world.machines.get("nas").fail(Some(refused()));
    readings.latest(&linked, "heat", NOW).await.unwrap();
    let seen = readings.latest(&linked, "heat", NOW).await.unwrap();
    assert_eq!((seen.observed.origin, seen.observed.source), (Origin::Live, other.sources[0].id));
}

#[tokio::test]
async fn a_removed_device_is_hung_up_on() {
    let world = World::new(CATALOGUE).await;
    let nas = world.device("nas", |_| Answer::done(0, "21.5\n")).await;
    world.ports.readings.latest(&nas, "heat", NOW).await.unwrap();
    world.ports.fleet.remove(nas.id).await.unwrap();
    world.ports.readings.keep().await.unwrap();
    assert_eq!(world.machines.get("nas").hung_up.load(Ordering::SeqCst), 1);
    assert!(world.ports.readings.known(&nas, "heat").is_none());
    assert_eq!(world.ports.fleet.device_health(&nas).status, Status::Pending);
}

#[tokio::test]
async fn a_trial_does_not_hold_up_the_end() {
    let world = World::new(CATALOGUE).await;
    let nas = world.device("nas", |_| Answer::done(0, "21.5\n")).await;
    let (machine, readings) = (world.machines.get("nas"), &world.ports.readings);
    machine.fail(Some(refused()));
    assert!(readings.latest(&nas, "heat", NOW).await.is_err());
    world.clock.forward(Duration::from_secs(600));
    machine.hang(true);
    let asking = readings.refresh(&nas.sources[0], &["heat"]);
    let stopping = async {
        tokio::task::yield_now().await;
        world.stop.cancel();
    };
    let (results, ()) = futures_util::join!(asking, stopping);
    assert_eq!(results[0].as_ref().err().unwrap().code(), "cancelled");
    readings.closed().await;
}

#[tokio::test]
async fn nobody_knows_how_a_device_is_that_is_not_polled() {
    let world = World::new(CATALOGUE).await;
    let nas = world.device("nas", |_| Answer::done(0, "21.5\n")).await;
    world.ports.readings.latest(&nas, "heat", NOW).await.unwrap();
    let left = crate::device::Device { monitored: false, ..crate::device::Device::clone(&nas) };
    assert_eq!(world.ports.fleet.device_health(&left).status, Status::Online);
    world.clock.forward(Duration::from_secs(91));
    let health = world.ports.fleet.device_health(&left);
    assert_eq!((health.status, health.why.unwrap().code.as_str()), (Status::Pending, "not_monitored"));
}

#[tokio::test]
async fn refusals_before_do_not_make_a_silence_offline() {
    let world = World::new(CATALOGUE).await;
    let nas = world.device("nas", |_| Answer::done(0, "21.5\n")).await;
    let fail = |code| world.ports.fleet.failed(nas.sources[0].id, &Error::unreachable(code, "", ""));
    let status = || world.ports.fleet.device_health(&nas).status;
    for _ in 0..5 {
        fail("ssh_auth_failed");
    }
    fail("ssh_timeout");
    fail("ssh_timeout");
    assert_eq!(status(), Status::Unreachable);
    fail("ssh_no_route");
    assert_eq!(status(), Status::Offline);
}
