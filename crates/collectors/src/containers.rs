//! Containers: state, health, what they are made of, and what they use.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::ask::{Answer, Answers, Ask, Outcome};
use domain::capability::Capability;
use domain::collector::{Collector, Parsed};
use domain::facts::{Engine, Facts};
use domain::observed::Observed;
use domain::problem::Problem;
use domain::sample::Samples;
use domain::{Error, Result, Untrusted};

mod compose;
mod engine_api;
mod from_engine;
mod reading;
mod usage;

pub(crate) use from_engine::own_name;
pub use reading::{
    Compose, Container, ContainerNetwork, ContainerState, ContainersReading, DependsOn, Health, MountedPath,
    Port, Usage,
};

use crate::linux::needs_two_polls;
use engine_api::{Image, Inspected, Listed, Stats};

/// Containers of Docker and Podman, through the engine's API.
///
/// First the list of all containers; then each one's details, and the usage of those that run, once. An image's digest is
/// asked when the image is first seen. Values of environment variables are never read.
pub struct Containers;

const LIST: &str = "/containers/json?all=1";
/// Large hosts list hundreds of containers with many labels.
const LIST_CAP_BYTES: usize = 8 << 20;

impl Collector for Containers {
    const NAME: &'static str = "containers";
    const WHY: &'static str =
        "containers of Docker and Podman: the engine's list, each one's details, usage of those that run";
    const EVERY: Duration = Duration::from_secs(30);
    const NEEDS: &'static [Capability] = &[Capability::ContainerEngine];
    const LIVE: bool = true;
    type Reading = ContainersReading;

    fn asks(facts: &Facts) -> Vec<Ask> {
        facts
            .answering_engines()
            .map(|engine| Ask::api(&engine.socket, LIST).cap_bytes(LIST_CAP_BYTES))
            .collect()
    }

    fn parse(
        facts: &Facts,
        answers: &Answers,
        before: Option<&Observed<ContainersReading>>,
    ) -> Result<Parsed<ContainersReading>> {
        let before = before.map(|observed| &observed.value);
        let refused =
            facts.refusals.iter().filter(|refusal| refusal.capability == Capability::ContainerEngine);
        let mut problems: Vec<Problem> = refused.map(|refusal| refusal.problem.clone()).collect();
        let mut containers = Vec::new();
        let mut silent = Vec::new();
        let mut more = Vec::new();
        for engine in facts.answering_engines() {
            match listed(answers, engine) {
                Ok((list, unread)) => {
                    problems.extend(unread);
                    more.extend(list.iter().flat_map(|listed| asks_about(engine, listed)));
                    more.extend(image_asks(engine, &list, before));
                    containers.extend(list.into_iter().map(|listed| (engine, listed)));
                }
                Err(problem) => silent.push(problem),
            }
        }
        // nothing told is not the same as no containers
        if !silent.is_empty() && silent.len() == facts.answering_engines().count() {
            let told = silent.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; ");
            return Err(Error::unreachable(
                "engine_not_answering",
                told,
                "reeve doctor says what is wrong with it",
            ));
        }
        problems.extend(silent);
        more.retain(|ask| answers.get(&ask.question).is_none());
        if !more.is_empty() {
            return Ok(Parsed::More(more));
        }
        let mut reading = ContainersReading::default();
        for (engine, listed) in containers {
            match container(answers, engine, &listed, before) {
                Ok(container) => reading.containers.extend(container),
                Err((container, problem)) => {
                    reading.containers.push(*container);
                    problems.push(problem);
                }
            }
        }
        reading.containers.sort_by(|a, b| a.name.cmp(&b.name).then(a.socket.cmp(&b.socket)));
        if before.is_none() && reading.containers.iter().any(|container| container.usage.is_some()) {
            problems.push(needs_two_polls("shares of processor time"));
        }
        Ok(Parsed::Reading(reading, problems))
    }

    fn samples(reading: &ContainersReading, samples: &mut Samples) {
        let engines: BTreeSet<&str> =
            reading.containers.iter().map(|container| container.socket.as_str()).collect();
        for container in &reading.containers {
            container.samples(engines.len() > 1, samples);
        }
    }
}

