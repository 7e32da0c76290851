//! Makes answers of what came between the frames of a script.

use domain::ask::{Answer, Ask, Outcome, Question};

use super::framing::{End, Piece};
use super::script::Part;
use crate::sources::hanging::late;

/// Most of standard error that is kept, in bytes.
pub(super) const LONGEST_ERROR_BYTES: usize = 4096;

/// The answers to `asks`, from the pieces of standard output and of standard error that `parts` describe. What has not
/// ended is answered with `TimedOut`.
pub(super) fn answers(asks: &[Ask], parts: &[Part], output: Vec<Piece>, errors: &[Piece]) -> Vec<Answer> {
    let mut answers: Vec<Answer> = asks.iter().map(late).collect();
    for (number, (part, piece)) in parts.iter().zip(output).enumerate() {
        let said = errors.get(number).map(|piece| String::from_utf8_lossy(&piece.output)).unwrap_or_default();
        let Some(end) = piece.end.clone() else { continue };
        match part {
            Part::One(index) => answers[*index] = one(&asks[*index], piece, &end, said.trim()),
            Part::Files(indices) => {
                for (index, answer) in files(asks, indices, &piece, &end, &said) {
                    answers[index] = answer;
                }
            }
        }
    }
    answers
}

/// The most bytes that are to be kept of a part.
pub(super) fn cap(asks: &[Ask], part: &Part) -> usize {
    match part {
        Part::One(index) => asks[*index].cap_bytes,
        // each line has its path before it
        Part::Files(indices) => indices.iter().map(|&index| asks[index].cap_bytes).sum::<usize>() * 2,
    }
}

fn one(ask: &Ask, piece: Piece, end: &End, said: &str) -> Answer {
    let outcome = match &ask.question {
        Question::File(_) if ask.root => root_file_outcome(end, &piece, said),
        Question::File(_) => file_outcome(end, said),
        Question::Files(_) if end.remarks.contains('m') => Outcome::Missing,
        // status 1 is “no lines”, 2 “some could not be read”
        Question::Files(_) if !end.remarks.contains('u') => Outcome::Done { status: 0 },
        Question::Which(_) | Question::Probe(_) => Outcome::Done { status: 0 },
        Question::Run(_) => run_outcome(end, &piece, said),
        Question::Files(_) | Question::Api { .. } => Outcome::Refused,
    };
    let error = if end.remarks.contains('u') { "this cannot be asked by a shell" } else { said };
    let mut answer = Answer::without_output(outcome, error);
    answer.took = end.took;
    answer.truncated = piece.dropped > 0;
    answer.output = piece.output;
    answer
}

fn file_outcome(end: &End, said: &str) -> Outcome {
    if end.remarks.contains('d') || is_denial(said) {
        Outcome::Denied
    } else if end.remarks.contains('m') {
        Outcome::Missing
    } else {
        Outcome::Done { status: end.status }
    }
}

fn root_file_outcome(end: &End, piece: &Piece, said: &str) -> Outcome {
    match run_outcome(end, piece, said) {
        Outcome::Done { status } if status != 0 && said.contains("No such file") => Outcome::Missing,
        Outcome::Done { status } if status != 0 && is_denial(said) => Outcome::Denied,
        outcome => outcome,
    }
}

fn run_outcome(end: &End, piece: &Piece, said: &str) -> Outcome {
    let is_by_sudo = end.remarks.contains('r');
    if end.remarks.contains('m') {
        return Outcome::Missing;
    }
    if is_by_sudo && piece.output.is_empty() {
        // sudo's own words; it ends with 1 in all of these cases, and a shell without sudo with 127
        let is_sudos = said.starts_with("sudo:") || said.contains("Sorry, user") || said.contains("sudoers");
        if end.status == 1 && is_sudos {
            return if said.contains("command not found") { Outcome::Missing } else { Outcome::Denied };
        }
        if end.status == 127 && said.contains("sudo") {
            return Outcome::Denied;
        }
    }
    match end.status {
        126 if is_denial(said) => Outcome::Denied,
        status => Outcome::Done { status },
    }
}

fn is_denial(said: &str) -> bool {
    said.contains("Permission denied") || said.contains("Operation not permitted")
}

