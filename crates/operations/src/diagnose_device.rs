//! `diagnose_device`: what works with a device, what does not, why, and what would mend it.

use std::collections::BTreeSet;

use domain::Result;
use domain::ask::Ask;
use domain::context::Context;
use domain::device::{Device, Status};
use domain::facts::Facts;
use domain::operation::{Effect, Operation, Route, Toolset};
use domain::ports::KeyVerdict;
use domain::problem::Problem;
use domain::readings::Freshness;
use domain::time::describe_span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Says what works with a device, what does not, why, and the exact command that would mend it. Asks the machine now. With
/// `commands` it lists every file read and command run there, by which collector and why.
#[derive(Deserialize, JsonSchema)]
pub struct DiagnoseDevice {
    /// The device's name or id.
    device: String,
    /// Lists every file read and command run there instead.
    commands: Option<bool>,
}

/// What works and what does not.
#[derive(Serialize, JsonSchema)]
pub struct Diagnosis {
    /// The device in a sentence.
    summary: String,
    /// What was looked at, in the order in which one thing needs the other.
    findings: Vec<Finding>,
    /// What is asked of the machine, where that was wanted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    commands: Vec<AskedCommand>,
}

/// One thing that was looked at.
#[derive(Serialize, JsonSchema)]
pub struct Finding {
    /// What was looked at.
    what: String,
    /// Whether it works.
    works: bool,
    /// Why it does not, or how it does.
    why: String,
    /// The command or step that would mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

/// Something that is asked of the machine.
#[derive(Serialize, JsonSchema)]
pub struct AskedCommand {
    /// Which collector asks it.
    collector: String,
    /// How often, in seconds.
    every_seconds: f64,
    /// The file, command or request.
    command: String,
    /// What the collector reads, and why.
    why: String,
}

impl Operation for DiagnoseDevice {
    const NAME: &'static str = "diagnose_device";
    const EFFECT: Effect = Effect::Read;
    const ROUTE: Route = Route::get("/devices/{device}/diagnosis");
    const TOOLSET: Toolset = Toolset::Fleet;
    const SHORT: Option<&'static str> = Some("doctor");
    const DEADLINE: std::time::Duration = std::time::Duration::from_secs(60);
    type Output = Diagnosis;

    async fn run(self, ctx: &Context) -> Result<Self::Output> {
        let device = ctx.fleet().device(&self.device)?;
        if self.commands == Some(true) {
            return Ok(commands(ctx, &device));
        }
        let (mut findings, is_in) = reach(ctx, &device).await;
        if is_in {
            findings.extend(readings(ctx, &device).await);
        }
        let broken = findings.iter().filter(|finding| !finding.works).count();
        let summary = match broken {
            0 => format!("{}: everything works", device.name),
            1 => format!("{}: one thing does not work", device.name),
            count => format!("{}: {count} things do not work", device.name),
        };
        Ok(Diagnosis { summary, findings, commands: Vec::new() })
    }
}

/// Whether the machine can be reached, for each of its sources; and whether any of them lets us in.
async fn reach(ctx: &Context, device: &Device) -> (Vec<Finding>, bool) {
    let mut findings = Vec::new();
    let mut is_in = false;
    for source in &device.sources {
        let inspection = ctx.ports.sources.inspect(&source.reach).await;
        let address = inspection.address.clone().unwrap_or_default();
        if let Some(key) = &inspection.host_key {
            let is_trusted = key.verdict == KeyVerdict::Trusted;
            let approve = format!("reeve approve-host-key {} {}", device.name, key.fingerprint);
            findings.push(Finding {
                what: format!("host key of {}", source.reach),
                works: is_trusted,
                why: format!("{} {} is {}", key.algorithm, key.fingerprint, in_words(key.verdict)),
                mend: (key.verdict == KeyVerdict::Unknown).then_some(approve),
            });
        }
        let problem = inspection.error;
        let is_key_problem = problem.as_ref().is_some_and(|problem| problem.code.starts_with("host_key_"));
        if !is_key_problem || findings.is_empty() {
            findings.push(Finding {
                what: format!("connection to {}", source.reach),
                works: inspection.signed_in,
                why: problem
                    .as_ref()
                    .map_or_else(|| reached(&address, inspection.took_ms), |p| p.message.clone()),
                mend: problem.and_then(|problem| problem.help),
            });
        }
        is_in |= inspection.signed_in;
        if inspection.signed_in {
            let host = ctx.ports.readings.host(source);
            if host.refusal().is_some() {
                host.forget_failures().await;
            }
        }
    }
    (findings, is_in)
}

fn reached(address: &str, took_ms: u64) -> String {
    if address.is_empty() {
        "it is this machine".to_owned()
    } else {
        format!("signed in at {address} in {took_ms} ms")
    }
}

fn in_words(verdict: KeyVerdict) -> &'static str {
    match verdict {
        KeyVerdict::Trusted => "trusted",
        KeyVerdict::Unknown => "unknown: compare it with the machine's own before you approve it",
        KeyVerdict::Changed => {
            "not the one that is known: the machine was set up anew, or somebody stands between; \
             do not approve it before you know which"
        }
        KeyVerdict::Revoked => "marked as revoked",
    }
}

