//! Hosts to replay: a recording where there is one, else invented ones that behave like it.

use std::process::Command;
use std::time::Duration;

use domain::Timestamp;
use domain::device::SourceId;
use domain::history::Poll;
use domain::sample::{Kind, Labels, Sample};

/// A series of a host, second by second.
struct Series {
    metric: &'static str,
    labels: Labels,
    kind: Kind,
    values: Vec<Option<f64>>,
}

/// A host as it was once, to be replayed as many.
pub struct Host {
    series: Vec<Series>,
    seconds: usize,
    /// Whether it is a recording, and of which file.
    pub name: String,
}

impl Host {
    /// The recording that `REEVE_HOST_SAMPLES` or the first argument names: a table whose first line are the series'
    /// names as `prometheus-node-exporter` writes them, then a line a second; empty where there is no value. It may be
    /// compressed by gzip. Without one an invented host.
    pub fn load() -> Self {
        let argument = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
        match std::env::var("REEVE_HOST_SAMPLES").ok().or(argument) {
            Some(path) => Self::read(&path),
            None => Self::invented(),
        }
    }

    /// The poll number `number` of the replayed host `host`, a poll each `every` seconds. Hosts start at different
    /// seconds of the recording; counters go on where it starts again. `copies` times as many series where it is
    /// more than one.
    pub fn poll(&self, host: u32, number: usize, every: usize, copies: usize, start: i64) -> Poll {
        let mut samples = Vec::with_capacity(self.series.len() * copies);
        for copy in 0..copies {
            // a step further at each round, so that the rounds differ
            let second = number * every;
            let phase = host as usize * 31 + copy * 17 + second / self.seconds;
            let (round, row) = ((second + phase) / self.seconds, (second + phase) % self.seconds);
            for series in &self.series {
                let Some(mut value) = series.values[row] else { continue };
                if series.kind == Kind::Counter {
                    value += round as f64 * series.growth();
                }
                let mut labels = series.labels.clone();
                if copy > 0 {
                    let part = ("part", copy.to_string());
                    let known = labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
                    labels = Labels::new(known.chain([(part.0.to_owned(), part.1)]).collect::<Vec<_>>());
                }
                samples.push(Sample { metric: series.metric, labels, kind: series.kind, value });
            }
        }
        let jitter = i64::try_from((number * 7 + host as usize * 13) % 23).unwrap_or(0);
        let at = start + i64::try_from(number * every).unwrap_or(0) * 1_000 + jitter;
        Poll {
            source: SourceId(host + 1),
            collector: "host",
            at: Timestamp::from_millis(at),
            interval: Duration::from_secs(every as u64),
            samples,
        }
    }

    /// How many series it has.
    pub fn width(&self) -> usize {
        self.series.len()
    }

    /// For how many seconds it was recorded.
    pub fn seconds(&self) -> usize {
        self.seconds
    }

    fn read(path: &str) -> Self {
        let is_compressed = std::path::Path::new(path).extension().is_some_and(|ending| ending == "gz");
        let text = if is_compressed {
            Command::new("gzip").args(["-dc", path]).output().expect("gzip runs").stdout
        } else {
            std::fs::read(path).expect("the recording is readable")
        };
        let text = String::from_utf8(text).expect("the recording is text");
        let mut lines = text.lines();
        let names = lines.next().expect("the recording has a first line").split('\t').skip(1);
        let mut series: Vec<Series> = names.map(Series::named).collect();
        for line in lines {
            for (series, field) in series.iter_mut().zip(line.split('\t').skip(1)) {
                series.values.push(field.parse().ok());
            }
        }
        let seconds = series[0].values.len();
        Self { series, seconds, name: format!("the recording {path}") }
    }

    /// A quiet host: half of its series never change, a quarter are counters of bytes and of hundredths of seconds, the
    /// rest are gauges in steps.
    fn invented() -> Self {
        let seconds = 1_500;
        let mut seed: u64 = 42;
        let mut random = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 11) as f64 / (1_u64 << 53) as f64
        };
        let series = (0..90).map(|number| {
            let kind = if number % 2 == 0 { "info" } else { "total" };
            let mut series = Series::named(&format!("invented_{kind}{{number=\"{number}\"}}"));
            let mut value = (random() * 1e9).floor();
            series.values.reserve(seconds);
            for _ in 0..seconds {
                match number % 8 {
                    1 => value += (random() * random() * 1e6).floor(),
                    3 => value = ((value + random() * 0.6) * 100.0).round() / 100.0,
                    5 if random() < 0.3 => value += 1.0,
                    2 => value = (value + (random() - 0.5) * 1e5).abs().floor() * 4.0 / 4.0,
                    _ => {}
                }
                series.values.push(Some(value));
            }
            series
        });
        let series = series.collect();
        Self { series, seconds, name: "an invented host (set REEVE_HOST_SAMPLES to a recording)".into() }
    }
}

impl Series {
    fn named(name: &str) -> Self {
        let (metric, labels) = name.split_once('{').unwrap_or((name, ""));
        let labels = labels.trim_end_matches('}').split("\",").filter_map(|label| label.split_once("=\""));
        let labels = Labels::new(labels.map(|(name, value)| (name, value.trim_end_matches('"'))));
        let kind = if metric.ends_with("_total") { Kind::Counter } else { Kind::Gauge };
        // a benchmark ends soon
        Self { metric: Box::leak(metric.to_owned().into_boxed_str()), labels, kind, values: Vec::new() }
    }

    fn growth(&self) -> f64 {
        let mut told = self.values.iter().flatten();
        match (told.next(), told.next_back()) {
            (Some(first), Some(last)) => ((last - first) * 1_000.0).round() / 1_000.0,
            _ => 0.0,
        }
    }
}