/// Takes apart what one `grep -aH ''` said of several files, in their order: `path:line`.
fn files(asks: &[Ask], indices: &[usize], piece: &Piece, end: &End, said: &str) -> Vec<(usize, Answer)> {
    let paths: Vec<&str> = indices
        .iter()
        .map(|&index| match &asks[index].question {
            Question::File(path) => path.as_str(),
            _ => "",
        })
        .collect();
    let mut contents: Vec<Vec<u8>> = vec![Vec::new(); paths.len()];
    let mut current = 0;
    for line in piece.output.split_inclusive(|&byte| byte == b'\n') {
        let belongs =
            |path: &str| line.strip_prefix(path.as_bytes()).and_then(|rest| rest.strip_prefix(b":"));
        let found = (current..paths.len()).find_map(|at| belongs(paths[at]).map(|rest| (at, rest)));
        if let Some((at, rest)) = found {
            current = at;
            contents[at].extend_from_slice(rest);
        }
    }
    let took = end.took / u32::try_from(paths.len()).unwrap_or(1);
    let mut remarks = end.remarks.chars();
    let mut answers = Vec::with_capacity(paths.len());
    for ((&index, path), mut output) in indices.iter().zip(paths).zip(contents) {
        let words =
            said.lines().find_map(|line| line.split_once(&format!(" {path}: ")).map(|(_, words)| words));
        let words = words.unwrap_or_default();
        let remark = remarks.next().unwrap_or('-');
        let failed = !words.is_empty() && output.is_empty();
        let status = i32::from(failed);
        let outcome = file_outcome(&End { status, took, remarks: remark.to_string() }, words);
        let cap = asks[index].cap_bytes;
        let truncated = output.len() > cap
            || piece.dropped > 0 && output.is_empty() && outcome == (Outcome::Done { status: 0 });
        output.truncate(cap);
        answers.push((index, Answer { outcome, output, error: words.to_owned(), truncated, took }));
    }
    answers
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn end(status: i32, remarks: &str) -> End {
        End { status, took: Duration::from_millis(30), remarks: remarks.to_owned() }
    }

    fn piece(output: &str) -> Piece {
        Piece { output: output.into(), ..Piece::default() }
    }

    #[test]
    fn files_that_were_read_together_are_taken_apart() {
        let asks = [Ask::file("/a"), Ask::file("/b"), Ask::file("/c"), Ask::file("/d")];
        let said = "grep: /b: Permission denied\ngrep: /d: Input/output error\n";
        let output = piece("/a:one\n/a:/b:not b's\n/a:\n");
        let answers = files(&asks, &[0, 1, 2, 3], &output, &end(2, "--m-"), said);
        let answers: Vec<Answer> = answers.into_iter().map(|(_, answer)| answer).collect();
        assert_eq!(answers[0].text(), "one\n/b:not b's\n\n");
        assert_eq!(answers[0].outcome, Outcome::Done { status: 0 });
        assert_eq!(answers[1].outcome, Outcome::Denied);
        assert_eq!(answers[2].outcome, Outcome::Missing);
        assert_eq!(
            (&answers[3].outcome, answers[3].error.as_str()),
            (&Outcome::Done { status: 1 }, "Input/output error")
        );
    }

    #[test]
    fn what_sudo_refuses_is_denied_and_what_the_program_says_is_not() {
        let outcome = |status, remarks: &str, output: &str, said: &str| {
            run_outcome(&end(status, remarks), &piece(output), said)
        };
        assert_eq!(outcome(1, "r", "", "sudo: a password is required"), Outcome::Denied);
        assert_eq!(outcome(1, "r", "", "sudo: nvme: command not found"), Outcome::Missing);
        assert_eq!(outcome(127, "r", "", "/bin/sh: 9: sudo: not found"), Outcome::Denied);
        assert_eq!(outcome(1, "r", "", "zpool: no pools"), Outcome::Done { status: 1 });
        assert_eq!(outcome(1, "", "", "sudo: in words"), Outcome::Done { status: 1 });
        assert_eq!(outcome(1, "m", "", ""), Outcome::Missing);
    }
}
