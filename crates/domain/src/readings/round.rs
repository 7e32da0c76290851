//! One round of questions to one source: all quick asks in one conversation, each that may hang on its own, each
//! collector landing as soon as its own answers are there.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, Shared, join_all};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Inner, Landing, Readings, Seen, lacking};
use crate::ask::{Answer, Answers, Ask};
use crate::collector::{AnyParsed, CollectorDef};
use crate::device::Source;
use crate::event::Event;
use crate::facts::Facts;
use crate::history::Poll;
use crate::host::Host;
use crate::observed::{Observed, Origin};
use crate::sample::Samples;
use crate::{Error, Timestamp};

/// A collector on its way.
pub(super) struct Member {
    pub def: &'static CollectorDef,
    pub tell: watch::Sender<Landing>,
    pub cancel: CancellationToken,
}

type Outcome<T> = std::result::Result<T, Arc<Error>>;
/// The quick answers of all members, given to each of them.
type Quick = Shared<BoxFuture<'static, Outcome<Arc<Vec<Answer>>>>>;

/// How long a machine that is there may take for the smallest of answers.
const DOUBT: Duration = Duration::from_secs(3);

/// Most rounds of asks that a collector may take.
const MOST_ROUNDS: usize = 3;

pub(super) async fn run(inner: Arc<Inner>, source: Source, members: Vec<Member>) {
    let host = inner.host(&source);
    // after failures one cheap question finds out whether the machine is back, so that not all are lost to the breaker;
    // it goes on when its callers have left, because what it finds out is true for everybody
    let knocked = tokio::select! {
        knocked = knock(&host) => knocked,
        () = inner.stop.cancelled() => Err(Error::cancelled()),
    };
    if let Err(error) = knocked {
        return land_all(&inner, &source, members, &Arc::new(error));
    }
    if let Some(facts) = inner.facts(source.id) {
        return send(&inner, &source, &host, members, &facts).await;
    }
    let (facts_members, others): (Vec<_>, Vec<_>) =
        members.into_iter().partition(|member| member.def.name == Facts::COLLECTOR);
    send(&inner, &source, &host, facts_members, &Facts::default()).await;
    if others.is_empty() {
        return;
    }
    let facts = tokio::select! {
        facts = facts_of(&inner, &source) => facts,
        () = all_left(&others) => Err(Arc::new(Error::cancelled())),
    };
    match facts {
        Ok(facts) => send(&inner, &source, &host, others, &facts).await,
        Err(error) => land_all(&inner, &source, others, &error),
    }
}

async fn knock(host: &Host) -> Result<(), Error> {
    if host.has_failed() { host.converse(vec![Ask::file("/proc/uptime")]).await.map(drop) } else { Ok(()) }
}

/// Finds out whether a machine that kept a caller waiting is there at all, so that the breaker spares the next ones.
pub(super) async fn doubt(inner: Arc<Inner>, host: Arc<Host>) {
    let Some(_only_one) = host.doubted() else { return };
    tokio::select! {
        _ = host.converse(vec![Ask::file("/proc/uptime").deadline(DOUBT)]) => {}
        () = inner.stop.cancelled() => {}
    }
}

/// What is known of the machine; asked where nothing is, once for all rounds that wait for it.
async fn facts_of(inner: &Arc<Inner>, source: &Source) -> Outcome<Facts> {
    if let Some(facts) = inner.facts(source.id) {
        return Ok(facts);
    }
    match Readings(Arc::clone(inner)).depart(source, &[Facts::COLLECTOR]).pop() {
        Some(waiting) => Ok(waiting.landed().await?.reading::<Facts>().cloned().unwrap_or_default()),
        None => Ok(Facts::default()),
    }
}

/// Ready when nobody waits for any of these any more.
async fn all_left(members: &[Member]) {
    join_all(members.iter().map(|member| member.cancel.cancelled())).await;
}

fn land_all(inner: &Inner, source: &Source, members: Vec<Member>, error: &Arc<Error>) {
    for member in members {
        land(inner, source, &member, Err(Arc::clone(error)));
    }
}

async fn send(inner: &Arc<Inner>, source: &Source, host: &Arc<Host>, members: Vec<Member>, facts: &Facts) {
    let mut quick_asks: Vec<Ask> = Vec::new();
    let mut travelling = Vec::new();
    for member in members {
        if let Some(capability) = member.def.lacks(facts) {
            let error = lacking(member.def, capability, facts);
            land(inner, source, &member, Err(Arc::new(error)));
            continue;
        }
        let (slow, quick): (Vec<Ask>, Vec<Ask>) =
            (member.def.asks)(facts).into_iter().partition(|ask| ask.may_hang);
        for ask in &quick {
            if !quick_asks.contains(ask) {
                quick_asks.push(ask.clone());
            }
        }
        travelling.push((member, quick, slow));
    }
    let conversation = converse(Arc::clone(host), quick_asks.clone());
    let quick_asks: Arc<[Ask]> = quick_asks.into();
    let journeys: Vec<_> = travelling
        .into_iter()
        .map(|(member, quick, slow)| {
            let (conversation, quick_asks) = (conversation.clone(), Arc::clone(&quick_asks));
            async move {
                let first = First { quick, slow, quick_asks, conversation };
                let journey = AssertUnwindSafe(ask_and_parse(inner, source, host, member.def, facts, first))
                    .catch_unwind();
                let result = tokio::select! {
                    result = journey => result.unwrap_or_else(|_| {
                        Err(Arc::new(Error::internal(format!("the collector {} failed", member.def.name))))
                    }),
                    () = member.cancel.cancelled() => Err(Arc::new(Error::cancelled())),
                };
                land(inner, source, &member, result);
            }
        })
        .collect();
    // the conversation lives as long as a member holds it
    drop(conversation);
    join_all(journeys).await;
}