/// What the machine lets us do, and what each collector misses.
async fn readings(ctx: &Context, device: &Device) -> Vec<Finding> {
    let now = Freshness {
        max_age: Some(std::time::Duration::ZERO),
        deadline: Some(std::time::Duration::from_secs(15)),
    };
    let mut findings = Vec::new();
    let readings = &ctx.ports.readings;
    let facts = match readings.latest(device, Facts::COLLECTOR, now).await {
        Ok(seen) => {
            findings.extend(seen.problems.iter().map(|problem| broken(Facts::COLLECTOR, problem)));
            seen.reading::<Facts>().cloned().unwrap_or_default()
        }
        Err(error) => return vec![broken(Facts::COLLECTOR, &Problem::from(&error))],
    };
    let user = facts.user.clone().unwrap_or_default();
    findings.push(Finding {
        what: "machine".to_owned(),
        works: true,
        why: format!(
            "{} as user {user}",
            facts.os.name.as_ref().map_or_else(|| facts.device_type.clone(), ToString::to_string)
        ),
        mend: None,
    });
    for refusal in &facts.refusals {
        let what = serde_json::to_string(&refusal.capability).unwrap_or_default();
        findings.push(broken(what.trim_matches('"'), &refusal.problem));
    }
    let able =
        readings.catalogue().iter().filter(|def| def.name != Facts::COLLECTOR && def.lacks(&facts).is_none());
    // side by side: several that hang are waited for once
    let asked = able.map(|def| async move {
        (def, readings.latest(device, def.name, Freshness { max_age: None, ..now }).await)
    });
    for (def, result) in futures_util::future::join_all(asked).await {
        match result {
            // a first poll has no rates: that mends itself
            Ok(seen) => {
                let lasting: Vec<&Problem> =
                    seen.problems.iter().filter(|p| p.code != "needs_two_polls").collect();
                if lasting.is_empty() {
                    let age = describe_span(ctx.ports.clock.now().since(seen.observed.as_of));
                    findings.push(Finding {
                        what: def.name.to_owned(),
                        works: true,
                        why: format!("read {age} ago"),
                        mend: None,
                    });
                }
                findings.extend(lasting.into_iter().map(|problem| broken(def.name, problem)));
            }
            Err(error) => findings.push(broken(def.name, &Problem::from(&error))),
        }
    }
    findings
}

fn broken(what: &str, problem: &Problem) -> Finding {
    let about = problem.about.as_ref().map(|about| format!("{about}: ")).unwrap_or_default();
    Finding {
        what: what.to_owned(),
        works: false,
        why: format!("{about}{}", problem.message),
        mend: problem.help.clone(),
    }
}

/// Every file read and command run, made from the collectors' own asks: what a first round asks, and what the last
/// poll asked in its later rounds.
fn commands(ctx: &Context, device: &Device) -> Diagnosis {
    let readings = &ctx.ports.readings;
    let facts = readings.facts(device).unwrap_or_default();
    let mut commands = Vec::new();
    let able =
        readings.catalogue().iter().filter(|def| def.name == Facts::COLLECTOR || def.lacks(&facts).is_none());
    for def in able {
        let mut lines: Vec<String> = Vec::new();
        let mut told = BTreeSet::new();
        let asked = readings.known(device, def.name).map(|seen| seen.asked);
        for ask in (def.asks)(&facts).iter().chain(asked.iter().flat_map(|asked| asked.iter())) {
            let line = general(ask);
            if told.insert(line.clone()) {
                lines.push(line);
            }
        }
        let every_seconds = readings.interval(device, def).as_secs_f64();
        commands.extend(lines.into_iter().map(|command| AskedCommand {
            collector: def.name.to_owned(),
            every_seconds,
            command,
            why: def.why.to_owned(),
        }));
    }
    let state = match ctx.fleet().health(device).status {
        Status::Pending => "; more may follow once it was asked",
        _ => "",
    };
    let summary = format!("{}: {} files, commands and requests{state}", device.name, commands.len());
    Diagnosis { summary, findings: Vec::new(), commands }
}

/// An ask with the ids and process numbers in it made general, so that each kind is told once.
fn general(ask: &Ask) -> String {
    let words: Vec<String> = ask
        .to_string()
        .split('/')
        .map(|word| match word {
            _ if word.len() >= 12 && word.chars().all(|c| c.is_ascii_hexdigit()) => "<id>".to_owned(),
            _ if !word.is_empty() && word.chars().all(|c| c.is_ascii_digit()) => "<pid>".to_owned(),
            _ => word.to_owned(),
        })
        .collect();
    words.join("/")
}
