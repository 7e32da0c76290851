//! The text formats of Linux that several collectors read.

use std::time::Duration;

use domain::Untrusted;
use domain::ask::Answer;
use domain::problem::Problem;

/// The lines of a question about many files (`path:line`), as pairs of path and line.
///
/// A path of `/proc` or `/sys` that is asked for has no colon in it.
pub(crate) fn lines_by_path(answer: Option<&Answer>) -> Vec<(String, String)> {
    let Some(answer) = answer else { return Vec::new() };
    let text = answer.text();
    let pair = |line: &str| line.split_once(':').map(|(path, line)| (path.to_owned(), line.to_owned()));
    text.lines().filter_map(pair).collect()
}

/// The part of a path that a `*` stood for: `eth0` of `/sys/class/net/eth0/mtu`.
pub(crate) fn between<'a>(path: &'a str, prefix: &str, suffix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix)?.strip_suffix(suffix).filter(|name| !name.is_empty())
}

/// The value in bytes of `key` in a file of lines such as `MemTotal:  16318480 kB`.
pub(crate) fn kib_field(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    rest.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The value of `key` in a file of lines such as `model name\t: Intel`.
pub(crate) fn colon_field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

/// `text` without white space around it; absent where nothing is left.
pub(crate) fn word(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Text of the machine's own, absent where it is empty.
pub(crate) fn untrusted(text: &str) -> Option<Untrusted<String>> {
    let text = text.trim();
    (!text.is_empty()).then(|| Untrusted::new(text))
}

/// What a counter grew by; absent where it started again from zero.
pub(crate) fn growth(before: u64, now: u64) -> Option<f64> {
    now.checked_sub(before).map(|growth| growth as f64)
}

/// How fast a counter grew, per second; absent where it started again from zero or no time passed.
pub(crate) fn per_second(before: u64, now: u64, elapsed: Duration) -> Option<f64> {
    (!elapsed.is_zero()).then_some(())?;
    growth(before, now).map(|growth| growth / elapsed.as_secs_f64())
}

/// The problem of a first reading: `what` is known only from the second on.
pub(crate) fn needs_two_polls(what: &str) -> Problem {
    Problem::new("needs_two_polls", format!("{what} are known after a second reading"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_started_again_has_no_rate() {
        assert_eq!(per_second(100, 160, Duration::from_secs(30)), Some(2.0));
        assert_eq!(per_second(100, 10, Duration::from_secs(30)), None);
        assert_eq!(per_second(100, 160, Duration::ZERO), None);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "MemTotal:  2 kB\nSwapCached: 1 kB\nCached: 3 kB\n";
        assert_eq!(kib_field(text, "Cached"), Some(3072));
        assert_eq!(kib_field(text, "Mem"), None);
        assert_eq!(colon_field("model\t: 5\nmodel name\t: Fast\n", "model name"), Some("Fast"));
    }
}
