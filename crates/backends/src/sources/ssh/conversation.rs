//! One script and what the machine says to it, until it is answered, late or too much.

use russh::ChannelMsg;
use tokio::time::Instant;

use super::answers::LONGEST_ERROR_BYTES;
use super::framing::{Piece, Reader};
use super::script::Script;
use super::session::Session;

/// Standard error's number in the SSH protocol.
const STANDARD_ERROR: u32 = 1;

/// A running script.
pub(super) struct Conversation {
    session: Session,
    /// Standard output.
    pub output: Reader,
    errors: Reader,
}

/// How a conversation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// All was answered.
    Answered,
    /// The machine closed the channel before.
    Closed,
    /// Time was up before.
    Late,
    /// We stopped it.
    Stopped,
}

impl Conversation {
    /// A conversation in `session`, framed by `word`; each piece of output is kept up to its cap, in bytes.
    pub fn new(session: Session, word: &str, caps: Vec<usize>) -> Self {
        let error_caps = vec![LONGEST_ERROR_BYTES; caps.len()];
        Self { session, output: Reader::new(word, caps), errors: Reader::new(word, error_caps) }
    }

    /// Sends the script. The input stays open where its end is the signal to stop.
    pub async fn say(&self, script: Script) -> Result<(), russh::Error> {
        self.session.send(script.text.into_bytes()).await?;
        if script.is_stopped_by_end { Ok(()) } else { self.session.end_input().await }
    }

    /// What runs is asked to end before it is made to: see [`Session::ask_to_end`].
    pub fn ask_to_end(&mut self) {
        self.session.ask_to_end();
    }

    /// Listens until all is answered, or until `until`, or until `is_enough` says so after something came.
    pub async fn run(&mut self, until: Instant, mut is_enough: impl FnMut(&Self) -> bool) -> Ended {
        loop {
            let Ok(message) = tokio::time::timeout_at(until, self.session.next()).await else {
                return Ended::Late;
            };
            match message {
                Some(ChannelMsg::Data { data }) => self.output.feed(&data),
                Some(ChannelMsg::ExtendedData { data, ext: STANDARD_ERROR }) => self.errors.feed(&data),
                // the server does not start commands for us
                Some(ChannelMsg::Failure | ChannelMsg::Close) | None => {
                    self.output.finish();
                    self.errors.finish();
                    return if self.output.is_complete() { Ended::Answered } else { Ended::Closed };
                }
                Some(_) => continue,
            }
            if self.output.is_complete() && self.errors.is_over {
                return Ended::Answered;
            }
            if is_enough(self) {
                return Ended::Stopped;
            }
        }
    }

    /// What was said outside of all frames, on both outputs.
    pub fn noise(&self) -> String {
        let both = [self.output.noise.as_slice(), self.errors.noise.as_slice()].concat();
        String::from_utf8_lossy(&both).into_owned()
    }

    /// The pieces of standard output and of standard error. Ends the session.
    pub fn into_pieces(self) -> (Vec<Piece>, Vec<Piece>) {
        (self.output.into_pieces(), self.errors.into_pieces())
    }

    /// The session itself, and what was said in its last frame so far.
    pub fn into_session(self) -> (Session, Vec<u8>) {
        (self.session, self.output.into_remainder())
    }
}
