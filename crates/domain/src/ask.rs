//! A question to a machine and its answer: a file, an argument list, an API request; never a shell string.

use std::fmt;
use std::time::Duration;

/// Longest wait for one answer unless the ask says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// Most bytes taken of one answer unless the ask says otherwise.
pub const CAP_BYTES: usize = 1 << 20;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// The content of one file.
    File(String),
    /// The content of all files that match a pattern of `*`, `?` and `[0-9]` (`/sys/class/net/*/speed`). The answer has one
    /// line `path:line` for each line of each file; files that cannot be read are left out.
    Files(String),
    /// The standard output of a program. The first word is looked up in a safe `PATH`.
    Run(Vec<String>),
    /// Where in `PATH` these programs are: one line with the full path for each one found.
    Which(Vec<String>),
    /// What is at these paths and what we may do with it: one line `flags path` for each path that exists, flags being
    /// a type letter (`f` file, `d` directory, `s` socket, `o` other) followed by `r` and `w` where we may.
    Probe(Vec<String>),
    /// `GET path` over HTTP from the Unix socket at `socket`, on that machine.
    Api {
        /// Path of the socket on the machine.
        socket: String,
        /// Path and query, such as `/containers/json?all=1`.
        path: String,
    },
}

/// A question with its limits and its reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ask {
    /// What is asked.
    pub question: Question,
    /// Longest wait for the answer.
    pub deadline: Duration,
    /// Most bytes taken of the answer.
    pub cap_bytes: usize,
    /// Wants root: run by `sudo -n` where we are not root ourselves.
    pub root: bool,
    /// May block for ever (a dead disk, a dead mount): gets a channel of its own, so that it delays nothing else.
    pub may_hang: bool,
}

impl Ask {
    fn new(question: Question) -> Self {
        Self { question, deadline: DEADLINE, cap_bytes: CAP_BYTES, root: false, may_hang: false }
    }

    /// Asks for the content of a file.
    pub fn file(path: impl Into<String>) -> Self {
        Self::new(Question::File(path.into()))
    }

    /// Asks for the content of all files that match a pattern.
    pub fn files(pattern: impl Into<String>) -> Self {
        Self::new(Question::Files(pattern.into()))
    }

    /// Asks for the output of a program.
    pub fn run<I: IntoIterator<Item = S>, S: Into<String>>(argv: I) -> Self {
        Self::new(Question::Run(argv.into_iter().map(Into::into).collect()))
    }

    /// Asks which of these programs are installed.
    pub fn which<I: IntoIterator<Item = S>, S: Into<String>>(programs: I) -> Self {
        Self::new(Question::Which(programs.into_iter().map(Into::into).collect()))
    }

    /// Asks what is at these paths.
    pub fn probe<I: IntoIterator<Item = S>, S: Into<String>>(paths: I) -> Self {
        Self::new(Question::Probe(paths.into_iter().map(Into::into).collect()))
    }

    /// Asks an API behind a Unix socket on the machine. May hang, as any daemon may.
    pub fn api(socket: impl Into<String>, path: impl Into<String>) -> Self {
        Self { may_hang: true, ..Self::new(Question::Api { socket: socket.into(), path: path.into() }) }
    }

    /// Says that it may block for ever.
    #[must_use]
    pub fn may_hang(mut self) -> Self {
        self.may_hang = true;
        self
    }

    /// Says that it wants root.
    #[must_use]
    pub fn root(mut self) -> Self {
        self.root = true;
        self
    }

    /// Sets the longest wait.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets the most bytes taken.
    #[must_use]
    pub fn cap_bytes(mut self, cap_bytes: usize) -> Self {
        self.cap_bytes = cap_bytes;
        self
    }
}

/// As a person would type it: the form of transcripts, `doctor --commands` and logs.
impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.root {
            f.write_str("sudo -n ")?;
        }
        match &self.question {
            Question::File(path) => write!(f, "cat {}", quoted(path)),
            Question::Files(pattern) => write!(f, "grep -asH '' {pattern}"),
            Question::Run(argv) => f.write_str(&quoted_all(argv)),
            Question::Which(programs) => write!(f, "which {}", quoted_all(programs)),
            Question::Probe(paths) => write!(f, "probe {}", quoted_all(paths)),
            Question::Api { socket, path } => write!(f, "GET unix:{socket} {path}"),
        }
    }
}

