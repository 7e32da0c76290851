//! Answers that this machine's file system gives by itself, without any program.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Instant;

use domain::ask::{Answer, Ask, Outcome, Question};
use rustix::fs::{Access, access};

use crate::sources::glob;
use crate::sources::ssh::SAFE_PATH;

/// Reads the answer to `ask`. Blocks as long as the file system does.
pub(super) fn read(ask: &Ask) -> Answer {
    let began = Instant::now();
    let mut answer = match &ask.question {
        Question::File(path) => file(path, ask.cap_bytes),
        Question::Files(pattern) => files(pattern, ask.cap_bytes),
        Question::Which(programs) => Answer::done(0, which(programs)),
        Question::Probe(paths) => Answer::done(0, probe(paths)),
        Question::Run(_) | Question::Api { .. } => {
            Answer::without_output(Outcome::Refused, "this is no file")
        }
    };
    answer.took = began.elapsed();
    answer
}

fn file(path: &str, cap: usize) -> Answer {
    match read_capped(Path::new(path), cap) {
        Ok((output, truncated)) => Answer { truncated, ..Answer::done(0, output) },
        Err(error) => {
            let outcome = match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => Outcome::Missing,
                ErrorKind::PermissionDenied => Outcome::Denied,
                _ => Outcome::Done { status: 1 },
            };
            Answer::without_output(outcome, error.to_string())
        }
    }
}

fn read_capped(path: &Path, cap: usize) -> std::io::Result<(Vec<u8>, bool)> {
    let mut output = Vec::new();
    let most = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(most).read_to_end(&mut output)?;
    let truncated = output.len() > cap;
    output.truncate(cap);
    Ok((output, truncated))
}

/// `path:line` for each line of each file that can be read.
fn files(pattern: &str, cap: usize) -> Answer {
    let paths = glob::paths(pattern);
    if paths.is_empty() {
        return Answer::without_output(Outcome::Missing, "nothing matches");
    }
    let mut answer = Answer::done(0, Vec::new());
    for path in paths {
        let room = cap.saturating_sub(answer.output.len());
        let Ok((content, truncated)) = read_capped(&path, room) else { continue };
        for line in content.split_inclusive(|&byte| byte == b'\n') {
            answer.output.extend_from_slice(path.as_os_str().as_encoded_bytes());
            answer.output.push(b':');
            answer.output.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
            answer.output.push(b'\n');
        }
        if truncated || answer.output.len() > cap {
            answer.output.truncate(cap);
            answer.truncated = true;
            break;
        }
    }
    answer
}

fn which(programs: &[String]) -> Vec<u8> {
    let mut found = String::new();
    for program in programs {
        let places = SAFE_PATH.split(':').map(|folder| format!("{folder}/{program}"));
        if let Some(place) = places.into_iter().find(|place| is_program(place)) {
            found += &place;
            found.push('\n');
        }
    }
    found.into_bytes()
}

fn is_program(path: &str) -> bool {
    Path::new(path).is_file() && access(path, Access::EXEC_OK).is_ok()
}

fn probe(paths: &[String]) -> Vec<u8> {
    let mut found = String::new();
    for path in paths {
        let Ok(metadata) = std::fs::metadata(path) else { continue };
        let kind = metadata.file_type();
        found.push(match () {
            () if kind.is_file() => 'f',
            () if kind.is_dir() => 'd',
            () if kind.is_socket() => 's',
            () => 'o',
        });
        if access(path.as_str(), Access::READ_OK).is_ok() {
            found.push('r');
        }
        if access(path.as_str(), Access::WRITE_OK).is_ok() {
            found.push('w');
        }
        found.push(' ');
        found += path;
        found.push('\n');
    }
    found.into_bytes()
}
