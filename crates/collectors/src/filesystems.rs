//! File systems: size, use and inodes as `df` counts them, each counted once, a hung one named.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use domain::ask::{Answer, Answers, Ask, Outcome, Question};
use domain::capability::Capability;
use domain::collector::{Collector, Parsed};
use domain::facts::Facts;
use domain::observed::Observed;
use domain::problem::Problem;
use domain::sample::Samples;
use domain::{Error, Result, Untrusted};

mod df;
mod mounts;

use df::{Counts, counts_asks, read_counts};
use mounts::{Mount, wanted_mounts};

/// File systems.
///
/// `/proc/self/mountinfo` tells what is mounted without touching any of it. Local file systems are then asked together
/// with one `df` (`stat -f` where it is not GNU's); network, FUSE and joined ones each by themselves, so that one that
/// hangs is named and delays nothing else. Where the local ones do not answer together, each is asked by itself. Left
/// out are file systems without storage of their own (proc, tmpfs, overlays of containers, read-only images) and
/// second mounts of the same device.
pub struct Filesystems;

/// File systems.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FilesystemsReading {
    /// The file systems, by mount point.
    pub filesystems: Vec<Filesystem>,
    /// Storage of this machine's own: each device and each ZFS pool once, no network shares, unions, images or memory.
    /// Absent where a part of it did not answer.
    pub total: Option<StorageTotal>,
}

/// Storage of a machine's own, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StorageTotal {
    /// Size, in bytes.
    pub size_bytes: u64,
    /// In use, in bytes.
    pub used_bytes: u64,
    /// Free for ordinary users, in bytes.
    pub available_bytes: u64,
}

/// One file system.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Filesystem {
    /// Where it is mounted.
    pub mount_point: Untrusted<String>,
    /// What is mounted: a device, a ZFS dataset, a share.
    pub device: Untrusted<String>,
    /// Its type, such as `ext4`.
    pub kind: String,
    /// Where its data is.
    pub storage: Storage,
    /// Whether it is mounted read-only.
    pub is_read_only: bool,
    /// The ZFS pool that its space comes from, which other datasets share.
    pub pool: Option<String>,
    /// Its size, in bytes.
    pub size_bytes: Option<u64>,
    /// In use, in bytes.
    pub used_bytes: Option<u64>,
    /// Free for ordinary users, in bytes.
    pub available_bytes: Option<u64>,
    /// Used as a share of used and available together, 0 to 1: what `df` shows as `Use%`, not rounded up.
    pub used_ratio: Option<f64>,
    /// How many inodes it can have; absent where it has no such limit.
    pub inodes: Option<u64>,
    /// How many inodes are in use.
    pub inodes_used: Option<u64>,
    /// Used inodes as a share of all, 0 to 1.
    pub inodes_used_ratio: Option<f64>,
}

/// Where a file system's data is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// On a device of this machine.
    #[default]
    Local,
    /// Another machine or a program answers for it.
    Network,
    /// In other file systems of the list, which it joins, as Unraid's `/mnt/user` and mergerfs do.
    Union,
    /// In a file of another file system, as Unraid's `docker.img` is.
    Image,
    /// In memory: gone after a restart.
    Memory,
}

const MOUNTINFO: &str = "/proc/self/mountinfo";

impl Collector for Filesystems {
    const NAME: &'static str = "filesystems";
    const WHY: &'static str = "size and use of file systems: /proc/self/mountinfo for what is mounted, df for the figures, alone for what may hang";
    const EVERY: Duration = Duration::from_secs(300);
    const NEEDS: &'static [Capability] = &[Capability::Procfs];
    type Reading = FilesystemsReading;

    fn asks(_: &Facts) -> Vec<Ask> {
        vec![Ask::file(MOUNTINFO)]
    }

