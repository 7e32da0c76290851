//! Facts that every store keeps: a list to be run against each implementation, each on an empty store of its own.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::audit::AuditStart;
use domain::device::{Device, DeviceId, Reach, Source, SourceId, SshTarget};
use domain::history::{Line, Poll, RangeQuery, Retention, Selector};
use domain::ports::{ApprovedHostKey, Store, StoredReading};
use domain::sample::{Kind, Labels, Sample};
use domain::{BoxFuture, ErrorKind, Timestamp};
use uuid::Uuid;

/// A fact, checked on an empty store.
pub(super) type Fact = for<'a> fn(&'a dyn Store) -> BoxFuture<'a, ()>;

/// All of them.
pub(super) const FACTS: &[(&str, Fact)] = &[
    ("devices_come_back_as_they_were_saved", |s| Box::pin(devices_come_back_as_they_were_saved(s))),
    ("devices_are_saved_all_or_none", |s| Box::pin(devices_are_saved_all_or_none(s))),
    ("a_source_moves_with_its_reading", |s| Box::pin(a_source_moves_with_its_reading(s))),
    ("names_may_change_places", |s| Box::pin(names_may_change_places(s))),
    ("a_source_id_is_given_out_once", |s| Box::pin(a_source_id_is_given_out_once(s))),
    ("a_removed_device_takes_its_readings", |s| Box::pin(a_removed_device_takes_its_readings(s))),
    ("a_host_key_replaces_the_older_one", |s| Box::pin(a_host_key_replaces_the_older_one(s))),
    ("the_audit_only_grows", |s| Box::pin(the_audit_only_grows(s))),
    ("every_bit_of_a_sample_comes_back", |s| Box::pin(every_bit_of_a_sample_comes_back(s))),
    ("history_is_whole_in_tail_chunks_and_rollups", |s| {
        Box::pin(history_is_whole_in_tail_chunks_and_rollups(s))
    }),
    ("peaks_are_kept_whatever_the_width", |s| Box::pin(peaks_are_kept_whatever_the_width(s))),
    ("a_counter_is_a_rate_across_resets_and_gaps", |s| {
        Box::pin(a_counter_is_a_rate_across_resets_and_gaps(s))
    }),
    ("a_gap_has_no_buckets", |s| Box::pin(a_gap_has_no_buckets(s))),
    ("lines_are_ordered_and_limited", |s| Box::pin(lines_are_ordered_and_limited(s))),
    ("what_is_forgotten_is_gone_and_the_rest_is_not", |s| {
        Box::pin(what_is_forgotten_is_gone_and_the_rest_is_not(s))
    }),
    ("old_samples_go_and_their_rollups_stay", |s| Box::pin(old_samples_go_and_their_rollups_stay(s))),
    ("a_clock_that_was_set_back_loses_nothing", |s| Box::pin(a_clock_that_was_set_back_loses_nothing(s))),
    ("a_range_that_ends_before_it_starts_is_refused", |s| {
        Box::pin(a_range_that_ends_before_it_starts_is_refused(s))
    }),
    ("a_backup_never_replaces_a_file", |s| Box::pin(a_backup_never_replaces_a_file(s))),
    ("a_closed_store_says_so", |s| Box::pin(a_closed_store_says_so(s))),
];

/// A moment on a whole hour, some days after the epoch of all these tests.
pub(super) const START: i64 = 1_795_147_200_000;
const SOURCE: SourceId = SourceId(7);
const BEAT: i64 = 30_000;

pub(super) fn device(name: &str, sources: &[u32]) -> Device {
    let source = |id: &u32| Source {
        id: SourceId(*id),
        reach: Reach::Ssh(SshTarget { host: name.into(), port: Some(2222), ..SshTarget::default() }),
    };
    Device {
        id: DeviceId(Uuid::from_u128(name.bytes().fold(1, |id, byte| id * 256 + u128::from(byte)))),
        name: name.into(),
        tags: BTreeSet::from(["lab".into()]),
        location: Some("Keller".into()),
        description: None,
        monitored: true,
        sources: sources.iter().map(source).collect(),
        declared: None,
    }
}

pub(super) fn sample(metric: &'static str, label: &str, kind: Kind, value: f64) -> Sample {
    Sample { metric, labels: Labels::new([("name", label)]), kind, value }
}

