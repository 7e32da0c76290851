//! What the history takes and how fast it answers, each aim beside its result. `cargo bench -p backends --bench history`

#![expect(clippy::print_stdout, reason = "a benchmark prints what it measured")]

mod hosts;

use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

use backends::store::sqlite::{FILE, SqliteOptions, SqliteStore};
use domain::Timestamp;
use domain::device::SourceId;
use domain::history::{Line, Poll, RangeQuery, Retention, Selector};
use domain::ports::Store;
use domain::sample::{Kind, Labels, Sample};

use hosts::Host;

const START: i64 = 1_795_147_200_000;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

fn main() {
    let host = Host::load();
    println!("hosts: {}, {} series, {} s", host.name, host.width(), host.seconds());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts");
    // only `cargo bench` says so; where tests run it, to see that it works, a little is enough
    let is_short = !std::env::args().any(|argument| argument == "--bench");
    let part = |count: usize| if is_short { count / 100 + 1 } else { count };
    bytes(&runtime, &host, 30, part(3 * 2_880), "bytes per sample at rest, 50 hosts, 30 s apart", 0.9);
    bytes(&runtime, &host, 1, part(host.seconds()), "bytes per sample at rest, 50 hosts, 1 s apart", 0.6);
    amplification(&runtime, &host, 20, part(2_880), 1);
    amplification(&runtime, &host, 500, part(240), 17);
    ranges(&runtime, part(100).min(100), if is_short { 20 } else { 500 });
}

fn options(batch_samples: usize) -> SqliteOptions {
    let commit_after = Duration::from_millis(20);
    SqliteOptions { commit_after, batch_samples, ..SqliteOptions::default() }
}

/// A directory on a disk, where builds go too.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory is made")
}

fn run<T>(runtime: &tokio::runtime::Runtime, work: impl Future<Output = domain::Result<T>>) -> T {
    runtime.block_on(work).expect("the store does what it is asked")
}

async fn append(store: &SqliteStore, polls: Vec<Poll>) -> domain::Result<()> {
    let written = futures_util::future::join_all(polls.into_iter().map(|poll| store.append(poll))).await;
    written.into_iter().collect()
}

fn tell(what: &str, aim: f64, result: f64, unit: &str) {
    let verdict = if result <= aim { "met" } else { "MISSED" };
    println!("{what:<66} aim {aim:>6.2}  is {result:>8.3} {unit:<10} {verdict}");
}

/// Replays 50 hosts and weighs the file.
fn bytes(runtime: &tokio::runtime::Runtime, host: &Host, every: usize, polls: usize, what: &str, aim: f64) {
    let directory = directory();
    let store = SqliteStore::open(directory.path(), options(50 * host.width())).expect("the store opens");
    let mut taken = Duration::ZERO;
    for number in 0..polls {
        let batch = (0..50).map(|source| host.poll(source, number, every, 1, START)).collect();
        let begun = Instant::now();
        run(runtime, append(&store, batch));
        if number * every % 3_600 < every {
            let now = Timestamp::from_millis(START + i64::try_from(number * every).unwrap_or(0) * 1_000);
            run(runtime, store.tend(now, Retention::default()));
        }
        taken += begun.elapsed();
    }
    let end = Timestamp::from_millis(START + i64::try_from(polls * every).unwrap_or(0) * 1_000);
    run(runtime, store.tend(end, Retention::default()));
    let samples = run(runtime, store.figures()).samples_accepted as f64;
    run(runtime, store.close());
    let parts = parts(&directory.path().join(FILE));
    let part = |names: &[&str]| {
        parts.iter().filter(|(name, _)| names.contains(&name.as_str())).map(|(_, b)| b).sum::<f64>()
    };
    let rollups = part(&["rollup", "rollup_by_group"]);
    let file = std::fs::metadata(directory.path().join(FILE)).expect("the file is there").len() as f64;
    tell(what, aim, (file - rollups) / samples, "bytes");
    let share = |bytes: f64| bytes / samples;
    println!(
        "    {samples:.0} samples, {polls} polls a host; chunks {:.3}, tail {:.3}, names {:.3}, free and other {:.3}; rollups apart {:.3}; ingest and tending {:.2} M samples/s",
        share(part(&["chunk", "chunk_by_group"])),
        share(part(&["tail"])),
        share(part(&["text", "series", "layout", "poll_group"])),
        share(file - parts.iter().map(|(_, bytes)| bytes).sum::<f64>()),
        share(rollups),
        samples / taken.as_secs_f64() / 1e6,
    );
}

