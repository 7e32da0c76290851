//! The grammar of `ssh_config`: lines, quotes, `Include`; what they mean is said in `config`.

use std::path::{Path, PathBuf};

use domain::{Error, Result};

use crate::sources::glob;

/// How deep `Include` may nest, as in OpenSSH.
const DEEPEST_INCLUDE: usize = 16;
/// No configuration is longer; what is, is no configuration.
const LONGEST_FILE_BYTES: u64 = 1 << 20;

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// `Host` with its patterns: begins a block.
    Host(Vec<String>),
    /// `Match` with its criteria: begins a block.
    Match(Vec<String>),
    /// What the included files say, in the block where they are included.
    Include(Vec<Item>),
    /// Anything else.
    Set(Setting),
}

/// `Keyword value …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// In lower case.
    pub keyword: String,
    /// At least one where the file is right.
    pub values: Vec<String>,
    file: PathBuf,
    line: usize,
}

impl Setting {
    /// The error that says where the value stands and what belongs there.
    pub fn malformed(&self, wanted: &str) -> Error {
        Error::invalid(
            "ssh_config_malformed",
            format!("{} line {}: {} is not {wanted}", self.file.display(), self.line, self.keyword),
            format!("correct that line; it needs {wanted}"),
        )
    }
}

/// Reads `path` and all that it includes. A file that is not there is empty; one that cannot be read is a warning.
pub(super) fn parse(path: &Path, home: &Path, warnings: &mut Vec<String>) -> Result<Vec<Item>> {
    parse_file(path, home, 0, warnings)
}

fn parse_file(path: &Path, home: &Path, depth: usize, warnings: &mut Vec<String>) -> Result<Vec<Item>> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > LONGEST_FILE_BYTES || !metadata.is_file() => {
            warnings.push(format!("{} is no ssh_config; it is passed over", path.display()));
            return Ok(Vec::new());
        }
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            warnings.push(format!("{} cannot be read: {error}", path.display()));
            return Ok(Vec::new());
        }
    }
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            warnings.push(format!("{} cannot be read: {error}", path.display()));
            return Ok(Vec::new());
        }
    };
    let mut items = Vec::new();
    for (index, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
        let line_number = index + 1;
        let Some((keyword, values)) = split_line(line).ok_or_else(|| {
            Error::invalid(
                "ssh_config_malformed",
                format!("{} line {line_number}: a quote is not closed", path.display()),
                "close the quote in that line",
            )
        })?
        else {
            continue;
        };
        items.push(match keyword.as_str() {
            "host" => Item::Host(values),
            "match" => Item::Match(values),
            "include" => Item::Include(include(&values, home, depth, warnings)?),
            _ => Item::Set(Setting { keyword, values, file: path.to_owned(), line: line_number }),
        });
    }
    Ok(items)
}

fn include(patterns: &[String], home: &Path, depth: usize, warnings: &mut Vec<String>) -> Result<Vec<Item>> {
    if depth >= DEEPEST_INCLUDE {
        warnings.push("ssh_config: Include nests too deep; the rest is passed over".to_owned());
        return Ok(Vec::new());
    }
    let mut items = Vec::new();
    for pattern in patterns {
        let path = match pattern.strip_prefix("~/") {
            Some(rest) => home.join(rest),
            None => home.join(".ssh").join(pattern),
        };
        for file in glob::paths(&path.to_string_lossy()) {
            items.extend(parse_file(&file, home, depth + 1, warnings)?);
        }
    }
    Ok(items)
}

/// Keyword in lower case and values; an inner `None` where the line says nothing, an outer one where a quote is open.
#[expect(clippy::option_option, reason = "nothing said and wrongly said are two things, and both are local")]
fn split_line(line: &str) -> Option<Option<(String, Vec<String>)>> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Some(None);
    }
    let keyword_end = line.find(|c: char| c.is_whitespace() || c == '=').unwrap_or(line.len());
    let keyword = line[..keyword_end].to_lowercase();
    let rest = line[keyword_end..].trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest);
    split_words(rest).map(|values| Some((keyword, values)))
}

/// Words, some in quotes; a `#` at the start of a word begins a comment.
fn split_words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = text.chars().peekable();
    loop {
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        match rest.peek() {
            None | Some('#') => return Some(words),
            Some(_) => {}
        }
        let mut word = String::new();
        let mut quote: Option<char> = None;
        loop {
            match (rest.next(), quote) {
                (None, Some(_)) => return None,
                (None, None) => break,
                (Some('\\'), _) if matches!(rest.peek(), Some('"' | '\'' | '\\')) => word.extend(rest.next()),
                (Some(end), Some(open)) if end == open => quote = None,
                (Some(open @ ('"' | '\'')), None) => quote = Some(open),
                (Some(space), None) if space.is_whitespace() => break,
                (Some(other), _) => word.push(other),
            }
        }
        words.push(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<(String, Vec<String>)> {
        split_line(line).expect("quotes are closed")
    }

    #[test]
    fn lines_are_read_as_openssh_reads_them() {
        let expected = |keyword: &str, values: &[&str]| {
            Some((keyword.to_owned(), values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>()))
        };
        assert_eq!(words("HostName=nas.lan"), expected("hostname", &["nas.lan"]));
        assert_eq!(words("  Port = 2222  # the usual\r"), expected("port", &["2222"]));
        assert_eq!(words(r#"IdentityFile "~/my keys/id" "#), expected("identityfile", &["~/my keys/id"]));
        assert_eq!(words("Host a b !c"), expected("host", &["a", "b", "!c"]));
        assert_eq!(words("# Host x"), None);
        assert_eq!(words(""), None);
        assert!(split_line(r#"User "nobody"#).is_none());
    }
}