pub(super) fn poll(source: SourceId, at: i64, samples: Vec<Sample>) -> Poll {
    let interval = Duration::from_millis(30_000);
    Poll { source, collector: "load", at: Timestamp::from_millis(at), interval, samples }
}

pub(super) fn query(metric: &str, from: i64, to: i64, points: u32) -> RangeQuery {
    RangeQuery {
        selector: selector(Some(metric)),
        from: Timestamp::from_millis(from),
        to: Timestamp::from_millis(to),
        points,
        max_series: 100,
    }
}

fn selector(metric: Option<&str>) -> Selector {
    Selector { sources: vec![SOURCE], metric: metric.map(str::to_owned), labels: Vec::new() }
}

/// Appends polls together, as many callers do.
pub(super) async fn append(store: &dyn Store, polls: impl IntoIterator<Item = Poll>) {
    let results = futures_util::future::join_all(polls.into_iter().map(|poll| store.append(poll))).await;
    results.into_iter().for_each(Result::unwrap);
}

async fn append_series(store: &dyn Store, metric: &'static str, kind: Kind, values: &[f64]) {
    let poll = |(number, value): (i64, &f64)| {
        poll(SOURCE, START + number * BEAT, vec![sample(metric, "a", kind, *value)])
    };
    append(store, (0..).zip(values).map(poll)).await;
}

pub(super) async fn tend(store: &dyn Store, now: i64) {
    store.tend(Timestamp::from_millis(now), Retention::default()).await.unwrap();
}

fn count(lines: &[Line]) -> u32 {
    lines.iter().flat_map(|line| &line.buckets).map(|bucket| bucket.count).sum()
}

async fn devices_come_back_as_they_were_saved(store: &dyn Store) {
    let mut nas = device("nas", &[1, 2]);
    store.save_device(&nas).await.unwrap();
    store.save_device(&device("backup", &[3])).await.unwrap();
    nas.location = None;
    nas.sources.swap(0, 1);
    store.save_device(&nas).await.unwrap();
    assert_eq!(store.devices().await.unwrap(), [device("backup", &[3]), nas]);
}

async fn devices_are_saved_all_or_none(store: &dyn Store) {
    store.save_device(&device("nas", &[1])).await.unwrap();
    let mut thief = device("other", &[2]);
    thief.name = "nas".into();
    let error = store.save_devices(&[device("new", &[3]), thief]).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "device_name_taken"));
    assert_eq!(store.devices().await.unwrap(), [device("nas", &[1])]);
}

fn reading(source: u32) -> StoredReading {
    StoredReading {
        source: SourceId(source),
        collector: "load".into(),
        as_of: Timestamp::from_millis(START),
        value: b"{}".to_vec(),
    }
}

async fn a_source_moves_with_its_reading(store: &dyn Store) {
    store.save_devices(&[device("nas", &[1, 2]), device("other", &[3])]).await.unwrap();
    store.keep_latest(vec![reading(1), reading(2), reading(3)]).await.unwrap();
    store.save_devices(&[device("nas", &[1]), device("other", &[3, 2])]).await.unwrap();
    assert_eq!(store.devices().await.unwrap()[1].sources.len(), 2);
    assert_eq!(store.latest().await.unwrap().len(), 3);
    let newer =
        StoredReading { as_of: Timestamp::from_millis(START + 1), value: b"[]".to_vec(), ..reading(2) };
    store.keep_latest(vec![newer.clone()]).await.unwrap();
    assert_eq!(store.latest().await.unwrap()[1], newer);
}

async fn names_may_change_places(store: &dyn Store) {
    let (mut a, mut b) = (device("a", &[1]), device("b", &[2]));
    store.save_devices(&[a.clone(), b.clone()]).await.unwrap();
    std::mem::swap(&mut a.name, &mut b.name);
    store.save_devices(&[a.clone(), b.clone()]).await.unwrap();
    assert_eq!(store.devices().await.unwrap(), [b, a]);
}

async fn a_source_id_is_given_out_once(store: &dyn Store) {
    let first = store.next_source_id().await.unwrap();
    let second = store.next_source_id().await.unwrap();
    assert!(second > first);
    let nas = device("nas", &[second.0]);
    store.save_device(&nas).await.unwrap();
    store.remove_device(nas.id).await.unwrap();
    assert!(store.next_source_id().await.unwrap() > second);
}