/// The tables of a file and their bytes.
fn parts(file: &Path) -> Vec<(String, f64)> {
    let connection = rusqlite::Connection::open(file).expect("the file opens");
    let mut select =
        connection.prepare("SELECT name, sum(pgsize) FROM dbstat GROUP BY name").expect("dbstat is built in");
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("dbstat answers");
    rows.collect::<Result<_, _>>().expect("dbstat answers")
}

/// Polls `devices` devices of about 300 samples, `together` of them in each commit as if commits were a second apart,
/// and counts what is written, sealing, joining and deleting included.
fn amplification(
    runtime: &tokio::runtime::Runtime,
    host: &Host,
    devices: u32,
    polls: usize,
    together: usize,
) {
    let directory = directory();
    let copies = 300_usize.div_ceil(host.width());
    let samples_a_poll = host.poll(0, 0, 30, copies, START).samples.len();
    let store =
        SqliteStore::open(directory.path(), options(samples_a_poll * together)).expect("the store opens");
    let mut taken = Duration::ZERO;
    let mut written = 0;
    for number in 0..polls {
        let all: Vec<u32> = (0..devices).collect();
        for some in all.chunks(together) {
            let batch = some.iter().map(|source| host.poll(*source, number, 30, copies, START)).collect();
            let (before, begun) = (bytes_written(), Instant::now());
            run(runtime, append(&store, batch));
            taken += begun.elapsed();
            written += bytes_written() - before;
        }
        if number % 120 == 119 {
            let (before, begun) = (bytes_written(), Instant::now());
            let now = Timestamp::from_millis(START + i64::try_from(number).unwrap_or(0) * 30_000);
            run(runtime, store.tend(now, Retention::default()));
            taken += begun.elapsed();
            written += bytes_written() - before;
        }
    }
    let (before, begun) = (bytes_written(), Instant::now());
    // a day later all of it is joined, however little it is
    let later = Timestamp::from_millis(START + i64::try_from(polls).unwrap_or(0) * 30_000 + DAY + DAY);
    run(runtime, store.tend(later, Retention::default()));
    let samples = run(runtime, store.figures()).samples_accepted as f64;
    run(runtime, store.close());
    taken += begun.elapsed();
    written += bytes_written() - before;
    let what = format!("write amplification, {devices} devices of {samples_a_poll} samples");
    tell(&what, 4.0, written as f64 / samples / 16.0, "times 16 B");
    println!(
        "    {samples:.0} samples in commits of {together} polls; {:.1} bytes written a sample; ingest, sealing and joining {:.2} M samples/s",
        written as f64 / samples,
        samples / taken.as_secs_f64() / 1e6,
    );
}

/// Bytes that this process handed to the file system.
fn bytes_written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or_default()
}

