//! Figures in words: ages, spans, sizes, parts.

use std::borrow::Cow;

use domain::Timestamp;
use serde_json::Value;

/// How long before `now` a moment was: `12s ago`; `in 5s` where it is yet to come.
pub fn age(moment: Timestamp, now: Timestamp) -> String {
    if moment > now {
        return format!("in {}", span(moment.since(now).as_secs_f64()));
    }
    match now.since(moment).as_secs() {
        0 => "just now".to_owned(),
        seconds => format!("{} ago", span(seconds as f64)),
    }
}

/// A span with its one or two largest units: `4.5s`, `3m`, `2h 5m`, `12d 4h`.
pub fn span(seconds: f64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    if !seconds.is_finite() {
        return number(seconds);
    }
    if seconds < 0.0 {
        return format!("-{}", span(-seconds));
    }
    if seconds < 10.0 && seconds.fract() != 0.0 {
        return match seconds {
            // a fast drive answers within microseconds
            ..0.001 => format!("{}µs", number((seconds * 1e7).round() / 10.0)),
            ..0.01 => format!("{:.1}ms", seconds * 1e3),
            ..1.0 => format!("{:.0}ms", seconds * 1e3),
            _ => format!("{seconds:.1}s"),
        };
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "finite and not negative; saturates"
    )]
    let whole = seconds as u64;
    match whole {
        0..MINUTE => format!("{whole}s"),
        MINUTE..HOUR => two(whole, MINUTE, "m", 1, "s"),
        HOUR..DAY => two(whole, HOUR, "h", MINUTE, "m"),
        _ => two(whole, DAY, "d", HOUR, "h"),
    }
}

/// A number of bytes in binary units: `1.5 GiB`; small odd ones as they are: `1500 B`.
pub fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes.abs() < 10_000.0 && bytes % 1_024.0 != 0.0 {
        return format!("{} B", number(bytes));
    }
    let mut size = bytes;
    let mut unit = 0;
    while size.abs() >= 1_023.95 && unit + 1 < UNITS.len() {
        size /= 1_024.0;
        unit += 1;
    }
    let text = if unit == 0 || size.abs() >= 100.0 { format!("{size:.0}") } else { format!("{size:.1}") };
    format!("{text} {}", UNITS[unit])
}

