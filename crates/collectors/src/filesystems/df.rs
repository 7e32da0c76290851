//! The questions to `df` or `stat`, and what their tables say.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::ask::{Answers, Ask};
use domain::capability::Capability;
use domain::facts::Facts;

use super::mounts::Mount;

/// What is counted of one file system.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counts {
    /// Size, in bytes.
    pub size_bytes: Option<u64>,
    /// In use, in bytes.
    pub used_bytes: Option<u64>,
    /// Free for ordinary users, in bytes.
    pub available_bytes: Option<u64>,
    /// How many inodes it can have.
    pub inodes: Option<u64>,
    /// How many are in use.
    pub inodes_used: Option<u64>,
}

/// Longest wait for file systems that are asked alone.
const DEADLINE_ALONE: Duration = Duration::from_secs(5);

/// What a machine has to tell figures with.
enum Means {
    /// `df` of GNU tells everything in one table.
    GnuDf,
    /// `stat -f` does too. Other `df`s look at every mount on their way to the one asked for, and hang at a dead one.
    Stat,
    /// Any `df` tells it in two tables.
    PosixDf,
}

impl Means {
    fn of(facts: &Facts) -> Self {
        if facts.can(Capability::GnuDf) {
            Self::GnuDf
        } else if facts.programs.iter().any(|program| program.ends_with("/stat")) {
            Self::Stat
        } else {
            Self::PosixDf
        }
    }
}

/// What to ask about these mounts together.
pub(super) fn counts_asks(facts: &Facts, mounts: &[&Mount]) -> Vec<Ask> {
    let ask = |command: &[&str]| {
        let places = mounts.iter().map(|mount| mount.place.as_str());
        let ask = Ask::run(command.iter().copied().chain(places)).may_hang();
        if mounts.len() == 1 { ask.deadline(DEADLINE_ALONE) } else { ask }
    };
    match Means::of(facts) {
        Means::GnuDf => {
            vec![ask(&["df", "-B1", "--output=size,used,avail,itotal,iused,iavail,target", "--"])]
        }
        Means::Stat => vec![ask(&["stat", "-f", "-c", "%S %b %f %a %c %d %n"])],
        Means::PosixDf => vec![ask(&["df", "-k", "-P"]), ask(&["df", "-i", "-P"])],
    }
}

/// The figures of those mounts that the answers tell, by mount point.
pub(super) fn read_counts(facts: &Facts, answers: &Answers, mounts: &[&Mount]) -> BTreeMap<String, Counts> {
    let tables: Vec<String> = counts_asks(facts, mounts)
        .iter()
        .map(|ask| answers.get(&ask.question).map(|answer| answer.text().into_owned()).unwrap_or_default())
        .collect();
    let means = Means::of(facts);
    let counts = |mount: &&Mount| {
        let place = mount.place.as_str();
        let counts = match (&means, tables.as_slice()) {
            (Means::GnuDf, [table]) => gnu_row(table, place)?,
            (Means::Stat, [table]) => stat_row(table, place)?,
            (Means::PosixDf, [bytes, inodes]) => posix_rows(bytes, inodes, place)?,
            _ => return None,
        };
        Some((mount.place.clone(), counts))
    };
    mounts.iter().filter_map(counts).collect()
}

/// `size used avail itotal iused iavail target`; a figure that does not apply is `-`.
fn gnu_row(table: &str, place: &str) -> Option<Counts> {
    let words = row(table, place)?;
    let number = |at: usize| words.get(at).and_then(|word| word.parse().ok());
    (words.len() == 6).then(|| Counts {
        size_bytes: number(0),
        used_bytes: number(1),
        available_bytes: number(2),
        inodes: number(3),
        inodes_used: number(4),
    })
}

/// Size of a block, blocks, free ones, free ones for ordinary users, inodes, free ones, and the mount point.
fn stat_row(table: &str, place: &str) -> Option<Counts> {
    let words = row(table, place)?;
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
    let in_bytes = |blocks: Option<u64>| blocks?.checked_mul(number(0)?);
    let less = |all: Option<u64>, part: Option<u64>| all?.checked_sub(part?);
    (words.len() == 6).then(|| Counts {
        size_bytes: in_bytes(number(1)),
        used_bytes: in_bytes(less(number(1), number(2))),
        available_bytes: in_bytes(number(3)),
        inodes: number(4),
        inodes_used: less(number(4), number(5)),
    })
}

/// `device blocks used available capacity target`, in blocks of 1,024 bytes and in inodes. The device may have spaces.
fn posix_rows(bytes: &str, inodes: &str, place: &str) -> Option<Counts> {
    let number = |words: &[&str], from_end: usize| -> Option<u64> {
        words.get(words.len().checked_sub(from_end)?)?.parse().ok()
    };
    let blocks = row(bytes, place)?;
    let in_bytes = |from_end| number(&blocks, from_end)?.checked_mul(1024);
    let inodes = row(inodes, place).unwrap_or_default();
    Some(Counts {
        size_bytes: in_bytes(4),
        used_bytes: in_bytes(3),
        available_bytes: in_bytes(2),
        inodes: number(&inodes, 4),
        inodes_used: number(&inodes, 3),
    })
}

/// The words before the mount point in its row. Mount points may have spaces in them, so they are known beforehand.
fn row<'a>(table: &'a str, place: &str) -> Option<Vec<&'a str>> {
    table.lines().find_map(|line| {
        let front = line.strip_suffix(place)?;
        front.ends_with(' ').then(|| front.split_whitespace().collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_do_not_apply_are_absent() {
        let table = "1B-blocks Used Avail Inodes IUsed IFree Mounted on\n100 40 60 - - - /mnt/my disk\n";
        let counts = gnu_row(table, "/mnt/my disk").unwrap();
        assert_eq!((counts.size_bytes, counts.inodes), (Some(100), None));
        assert_eq!(gnu_row(table, "disk"), None);
    }

    #[test]
    fn blocks_are_counted_as_df_counts_them() {
        let counts = stat_row("4096 100 40 30 10 4 /mnt/my disk\n", "/mnt/my disk").unwrap();
        assert_eq!((counts.size_bytes, counts.used_bytes), (Some(409_600), Some(245_760)));
        assert_eq!((counts.available_bytes, counts.inodes_used), (Some(122_880), Some(6)));
    }

    #[test]
    fn other_tables_count_in_blocks_of_1024() {
        let bytes =
            "Filesystem 1024-blocks Used Available Capacity Mounted on\n//nas/my share 10 4 6 40% /mnt/x\n";
        let inodes =
            "Filesystem Inodes Used Available Capacity Mounted on\n//nas/my share 7 3 4 43% /mnt/x\n";
        let counts = posix_rows(bytes, inodes, "/mnt/x").unwrap();
        assert_eq!((counts.size_bytes, counts.used_bytes), (Some(10_240), Some(4_096)));
        assert_eq!((counts.inodes, counts.inodes_used), (Some(7), Some(3)));
    }
}
