//! Writes conversations in the form that `domain::testing::Transcript` reads.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::bail;
use domain::ask::{Answer, Answers, Ask, Outcome, Question};

/// A conversation being written.
#[derive(Default)]
pub struct Transcript(String);

/// What begins a line that is not output.
const MARKS: [&str; 4] = ["$ ", "$? ", "$! ", "--- "];

impl Transcript {
    /// Nothing was said yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a remark. Remarks come before the first question.
    pub fn remark(&mut self, text: &str) {
        self.line(&format!("# {text}"));
    }

    /// Writes what was asked and answered.
    pub fn poll(&mut self, answers: &Answers) -> anyhow::Result<()> {
        answers.iter().try_for_each(|(ask, answer)| self.exchange(ask, answer))
    }

    /// Writes that the same machine is asked again.
    pub fn later(&mut self, span: Duration) {
        self.line(&format!("--- {}s later", span.as_secs()));
    }

    /// Writes the answers that are not as they were before.
    pub fn changes(&mut self, before: &Answers, now: &Answers) -> anyhow::Result<()> {
        let is_same = |ask: &Ask, answer: &Answer| {
            let told =
                |answer: &Answer| (answer.outcome.clone(), answer.output.clone(), answer.error.clone());
            before.get(&ask.question).is_some_and(|before| told(before) == told(answer))
        };
        now.iter()
            .filter(|(ask, answer)| !is_same(ask, answer))
            .try_for_each(|(ask, answer)| self.exchange(ask, answer))
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.0
    }

    fn exchange(&mut self, ask: &Ask, answer: &Answer) -> anyhow::Result<()> {
        self.line(&format!("$ {ask}"));
        let usual = if matches!(ask.question, Question::Api { .. }) { 200 } else { 0 };
        match answer.outcome {
            Outcome::Done { status } if status == usual => {}
            Outcome::Done { status } => self.line(&format!("$? {status}")),
            Outcome::Missing => self.line("$! missing"),
            Outcome::Denied => self.line("$! denied"),
            Outcome::Refused => self.line("$! refused"),
            Outcome::TimedOut => self.line("$! timed out"),
            Outcome::StillHanging => self.line("$! still hanging"),
        }
        let text = answer.text().replace('\0', "␀");
        if let Some(line) = text.lines().find(|line| MARKS.iter().any(|mark| line.starts_with(mark))) {
            bail!("the answer to {ask} cannot be written down: a line of it reads “{line}”");
        }
        self.0.push_str(&text);
        if !text.is_empty() && !text.ends_with('\n') {
            self.0.push('\n');
        }
        // that something is not there is said already
        if answer.outcome != Outcome::Missing {
            answer
                .error
                .lines()
                .filter(|line| !line.is_empty())
                .for_each(|line| self.line(&format!("$! {line}")));
        }
        Ok(())
    }

    fn line(&mut self, text: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{text}");
    }
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;
    use domain::testing;

    use super::*;

    fn answers(pairs: Vec<(Ask, Answer)>) -> Answers {
        Answers::new(Timestamp::from_millis(0), pairs)
    }

    #[test]
    fn what_is_written_is_read_back() {
        let sudo = Ask::run(["sudo", "-n", "true"]);
        let refused = Answer { error: "sudo: a password\nis required".into(), ..Answer::done(1, "") };
        let pairs = vec![
            (Ask::file("/proc/loadavg"), Answer::done(0, "0.1\n")),
            (Ask::file("/proc/1/cmdline"), Answer::done(0, "init\0--x\0")),
            (Ask::api("/run/x.sock", "/info"), Answer::done(404, "{}")),
            (Ask::file("/x"), Answer::without_output(Outcome::Missing, "No such file")),
            (sudo.clone(), refused),
        ];
        let mut transcript = Transcript::new();
        transcript.remark("a machine");
        transcript.poll(&answers(pairs.clone())).unwrap();
        let read = testing::Transcript::parse(&transcript.into_text()).unwrap();
        assert_eq!(read.answer(&pairs[1].0).output, b"init\0--x\0\n");
        assert_eq!(read.answer(&pairs[2].0).outcome, Outcome::Done { status: 404 });
        assert_eq!(read.answer(&pairs[3].0).outcome, Outcome::Missing);
        assert_eq!(read.answer(&sudo).error, "sudo: a password\nis required\n");
    }

    #[test]
    fn a_second_poll_tells_only_what_changed() {
        let same = (Ask::file("/a"), Answer::done(0, "a\n"));
        let before = answers(vec![same.clone(), (Ask::file("/b"), Answer::done(0, "1\n"))]);
        let now = answers(vec![same, (Ask::file("/b"), Answer::done(0, "2\n"))]);
        let mut transcript = Transcript::new();
        transcript.later(Duration::from_secs(5));
        transcript.changes(&before, &now).unwrap();
        assert_eq!(transcript.into_text(), "--- 5s later\n$ cat /b\n2\n");
    }

    #[test]
    fn output_that_looks_like_a_mark_is_refused() {
        let answers = answers(vec![(Ask::file("/a"), Answer::done(0, "x\n$ rm\n"))]);
        assert!(Transcript::new().poll(&answers).is_err());
    }
}
