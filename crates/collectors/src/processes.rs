//! How long the machine has been up, and which processes take most of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use domain::ask::{Answer, Answers, Ask};
use domain::capability::Capability;
use domain::collector::{Collector, Parsed};
use domain::facts::Facts;
use domain::observed::Observed;
use domain::problem::Problem;
use domain::sample::Samples;
use domain::{Error, Result, Untrusted, redact};

use crate::linux::{between, kib_field, lines_by_path, needs_two_polls};

/// Uptime and the processes that take most processor time and memory.
///
/// `/proc/uptime` and `/proc/loadavg` tell of the machine, `/proc/PID/stat` of each process. Only of the topmost are
/// the command line, the user, the memory in bytes and the container asked. Processor time is told in hundredths of a
/// second (the kernel's `USER_HZ`).
pub struct Processes;

/// Uptime and the processes that take most.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessesReading {
    /// How long the kernel has been running, in seconds.
    pub uptime_seconds: Option<f64>,
    /// How many processes there are, the kernel's own included.
    pub process_count: u32,
    /// How many tasks (threads) there are.
    pub thread_count: Option<u32>,
    /// How many tasks run or could run at this moment.
    pub running_count: Option<u32>,
    /// The ten processes that took most processor time since the reading before.
    pub top_by_cpu: Vec<Process>,
    /// The ten processes that hold most memory.
    pub top_by_memory: Vec<Process>,
    /// Processor time of every process, for the next reading to compare with. Never leaves Reeve.
    #[serde(skip)]
    ticks: BTreeMap<ProcessKey, u64>,
}

/// A process for as long as it lives: process numbers are used again.
type ProcessKey = (u32, u64);

/// One process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its short name.
    pub name: Untrusted<String>,
    /// Its command line, secrets hidden; absent for the kernel's own.
    pub command: Option<Untrusted<String>>,
    /// The user that it runs as.
    pub user: Option<String>,
    /// The container that it runs in.
    pub container: Option<Untrusted<String>>,
    /// Processors' worth of time that it took since the reading before: 1 is one core all the time.
    pub cpu_ratio: Option<f64>,
    /// Processor time that it took since it started, in seconds.
    pub cpu_seconds: f64,
    /// Memory that it holds, shared pages included, in bytes.
    pub memory_bytes: Option<u64>,
    /// The same as a share of the machine's memory, 0 to 1.
    pub memory_ratio: Option<f64>,
    /// How many threads it has.
    pub thread_count: u32,
}

const UPTIME: &str = "/proc/uptime";
const LOADAVG: &str = "/proc/loadavg";
const STATS: &str = "/proc/[0-9]*/stat";
const PASSWD: &str = "/etc/passwd";
const RUNNING_CONTAINERS: &str = "/containers/json";
const TICKS_PER_SECOND: f64 = 100.0;
/// How many processes each list has.
const TOP: usize = 10;
/// Thousands of processes fit.
const STATS_CAP_BYTES: usize = 8 << 20;

impl Collector for Processes {
    const NAME: &'static str = "processes";
    const WHY: &'static str = "uptime and the processes that take most: /proc/PID/stat of all; command line, user and container of the topmost";
    const EVERY: Duration = Duration::from_secs(300);
    const NEEDS: &'static [Capability] = &[Capability::Procfs];
    type Reading = ProcessesReading;

    fn asks(_: &Facts) -> Vec<Ask> {
        vec![Ask::file(UPTIME), Ask::file(LOADAVG), Ask::files(STATS).cap_bytes(STATS_CAP_BYTES)]
    }