/// Asks for ranges, the cache warm and the tail open.
fn ranges(runtime: &tokio::runtime::Runtime, rounds: usize, devices: u32) {
    let directory = directory();
    let store = SqliteStore::open(directory.path(), options(60_000)).expect("the store opens");
    let end = START + 30 * DAY;
    println!("    writing 30 days of one device and a day of {devices} ...");
    // both begin an hour earlier than is asked, and end with an open tail
    fill(runtime, &store, &[1], 30 * 2_880 + 75, START - HOUR);
    let all: Vec<u32> = (2..=devices + 1).collect();
    fill(runtime, &store, &all, 2_880 + 75, end - DAY - HOUR);
    let query = |sources: Vec<u32>, span: i64, points: u32| RangeQuery {
        selector: Selector {
            sources: sources.into_iter().map(SourceId).collect(),
            metric: Some("cpu_busy_ratio".into()),
            labels: Vec::new(),
        },
        from: Timestamp::from_millis(end - 1_400_000 - span),
        to: Timestamp::from_millis(end - 1_400_000),
        points,
        max_series: 1_000,
    };
    let counter = RangeQuery {
        selector: Selector { metric: Some("network_bytes_total".into()), ..query(vec![1], DAY, 1).selector },
        ..query(vec![1], 30 * DAY, 500)
    };
    let ask = |what: &str, aim: f64, query: RangeQuery| {
        let (lines, p95, cold) = p95(runtime, &store, &query, rounds);
        tell(what, aim, p95, "ms (p95)");
        let buckets: usize = lines.iter().map(|line| line.buckets.len()).sum();
        let begun = Instant::now();
        let json = json(&lines);
        println!(
            "    {} lines, {buckets} buckets; the first time {cold:.2} ms; as JSON {:.2} ms more for {} KiB",
            lines.len(),
            begun.elapsed().as_secs_f64() * 1e3,
            json.len() / 1024,
        );
    };
    ask("30 days of a series from rollups, 500 points", 1.0, query(vec![1], 30 * DAY, 500));
    ask("30 days of a counter from rollups, 500 points", 1.0, counter);
    ask("24 h of a series at 30 s, 500 points", 1.0, query(vec![1], DAY, 500));
    ask("24 h of all devices' cpu_busy_ratio at 5 minutes", 5.0, query(all, DAY, 288));
    run(runtime, store.close());
}

/// Polls of a few series, tended each hour.
fn fill(runtime: &tokio::runtime::Runtime, store: &SqliteStore, sources: &[u32], polls: i64, start: i64) {
    let poll = |source: u32, number: i64| {
        let phase = (number + i64::from(source) * 7) as f64;
        let samples = vec![
            gauge("cpu_busy_ratio", ((phase * 0.7).sin().abs() * 1e4).round() / 1e4),
            gauge("load1", ((phase * 0.1).cos().abs() * 400.0).round() / 100.0),
            Sample { kind: Kind::Counter, ..gauge("network_bytes_total", (phase * 12_345.0).floor()) },
        ];
        Poll {
            source: SourceId(source),
            collector: "load",
            at: Timestamp::from_millis(start + number * 30_000),
            interval: Duration::from_secs(30),
            samples,
        }
    };
    let step = if sources.len() > 1 { 30 } else { 1_440 };
    for first in (0..polls).step_by(usize::try_from(step).unwrap_or(1)) {
        let end = (first + step).min(polls);
        let batch =
            (first..end).flat_map(|number| sources.iter().map(move |source| poll(*source, number))).collect();
        run(runtime, append(store, batch));
        run(runtime, store.tend(Timestamp::from_millis(start + end * 30_000), Retention::default()));
    }
}

fn gauge(metric: &'static str, value: f64) -> Sample {
    Sample { metric, labels: Labels::default(), kind: Kind::Gauge, value }
}

fn p95(
    runtime: &tokio::runtime::Runtime,
    store: &SqliteStore,
    query: &RangeQuery,
    rounds: usize,
) -> (Vec<Line>, f64, f64) {
    let begun = Instant::now();
    let mut lines = run(runtime, store.range(query.clone()));
    let cold = begun.elapsed().as_secs_f64() * 1e3;
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let begun = Instant::now();
        lines = run(runtime, store.range(query.clone()));
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    (lines, times[(rounds * 95).div_ceil(100) - 1], cold)
}

fn json(lines: &[Line]) -> Vec<u8> {
    let rows = |line: &Line| {
        let rows =
            line.buckets.iter().map(|bucket| (bucket.at.millis(), bucket.min, bucket.max, bucket.mean));
        rows.collect::<Vec<_>>()
    };
    let view: Vec<_> = lines.iter().map(|line| (line.source, &line.labels, rows(line))).collect();
    serde_json::to_vec(&view).unwrap_or_default()
}