async fn a_removed_device_takes_its_readings(store: &dyn Store) {
    let nas = device("nas", &[1]);
    store.save_devices(&[nas.clone(), device("other", &[2])]).await.unwrap();
    store.keep_latest(vec![reading(1), reading(2)]).await.unwrap();
    store.remove_device(nas.id).await.unwrap();
    assert_eq!(store.latest().await.unwrap(), [reading(2)]);
    assert_eq!(store.devices().await.unwrap(), [device("other", &[2])]);
}

async fn a_host_key_replaces_the_older_one(store: &dyn Store) {
    let key = |algorithm: &str, public_key: &str| ApprovedHostKey {
        host: "[nas]:2222".into(),
        algorithm: algorithm.into(),
        public_key: public_key.into(),
        approved_at: Timestamp::from_millis(START),
        approved_by: "uid:0".into(),
    };
    for key in [key("ssh-ed25519", "old"), key("ssh-rsa", "other"), key("ssh-ed25519", "new")] {
        store.approve_host_key(&key).await.unwrap();
    }
    assert_eq!(store.host_keys().await.unwrap(), [key("ssh-ed25519", "new"), key("ssh-rsa", "other")]);
}

async fn the_audit_only_grows(store: &dyn Store) {
    let begun = AuditStart {
        at: Timestamp::from_millis(START),
        principal: "uid:0".into(),
        surface: "cli",
        operation: "add_device".into(),
        arguments: "{}".into(),
    };
    let id = store.audit_start(begun.clone()).await.unwrap();
    let cut_short = store.audit_start(begun).await.unwrap();
    store.audit_end(id, Timestamp::from_millis(START + 5), "done".into()).await.unwrap();
    let rows = store.audit(None, 10).await.unwrap();
    let shown: Vec<_> = rows.iter().map(|row| (row.id, row.outcome.as_str(), row.completes)).collect();
    assert_eq!(shown, [(3, "done", Some(id)), (cut_short, "started", None), (id, "started", None)]);
    assert_eq!(store.audit(Some(3), 1).await.unwrap()[0].id, 2);
    assert_eq!(store.verify_audit().await.unwrap(), 3);
}