fn about(id: &str) -> String {
    format!("/containers/{id}/json")
}

fn usage_of(id: &str) -> String {
    format!("/containers/{id}/stats?stream=false&one-shot=true")
}

fn image_of(id: &str) -> String {
    format!("/images/{id}/json")
}

/// The list of an engine; an entry that cannot be read does not cost the others, and is said.
fn listed(
    answers: &Answers,
    engine: &Engine,
) -> std::result::Result<(Vec<Listed>, Option<Problem>), Problem> {
    let answer = answers.api(&engine.socket, LIST);
    let Some(answer) = answer.filter(|answer| answer.outcome == Outcome::Done { status: 200 }) else {
        let why = answer.map_or_else(|| "it was not asked".to_owned(), why_not);
        let text = format!("the containers of {} are not known: {why}", engine.product);
        return Err(Problem::new("engine_not_answering", text)
            .help("reeve doctor says what is wrong with it")
            .about(&engine.socket));
    };
    let entries: Vec<serde_json::Value> = serde_json::from_slice(&answer.output).map_err(|_| {
        let what = if answer.truncated { "its list is too long" } else { "its list cannot be read" };
        Problem::new(
            "engine_unreadable",
            format!("the containers of {} are not known: {what}", engine.product),
        )
        .about(&engine.socket)
    })?;
    let all = entries.len();
    let listed = entries.into_iter().filter_map(|entry| serde_json::from_value::<Listed>(entry).ok());
    // the id becomes part of a path
    let listed: Vec<Listed> = listed
        .filter(|listed| !listed.id.is_empty() && listed.id.chars().all(|c| c.is_ascii_hexdigit()))
        .collect();
    let unread = (listed.len() < all).then(|| {
        let text = format!("{} of {all} containers of {} cannot be read", all - listed.len(), engine.product);
        Problem::new("engine_unreadable", text).about(&engine.socket)
    });
    Ok((listed, unread))
}

/// What went wrong, in words.
fn why_not(answer: &Answer) -> String {
    match answer.outcome {
        Outcome::Done { status } => format!("it answered with HTTP status {status}"),
        Outcome::Missing => "its socket is gone".to_owned(),
        Outcome::Denied => "we may not use its socket any more".to_owned(),
        Outcome::Refused => "it does not run any more".to_owned(),
        Outcome::TimedOut => "it did not answer in time".to_owned(),
        Outcome::StillHanging => "an earlier question still hangs".to_owned(),
    }
}

fn asks_about(engine: &Engine, listed: &Listed) -> Vec<Ask> {
    let details = Ask::api(&engine.socket, about(&listed.id));
    let usage = has_usage(listed).then(|| Ask::api(&engine.socket, usage_of(&listed.id)));
    std::iter::once(details).chain(usage).collect()
}

fn has_usage(listed: &Listed) -> bool {
    ContainerState::from_engine(&listed.state).has_usage()
}

/// Asks about images that the reading before did not know: what an image is never changes.
fn image_asks(engine: &Engine, list: &[Listed], before: Option<&ContainersReading>) -> Vec<Ask> {
    let known = |id: &&str| before.is_some_and(|before| before.knows_image(id));
    let is_id = |id: &&str| {
        let number = id.strip_prefix("sha256:").unwrap_or(id);
        !number.is_empty() && number.chars().all(|c| c.is_ascii_hexdigit())
    };
    let images: BTreeSet<&str> = list.iter().filter_map(|listed| listed.image_id.as_deref()).collect();
    let new = images.into_iter().filter(is_id).filter(|id| !known(id));
    new.map(|id| Ask::api(&engine.socket, image_of(id))).collect()
}

type Made = std::result::Result<Option<Container>, (Box<Container>, Problem)>;

