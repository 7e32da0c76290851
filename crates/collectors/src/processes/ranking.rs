//! All processes, and which of them take most.

use std::collections::{BTreeMap, BTreeSet};

use domain::Untrusted;
use domain::ask::Answers;

use super::{Process, ProcessKey, ProcessesReading, STATS};
use crate::linux::lines_by_path;

const TICKS_PER_SECOND: f64 = 100.0;
/// How many are asked about for each list: some end before they are.
const CANDIDATES: usize = 13;

/// What `/proc/PID/stat` says.
pub(super) struct Stat {
    pid: u32,
    name: String,
    /// Processor time, in hundredths of a second.
    pub ticks: u64,
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

    /// What it is known by.
    pub fn key(&self) -> ProcessKey {
        (self.pid, self.started_ticks)
    }
}

/// Every process that could be read.
pub(super) fn all_stats(answers: &Answers) -> Vec<Stat> {
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
pub(super) struct Ranking {
    /// By processor time since the reading before.
    pub by_cpu: Vec<Process>,
    /// By memory.
    pub by_memory: Vec<Process>,
}

impl Ranking {
    /// Ranks all processes.
    pub fn new(stats: &[Stat], uptime: Option<f64>, before: Option<&ProcessesReading>) -> Self {
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

    /// Those of both lists.
    pub fn pids(&self) -> BTreeSet<u32> {
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
    ranked.into_iter().take(CANDIDATES).map(|(_, process)| process.clone()).collect()
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
}
