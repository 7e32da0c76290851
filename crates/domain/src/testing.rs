//! A world made of text, for tests: recorded conversations with machines, and a collector played against them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::Timestamp;
use crate::ask::{Answer, Answers, Ask, Outcome, Question};
use crate::collector::{AnyParsed, AnyReading, CollectorDef};
use crate::device::SourceId;
use crate::facts::Facts;
use crate::observed::{Observed, Origin};
use crate::problem::Problem;
use crate::sample::Sample;
use crate::time::parse_span;

/// Most rounds of asks that a collector may take.
const MOST_ROUNDS: usize = 3;
/// When a recorded conversation begins that does not say so.
const START: Timestamp = Timestamp::from_millis(1_795_150_800_000);

/// What a machine answered, written as a person would see it.
///
/// ```text
/// # a remark
/// $ cat /proc/loadavg
/// 0.10 0.20 0.30 1/200 4711
/// $ sudo -n true
/// $? 1
/// $! sudo: a password is required
/// $ cat /etc/unraid-version
/// $! missing
/// --- 30s later
/// $ cat /proc/loadavg
/// 0.20 0.20 0.30 1/200 4712
/// ```
///
/// A question is the `Display` of its [`Ask`] after `$ `; its output follows. `$? N` is the exit or HTTP status where it is
/// not the usual one; `$! missing`, `$! denied`, `$! refused`, `$! timed out` and `$! still hanging` are the other ways
/// to end, and any other `$!` is a line of standard error. `␀` stands for a zero byte. After `--- SPAN later` the
/// same machine is asked again; what is not recorded anew is answered as before. The remark `# at: TIME` says when the
/// conversation took place.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    remarks: Vec<String>,
    polls: Vec<Recorded>,
}

#[derive(Clone, Debug, Default)]
struct Recorded {
    after: Duration,
    answers: BTreeMap<String, Answer>,
    /// The questions that were written at this poll itself.
    fresh: BTreeSet<String>,
}

impl Transcript {
    /// Reads a transcript; the error names the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut transcript = Self { remarks: Vec::new(), polls: vec![Recorded::default()] };
        let mut open: Option<(String, Answer)> = None;
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let content = line.strip_suffix('\n').unwrap_or(line);
            if let Some(question) = content.strip_prefix("$ ") {
                transcript.close(open.take())?;
                open = Some((question.to_owned(), Answer::done(usual_status(question), "")));
            } else if let Some(rest) = content.strip_prefix("--- ") {
                transcript.close(open.take())?;
                let span = rest.strip_suffix(" later").and_then(|span| parse_span(span).ok());
                let span = span.ok_or_else(|| format!("line {}: write `--- 30s later`", number + 1))?;
                transcript.next_poll(span);
            } else if let Some((_, answer)) = &mut open {
                answer_line(answer, line, content)
                    .map_err(|reason| format!("line {}: {reason}", number + 1))?;
            } else if let Some(remark) = content.strip_prefix('#') {
                transcript.remarks.push(remark.trim().to_owned());
            } else if !content.is_empty() {
                return Err(format!("line {}: an output without its question", number + 1));
            }
        }
        transcript.close(open)?;
        Ok(transcript)
    }

    /// The remarks before the first question.
    pub fn remarks(&self) -> impl Iterator<Item = &str> {
        self.remarks.iter().map(String::as_str)
    }

    /// What the machine answered at the first poll; `Missing` where that was not recorded.
    pub fn answer(&self, ask: &Ask) -> Answer {
        self.recorded(0, ask)
            .cloned()
            .unwrap_or_else(|| Answer::without_output(Outcome::Missing, "not recorded"))
    }

    /// The same conversation with every output changed, as a dying or hostile machine might.
    #[must_use]
    pub fn altered(mut self, mut change: impl FnMut(&mut Vec<u8>)) -> Self {
        for answer in self.polls.iter_mut().flat_map(|poll| poll.answers.values_mut()) {
            change(&mut answer.output);
        }
        self
    }

    /// When it took place.
    fn start(&self) -> Timestamp {
        let at = self.remarks().find_map(|remark| remark.strip_prefix("at: "));
        at.and_then(|at| Timestamp::parse(at, START).ok()).unwrap_or(START)
    }

    fn recorded(&self, poll: usize, ask: &Ask) -> Option<&Answer> {
        self.polls.get(poll)?.answers.get(&ask.to_string())
    }

    fn close(&mut self, open: Option<(String, Answer)>) -> Result<(), String> {
        let (Some((question, answer)), Some(poll)) = (open, self.polls.last_mut()) else { return Ok(()) };
        if !poll.fresh.insert(question.clone()) {
            return Err(format!("asked twice: {question}"));
        }
        poll.answers.insert(question, answer);
        Ok(())
    }

    fn next_poll(&mut self, span: Duration) {
        let mut next = self.polls.last().cloned().unwrap_or_default();
        next.after += span;
        next.fresh.clear();
        self.polls.push(next);
    }
}

fn usual_status(question: &str) -> i32 {
    if question.starts_with("GET unix:") { 200 } else { 0 }
}