    fn parse(
        facts: &Facts,
        answers: &Answers,
        _: Option<&Observed<FilesystemsReading>>,
    ) -> Result<Parsed<FilesystemsReading>> {
        let Some(mountinfo) = answers.file_text(MOUNTINFO) else {
            return Err(Error::unreachable(
                "mounts_unreadable",
                "/proc/self/mountinfo could not be read",
                "check that /proc is mounted",
            ));
        };
        let mounts = wanted_mounts(&mountinfo);
        let (alone, together): (Vec<&Mount>, Vec<&Mount>) = mounts.iter().partition(|mount| mount.may_hang());
        let mut questions = vec![together.as_slice()];
        questions.extend(alone.iter().map(std::slice::from_ref));
        questions.retain(|question| !question.is_empty());
        let asks: Vec<Ask> = questions.iter().flat_map(|mounts| counts_asks(facts, mounts)).collect();
        if asks.iter().any(|ask| answers.get(&ask.question).is_none()) {
            return Ok(Parsed::More(asks));
        }
        // the local ones did not answer together: find out which of them hangs
        if together.len() > 1 && counts_asks(facts, &together).iter().any(|ask| hung(answers, &ask.question))
        {
            questions.remove(0);
            questions.extend(together.iter().map(std::slice::from_ref));
            let asks: Vec<Ask> =
                together.iter().flat_map(|mount| counts_asks(facts, std::slice::from_ref(mount))).collect();
            if asks.iter().any(|ask| answers.get(&ask.question).is_none()) {
                return Ok(Parsed::More(asks));
            }
        }
        let mut counts = BTreeMap::new();
        let mut problems = Vec::new();
        for mounts in questions {
            let found = read_counts(facts, answers, mounts);
            for mount in mounts.iter().filter(|mount| !found.contains_key(&mount.place)) {
                problems.push(why_missing(facts, answers, mounts, mount));
            }
            counts.extend(found);
        }
        let mut filesystems: Vec<Filesystem> =
            mounts.iter().map(|mount| filesystem(mount, counts.get(&mount.place))).collect();
        leave_out_below_overlay(&mut filesystems);
        let total = storage_total(&filesystems);
        Ok(Parsed::Reading(FilesystemsReading { filesystems, total }, problems))
    }

    fn samples(reading: &FilesystemsReading, samples: &mut Samples) {
        for filesystem in &reading.filesystems {
            let labels = &[
                ("device", filesystem.device.as_str()),
                ("fstype", filesystem.kind.as_str()),
                ("mountpoint", filesystem.mount_point.as_str()),
            ];
            let number = |value: Option<u64>| value.map(|value| value as f64);
            let less = |all: Option<u64>, used: Option<u64>| {
                all.zip(used).and_then(|(all, used)| all.checked_sub(used))
            };
            let free = less(filesystem.size_bytes, filesystem.used_bytes);
            let inodes_free = less(filesystem.inodes, filesystem.inodes_used);
            samples.gauge("node_filesystem_size_bytes", labels, number(filesystem.size_bytes));
            samples.gauge("node_filesystem_free_bytes", labels, number(free));
            samples.gauge("node_filesystem_avail_bytes", labels, number(filesystem.available_bytes));
            samples.gauge("node_filesystem_files", labels, number(filesystem.inodes));
            samples.gauge("node_filesystem_files_free", labels, number(inodes_free));
        }
    }
}

fn hung(answers: &Answers, question: &Question) -> bool {
    answers.get(question).is_some_and(is_hung)
}

fn is_hung(answer: &Answer) -> bool {
    matches!(answer.outcome, Outcome::TimedOut | Outcome::StillHanging)
}

