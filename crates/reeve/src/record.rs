//! `reeve record`: asks a machine what a collector asks it, and writes the conversation as a transcript for its tests.

mod masks;
mod transcript;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ArgMatches;
use domain::ask::{Answer, Answers, Ask};
use domain::collector::{AnyParsed, AnyReading, CollectorDef};
use domain::device::SourceId;
use domain::facts::Facts;
use domain::host::Host;
use domain::observed::{Observed, Origin};
use domain::problem::Problem;
use domain::{Error, Timestamp, Untrusted};
use tokio::task::JoinSet;

use crate::config::Loaded;
use crate::data_dir::DataDir;
use crate::run::Program;
use crate::say;
use crate::wire::Declares;
use masks::masked;
use transcript::Transcript;

/// How long after the first poll the second one is made, where the collector wants two.
const BETWEEN_POLLS: Duration = Duration::from_secs(3);
/// Most rounds of asks that a collector may take.
const MOST_ROUNDS: usize = 3;

/// Records. The data directory must be free: the device is reached by the program in this process.
pub async fn run(loaded: &Loaded, data: &DataDir, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let device: &String = matches.get_one("DEVICE").context("DEVICE is needed")?;
    let collector: &String = matches.get_one("COLLECTOR").context("COLLECTOR is needed")?;
    let program = Program::start(loaded, data, Declares::AllOfFile).await?;
    let recorded = record(&program, device, collector).await;
    program.stop(None).await?;
    let text = recorded?;
    match matches.get_one::<PathBuf>("out") {
        Some(file) => {
            std::fs::write(file, text).with_context(|| format!("{} cannot be written", file.display()))?;
        }
        None => say(&text),
    }
    Ok(ExitCode::SUCCESS)
}

async fn record(program: &Program, device: &str, collector: &str) -> anyhow::Result<String> {
    let def = collector_named(collector)?;
    let ports = &program.ports;
    let devices = ports.fleet.devices();
    let device = devices.iter().find(|known| known.name == device);
    let device = device.with_context(|| {
        let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
        format!("there is no such device; there are: {}", names.join(", "))
    })?;
    let source = device.sources.first().context("the device cannot be reached in any way")?;
    let host = ports.readings.host(source);
    let now = || ports.clock.now();

    let facts_def = collector_named(Facts::COLLECTOR)?;
    let told = poll(&host, source.id, facts_def, &Facts::default(), None, now()).await?;
    let told_facts = (*told.observed.value).as_any().downcast_ref::<Facts>().cloned().unwrap_or_default();
    let facts = if def.name == Facts::COLLECTOR { Facts::default() } else { told_facts.clone() };
    if let Some(capability) = def.lacks(&facts) {
        bail!("{} asks nothing of a machine that lacks {capability:?}", def.name);
    }

    let mut transcript = Transcript::new();
    let system = told_facts.os.name.as_ref().map_or("an unknown system", |name| name.as_str());
    transcript.remark(&format!("{system}; signed in as {}", told_facts.user.as_deref().unwrap_or("nobody")));
    let first = poll(&host, source.id, def, &facts, None, now()).await?;
    transcript.remark(&format!("at: {}", first.observed.as_of));
    transcript.poll(&first.answers)?;
    if first.problems.iter().any(|problem| problem.code == "needs_two_polls") {
        tokio::time::sleep(BETWEEN_POLLS).await;
        let second = poll(&host, source.id, def, &facts, Some(&first.observed), now()).await?;
        transcript.later(BETWEEN_POLLS);
        transcript.changes(&first.answers, &second.answers)?;
    }
    Ok(masked(&transcript.into_text(), told_facts.hostname.as_ref().map(Untrusted::as_str)))
}

fn collector_named(name: &str) -> anyhow::Result<&'static CollectorDef> {
    let names = || collectors::ALL.iter().map(|def| def.name).collect::<Vec<_>>().join(", ");
    let found = collectors::ALL.iter().find(|def| def.name == name);
    found.with_context(|| format!("there is no collector “{name}”; there are: {}", names()))
}

/// A reading, and the conversation that it was made from.
struct Polled {
    observed: Observed<Arc<dyn AnyReading>>,
    problems: Vec<Problem>,
    answers: Answers,
}

/// Asks as a poll does, of this collector alone.
async fn poll(
    host: &Arc<Host>,
    source: SourceId,
    def: &CollectorDef,
    facts: &Facts,
    before: Option<&Observed<Arc<dyn AnyReading>>>,
    at: Timestamp,
) -> Result<Polled, Error> {
    let mut answers = Answers::new(at, ask_all(host, (def.asks)(facts)).await?);
    for _ in 0..MOST_ROUNDS {
        match (def.parse)(facts, &answers, before)? {
            AnyParsed::More(asks) => answers.extend(ask_all(host, asks).await?),
            AnyParsed::Reading(value, problems, _) => {
                let observed = Observed { value, as_of: at, stale: false, origin: Origin::Live, source };
                return Ok(Polled { observed, problems, answers });
            }
        }
    }
    Err(Error::internal(format!("the collector {} never had enough answers", def.name)))
}

async fn ask_all(host: &Arc<Host>, asks: Vec<Ask>) -> Result<Vec<(Ask, Answer)>, Error> {
    let (slow, quick): (Vec<Ask>, Vec<Ask>) = asks.into_iter().partition(|ask| ask.may_hang);
    let answers = host.converse(quick.clone()).await?;
    let mut pairs: Vec<(Ask, Answer)> = quick.into_iter().zip(answers).collect();
    let mut asking = JoinSet::new();
    for (place, ask) in slow.iter().cloned().enumerate() {
        let host = Arc::clone(host);
        asking.spawn(async move { (place, host.ask(ask).await) });
    }
    let mut answers = asking.join_all().await;
    answers.sort_by_key(|(place, _)| *place);
    for (ask, (_, answer)) in slow.into_iter().zip(answers) {
        pairs.push((ask, answer?));
    }
    Ok(pairs)
}