fn answer_line(answer: &mut Answer, line: &str, content: &str) -> Result<(), String> {
    if let Some(status) = content.strip_prefix("$? ") {
        let status = status.parse().map_err(|_| format!("“{status}” is no status"))?;
        answer.outcome = Outcome::Done { status };
    } else if let Some(words) = content.strip_prefix("$! ") {
        answer.outcome = match words {
            "missing" => Outcome::Missing,
            "denied" => Outcome::Denied,
            "refused" => Outcome::Refused,
            "timed out" => Outcome::TimedOut,
            "still hanging" => Outcome::StillHanging,
            _ => {
                answer.error.push_str(words);
                answer.error.push('\n');
                return Ok(());
            }
        };
    } else {
        answer.output.extend_from_slice(line.replace('␀', "\0").as_bytes());
    }
    Ok(())
}

/// What came of a collector that was played against a transcript.
pub struct Played {
    /// The last reading with its circumstances.
    pub observed: Observed<Arc<dyn AnyReading>>,
    /// What is missing from it.
    pub problems: Vec<Problem>,
    /// What of it is history.
    pub samples: Vec<Sample>,
    /// Questions that the transcript does not answer, in the order asked.
    pub unrecorded: Vec<String>,
    /// Answers of the transcript that nobody asked for.
    pub unasked: Vec<String>,
}

impl Played {
    /// The reading as callers see it.
    pub fn reading(&self) -> Value {
        serde_json::to_value(&self.observed.value).unwrap_or(Value::Null)
    }
}

/// Plays a collector against a transcript, poll by poll, each with the one before it, as the scheduler would.
pub fn play(def: &CollectorDef, transcript: &Transcript, facts: &Facts) -> Result<Played, String> {
    let mut before: Option<Observed<Arc<dyn AnyReading>>> = None;
    let mut unrecorded = Vec::new();
    let mut unasked = Vec::new();
    let mut last = None;
    for (index, poll) in transcript.polls.iter().enumerate() {
        let mut asked = BTreeSet::new();
        let mut answer = |asks: Vec<Ask>| -> Vec<(Ask, Answer)> {
            asks.into_iter()
                .map(|ask| {
                    asked.insert(ask.to_string());
                    let answer = transcript.recorded(index, &ask).cloned().unwrap_or_else(|| {
                        unrecorded.push(ask.to_string());
                        Answer::without_output(Outcome::Missing, "not recorded")
                    });
                    let answer = capped(answer, &ask);
                    (ask, answer)
                })
                .collect()
        };
        let mut answers = Answers::new(transcript.start().plus(poll.after), answer((def.asks)(facts)));
        let (value, problems, samples) = rounds(def, facts, &mut answers, before.as_ref(), &mut answer)?;
        unasked.extend(poll.fresh.difference(&asked).cloned());
        let observed =
            Observed { value, as_of: answers.at, stale: false, origin: Origin::Live, source: SourceId(1) };
        before = Some(observed.clone());
        last = Some((observed, problems, samples));
    }
    let (observed, problems, samples) = last.ok_or("a transcript without a poll")?;
    Ok(Played { observed, problems, samples, unrecorded, unasked })
}

type Made = (Arc<dyn AnyReading>, Vec<Problem>, Vec<Sample>);

fn rounds(
    def: &CollectorDef,
    facts: &Facts,
    answers: &mut Answers,
    before: Option<&Observed<Arc<dyn AnyReading>>>,
    answer: &mut dyn FnMut(Vec<Ask>) -> Vec<(Ask, Answer)>,
) -> Result<Made, String> {
    for _ in 0..MOST_ROUNDS {
        match (def.parse)(facts, answers, before).map_err(|error| format!("{error:?}"))? {
            AnyParsed::Reading(value, problems, samples) => return Ok((value, problems, samples.into_vec())),
            AnyParsed::More(asks) => answers.extend(answer(asks)),
        }
    }
    Err(format!("{} never had enough answers", def.name))
}

/// The answer as the adapters give it: cut at the cap, and a file's or a probe's status always 0.
fn capped(mut answer: Answer, ask: &Ask) -> Answer {
    if answer.output.len() > ask.cap_bytes {
        answer.output.truncate(ask.cap_bytes);
        answer.truncated = true;
    }
    if matches!(ask.question, Question::File(_) | Question::Files(_) | Question::Probe(_))
        && matches!(answer.outcome, Outcome::Done { .. })
    {
        answer.outcome = Outcome::Done { status: 0 };
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# a remark\n$ cat /proc/loadavg\n0.1\n$ sudo -n true\n$? 1\n$! sudo: a password is required\n\
        $ cat /x\n$! missing\n--- 30s later\n$ cat /proc/loadavg\n0.2\n";

    #[test]
    fn a_transcript_tells_outputs_statuses_and_failures() {
        let transcript = Transcript::parse(TEXT).unwrap();
        assert_eq!(transcript.answer(&Ask::file("/proc/loadavg")).text(), "0.1\n");
        let sudo = transcript.answer(&Ask::run(["sudo", "-n", "true"]));
        assert_eq!(sudo.outcome, Outcome::Done { status: 1 });
        assert_eq!(sudo.error, "sudo: a password is required\n");
        assert_eq!(transcript.answer(&Ask::file("/x")).outcome, Outcome::Missing);
        assert_eq!(transcript.answer(&Ask::file("/y")).error, "not recorded");
    }

    #[test]
    fn what_is_not_recorded_anew_is_answered_as_before() {
        let transcript = Transcript::parse(TEXT).unwrap();
        assert_eq!(transcript.recorded(1, &Ask::file("/proc/loadavg")).unwrap().text(), "0.2\n");
        assert_eq!(
            transcript.recorded(1, &Ask::run(["sudo", "-n", "true"])).unwrap().outcome,
            Outcome::Done { status: 1 }
        );
    }
}

pub mod store;
pub mod world;