/// A container from all that is known of it; nothing where it went away meanwhile.
fn container(
    answers: &Answers,
    engine: &Engine,
    listed: &Listed,
    before: Option<&ContainersReading>,
) -> Made {
    let earlier = before.and_then(|before| before.containers.iter().find(|earlier| earlier.id == listed.id));
    let details = answers.api(&engine.socket, &about(&listed.id));
    if details.is_some_and(|answer| answer.outcome == Outcome::Done { status: 404 }) {
        return Ok(None);
    }
    let details = details.and_then(|answer| Some((answer, answer.ok()?)));
    let details = details.and_then(|(answer, _)| serde_json::from_slice::<Inspected>(&answer.output).ok());
    let is_detailed = details.is_some();
    let mut container = Container::new(engine, listed, details.unwrap_or_default());
    container.image_digest = image_digest(answers, engine, listed, before);
    let stats = answers
        .api(&engine.socket, &usage_of(&listed.id))
        .filter(|answer| answer.ok().is_some())
        .and_then(|answer| serde_json::from_slice::<Stats>(&answer.output).ok());
    container.usage =
        stats.and_then(|stats| Usage::new(&stats, earlier.and_then(|earlier| earlier.usage.as_ref())));
    // it may have ended after the list was told
    let is_used = has_usage(listed) && container.state.has_usage();
    let missing = match (is_detailed, is_used && container.usage.is_none()) {
        (false, _) => "details",
        (true, true) => "usage",
        (true, false) => return Ok(Some(container)),
    };
    let problem = Problem::new(
        "container_incomplete",
        format!("the engine did not tell the {missing} of {}", container.name),
    );
    let problem = problem.about(container.name.as_str());
    Err((Box::new(container), problem))
}

/// The digest that the image was pulled by; images that were built here have none.
fn image_digest(
    answers: &Answers,
    engine: &Engine,
    listed: &Listed,
    before: Option<&ContainersReading>,
) -> Option<String> {
    let id = listed.image_id.as_deref()?;
    let Some(answer) = answers.api(&engine.socket, &image_of(id)) else {
        return before?.digest_of(id, &listed.id).map(str::to_owned);
    };
    answer.ok()?;
    let image: Image = serde_json::from_slice(&answer.output).ok()?;
    let digests = image.repo_digests?;
    // of several names, the one that the container was started by
    let repository = listed.image.as_deref().map(repository).unwrap_or_default();
    let by_name = digests.iter().find(|digest| digest.split('@').next() == Some(repository));
    let (_, digest) = by_name.or(digests.first())?.split_once('@')?;
    Some(Untrusted::new(digest).to_string())
}

/// `registry:5000/name` of `registry:5000/name:tag`.
fn repository(image: &str) -> &str {
    match image.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => image,
    }
}

#[cfg(test)]
mod tests {
    use domain::facts::EngineState;

    use super::*;

    const SOCKET: &str = "/var/run/docker.sock";

    fn engine() -> Engine {
        let state = EngineState::Answering;
        Engine { product: "docker".into(), socket: SOCKET.into(), version: None, state }
    }

    fn made_of(id: &str) -> Listed {
        serde_json::from_value(serde_json::json!({ "Id": id, "ImageID": "sha256:aa" })).unwrap()
    }

    #[test]
    fn a_container_made_anew_keeps_the_digest_of_its_image() {
        let mut old = Container::new(&engine(), &made_of("01"), engine_api::Inspected::default());
        old.image_digest = Some("sha256:bb".to_owned());
        let before = ContainersReading { containers: vec![old] };
        let anew = made_of("02");
        assert!(image_asks(&engine(), std::slice::from_ref(&anew), Some(&before)).is_empty());
        let nothing_asked = Answers::new(domain::Timestamp::default(), Vec::new());
        let digest = image_digest(&nothing_asked, &engine(), &anew, Some(&before));
        assert_eq!(digest.as_deref(), Some("sha256:bb"));
    }

    #[test]
    fn containers_that_cannot_be_read_are_said() {
        let list = r#"[{"Id":"01"},{"Id":"02","Labels":{"a":null}},{"Id":"../x"}]"#;
        let answer = Answer::done(200, list);
        let answers = Answers::new(domain::Timestamp::default(), vec![(Ask::api(SOCKET, LIST), answer)]);
        let Ok((list, unread)) = listed(&answers, &engine()) else { panic!("a list") };
        assert_eq!(list.len(), 1);
        assert!(unread.is_some_and(|problem| problem.message.contains("2 of 3")));
    }
}
