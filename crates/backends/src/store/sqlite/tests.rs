//! Facts of this store: its file, its limits, its crashes.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use domain::ErrorKind;
use domain::device::SourceId;
use domain::history::Selector;
use domain::ports::Store;
use domain::sample::Kind;

use super::{FILE, SqliteOptions, SqliteStore, restore};
use crate::store::contract::{FACTS, START, append, device, poll, query, sample, tend};

const QUICK: Duration = Duration::from_millis(2);

fn options() -> SqliteOptions {
    SqliteOptions { commit_after: QUICK, ..SqliteOptions::default() }
}

fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open(directory, options()).unwrap()
}

fn numbered(number: i64) -> domain::history::Poll {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let samples = vec![sample("number", "a", Kind::Gauge, number as f64)];
    poll(SourceId(7), START + number * 30_000, samples)
}

/// A poll that compresses badly.
fn noisy(number: i64) -> domain::history::Poll {
    let samples = (0..100_i64).map(|series| {
        let seed =
            number.wrapping_mul(6_364_136_223_846_793_005) ^ series.wrapping_mul(1_442_695_040_888_963_407);
        let noise = (seed.wrapping_mul(2_862_933_555_777_941_757) >> 12) as f64;
        sample("noise", &series.to_string(), Kind::Gauge, noise)
    });
    poll(SourceId(7), START + number * 30_000, samples.collect())
}

async fn polls_from(store: &SqliteStore, first: i64, end: i64) -> u32 {
    let points = u32::try_from(end - first).unwrap();
    let lines =
        store.range(query("number", START + first * 30_000, START + end * 30_000, points)).await.unwrap();
    lines.iter().flat_map(|line| &line.buckets).map(|bucket| bucket.count).sum()
}

#[tokio::test]
async fn the_contract_is_kept() {
    for (name, fact) in FACTS {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        eprintln!("{name}");
        fact(&store).await;
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn the_contract_is_kept_over_restarts_and_a_small_tail() {
    let small = SqliteOptions { tail_samples: 40, cache_bytes: 4_096, readers: 1, ..options() };
    for (name, fact) in FACTS {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path(), small).unwrap();
        eprintln!("{name}");
        fact(&store).await;
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn the_tail_comes_back_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    for (first, end) in [(0, 50), (50, 130), (130, 250)] {
        let store = open(directory.path());
        append(&store, (first..end).map(numbered)).await;
        assert_eq!(polls_from(&store, 0, end).await, u32::try_from(end).unwrap());
        store.close().await.unwrap();
    }
    let store = open(directory.path());
    assert_eq!(polls_from(&store, 0, 250).await, 250);
}

/// A poll of another source, with a series of its own.
fn of_source(source: u32, number: i64) -> domain::history::Poll {
    let samples = vec![sample("other", &source.to_string(), Kind::Gauge, f64::from(source))];
    poll(SourceId(source), START + number * 30_000, samples)
}

async fn told(store: &SqliteStore, source: u32) -> Vec<f64> {
    let mut question = query("other", START, START + 100 * 30_000, 100);
    question.selector.sources = vec![SourceId(source)];
    let lines = store.range(question).await.unwrap();
    lines.iter().flat_map(|line| &line.buckets).map(|bucket| bucket.mean).collect()
}

#[tokio::test]
async fn what_was_forgotten_does_not_come_back_under_another_source() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for number in 0..10 {
        append(&store, [of_source(1, number)]).await;
        append(&store, [of_source(2, number)]).await;
    }
    store.forget(Selector { sources: vec![SourceId(2)], metric: None, labels: Vec::new() }).await.unwrap();
    tend(&store, START + 10 * 30_000).await;
    store.close().await.unwrap();
    // the rows of source 2 still stand in the tail among those of source 1, and its group's id is free
    let store = open(directory.path());
    append(&store, [of_source(3, 11)]).await;
    tend(&store, START + 12 * 30_000).await;
    store.close().await.unwrap();
    let store = open(directory.path());
    assert_eq!(told(&store, 3).await, [3.0]);
    assert_eq!(told(&store, 1).await.len(), 10);
    assert!(told(&store, 2).await.is_empty());
    store.close().await.unwrap();
}

#[tokio::test]
async fn polls_without_a_number_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    append(&store, [numbered(0)]).await;
    let empty = poll(SourceId(7), START + 30_000, vec![sample("number", "a", Kind::Gauge, f64::NAN)]);
    append(&store, [empty]).await;
    append(&store, [numbered(2)]).await;
    assert_eq!(polls_from(&store, 0, 3).await, 2);
    store.close().await.unwrap();
}

