//! Container engines: which sockets are there, which of them answer us, and what would mend the others.

use domain::ask::{Answer, Answers, Ask, Outcome};
use domain::capability::{Capability, Refusal};
use domain::facts::{Engine, EngineState, Facts};
use domain::problem::Problem;
use serde::Deserialize;

use domain::Untrusted;

use super::{probed, user};

/// Where engines of the machine listen. The second is the first on almost every machine.
const SYSTEM_SOCKETS: [&str; 3] = ["/var/run/docker.sock", "/run/docker.sock", "/run/podman/podman.sock"];
const VERSION: &str = "/version";

/// Asks which sockets of the machine's engines are there.
pub(super) fn probe() -> Ask {
    Ask::probe(SYSTEM_SOCKETS)
}

/// Asks which sockets of a user's own engines are there.
fn user_probe(uid: u32) -> Ask {
    Ask::probe([format!("/run/user/{uid}/docker.sock"), format!("/run/user/{uid}/podman/podman.sock")])
}

/// What must be asked to know the engines: sockets of the user's own, then the version of each that we may use.
pub(super) fn more_asks(answers: &Answers, uid: Option<u32>) -> Vec<Ask> {
    let mut asks: Vec<Ask> = uid.filter(|uid| *uid != 0).map(user_probe).into_iter().collect();
    let usable = sockets(answers, uid).into_iter().filter(|(_, may_use)| *may_use);
    asks.extend(usable.map(|(socket, _)| Ask::api(socket, VERSION)));
    asks
}

/// The engines found, and for each that does not answer, why and what would mend it.
pub(super) fn found(answers: &Answers, uid: Option<u32>) -> Vec<(Engine, Option<Problem>)> {
    let user = answers.get(&user().question).and_then(Answer::ok);
    let user = Untrusted::new(user.as_deref().unwrap_or("USER").trim());
    let mut engines: Vec<(Engine, Option<Problem>)> = Vec::new();
    for (socket, may_use) in sockets(answers, uid) {
        let mut engine = Engine {
            product: if socket.contains("podman") { "podman" } else { "docker" }.to_owned(),
            version: None,
            state: EngineState::NotAllowed,
            socket,
        };
        let answer = may_use.then(|| answers.api(&engine.socket, VERSION)).flatten();
        let problem = match answer {
            None => Some(not_allowed(&engine, user.as_str())),
            Some(answer) => match answer.outcome {
                // gone since the probe
                Outcome::Missing => continue,
                Outcome::Denied | Outcome::Done { status: 401 | 403 } => {
                    Some(not_allowed(&engine, user.as_str()))
                }
                Outcome::Done { status: 200 } => {
                    learn_version(&mut engine, answer);
                    None
                }
                Outcome::Refused => {
                    engine.state = EngineState::NotRunning;
                    Some(not_running(&engine, answers))
                }
                _ => {
                    engine.state = EngineState::NotRunning;
                    Some(not_answering(&engine, answer))
                }
            },
        };
        // Podman may serve Docker's socket too
        let is_known = engines.iter().any(|(known, _)| {
            known.state == EngineState::Answering
                && engine.state == EngineState::Answering
                && known.product == engine.product
                && is_of_system(&known.socket) == is_of_system(&engine.socket)
        });
        if !is_known {
            engines.push((engine, problem));
        }
    }
    engines
}

/// A client that is installed although no engine listens.
pub(super) fn installed_without_socket(facts: &Facts) -> Option<Refusal> {
    let client = facts.programs.iter().find(|path| path.ends_with("/docker"))?;
    if !facts.engines.is_empty() {
        return None;
    }
    let problem = Problem::new(
        "docker_no_socket",
        format!("{client} is installed, but no engine listens at {}", SYSTEM_SOCKETS[0]),
    );
    let help = format!("if an engine should run here: {}", start_command(facts.can(Capability::Systemd)));
    Some(Refusal { capability: Capability::ContainerEngine, problem: problem.help(help) })
}

/// The sockets that are there, and whether we may use each.
fn sockets(answers: &Answers, uid: Option<u32>) -> Vec<(String, bool)> {
    let mut found = probed(answers, &probe());
    if let Some(uid) = uid {
        found.extend(probed(answers, &user_probe(uid)));
    }
    let has_first = found.iter().any(|(_, path)| path == SYSTEM_SOCKETS[0]);
    found
        .into_iter()
        .filter(|(flags, path)| flags.starts_with('s') && !(has_first && path == SYSTEM_SOCKETS[1]))
        .map(|(flags, path)| (path, flags.contains('w')))
        .collect()
}

fn is_of_system(socket: &str) -> bool {
    !socket.starts_with("/run/user/")
}

/// What `/version` says, as far as it is wanted here.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Version {
    version: Option<String>,
    components: Option<Vec<Component>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Component {
    name: Option<String>,
}

fn learn_version(engine: &mut Engine, answer: &Answer) {
    engine.state = EngineState::Answering;
    let said: Version = serde_json::from_slice(&answer.output).unwrap_or_default();
    engine.version = said.version.map(|version| Untrusted::new(version).to_string());
    let components = said.components.unwrap_or_default();
    let is_podman =
        |component: &Component| component.name.as_ref().is_some_and(|name| name.contains("Podman"));
    if components.iter().any(is_podman) {
        "podman".clone_into(&mut engine.product);
    }
}

fn not_allowed(engine: &Engine, user: &str) -> Problem {
    let problem = Problem::new(
        format!("{}_not_allowed", engine.product),
        format!("{user} may not use {}", engine.socket),
    );
    let help = if engine.product == "docker" {
        format!(
            "on the machine: sudo usermod -aG docker {}; a new sign-in then has it (docker's group is as good as root)",
            domain::ask::quoted(user)
        )
    } else {
        format!(
            "sign in as root, or let {user} have an engine of their own: systemctl --user enable --now podman.socket"
        )
    };
    problem.help(help).about(&engine.socket)
}

fn not_running(engine: &Engine, answers: &Answers) -> Problem {
    let runs_systemd = super::has_sign(answers, "/run/systemd/system");
    let help = match engine.product.as_str() {
        "podman" if !is_of_system(&engine.socket) => {
            "on the machine: systemctl --user start podman.socket".to_owned()
        }
        "podman" => "on the machine: sudo systemctl start podman.socket".to_owned(),
        _ if !is_of_system(&engine.socket) => "on the machine: systemctl --user start docker".to_owned(),
        _ => start_command(runs_systemd),
    };
    Problem::new(
        format!("{}_not_running", engine.product),
        format!("{} is there, but nobody serves it: the engine does not run", engine.socket),
    )
    .help(help)
    .about(&engine.socket)
}

fn start_command(runs_systemd: bool) -> String {
    if runs_systemd {
        "on the machine: sudo systemctl start docker".to_owned()
    } else {
        "on the machine, as root: /etc/rc.d/rc.docker start (Unraid), or service docker start".to_owned()
    }
}

fn not_answering(engine: &Engine, answer: &Answer) -> Problem {
    let how = match answer.outcome {
        Outcome::Done { status } => format!("answers with HTTP status {status}"),
        _ => "accepts connections but does not answer".to_owned(),
    };
    Problem::new(format!("{}_not_answering", engine.product), format!("{} {how}", engine.socket))
        .help("look at the engine's log on the machine: journalctl -u docker, or /var/log/docker.log")
        .about(&engine.socket)
}
