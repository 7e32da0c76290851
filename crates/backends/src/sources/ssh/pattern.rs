//! Host patterns as OpenSSH writes them: `*`, `?`, and `!` before what is not meant.

/// Whether `text` matches `pattern` of `*` and `?`. Case matters.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at_pattern, mut at_text) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while at_text < text.len() {
        match pattern.get(at_pattern) {
            Some('*') => {
                retry = Some((at_pattern + 1, at_text));
                at_pattern += 1;
            }
            Some(&wanted) if wanted == '?' || wanted == text[at_text] => {
                at_pattern += 1;
                at_text += 1;
            }
            _ => {
                // the last star takes one character more
                let Some((pattern_start, text_start)) = retry else { return false };
                retry = Some((pattern_start, text_start + 1));
                at_pattern = pattern_start;
                at_text = text_start + 1;
            }
        }
    }
    pattern[at_pattern..].iter().all(|&c| c == '*')
}

/// Whether `text` matches one of `patterns` and none of those with a `!` before them.
pub(crate) fn list_matches<'a>(patterns: impl IntoIterator<Item = &'a str>, text: &str) -> bool {
    let mut is_wanted = false;
    for pattern in patterns {
        match pattern.strip_prefix('!') {
            Some(unwanted) if matches(unwanted, text) => return false,
            Some(_) => {}
            None => is_wanted |= matches(pattern, text),
        }
    }
    is_wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_match_as_in_openssh() {
        assert!(matches("*", ""));
        assert!(matches("*.lan", "nas.lan"));
        assert!(matches("a*b*c", "a-b-b-c"));
        assert!(matches("host-?", "host-1"));
        assert!(!matches("host-?", "host-"));
        assert!(!matches("*.lan", "nas.wan"));
    }

    #[test]
    fn one_unwanted_pattern_outweighs_all_wanted() {
        assert!(list_matches(["*.lan", "!bad.lan"], "nas.lan"));
        assert!(!list_matches(["*.lan", "!bad.lan"], "bad.lan"));
        assert!(!list_matches(["!bad.lan"], "nas.lan"));
    }
}