#[tokio::test]
async fn the_file_is_its_owners_alone() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("below").join("data");
    let store = open(&data);
    append(&store, [numbered(0)]).await;
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for file in std::fs::read_dir(&data).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
    let copy = directory.path().join("copy");
    store.backup(copy.to_str().unwrap()).await.unwrap();
    assert_eq!(mode(&copy), 0o600);
}

#[tokio::test]
async fn a_backup_taken_under_ingest_can_be_restored() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let copy = directory.path().join("copy");
    let store = open(&data);
    store.save_device(&device("nas", &[1])).await.unwrap();
    append(&store, (0..300).map(numbered)).await;
    let (copied, ()) =
        tokio::join!(store.backup(copy.to_str().unwrap()), append(&store, (300..600).map(numbered)));
    copied.unwrap();
    store.save_device(&device("later", &[2])).await.unwrap();
    store.close().await.unwrap();
    restore(&copy, &data).unwrap();
    let store = open(&data);
    assert_eq!(store.devices().await.unwrap(), [device("nas", &[1])]);
    assert!(polls_from(&store, 0, 600).await >= 300);
    assert!(data.join("reeve.db.before-restore-1").exists(), "what was there is kept");
}

#[tokio::test]
async fn a_damaged_backup_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let copy = directory.path().join("copy");
    let store = open(&data);
    append(&store, (0..300).map(numbered)).await;
    store.backup(copy.to_str().unwrap()).await.unwrap();
    store.close().await.unwrap();
    let mut bytes = std::fs::read(&copy).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].fill(0x55);
    std::fs::write(&copy, &bytes).unwrap();
    assert!(restore(&copy, &data).is_err());
    std::fs::write(&copy, "no database").unwrap();
    assert_eq!(restore(&copy, &data).unwrap_err().code(), "store_corrupt");
    assert_eq!(restore(&directory.path().join("nothing"), &data).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(polls_from(&open(&data), 0, 300).await, 300);
}

#[test]
fn a_file_that_is_no_database_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(FILE);
    std::fs::write(&file, "this is no database, however long it is").unwrap();
    let error = SqliteStore::open(directory.path(), options()).err().unwrap();
    assert_eq!(error.code(), "store_corrupt");
    assert!(
        error.message().contains(file.to_str().unwrap()) && error.help().contains("restore"),
        "{error:?}"
    );
}

#[test]
fn another_programs_database_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(FILE);
    rusqlite::Connection::open(&file).unwrap().execute_batch("CREATE TABLE mine (x)").unwrap();
    let before = std::fs::read(&file).unwrap();
    assert_eq!(SqliteStore::open(directory.path(), options()).err().unwrap().code(), "store_foreign");
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[tokio::test]
async fn a_full_queue_drops_polls_and_counts_them() {
    let directory = tempfile::tempdir().unwrap();
    let small = SqliteOptions { queue_samples: 3, commit_after: Duration::from_millis(50), ..options() };
    let store = SqliteStore::open(directory.path(), small).unwrap();
    let results = futures_util::future::join_all((0..5).map(|number| store.append(numbered(number)))).await;
    let kept = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(kept, 3);
    assert!(
        results
            .iter()
            .filter_map(|result| result.as_ref().err())
            .all(|error| error.kind() == ErrorKind::Busy)
    );
    assert_eq!(store.figures().await.unwrap().polls_dropped, 2);
    append(&store, [numbered(5)]).await;
    assert_eq!(polls_from(&store, 0, 6).await, 4);
}

#[tokio::test]
async fn a_full_disk_is_said_and_ingest_goes_on_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let small = SqliteOptions { most_pages: Some(60), ..options() };
    let store = SqliteStore::open(directory.path(), small).unwrap();
    let mut written = 0;
    let full = loop {
        match store.append(noisy(written)).await {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 10_000, "the limit is never reached");
    };
    assert_eq!((full.kind(), full.code()), (ErrorKind::TooLarge, "disk_full"));
    assert!(store.figures().await.unwrap().polls_dropped > 0);
    let noise = query("noise", START, START + written * 30_000, 1);
    let noise = domain::history::RangeQuery { max_series: 1_000, ..noise };
    let lines = store.range(noise).await.unwrap();
    assert_eq!(lines[0].buckets[0].count, u32::try_from(written).unwrap(), "it keeps answering");
    let all = Selector { sources: vec![SourceId(7)], metric: None, labels: Vec::new() };
    store.forget(all).await.unwrap();
    append(&store, [numbered(written)]).await;
    assert_eq!(polls_from(&store, written, written + 1).await, 1);
}

