//! The questions to `df` and what its tables say.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::ask::{Answers, Ask};
use domain::capability::Capability;
use domain::facts::Facts;

use super::mounts::Mount;

/// What `df` counts of one file system.
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

/// What to ask about these mounts together: one table of GNU's `df`, or two of any other.
pub(super) fn counts_asks(facts: &Facts, mounts: &[&Mount]) -> Vec<Ask> {
    let df = |options: &[&str]| {
        let places = mounts.iter().map(|mount| mount.place.as_str());
        let ask = Ask::run(["df"].into_iter().chain(options.iter().copied()).chain(places)).may_hang();
        if mounts.len() == 1 { ask.deadline(DEADLINE_ALONE) } else { ask }
    };
    if facts.can(Capability::GnuDf) {
        vec![df(&["-B1", "--output=size,used,avail,itotal,iused,iavail,target", "--"])]
    } else {
        vec![df(&["-k", "-P"]), df(&["-i", "-P"])]
    }
}

/// The figures of those mounts that the answers tell, by mount point.
pub(super) fn read_counts(facts: &Facts, answers: &Answers, mounts: &[&Mount]) -> BTreeMap<String, Counts> {
    let tables: Vec<String> = counts_asks(facts, mounts)
        .iter()
        .map(|ask| answers.get(&ask.question).map(|answer| answer.text().into_owned()).unwrap_or_default())
        .collect();
    let is_gnu = facts.can(Capability::GnuDf);
    let counts = |mount: &&Mount| {
        let place = mount.place.as_str();
        let counts = match tables.as_slice() {
            [table] if is_gnu => gnu_row(table, place)?,
            [bytes, inodes] => posix_rows(bytes, inodes, place)?,
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
    table.lines().skip(1).find_map(|line| {
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