    fn parse(
        facts: &Facts,
        answers: &Answers,
        before: Option<&Observed<ProcessesReading>>,
    ) -> Result<Parsed<ProcessesReading>> {
        let all = all_stats(answers);
        if all.is_empty() {
            return Err(Error::unreachable(
                "processes_unreadable",
                "no process could be read under /proc",
                "check that /proc is mounted, and without hidepid for Reeve's user",
            ));
        }
        let uptime = answers.file_text(UPTIME).and_then(|text| text.split_whitespace().next()?.parse().ok());
        let ranking = Ranking::new(&all, uptime, before.map(|before| &before.value));
        let pids = ranking.pids();
        let (about, status) = (details_ask(&pids), status_ask(&pids));
        let Some(detail_answer) = answers.get(&about.question) else {
            return Ok(Parsed::More(vec![about, status, Ask::file(PASSWD)]));
        };
        let details = Details::new(detail_answer);
        let engines = || facts.answering_engines().map(|engine| engine.socket.as_str());
        if !details.containers.is_empty()
            && engines().any(|socket| answers.api(socket, RUNNING_CONTAINERS).is_none())
        {
            return Ok(Parsed::More(engines().map(|socket| Ask::api(socket, RUNNING_CONTAINERS)).collect()));
        }
        let names = Names {
            statuses: statuses(
                answers.get(&status.question),
                answers.file_text(PASSWD).as_deref().unwrap_or_default(),
            ),
            containers: engines()
                .filter_map(|socket| answers.api(socket, RUNNING_CONTAINERS)?.ok())
                .flat_map(|list| container_names(&list))
                .collect(),
            machine_bytes: facts.hardware.memory_bytes.filter(|bytes| *bytes > 0),
        };
        let (running_count, thread_count) =
            answers.file_text(LOADAVG).and_then(|text| task_counts(&text)).unzip();
        let fill = |process: &Process| details.fill(process, &names);
        let mut problems = Vec::new();
        if before.is_none_or(|before| before.value.ticks.is_empty()) {
            problems.push(needs_two_polls("shares of processor time"));
        }
        if answers.files(STATS).is_some_and(|answer| answer.truncated) {
            problems.push(Problem::new("truncated", "there are more processes than were read"));
        }
        let reading = ProcessesReading {
            uptime_seconds: uptime,
            process_count: u32::try_from(all.len()).unwrap_or(u32::MAX),
            thread_count,
            running_count,
            top_by_cpu: ranking.by_cpu.iter().map(fill).collect(),
            top_by_memory: ranking.by_memory.iter().map(fill).collect(),
            ticks: all.iter().map(|stat| (stat.key(), stat.ticks)).collect(),
        };
        Ok(Parsed::Reading(reading, problems))
    }

    fn samples(reading: &ProcessesReading, samples: &mut Samples) {
        samples.gauge("uptime_seconds", &[], reading.uptime_seconds);
        samples.gauge("node_procs_running", &[], reading.running_count.map(f64::from));
        samples.gauge("node_processes_pids", &[], f64::from(reading.process_count));
        samples.gauge("node_processes_threads", &[], reading.thread_count.map(f64::from));
    }
}

/// What `/proc/PID/stat` says.
struct Stat {
    pid: u32,
    name: String,
    ticks: u64,
    threads: u32,
    started_ticks: u64,
    pages: u64,
}

impl Stat {
    /// Reads `pid (name) state …`: the name may have spaces and parentheses in it.
    fn parse(text: &str) -> Option<Self> {
        let (head, tail) = text.rsplit_once(')')?;
        let (pid, name) = head.split_once('(')?;
        let words: Vec<&str> = tail.split_whitespace().collect();
        // the state is the third field of the manual and the first here
        let number = |field: usize| words.get(field - 3)?.parse::<u64>().ok();
        Some(Self {
            pid: pid.trim().parse().ok()?,
            name: name.to_owned(),
            ticks: number(14)?.checked_add(number(15)?)?,
            threads: u32::try_from(number(20)?).ok()?,
            started_ticks: number(22)?,
            pages: number(24)?,
        })
    }

    fn key(&self) -> ProcessKey {
        (self.pid, self.started_ticks)
    }
}

fn all_stats(answers: &Answers) -> Vec<Stat> {
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    // a name with a line feed in it spreads over two lines
    for (path, line) in lines_by_path(answers.files(STATS)) {
        let text = texts.entry(path).or_default();
        text.push_str(&line);
        text.push('\n');
    }
    texts.values().filter_map(|text| Stat::parse(text)).collect()
}

/// The topmost processes, without what is asked about them only.
struct Ranking {
    by_cpu: Vec<Process>,
    by_memory: Vec<Process>,
}

impl Ranking {
    fn new(stats: &[Stat], uptime: Option<f64>, before: Option<&ProcessesReading>) -> Self {
        // by the machine's own clock; a restart in between makes it negative
        let elapsed =
            before.and_then(|before| Some(uptime? - before.uptime_seconds?)).filter(|seconds| *seconds > 0.0);
        let process = |stat: &Stat| {
            let spent = before.zip(elapsed).and_then(|(before, elapsed)| {
                let started_before = before.ticks.get(&stat.key()).copied();
                // one that is new took all of its time since the reading before
                let earlier = started_before.or((!before.ticks.is_empty()).then_some(0))?;
                Some(stat.ticks.checked_sub(earlier)? as f64 / TICKS_PER_SECOND / elapsed)
            });
            Process {
                pid: stat.pid,
                name: Untrusted::new(&stat.name),
                cpu_ratio: spent,
                cpu_seconds: stat.ticks as f64 / TICKS_PER_SECOND,
                thread_count: stat.threads,
                ..Process::default()
            }
        };
        let all: Vec<(Process, u64)> = stats.iter().map(|stat| (process(stat), stat.pages)).collect();
        let by_cpu = topmost(&all, |process, _| process.cpu_ratio);
        let by_memory = topmost(&all, |_, pages| Some(pages as f64));
        Self { by_cpu, by_memory }
    }

