//! File name patterns on this machine: `*`, `?` and `[0-9]`, as a shell matches them.

use std::path::PathBuf;

/// Most paths that one pattern gives.
const MOST: usize = 65_536;

/// The existing paths that match `pattern`, an absolute path, sorted. A part that starts with a dot is matched only by
/// a pattern part that does.
pub(crate) fn paths(pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        found = if is_pattern(part) {
            found.iter().flat_map(|folder| matching_entries(folder, part)).take(MOST).collect()
        } else {
            let paths = found.iter().map(|folder| folder.join(part));
            paths.filter(|path| path.symlink_metadata().is_ok()).collect()
        };
    }
    found
}

fn is_pattern(part: &str) -> bool {
    part.contains(['*', '?', '['])
}

fn matching_entries(folder: &PathBuf, part: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<_> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.file_name()))
        .filter(|name| {
            let name = name.to_string_lossy();
            (!name.starts_with('.') || part.starts_with('.')) && matches(part.as_bytes(), name.as_bytes())
        })
        .collect();
    names.sort();
    names.into_iter().map(|name| folder.join(name)).collect()
}

/// Whether `name` matches `pattern` of `*`, `?` and `[…]`.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let Some((&first, rest)) = pattern.split_first() else { return name.is_empty() };
    match first {
        b'*' => (0..=name.len()).any(|taken| matches(rest, &name[taken..])),
        b'?' => !name.is_empty() && matches(rest, &name[1..]),
        b'[' => match (class(rest), name.split_first()) {
            (Some((class, rest)), Some((&byte, name))) => is_in_class(class, byte) && matches(rest, name),
            (None, Some((&byte, name))) => byte == b'[' && matches(rest, name),
            (_, None) => false,
        },
        literal => name.first() == Some(&literal) && matches(rest, &name[1..]),
    }
}

fn class(pattern: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = pattern.iter().skip(1).position(|&byte| byte == b']')? + 1;
    Some((&pattern[..end], &pattern[end + 1..]))
}

fn is_in_class(class: &[u8], byte: u8) -> bool {
    let (is_negated, class) = match class.split_first() {
        Some((b'!' | b'^', rest)) => (true, rest),
        _ => (false, class),
    };
    let mut rest = class;
    let mut is_in = false;
    while let Some((&low, tail)) = rest.split_first() {
        if let [b'-', high, after @ ..] = tail {
            is_in |= (low..=*high).contains(&byte);
            rest = after;
        } else {
            is_in |= low == byte;
            rest = tail;
        }
    }
    is_in != is_negated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_a_shell() {
        let is_match = |pattern: &str, name: &str| matches(pattern.as_bytes(), name.as_bytes());
        assert!(is_match("cpu[0-9]*", "cpu12"));
        assert!(!is_match("cpu[0-9]*", "cpufreq"));
        assert!(is_match("sd?", "sda"));
        assert!(!is_match("[!a]x", "ax"));
        assert!(is_match("*_input", "temp1_input"));
        assert!(is_match("a[", "a["));
    }

    #[test]
    fn patterns_find_files_in_order_and_leave_hidden_ones() {
        let folder = tempfile::tempdir().expect("a directory");
        for name in ["b/speed", "a/speed", ".hidden/speed", "c/other"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, "").expect("written");
        }
        let found = paths(&format!("{}/*/speed", folder.path().display()));
        assert_eq!(found, [folder.path().join("a/speed"), folder.path().join("b/speed")]);
        assert!(paths("/no/such/*").is_empty());
    }
}
