//! How long the machine has been up, and which processes take most of it.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use domain::ask::{Answers, Ask};
use domain::capability::Capability;
use domain::collector::{Collector, Parsed};
use domain::facts::Facts;
use domain::observed::Observed;
use domain::problem::Problem;
use domain::sample::Samples;
use domain::{Error, Result, Untrusted};

use crate::linux::needs_two_polls;

mod details;
mod ranking;

use details::{Details, Names, container_names, details_ask, status_ask, statuses};
use ranking::{Ranking, all_stats};

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
/// How many processes each list has.
const TOP: usize = 10;
/// Thousands of processes fit.
const STATS_CAP_BYTES: usize = 8 << 20;
/// Hundreds of containers with many labels fit.
const LIST_CAP_BYTES: usize = 8 << 20;

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
            let ask = |socket| Ask::api(socket, RUNNING_CONTAINERS).cap_bytes(LIST_CAP_BYTES);
            return Ok(Parsed::More(engines().map(ask).collect()));
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
        let top = |ranked: &[Process]| -> Vec<Process> {
            ranked.iter().filter_map(|process| details.fill(process, &names)).take(TOP).collect()
        };
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
            top_by_cpu: top(&ranking.by_cpu),
            top_by_memory: top(&ranking.by_memory),
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

/// Running and all tasks, from `0.10 0.20 0.30 2/345 6789`.
fn task_counts(loadavg: &str) -> Option<(u32, u32)> {
    let (running, all) = loadavg.split_whitespace().nth(3)?.split_once('/')?;
    Some((running.parse().ok()?, all.parse().ok()?))
}