fn quoted_all(words: &[String]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// `word` as a POSIX shell reads it back unchanged: the one quoting function of the program.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,=".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// How an ask ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ran. For a file or a probe the status is 0; for an API request it is the HTTP status.
    Done {
        /// Exit status, or HTTP status.
        status: i32,
    },
    /// There is no such file, program or socket.
    Missing,
    /// It is there, and we may not.
    Denied,
    /// The socket is there and nobody serves it.
    Refused,
    /// No answer within the deadline; it was ended there.
    TimedOut,
    /// An earlier one of the same still hangs on the machine, so it was not asked again.
    StillHanging,
}

/// What came back for one ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How it ended.
    pub outcome: Outcome,
    /// Standard output, file content or response body, at most the ask's cap.
    pub output: Vec<u8>,
    /// Standard error, or the reason in words; at most 4 KiB.
    pub error: String,
    /// Whether output was cut at the cap.
    pub truncated: bool,
    /// How long it took on the machine.
    pub took: Duration,
}

impl Answer {
    /// An answer that ran with `status` and said `output`.
    pub fn done(status: i32, output: impl Into<Vec<u8>>) -> Self {
        Self {
            outcome: Outcome::Done { status },
            output: output.into(),
            error: String::new(),
            truncated: false,
            took: Duration::ZERO,
        }
    }

    /// An answer without output.
    pub fn without_output(outcome: Outcome, error: impl Into<String>) -> Self {
        Self { outcome, output: Vec::new(), error: error.into(), truncated: false, took: Duration::ZERO }
    }

    /// The output as text, whatever bytes it had.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.output)
    }

    /// The output as text where it ran and ended with status 0 (or HTTP 200).
    pub fn ok(&self) -> Option<std::borrow::Cow<'_, str>> {
        matches!(self.outcome, Outcome::Done { status: 0 | 200 }).then(|| self.text())
    }
}

/// The answers of a round, found by their question.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    pairs: Vec<(Ask, Answer)>,
    /// When the question was asked, at the middle of it, by Reeve's clock.
    pub at: crate::Timestamp,
}

impl Answers {
    /// The answers to these asks, asked at `at`.
    pub fn new(at: crate::Timestamp, pairs: Vec<(Ask, Answer)>) -> Self {
        Self { pairs, at }
    }

    /// Adds a later round's answers.
    pub fn extend(&mut self, more: impl IntoIterator<Item = (Ask, Answer)>) {
        self.pairs.extend(more);
    }

    /// The answer to exactly this question, where it was asked.
    pub fn get(&self, question: &Question) -> Option<&Answer> {
        self.pairs.iter().find(|(ask, _)| ask.question == *question).map(|(_, answer)| answer)
    }

    /// The answer to this file's question.
    pub fn file(&self, path: &str) -> Option<&Answer> {
        self.find(|question| matches!(question, Question::File(asked) if asked == path))
    }

    /// The content of this file, where it could be read.
    pub fn file_text(&self, path: &str) -> Option<std::borrow::Cow<'_, str>> {
        self.file(path).and_then(Answer::ok)
    }

    /// The answer to this pattern's question.
    pub fn files(&self, pattern: &str) -> Option<&Answer> {
        self.find(|question| matches!(question, Question::Files(asked) if asked == pattern))
    }

    /// The answer of the first command whose argument list starts so.
    pub fn run(&self, argv_prefix: &[&str]) -> Option<&Answer> {
        self.find(|question| {
            matches!(question, Question::Run(argv)
                if argv.len() >= argv_prefix.len() && argv.iter().zip(argv_prefix).all(|(a, b)| a == b))
        })
    }

    /// The answer to this API request.
    pub fn api(&self, socket: &str, path: &str) -> Option<&Answer> {
        self.find(
            |question| matches!(question, Question::Api { socket: s, path: p } if s == socket && p == path),
        )
    }

    /// All pairs, in the order asked.
    pub fn iter(&self) -> impl Iterator<Item = &(Ask, Answer)> {
        self.pairs.iter()
    }

    fn find(&self, is_it: impl Fn(&Question) -> bool) -> Option<&Answer> {
        self.pairs.iter().find(|(ask, _)| is_it(&ask.question)).map(|(_, answer)| answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_survives_a_shell() {
        assert_eq!(quoted("/proc/stat"), "/proc/stat");
        assert_eq!(quoted("it's $(id)"), r"'it'\''s $(id)'");
        assert_eq!(quoted(""), "''");
    }
}