#[tokio::test]
async fn ranges_are_whole_while_polls_are_written_and_sealed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let ingest = async {
        for hundred in 0..20 {
            append(&store, (hundred * 100..hundred * 100 + 100).map(numbered)).await;
            tend(&store, START + hundred * 3_000_000).await;
        }
    };
    let look = async {
        let mut seen = 0;
        while seen < 2_000 {
            for points in [4_000, 400, 33] {
                let lines =
                    store.range(query("number", START, START + 4_000 * 30_000, points)).await.unwrap();
                let now: u32 = lines.iter().flat_map(|line| &line.buckets).map(|bucket| bucket.count).sum();
                assert!(now >= seen, "{now} after {seen}: polls were lost or told twice");
                assert!(now <= 2_000);
                seen = now;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(ingest, look);
}

#[tokio::test]
async fn freed_pages_are_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for thousand in 0..3 {
        append(&store, (thousand * 1_000..thousand * 1_000 + 1_000).map(noisy)).await;
    }
    tend(&store, START + 3_000 * 30_000).await;
    let size = || std::fs::metadata(directory.path().join(FILE)).unwrap().len();
    let full = size();
    let all = Selector { sources: vec![SourceId(7)], metric: None, labels: Vec::new() };
    store.forget(all).await.unwrap();
    tend(&store, START + 3_000 * 30_000).await;
    assert!(size() < full / 2, "{full} to {}", size());
}

/// A small file system of its own, while it lives.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Only root may make one; nothing where we are not.
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Process::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=8m", "reeve-test"])
            .arg(directory.path())
            .stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then_some(Self(directory))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Process::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_small_disk_that_is_full_is_survived() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("left out: a file system cannot be mounted here");
        return;
    };
    let directory = &disk.0;
    let store = open(directory.path());
    append(&store, (0..10).map(numbered)).await;
    let filler = directory.path().join("filler");
    let mut zeros = std::io::repeat(0).take(64 << 20);
    let _ = std::io::copy(&mut zeros, &mut std::fs::File::create(&filler).unwrap());
    let mut number = 10;
    let full = loop {
        match store.append(numbered(number)).await {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
        assert!(number < 100_000, "the disk is never full");
    };
    assert_eq!((full.kind(), full.code()), (ErrorKind::TooLarge, "disk_full"));
    assert_eq!(polls_from(&store, 0, number).await, u32::try_from(number).unwrap(), "it keeps answering");
    std::fs::remove_file(&filler).unwrap();
    append(&store, (number..number + 200).map(numbered)).await;
    store.close().await.unwrap();
    let store = open(directory.path());
    assert_eq!(polls_from(&store, 0, number + 200).await, u32::try_from(number + 200).unwrap());
    store.close().await.unwrap();
}

const VICTIM: &str = "REEVE_TEST_VICTIM";

/// Not a fact by itself: the process that the next test kills. It says each poll that was acknowledged.
#[tokio::test]
async fn victim_of_kills() {
    let Ok(directory) = std::env::var(VICTIM) else { return };
    let store = open(Path::new(&directory));
    let first = i64::from(store.figures().await.unwrap().series > 0);
    let mut number = if first == 0 { 0 } else { i64::from(polls_from(&store, 0, 1_000_000).await) };
    loop {
        append(&store, (number..number + 10).map(numbered)).await;
        number += 10;
        println!("acknowledged {number}");
        if number % 500 == 0 {
            tend(&store, START + number * 30_000).await;
        }
    }
}

#[tokio::test]
async fn a_hundred_kills_lose_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for kill in 0..100_u64 {
        let mut victim = Process::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::sqlite::tests::victim_of_kills", "--nocapture"])
            .env(VICTIM, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(victim.stdout.take().unwrap()).lines();
        // it is killed at another point of its work each time
        let mut lines = 2 + kill % 7;
        while lines > 0 {
            let line = said.next().unwrap().unwrap();
            if line.contains("acknowledged") {
                lines -= 1;
            }
            acknowledged = newest(&line, acknowledged);
        }
        std::thread::sleep(Duration::from_micros(kill * 37 % 4_000));
        victim.kill().unwrap();
        victim.wait().unwrap();
        for line in said.map_while(Result::ok) {
            acknowledged = newest(&line, acknowledged);
        }
    }
    let store = open(directory.path());
    let kept = i64::from(polls_from(&store, 0, 1_000_000).await);
    assert!(kept >= acknowledged && acknowledged > 2_000, "{kept} kept, {acknowledged} acknowledged");
    assert_eq!(i64::from(polls_from(&store, 0, acknowledged).await), acknowledged, "without a hole");
}

fn newest(line: &str, before: i64) -> i64 {
    line.rsplit("acknowledged ").next().and_then(|number| number.trim().parse().ok()).unwrap_or(before)
}