fn converse(host: Arc<Host>, asks: Vec<Ask>) -> Quick {
    let talk = async move { host.converse(asks).await.map(Arc::new).map_err(Arc::new) };
    talk.boxed().shared()
}

/// What a member asks first, and the conversation that it shares with the others.
struct First {
    quick: Vec<Ask>,
    slow: Vec<Ask>,
    quick_asks: Arc<[Ask]>,
    conversation: Quick,
}

async fn ask_and_parse(
    inner: &Arc<Inner>,
    source: &Source,
    host: &Arc<Host>,
    def: &'static CollectorDef,
    facts: &Facts,
    first: First,
) -> Outcome<Seen> {
    let before = inner.latest.get(source.id, def.name).map(|seen| seen.observed);
    let started = inner.clock.now();
    let (quick_answers, slow_answers) = futures_util::join!(
        async { if first.quick.is_empty() { Ok(Arc::default()) } else { first.conversation.await } },
        ask_each(host, first.slow),
    );
    let quick_answers = quick_answers?;
    let mut pairs = slow_answers?;
    for ask in first.quick {
        let place = first.quick_asks.iter().position(|asked| *asked == ask);
        if let Some(answer) = place.and_then(|place| quick_answers.get(place)) {
            pairs.push((ask, answer.clone()));
        }
    }
    let mut answers = Answers::new(middle(started, inner.clock.now()), pairs);
    for _ in 0..MOST_ROUNDS {
        match (def.parse)(facts, &answers, before.as_ref()).map_err(Arc::new)? {
            AnyParsed::Reading(value, problems, samples) => {
                let observed = Observed {
                    value,
                    as_of: answers.at,
                    stale: false,
                    origin: Origin::Live,
                    source: source.id,
                };
                let asked = answers.iter().map(|(ask, _)| ask.clone()).collect();
                let seen = Seen { observed, problems: problems.into(), asked };
                keep(inner, source, def, facts, &seen, samples);
                return Ok(seen);
            }
            AnyParsed::More(asks) => {
                let (slow, quick): (Vec<Ask>, Vec<Ask>) = asks.into_iter().partition(|ask| ask.may_hang);
                let (quick_answers, slow_answers) =
                    futures_util::join!(host.converse(quick.clone()), ask_each(host, slow));
                answers.extend(quick.into_iter().zip(quick_answers.map_err(Arc::new)?));
                answers.extend(slow_answers?);
            }
        }
    }
    Err(Arc::new(Error::internal(format!("the collector {} never had enough answers", def.name))))
}

async fn ask_each(host: &Arc<Host>, asks: Vec<Ask>) -> Outcome<Vec<(Ask, Answer)>> {
    let asking = asks.into_iter().map(|ask| async move {
        let answer = host.ask(ask.clone()).await.map_err(Arc::new)?;
        Ok((ask, answer))
    });
    join_all(asking.collect::<Vec<_>>()).await.into_iter().collect()
}

fn middle(start: Timestamp, end: Timestamp) -> Timestamp {
    start.plus(end.since(start) / 2)
}

/// Puts a reading where callers find it, and its samples into the history, which nobody waits for.
fn keep(
    inner: &Arc<Inner>,
    source: &Source,
    def: &'static CollectorDef,
    facts: &Facts,
    seen: &Seen,
    samples: Samples,
) {
    inner.latest.put(def.name, seen.clone());
    let observed = seen.observed.clone();
    inner.fleet.tell(Event::Reading { collector: def.name, observed, problems: Arc::clone(&seen.problems) });
    if samples.is_empty() {
        return;
    }
    let device = inner.fleet.of_source(source.id);
    let device_name = device.as_ref().map_or("", |device| device.name.as_str());
    let interval = inner.settings.borrow().intervals.of(def.name, device_name, &facts.device_type, def.every);
    let poll = Poll {
        source: source.id,
        collector: def.name,
        at: seen.observed.as_of,
        interval,
        samples: samples.into_vec(),
    };
    let store = Arc::clone(&inner.store);
    inner.tasks.spawn(async move {
        if let Err(error) = store.append(poll).await {
            tracing::warn!(code = error.code(), cause = %error.chain(), "a poll was not kept: {error}");
        }
    });
}

/// Tells everyone who waits, and clears the way for the next question.
fn land(inner: &Inner, source: &Source, member: &Member, result: Outcome<Seen>) {
    if let Err(error) = &result {
        tracing::debug!(source = %source.id, collector = member.def.name, code = error.code(),
            cause = %error.chain(), "not read: {error}");
    }
    {
        let mut flights = inner.flights.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (source.id, member.def.name);
        if flights.get(&key).is_some_and(|flight| flight.landing.same_channel(&member.tell.subscribe())) {
            flights.remove(&key);
        }
    }
    member.tell.send_replace(Some(result));
}
