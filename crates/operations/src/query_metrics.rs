//! `query_metrics`: figures over time.

use domain::context::Context;
use domain::device::{Device, Source};
use domain::error::nearest;
use domain::history::{Line, RangeQuery, Selector};
use domain::operation::{Effect, Operation, Route, Toolset};
use domain::problem::Problem;
use domain::sample::{Kind, Labels};
use domain::{Error, Result, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Tells how figures of a device went over time, cut into equal steps that keep peaks. Counters are told as rates per
/// second; a step without a poll is null, a gap.
#[derive(Deserialize, JsonSchema)]
pub struct QueryMetrics {
    /// The device's name or id.
    device: String,
    /// Metrics, separated by commas, such as `cpu_busy_ratio` or `node_network_receive_bytes_total`. Unless said: processor, memory, load.
    metric: Option<String>,
    /// Only series with these labels: `name=value`, separated by commas, such as `name=web` or `mountpoint=/`.
    labels: Option<String>,
    /// From when: RFC 3339, or how long ago, such as `1h` or `7d`. `1h` unless said.
    since: Option<String>,
    /// Until when, in the same form. Now unless said.
    until: Option<String>,
    /// How many steps: 1 to 2000, 60 unless said; fewer are answered where polls are rarer than steps.
    #[schemars(range(min = 1, max = 2000))]
    points: Option<u32>,
}

/// Series over one stretch of time.
#[derive(Serialize, JsonSchema)]
pub struct MetricsOverTime {
    /// What the answer holds, in a sentence.
    summary: String,
    /// The device's name.
    device: String,
    /// The source that told the figures.
    source: Option<u32>,
    /// Start of the first step.
    from: Timestamp,
    /// End of the last step.
    until: Timestamp,
    /// Length of a step, in seconds.
    step_seconds: f64,
    /// The series.
    series: Vec<Series>,
    /// What is missing, and why.
    problems: Vec<Problem>,
}

/// One series: a value for each step.
#[derive(Serialize, JsonSchema)]
struct Series {
    /// The metric's name; its ending is its unit.
    metric: String,
    /// Its labels.
    labels: Labels,
    /// `gauge`, or `counter`: then all figures are rates per second.
    kind: Kind,
    /// Smallest value in the whole stretch.
    min: Option<f64>,
    /// Mean of the whole stretch.
    mean: Option<f64>,
    /// Largest value in the whole stretch.
    max: Option<f64>,
    /// Value of the last step that has one.
    last: Option<f64>,
    /// Mean of each step, oldest first; null is a gap.
    values: Vec<Option<f64>>,
    /// Largest value of each step, where it differs from the mean.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    peaks: Vec<Option<f64>>,
}

/// What is told unless metrics are named.
const HEADLINES: [&str; 3] = ["cpu_busy_ratio", "memory_used_ratio", "node_load1"];
/// Most series in an answer.
const MOST_SERIES: u32 = 200;
/// Most metrics in a question.
const MOST_METRICS: usize = 20;

impl Operation for QueryMetrics {
    const NAME: &'static str = "query_metrics";
    const EFFECT: Effect = Effect::Read;
    const ROUTE: Route = Route::get("/metrics/{device}/history");
    const TOOLSET: Toolset = Toolset::Metrics;
    const SHORT: Option<&'static str> = Some("metrics");
    type Output = MetricsOverTime;

    async fn run(self, ctx: &Context) -> Result<Self::Output> {
        let device = ctx.fleet().device(&self.device)?;
        let (from, to) = self.range(ctx.ports.clock.now())?;
        let points = match self.points {
            None => 60,
            Some(points @ 1..=2_000) => points,
            Some(points) => {
                let message = format!("{points} points are out of range");
                return Err(Error::invalid("points_range", message, "ask for 1 to 2000"));
            }
        };
        let labels = self.labels()?;
        let metrics = self.metrics()?;
        let mut stretch = Stretch { from, to, points };
        let (mut source, mut lines) = ask(ctx, &device, &metrics, &labels, &stretch).await?;
        let polls = points_of_polls(&lines, &stretch);
        if polls < points {
            stretch.points = polls;
            (source, lines) = ask(ctx, &device, &metrics, &labels, &stretch).await?;
        }
        let mut problems = Vec::new();
        for metric in metrics.iter().filter(|metric| lines.iter().all(|line| line.metric != **metric)) {
            problems.push(absent(ctx, &device, metric, self.metric.is_some()).await?);
        }
        let query = stretch.query(Vec::new(), "", &labels);
        let step = query.bucket_millis();
        let series: Vec<Series> =
            lines.into_iter().map(|line| series(line, from, step, stretch.points)).collect();
        Ok(MetricsOverTime {
            summary: summary(&series, from, to),
            device: device.name.clone(),
            source: source.map(|source| source.id.0),
            from,
            until: to,
            step_seconds: step as f64 / 1_000.0,
            series,
            problems,
        })
    }
}

struct Stretch {
    from: Timestamp,
    to: Timestamp,
    points: u32,
}

impl Stretch {
    fn query(
        &self,
        sources: Vec<domain::device::SourceId>,
        metric: &str,
        labels: &[(String, String)],
    ) -> RangeQuery {
        RangeQuery {
            selector: Selector { sources, metric: Some(metric.to_owned()), labels: labels.to_vec() },
            from: self.from,
            to: self.to,
            points: self.points,
            max_series: MOST_SERIES,
        }
    }
}

impl QueryMetrics {
    fn range(&self, now: Timestamp) -> Result<(Timestamp, Timestamp)> {
        let from = Timestamp::parse(self.since.as_deref().unwrap_or("1h"), now)?;
        let to = self.until.as_deref().map_or(Ok(now), |until| Timestamp::parse(until, now))?;
        if from < to {
            return Ok((from, to));
        }
        Err(Error::invalid(
            "range_backwards",
            format!("the range ends ({to}) before it starts ({from})"),
            "give a since that is earlier than until, such as since=2h&until=1h",
        ))
    }

    /// The metrics that are asked for, each once.
    fn metrics(&self) -> Result<Vec<&str>> {
        let Some(names) = &self.metric else { return Ok(HEADLINES.to_vec()) };
        let mut metrics: Vec<&str> = Vec::new();
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if !metrics.contains(&name) {
                metrics.push(name);
            }
        }
        if (1..=MOST_METRICS).contains(&metrics.len()) {
            return Ok(metrics);
        }
        Err(Error::invalid(
            "metrics_count",
            format!("{} metrics are asked for", metrics.len()),
            format!("name 1 to {MOST_METRICS} metrics, separated by commas, such as metric={}", HEADLINES[0]),
        ))
    }

    fn labels(&self) -> Result<Vec<(String, String)>> {
        let pairs =
            self.labels.iter().flat_map(|labels| labels.split(',')).map(str::trim).filter(|p| !p.is_empty());
        let read = pairs.map(|pair| match pair.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                Ok((name.trim().to_owned(), value.trim().trim_matches('"').to_owned()))
            }
            _ => Err(Error::invalid(
                "labels_malformed",
                format!("“{}” is not a label", domain::untrusted::clean(pair)),
                "write name=value, separated by commas, such as device=eth0 or name=web",
            )),
        });
        read.collect()
    }
}

