//! What is asked about the topmost processes only: command line, user, memory, container.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use domain::ask::{Answer, Ask};
use domain::{Untrusted, redact};

use super::Process;
use crate::containers::own_name;
use crate::linux::{between, kib_field, lines_by_path};

/// Asks for command lines and control groups.
pub(super) fn details_ask(pids: &BTreeSet<u32>) -> Ask {
    let of_each = |pid| [format!("/proc/{pid}/cmdline"), format!("/proc/{pid}/cgroup")];
    Ask::run(["grep", "-asH", ""].map(String::from).into_iter().chain(pids.iter().flat_map(of_each)))
}

/// Asks for users and memory.
pub(super) fn status_ask(pids: &BTreeSet<u32>) -> Ask {
    let status = |pid| format!("/proc/{pid}/status");
    let grep = ["grep", "-asHE", "^(Uid|VmRSS):"].map(String::from);
    Ask::run(grep.into_iter().chain(pids.iter().map(status)))
}

/// Command lines and container ids of the topmost processes.
pub(super) struct Details {
    commands: BTreeMap<u32, String>,
    /// Ids of containers by process number.
    pub containers: BTreeMap<u32, String>,
}

impl Details {
    /// Reads the answers to [`details_ask`].
    pub fn new(answer: &Answer) -> Self {
        let mut details = Self { commands: BTreeMap::new(), containers: BTreeMap::new() };
        for (path, line) in lines_by_path(Some(answer)) {
            let pid = |file| between(&path, "/proc/", file)?.parse::<u32>().ok();
            if let Some(pid) = pid("/cmdline") {
                let command = details.commands.entry(pid).or_default();
                if !command.is_empty() {
                    command.push('\n');
                }
                command.push_str(&line);
            } else if let Some(pid) = pid("/cgroup")
                && let Some(id) = container_id(&line)
            {
                details.containers.insert(pid, id.to_owned());
            }
        }
        details
    }

    /// The process with what was asked about it; nothing where it has ended meanwhile.
    pub fn fill(&self, process: &Process, names: &Names) -> Option<Process> {
        let status = names.statuses.get(&process.pid)?.clone();
        let command = self.commands.get(&process.pid).map(|command| {
            let arguments = command.trim_end_matches('\0').split('\0');
            redact::command(arguments).join(" ")
        });
        let container = self.containers.get(&process.pid).and_then(|id| names.containers.get(id));
        let memory = status.memory_bytes.zip(names.machine_bytes);
        Some(Process {
            command: command.filter(|command| !command.is_empty()).map(Untrusted::new),
            user: status.user,
            container: container.map(Untrusted::new),
            memory_bytes: status.memory_bytes,
            memory_ratio: memory.map(|(part, machine)| part as f64 / machine as f64),
            ..process.clone()
        })
    }
}

/// The container id in a control group's path: `/docker/ID`, `/system.slice/docker-ID.scope`, `…/libpod-ID.scope`.
fn container_id(cgroup: &str) -> Option<&str> {
    cgroup
        .split(|c: char| !c.is_ascii_hexdigit())
        .find(|run| run.len() == 64 && run.chars().all(|c| !c.is_ascii_uppercase()))
}

/// What is told apart from the processes themselves.
pub(super) struct Names {
    /// By process number.
    pub statuses: BTreeMap<u32, Status>,
    /// Containers' names by id.
    pub containers: BTreeMap<String, String>,
    /// Memory of the machine.
    pub machine_bytes: Option<u64>,
}

/// What `/proc/PID/status` says, as far as it is wanted here.
#[derive(Clone, Default)]
pub(super) struct Status {
    user: Option<String>,
    memory_bytes: Option<u64>,
}

/// The answers to [`status_ask`], users by their names.
pub(super) fn statuses(answer: Option<&Answer>, passwd: &str) -> BTreeMap<u32, Status> {
    let name_of = |uid: &str| {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1) == Some(uid)).then(|| Untrusted::new(name).to_string())
        })
    };
    let mut statuses: BTreeMap<u32, Status> = BTreeMap::new();
    for (path, line) in lines_by_path(answer) {
        let Some(pid) = between(&path, "/proc/", "/status").and_then(|pid| pid.parse().ok()) else {
            continue;
        };
        let status = statuses.entry(pid).or_default();
        if let Some(kib) = kib_field(&line, "VmRSS") {
            status.memory_bytes = Some(kib);
        // real, effective, saved, file system: it acts as the effective one
        } else if let Some(uid) = line.split_whitespace().nth(2).filter(|uid| uid.parse::<u32>().is_ok()) {
            status.user = Some(name_of(uid).unwrap_or_else(|| uid.to_owned()));
        }
    }
    statuses
}

/// What `/containers/json` says of a container, as far as it is wanted here.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RunningContainer {
    id: String,
    #[serde(default)]
    names: Option<Vec<String>>,
}

/// Names by id of an engine's running containers.
pub(super) fn container_names(list: &str) -> Vec<(String, String)> {
    let containers: Vec<RunningContainer> = serde_json::from_str(list).unwrap_or_default();
    containers
        .into_iter()
        .filter_map(|container| {
            let name = own_name(container.names.as_deref()?)?.to_owned();
            Some((container.id, name))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_told_by_its_control_group() {
        let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        for path in [format!("5:cpu:/docker/{id}"), format!("0::/system.slice/docker-{id}.scope")] {
            assert_eq!(container_id(&path), Some(id));
        }
        assert_eq!(container_id("0::/init.scope"), None);
    }
}