/// Why a mount has no figures, by what became of the question that it was part of.
fn why_missing(facts: &Facts, answers: &Answers, asked: &[&Mount], mount: &Mount) -> Problem {
    let asks = counts_asks(facts, asked);
    let answer = asks.iter().find_map(|ask| answers.get(&ask.question).filter(|answer| is_hung(answer)));
    let answer = answer.or_else(|| answers.get(&asks.first()?.question));
    let place = Untrusted::new(&mount.place);
    let problem = match answer {
        Some(answer) if is_hung(answer) => {
            let what = if mount.storage() == Storage::Network {
                "its server does not answer"
            } else {
                "its device does not answer"
            };
            Problem::new("mount_hung", format!("{place} ({}) hangs: {what}", mount.kind)).help(format!(
                "look after {}, or detach it with: umount -l {}",
                Untrusted::new(&mount.device),
                domain::ask::quoted(place.as_str())
            ))
        }
        Some(answer) if answer.outcome == Outcome::Missing => {
            Problem::new("program_missing", "neither df nor stat is installed")
                .help("install coreutils or busybox")
        }
        Some(answer) => {
            let reason = answer.error.lines().find(|line| line.contains(&mount.place));
            let reason = Untrusted::new(reason.unwrap_or("no figures came for it").trim());
            Problem::new("mount_unreadable", format!("{place} could not be read: {reason}"))
        }
        None => Problem::new("mount_unreadable", format!("{place} was not asked")),
    };
    problem.about(place.as_str())
}

fn filesystem(mount: &Mount, counts: Option<&Counts>) -> Filesystem {
    let used_ratio = counts.and_then(|counts| {
        share(counts.used_bytes, counts.used_bytes?.checked_add(counts.available_bytes?)?)
    });
    let inodes = counts.and_then(|counts| counts.inodes).filter(|inodes| *inodes > 0);
    let inodes_used = inodes.and(counts.and_then(|counts| counts.inodes_used));
    Filesystem {
        mount_point: Untrusted::new(&mount.place),
        device: Untrusted::new(&mount.device),
        kind: Untrusted::new(&mount.kind).to_string(),
        storage: mount.storage(),
        is_read_only: mount.is_read_only,
        pool: mount.pool().map(|pool| Untrusted::new(pool).to_string()),
        size_bytes: counts.and_then(|counts| counts.size_bytes),
        used_bytes: counts.and_then(|counts| counts.used_bytes),
        available_bytes: counts.and_then(|counts| counts.available_bytes),
        used_ratio,
        inodes,
        inodes_used,
        inodes_used_ratio: inodes.and_then(|inodes| share(inodes_used, inodes)),
    }
}

/// Where an overlay is mounted at `/`, the file system that it keeps its files in is often mounted elsewhere too, and both
/// show the same figures.
fn leave_out_below_overlay(filesystems: &mut Vec<Filesystem>) {
    let figures = |filesystem: &Filesystem| (filesystem.size_bytes, filesystem.inodes);
    let is_overlay =
        |filesystem: &&Filesystem| filesystem.kind == "overlay" && filesystem.size_bytes.is_some();
    let Some(overlay) = filesystems.iter().find(is_overlay).map(figures) else { return };
    filesystems.retain(|filesystem| filesystem.kind == "overlay" || figures(filesystem) != overlay);
}

fn share(part: Option<u64>, whole: u64) -> Option<f64> {
    part.filter(|_| whole > 0).map(|part| part as f64 / whole as f64)
}

/// Each device once; of a ZFS pool what its datasets use, and once what they share.
fn storage_total(filesystems: &[Filesystem]) -> Option<StorageTotal> {
    let mut total = StorageTotal::default();
    let mut pools: BTreeMap<&str, u64> = BTreeMap::new();
    filesystems.iter().find(|filesystem| filesystem.storage == Storage::Local)?;
    for filesystem in filesystems.iter().filter(|filesystem| filesystem.storage == Storage::Local) {
        let (used, available) = (filesystem.used_bytes?, filesystem.available_bytes?);
        total.used_bytes = total.used_bytes.saturating_add(used);
        if let Some(pool) = &filesystem.pool {
            let shared = pools.entry(pool).or_default();
            *shared = available.max(*shared);
            total.size_bytes = total.size_bytes.saturating_add(used);
        } else {
            total.available_bytes = total.available_bytes.saturating_add(available);
            total.size_bytes = total.size_bytes.saturating_add(filesystem.size_bytes?);
        }
    }
    let shared: u64 = pools.values().fold(0, |sum, available| sum.saturating_add(*available));
    total.available_bytes = total.available_bytes.saturating_add(shared);
    total.size_bytes = total.size_bytes.saturating_add(shared);
    Some(total)
}