    fn pids(&self) -> BTreeSet<u32> {
        self.by_cpu.iter().chain(&self.by_memory).map(|process| process.pid).collect()
    }
}

/// The highest of those that have a figure above zero.
fn topmost(all: &[(Process, u64)], figure: fn(&Process, u64) -> Option<f64>) -> Vec<Process> {
    let mut ranked: Vec<(f64, &Process)> = all
        .iter()
        .filter_map(|(process, pages)| {
            Some((figure(process, *pages).filter(|figure| *figure > 0.0)?, process))
        })
        .collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.pid.cmp(&b.1.pid)));
    ranked.into_iter().take(TOP).map(|(_, process)| process.clone()).collect()
}

fn details_ask(pids: &BTreeSet<u32>) -> Ask {
    let of_each = |pid| [format!("/proc/{pid}/cmdline"), format!("/proc/{pid}/cgroup")];
    Ask::run(["grep", "-asH", ""].map(String::from).into_iter().chain(pids.iter().flat_map(of_each)))
}

fn status_ask(pids: &BTreeSet<u32>) -> Ask {
    let status = |pid| format!("/proc/{pid}/status");
    let grep = ["grep", "-asHE", "^(Uid|VmRSS):"].map(String::from);
    Ask::run(grep.into_iter().chain(pids.iter().map(status)))
}

/// Command lines and container ids of the topmost processes.
struct Details {
    commands: BTreeMap<u32, String>,
    containers: BTreeMap<u32, String>,
}

impl Details {
    fn new(answer: &Answer) -> Self {
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

    fn fill(&self, process: &Process, names: &Names) -> Process {
        let command = self.commands.get(&process.pid).map(|command| {
            let arguments = command.trim_end_matches('\0').split('\0');
            redact::command(arguments).join(" ")
        });
        let container = self.containers.get(&process.pid).and_then(|id| names.containers.get(id));
        let status = names.statuses.get(&process.pid).cloned().unwrap_or_default();
        let memory = status.memory_bytes.zip(names.machine_bytes);
        Process {
            command: command.filter(|command| !command.is_empty()).map(Untrusted::new),
            user: status.user,
            container: container.map(Untrusted::new),
            memory_bytes: status.memory_bytes,
            memory_ratio: memory.map(|(part, machine)| part as f64 / machine as f64),
            ..process.clone()
        }
    }
}

/// The container id in a control group's path: `/docker/ID`, `/system.slice/docker-ID.scope`, `…/libpod-ID.scope`.
fn container_id(cgroup: &str) -> Option<&str> {
    cgroup
        .split(|c: char| !c.is_ascii_hexdigit())
        .find(|run| run.len() == 64 && run.chars().all(|c| !c.is_ascii_uppercase()))
}

/// What is told apart from the processes themselves.
struct Names {
    /// By process number.
    statuses: BTreeMap<u32, Status>,
    /// Containers' names by id.
    containers: BTreeMap<String, String>,
    /// Memory of the machine.
    machine_bytes: Option<u64>,
}

/// What `/proc/PID/status` says, as far as it is wanted here.
#[derive(Clone, Default)]
struct Status {
    user: Option<String>,
    memory_bytes: Option<u64>,
}

fn statuses(answer: Option<&Answer>, passwd: &str) -> BTreeMap<u32, Status> {
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

fn container_names(list: &str) -> Vec<(String, String)> {
    let containers: Vec<RunningContainer> = serde_json::from_str(list).unwrap_or_default();
    containers
        .into_iter()
        .filter_map(|container| {
            let name = container.names?.into_iter().next()?;
            Some((container.id, name.trim_start_matches('/').to_owned()))
        })
        .collect()
}

/// Running and all tasks, from `0.10 0.20 0.30 2/345 6789`.
fn task_counts(loadavg: &str) -> Option<(u32, u32)> {
    let (running, all) = loadavg.split_whitespace().nth(3)?.split_once('/')?;
    Some((running.parse().ok()?, all.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_anything_in_it() {
        let text = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 0 0 0 7 5 0 0 20 0 3 0 900 1000 25 18446744073709551615\n";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.name.as_str(), stat.ticks, stat.threads), ("a) b (c)", 12, 3));
        assert_eq!((stat.started_ticks, stat.pages), (900, 25));
    }

    #[test]
    fn a_container_is_told_by_its_control_group() {
        let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        for path in [format!("5:cpu:/docker/{id}"), format!("0::/system.slice/docker-{id}.scope")] {
            assert_eq!(container_id(&path), Some(id));
        }
        assert_eq!(container_id("0::/init.scope"), None);
    }
}