async fn every_bit_of_a_sample_comes_back(store: &dyn Store) {
    let odd = [
        0.1,
        -0.0,
        f64::MIN_POSITIVE,
        1e300,
        1e-300,
        0.300_000_000_000_000_04,
        -7.25,
        9_007_199_254_740_993.0,
    ];
    let values: Vec<f64> = (0..200).map(|number| odd[number % odd.len()] * (number / 8 + 1) as f64).collect();
    append_series(store, "odd", Kind::Gauge, &values).await;
    append(store, [poll(SOURCE, START + 200 * BEAT, vec![sample("odd", "a", Kind::Gauge, f64::NAN)])]).await;
    let lines = store.range(query("odd", START, START + 300 * BEAT, 300)).await.unwrap();
    let bits: Vec<u64> = lines[0].buckets.iter().map(|bucket| bucket.max.to_bits()).collect();
    assert_eq!(bits, values.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
}

async fn history_is_whole_in_tail_chunks_and_rollups(store: &dyn Store) {
    let values: Vec<f64> = (0..2_000).map(|number| f64::from(number % 97)).collect();
    append_series(store, "whole", Kind::Gauge, &values).await;
    let counted: Vec<f64> = (0..2_000).map(|number| f64::from(number) * 3.0).collect();
    let beats = |number: i64| START + number * BEAT + 1_000;
    let polls = (0..).zip(&counted).map(|(number, value)| {
        let samples = vec![sample("counted", "a", Kind::Counter, *value)];
        Poll { collector: "disks", ..poll(SOURCE, beats(number), samples) }
    });
    append(store, polls).await;
    let end = START + 2_000 * BEAT;
    for round in 0..2 {
        // an hour's buckets, five minutes', single polls
        for points in [17, 200, 2_000] {
            let lines = store.range(query("whole", START, START + 2_040 * BEAT, points)).await.unwrap();
            assert_eq!(count(&lines), 2_000, "round {round}, {points} points");
            let sum: f64 = lines[0].buckets.iter().map(|bucket| bucket.mean * f64::from(bucket.count)).sum();
            assert!((sum - values.iter().sum::<f64>()).abs() < 1e-3, "{sum}");
            let lines = store.range(query("counted", START, START + 2_040 * BEAT, points)).await.unwrap();
            let increase: f64 = lines[0].buckets.iter().map(|bucket| bucket.increase).sum();
            assert!((increase - 1_999.0 * 3.0).abs() < 1e-3, "round {round}, {points} points: {increase}");
            let covered: f64 = lines[0].buckets.iter().map(|bucket| bucket.covered_seconds).sum();
            assert!((covered - 1_999.0 * 30.0).abs() < 1e-6, "{covered}");
        }
        tend(store, end).await;
    }
}

async fn peaks_are_kept_whatever_the_width(store: &dyn Store) {
    let mut values = vec![1.0; 1_600];
    values[40] = 99.0;
    values[1_590] = 77.0;
    append_series(store, "peaks", Kind::Gauge, &values).await;
    tend(store, START + 1_600 * BEAT).await;
    for points in [2, 14, 100, 1_600] {
        let lines = store.range(query("peaks", START, START + 1_600 * BEAT, points)).await.unwrap();
        let largest = lines[0].buckets.iter().map(|bucket| bucket.max).fold(0.0, f64::max);
        assert!((largest - 99.0).abs() < f64::EPSILON, "{points} points");
        let half = START + 800 * BEAT;
        let late = lines[0].buckets.iter().filter(|bucket| bucket.at.millis() >= half);
        let last = late.map(|bucket| bucket.max).fold(0.0, f64::max);
        assert!((last - 77.0).abs() < f64::EPSILON, "{points} points");
    }
}

async fn a_counter_is_a_rate_across_resets_and_gaps(store: &dyn Store) {
    let samples = |value| vec![sample("bytes", "a", Kind::Counter, value)];
    let told = [(0, 1_000.0), (30, 1_300.0), (60, 90.0), (90, 390.0), (900, 90_000.0), (930, 90_300.0)];
    append(store, told.map(|(second, value)| poll(SOURCE, START + second * 1_000, samples(value)))).await;
    let lines = store.range(query("bytes", START, START + 1_200_000, 20)).await.unwrap();
    let shown: Vec<(i64, f64, f64)> = lines[0]
        .buckets
        .iter()
        .map(|bucket| ((bucket.at.millis() - START) / 1_000, bucket.mean, bucket.increase))
        .collect();
    assert_eq!(shown, [(0, 6.5, 390.0), (60, 10.0, 300.0), (900, 10.0, 300.0)]);
    assert_eq!((lines[0].buckets[0].min, lines[0].buckets[0].max), (3.0, 10.0));
}

async fn a_gap_has_no_buckets(store: &dyn Store) {
    let at = |second: i64| poll(SOURCE, START + second * 1_000, vec![sample("gappy", "a", Kind::Gauge, 1.0)]);
    append(store, [at(0), at(30), at(600)]).await;
    let lines = store.range(query("gappy", START, START + 660_000, 11)).await.unwrap();
    let shown: Vec<i64> =
        lines[0].buckets.iter().map(|bucket| (bucket.at.millis() - START) / 1_000).collect();
    assert_eq!(shown, [0, 600]);
}

async fn lines_are_ordered_and_limited(store: &dyn Store) {
    let samples = || ["c", "a", "b"].map(|name| sample("many", name, Kind::Gauge, 1.0)).to_vec();
    append(store, [poll(SourceId(9), START, samples()), poll(SOURCE, START, samples())]).await;
    let mut all = query("many", START, START + BEAT, 1);
    all.selector.sources.push(SourceId(9));
    let lines = store.range(all.clone()).await.unwrap();
    let order: Vec<_> = lines.iter().map(|line| (line.source.0, line.labels.get("name").unwrap())).collect();
    assert_eq!(order, [(7, "a"), (7, "b"), (7, "c"), (9, "a"), (9, "b"), (9, "c")]);
    all.selector.labels.push(("name".into(), "b".into()));
    assert_eq!(store.range(all.clone()).await.unwrap().len(), 2);
    all.selector.labels.clear();
    all.max_series = 5;
    let error = store.range(all).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(error.help().contains("name"), "{}", error.help());
    assert_eq!(store.metrics(vec![SOURCE, SourceId(9)]).await.unwrap(), ["many"]);
    assert!(store.metrics(vec![SourceId(1)]).await.unwrap().is_empty());
    assert!(store.range(query("never_told", START, START + 1, 1)).await.unwrap().is_empty());
}

async fn what_is_forgotten_is_gone_and_the_rest_is_not(store: &dyn Store) {
    let samples = || {
        vec![
            sample("kept", "a", Kind::Gauge, 1.0),
            sample("gone", "a", Kind::Gauge, 2.0),
            sample("gone", "b", Kind::Gauge, 3.0),
        ]
    };
    append(store, (0..1_500).map(|number| poll(SOURCE, START + number * BEAT, samples()))).await;
    append(store, [poll(SourceId(8), START, samples())]).await;
    tend(store, START + 1_500 * BEAT).await;
    let range = |metric| store.range(query(metric, START, START + 1_500 * BEAT, 10));
    assert_eq!(range("gone").await.unwrap().len(), 2);
    let mut only_b = selector(Some("gone"));
    only_b.labels.push(("name".into(), "b".into()));
    store.forget(only_b).await.unwrap();
    assert_eq!(range("gone").await.unwrap().len(), 1);
    store.forget(selector(Some("gone"))).await.unwrap();
    assert!(range("gone").await.unwrap().is_empty());
    assert_eq!(count(&range("kept").await.unwrap()), 1_500);
    append(store, [poll(SOURCE, START + 1_500 * BEAT, samples())]).await;
    let again = store.range(query("gone", START, START + 1_501 * BEAT, 1)).await.unwrap();
    assert_eq!(count(&again), 2, "what comes later is new");
    store.forget(selector(None)).await.unwrap();
    assert!(store.metrics(vec![SOURCE]).await.unwrap().is_empty());
    assert_eq!(store.metrics(vec![SourceId(8)]).await.unwrap(), ["gone", "kept"]);
}

async fn old_samples_go_and_their_rollups_stay(store: &dyn Store) {
    let values: Vec<f64> = (0..1_500).map(f64::from).collect();
    append_series(store, "aging", Kind::Gauge, &values).await;
    let end = START + 1_500 * BEAT;
    let retention = |raw_hours: u64, rollup_hours: u64| Retention {
        raw: Duration::from_secs(raw_hours * 3_600),
        rollups: Duration::from_secs(rollup_hours * 3_600),
    };
    let tend = |now: i64, retention| store.tend(Timestamp::from_millis(now), retention);
    tend(end, retention(1_000, 10_000)).await.unwrap();
    let day = 86_400_000;
    // the first 1,440 polls are older than that, and rolled up; the rest is rolled up and goes next
    tend(end + 2 * day, retention(24, 10_000)).await.unwrap();
    let narrow = store.range(query("aging", START, end, 1_500)).await.unwrap();
    assert_eq!(count(&narrow), 1_500, "what is narrower than the rollups is told by them");
    assert!(narrow[0].buckets.len() <= 151, "{}", narrow[0].buckets.len());
    let largest = narrow[0].buckets.iter().map(|bucket| bucket.max).fold(0.0, f64::max);
    assert!((largest - 1_499.0).abs() < f64::EPSILON);
    tend(end + 2 * day, retention(24, 24)).await.unwrap();
    assert!(store.range(query("aging", START, end, 10)).await.unwrap().is_empty());
    tend(end + 9 * day, retention(24, 24)).await.unwrap();
    assert_eq!(store.figures().await.unwrap().series, 0, "a series without samples is forgotten");
}

async fn a_clock_that_was_set_back_loses_nothing(store: &dyn Store) {
    let at = |second: i64| poll(SOURCE, START + second * 1_000, vec![sample("back", "a", Kind::Gauge, 1.0)]);
    append(store, [at(3_000), at(3_030), at(3_030), at(30), at(60)]).await;
    let lines = store.range(query("back", START, START + 3_600_000, 60)).await.unwrap();
    assert_eq!(count(&lines), 5);
}

async fn a_range_that_ends_before_it_starts_is_refused(store: &dyn Store) {
    let error = store.range(query("any", START, START, 1)).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Invalid, "range_empty"));
}

async fn a_backup_never_replaces_a_file(store: &dyn Store) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("copy");
    let path = path.to_str().unwrap();
    store.save_device(&device("nas", &[1])).await.unwrap();
    store.backup(path).await.unwrap();
    let error = store.backup(path).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Conflict, "backup_exists"));
}

async fn a_closed_store_says_so(store: &dyn Store) {
    append(store, [poll(SOURCE, START, vec![sample("last", "a", Kind::Gauge, 1.0)])]).await;
    store.close().await.unwrap();
    store.close().await.unwrap();
    assert_eq!(store.devices().await.unwrap_err().code(), "store_closed");
    assert_eq!(store.next_source_id().await.unwrap_err().code(), "store_closed");
}