/// Bits per second in decimal units, as networks count: `1 Gbit/s`.
pub fn bits(per_second: f64) -> String {
    const UNITS: [(f64, &str); 3] = [(1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")];
    match UNITS.iter().find(|(size, _)| per_second.abs() >= *size) {
        Some((size, unit)) => format!("{} {unit}", number(per_second / size)),
        None => format!("{} bit/s", number(per_second)),
    }
}

/// A part of one, in per cent.
pub fn ratio(ratio: f64) -> String {
    format!("{:.1}%", ratio * 100.0)
}

/// A number with at most three decimals.
pub fn number(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        return format!("{number:.0}");
    }
    let decimals = if number.abs() >= 100.0 { 1 } else { 3 };
    let text = format!("{number:.decimals$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A number in words, by the unit that its field's name ends in.
pub fn figure(field: &str, value: f64) -> String {
    let field = field.trim_end_matches("_total");
    if field.ends_with("bytes_per_second") {
        format!("{}/s", bytes(value))
    } else if field.ends_with("bits_per_second") {
        bits(value)
    } else if field.ends_with("_bytes") || field == "bytes" {
        bytes(value)
    } else if field.ends_with("_ratio") || field == "ratio" {
        ratio(value)
    } else if field.ends_with("_seconds") || field == "seconds" {
        span(value)
    } else if field.ends_with("_celsius") {
        format!("{} °C", number(value))
    } else {
        number(value)
    }
}

/// Units that a field's name may end in, longest first, and what of them stays in a heading.
const UNITS: [(&str, &str); 9] = [
    ("_bytes_per_second", "/s"),
    ("_bits_per_second", ""),
    ("_per_second", "/s"),
    ("_bytes", ""),
    ("_ratios", " %"),
    ("_ratio", " %"),
    ("_seconds", ""),
    ("_celsius", ""),
    ("_total", ""),
];

/// A field's name as people read it: no underscores, no unit but per cent and per second.
pub fn heading(field: &str) -> String {
    let unit = UNITS.iter().find_map(|(unit, mark)| Some((field.strip_suffix(unit)?, *mark)));
    let (bare, mark) = unit.unwrap_or((field, ""));
    format!("{}{mark}", bare.strip_prefix("is_").unwrap_or(bare).replace('_', " "))
}

/// The name of a field inside the field `group`, with the group's unit where it has none of its own:
/// `cpu_seconds.user` is `user_seconds`.
pub fn with_unit<'a>(group: &str, field: &'a str) -> Cow<'a, str> {
    let unit_of = |name: &str| UNITS.iter().map(|(unit, _)| *unit).find(|unit| name.ends_with(unit));
    match unit_of(group) {
        Some(unit) if unit_of(field).is_none() => {
            Cow::Owned(format!("{field}{}", if unit == "_ratios" { "_ratio" } else { unit }))
        }
        _ => Cow::Borrowed(field),
    }
}

/// The moment that a value is, where it is one: RFC 3339 with date and time.
pub fn moment(value: &Value) -> Option<Timestamp> {
    let text = value.as_str()?;
    let looks_like_one = text.len() >= 20 && text.as_bytes().get(10) == Some(&b'T') && text.ends_with('Z');
    looks_like_one.then(|| serde_json::from_value(value.clone()).ok()).flatten()
}

/// Bars for numbers, scaled from the smallest to the largest; a gap is a space. At most `width` bars: each tells the
/// largest of its stretch.
pub fn sparkline(values: &[Option<f64>], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let stretch = values.len().div_ceil(width.max(1)).max(1);
    let peaks: Vec<Option<f64>> =
        values.chunks(stretch).map(|chunk| chunk.iter().flatten().copied().reduce(f64::max)).collect();
    let known = || peaks.iter().flatten().copied();
    let (Some(low), Some(high)) = (known().reduce(f64::min), known().reduce(f64::max)) else {
        return String::new();
    };
    let bar = |value: f64| {
        let part = if high > low { (value - low) / (high - low) } else { 0.0 };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 7")]
        let step = (part * 7.0).round() as usize;
        BARS[step.min(7)]
    };
    peaks.iter().map(|peak| peak.map_or(' ', bar)).collect()
}

fn two(whole: u64, large: u64, large_name: &str, small: u64, small_name: &str) -> String {
    let rest = whole % large / small;
    let first = whole / large;
    if rest == 0 { format!("{first}{large_name}") } else { format!("{first}{large_name} {rest}{small_name}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_are_told_in_the_unit_of_their_field() {
        assert_eq!(figure("memory_used_bytes", 1_610_612_736.0), "1.5 GiB");
        assert_eq!(figure("size_bytes", 1_023.0), "1023 B");
        assert_eq!(figure("size_bytes", 1_048_575.0), "1.0 MiB");
        assert_eq!(figure("size_bytes", 2_048.0), "2.0 KiB");
        assert_eq!(figure("cpu_busy_ratio", 0.1234), "12.3%");
        assert_eq!(figure("receive_bytes_per_second", 2_048.0), "2.0 KiB/s");
        assert_eq!(figure("uptime_seconds", 93_784.0), "1d 2h");
        assert_eq!(figure("took_seconds", 0.25), "250ms");
        assert_eq!(figure("read_latency_seconds", 0.000_08), "80µs");
        assert_eq!(figure("read_latency_seconds", 0.001_5), "1.5ms");
        assert_eq!(figure("clock_offset_seconds", -0.25), "-250ms");
        assert_eq!(figure("load1", 0.123_456), "0.123");
        assert_eq!(figure("pid", 4_194_304.0), "4194304");
        assert_eq!(figure("mtu_bytes", 1_500.0), "1500 B");
        assert_eq!(figure("speed_bits_per_second", 2.5e9), "2.5 Gbit/s");
        assert_eq!(heading("memory_used_bytes"), "memory used");
        assert_eq!(heading("memory_used_ratio"), "memory used %");
        assert_eq!(heading("is_read_only"), "read only");
        assert_eq!(with_unit("cpu_ratios", "user"), "user_ratio");
        assert_eq!(with_unit("cpu_seconds", "user"), "user_seconds");
        assert_eq!(with_unit("memory", "used_bytes"), "used_bytes");
        assert_eq!(with_unit("total_bytes", "used_ratio"), "used_ratio");
    }

    #[test]
    fn ages_are_told_in_words() {
        let now = Timestamp::from_millis(1_000_000_000);
        assert_eq!(age(Timestamp::from_millis(1_000_000_000 - 12_400), now), "12s ago");
        assert_eq!(age(Timestamp::from_millis(1_000_000_000 - 3_725_000), now), "1h 2m ago");
        assert_eq!(age(now, now), "just now");
        assert_eq!(age(Timestamp::from_millis(1_000_005_000), now), "in 5s");
        assert!(moment(&json!("2026-11-20T05:00:00Z")).is_some());
        assert!(moment(&json!("2026-11-20")).is_none());
    }

    #[test]
    fn a_sparkline_keeps_peaks_and_shows_gaps() {
        assert_eq!(sparkline(&[Some(0.0), None, Some(7.0)], 10), "▁ █");
        assert_eq!(sparkline(&[Some(0.0), Some(1.0), Some(0.0), Some(0.0)], 2), "█▁");
        assert_eq!(sparkline(&[None], 5), "");
    }
}