/// The lines of the first source that tells any: sources are never mixed.
async fn ask(
    ctx: &Context,
    device: &Device,
    metrics: &[&str],
    labels: &[(String, String)],
    stretch: &Stretch,
) -> Result<(Option<Source>, Vec<Line>)> {
    for source in ctx.ports.readings.sources(device) {
        let mut lines = Vec::new();
        for metric in metrics {
            lines.extend(ctx.ports.store.range(stretch.query(vec![source.id], metric, labels)).await?);
        }
        if lines.len() > MOST_SERIES as usize {
            return Err(Error::new(
                domain::ErrorKind::TooLarge,
                "too_many_series",
                format!("{} series match, more than the {MOST_SERIES} of an answer", lines.len()),
                "name fewer metrics, or choose among the series with labels, such as labels=name=web",
            ));
        }
        if !lines.is_empty() {
            return Ok((Some(source.clone()), lines));
        }
    }
    Ok((None, Vec::new()))
}

/// How many steps there are polls for. Where steps are shorter than the time between two polls, most would be empty and look
/// like gaps; a step is then made one and a half times as long as that, so that none is empty without one.
fn points_of_polls(lines: &[Line], stretch: &Stretch) -> u32 {
    let step = stretch.query(Vec::new(), "", &[]).bucket_millis();
    let usual_steps = |line: &Line| {
        let moments = line.buckets.iter().map(|bucket| bucket.at.millis());
        let mut between: Vec<i64> =
            moments.clone().zip(moments.skip(1)).map(|(a, b)| (b - a) / step).collect();
        between.sort_unstable();
        between.get(between.len() / 2).copied()
    };
    match lines.iter().filter_map(usual_steps).max() {
        Some(steps @ 2..) => {
            let points = i64::from(stretch.points) * 2 / (steps * 3);
            u32::try_from(points).unwrap_or(u32::MAX).max(1)
        }
        _ => stretch.points,
    }
}

/// Why a metric has no line: it is not known at all (an error where it was asked for), or not told in this stretch.
async fn absent(ctx: &Context, device: &Device, metric: &str, was_named: bool) -> Result<Problem> {
    let sources = device.sources.iter().map(|source| source.id).collect();
    let known = ctx.ports.store.metrics(sources).await?;
    if was_named && !known.is_empty() && known.iter().all(|name| name != metric) {
        let metric = domain::untrusted::clean(metric);
        let near = nearest(&metric, known.iter().map(String::as_str)).join(", ");
        let message = format!("“{}” tells no metric called “{metric}”", device.name);
        return Err(Error::new(
            domain::ErrorKind::NotFound,
            "metric_unknown",
            message,
            format!("nearest: {near}"),
        ));
    }
    let message = format!("nothing was told of {} in this stretch", domain::untrusted::clean(metric));
    Ok(Problem::new("no_samples", message))
}

fn series(line: Line, from: Timestamp, step_millis: i64, points: u32) -> Series {
    let mut values = vec![None; points as usize];
    let mut peaks = values.clone();
    let mut has_peaks = false;
    let (mut sum, mut weights) = (0.0, 0.0);
    for bucket in &line.buckets {
        let place = usize::try_from((bucket.at.millis() - from.millis()) / step_millis).unwrap_or(usize::MAX);
        if let (Some(value), Some(peak)) = (values.get_mut(place), peaks.get_mut(place)) {
            *value = Some(rounded(bucket.mean));
            *peak = Some(rounded(bucket.max));
            has_peaks |= *value != *peak;
        }
        // a rate counts for the time that it covers, a value for itself
        let weight = match line.kind {
            Kind::Gauge => f64::from(bucket.count),
            Kind::Counter => bucket.covered_seconds,
        };
        sum += bucket.mean * weight;
        weights += weight;
    }
    let min = line.buckets.iter().map(|bucket| bucket.min).reduce(f64::min);
    let max = line.buckets.iter().map(|bucket| bucket.max).reduce(f64::max);
    Series {
        metric: line.metric,
        labels: line.labels,
        kind: line.kind,
        min: min.map(rounded),
        mean: (weights > 0.0).then(|| rounded(sum / weights)),
        max: max.map(rounded),
        last: line.buckets.last().map(|bucket| rounded(bucket.mean)),
        values,
        peaks: if has_peaks { peaks } else { Vec::new() },
    }
}

/// Six significant digits: more than any of these figures means, and a third of the bytes.
fn rounded(value: f64) -> f64 {
    if !value.is_finite() || value.abs() >= 1e15 || value.abs() < 1e-300 {
        return value;
    }
    #[expect(clippy::cast_possible_truncation, reason = "between -300 and 15")]
    let digits = 5 - value.abs().log10().floor() as i32;
    if digits <= 0 {
        return value.round();
    }
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

fn summary(series: &[Series], from: Timestamp, to: Timestamp) -> String {
    let span = domain::time::describe_span(to.since(from));
    let told: Vec<String> = series
        .iter()
        .take(4)
        .filter_map(|s| Some(format!("{} mean {} max {}", s.metric, s.mean?, s.max?)))
        .collect();
    match series.len() {
        0 => format!("nothing was told in these {span}"),
        count => format!("{count} series over {span}: {}", told.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_six_digits() {
        assert!((rounded(0.123_456_789) - 0.123_457).abs() < 1e-12);
        assert!((rounded(1_234_567.89) - 1_234_568.0).abs() < 1e-9);
        assert!((rounded(-12.345_678_9) + 12.345_7).abs() < 1e-9);
        assert!(rounded(5e-324) > 0.0 && rounded(0.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_rate_counts_for_the_time_that_it_covers() {
        let bucket = |at, mean, covered_seconds| domain::history::Bucket {
            at: Timestamp::from_millis(at),
            min: mean,
            max: mean,
            mean,
            count: 1,
            increase: mean * covered_seconds,
            covered_seconds,
        };
        let line = Line {
            source: domain::device::SourceId(1),
            metric: "bytes_total".to_owned(),
            labels: Labels::default(),
            kind: Kind::Counter,
            buckets: vec![bucket(0, 10.0, 90.0), bucket(2_000, 100.0, 10.0)],
        };
        let series = series(line, Timestamp::from_millis(0), 1_000, 4);
        assert_eq!(series.mean, Some(19.0));
        assert_eq!((series.min, series.max, series.last), (Some(10.0), Some(100.0), Some(100.0)));
        assert_eq!(series.values, [Some(10.0), None, Some(100.0), None]);
        assert!(series.peaks.is_empty());
    }

    #[test]
    fn steps_are_no_shorter_than_polls() {
        let line = |every_seconds: i64| Line {
            source: domain::device::SourceId(1),
            metric: "m".into(),
            labels: Labels::default(),
            kind: Kind::Gauge,
            buckets: (0..3_600 / every_seconds)
                .map(|n| domain::history::Bucket {
                    at: Timestamp::from_millis(n * every_seconds * 1_000),
                    min: 1.0,
                    max: 1.0,
                    mean: 1.0,
                    count: 1,
                    increase: 0.0,
                    covered_seconds: 0.0,
                })
                .collect(),
        };
        let hour =
            Stretch { from: Timestamp::from_millis(0), to: Timestamp::from_millis(3_600_000), points: 60 };
        assert_eq!(points_of_polls(&[line(60)], &hour), 60);
        assert_eq!(points_of_polls(&[line(60), line(300)], &hour), 8);
        assert_eq!(points_of_polls(&[], &hour), 60);
    }
}
