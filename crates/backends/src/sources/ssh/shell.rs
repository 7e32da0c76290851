//! A shell over SSH: one connection, made when it is needed, shared by all who ask.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::ask::{Answer, Ask, Outcome, Question};
use domain::device::SshTarget;
use domain::ports::Shell;
use domain::{BoxFuture, Error, Result};
use futures_util::FutureExt;
use futures_util::future::Shared;
use tokio::time::Instant;

use super::connect::{Connector, Look};
use super::conversation::{Conversation, Ended};
use super::framing::Piece;
use super::script::{self, Script};
use super::session::Connection;
use super::{answers, failure};
use crate::sources::docker::Engines;
use crate::sources::hanging::{Hanging, Places, Process, late};

/// An answer is read on after its cap, dropping what comes, until this many bytes more; then the command is ended.
const FLOOD_BYTES: usize = 8 << 20;
/// How long a machine may take to show that it is still there.
pub(super) const ALIVE_DEADLINE: Duration = Duration::from_secs(3);

type Attempt = Shared<BoxFuture<'static, Result<Arc<Connection>, Arc<Error>>>>;

/// A shell on the machine at `target`.
pub(crate) struct SshShell {
    target: SshTarget,
    connector: Connector,
    state: Mutex<State>,
    hanging: Hanging,
    places: Places,
    engines: Engines,
}

enum State {
    Closed,
    Connecting(Attempt),
    Open(Arc<Connection>),
}

impl SshShell {
    /// Nothing is connected yet.
    pub fn new(target: SshTarget, connector: Connector) -> Self {
        let engines = Engines::new(connector.tasks.clone(), connector.closing.clone());
        Self {
            target,
            connector,
            state: Mutex::new(State::Closed),
            hanging: Hanging::default(),
            places: Places::new(),
            engines,
        }
    }

    /// The connection, and whether it was there before.
    async fn connection(&self) -> Result<(Arc<Connection>, bool)> {
        let attempt = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match &*state {
                State::Open(connection) if !connection.is_closed() => {
                    return Ok((Arc::clone(connection), true));
                }
                State::Connecting(attempt) if attempt.peek().is_none() => attempt.clone(),
                // an attempt that ended while nobody waited any more tells of the past
                State::Connecting(_) | State::Open(_) | State::Closed => {
                    let attempt = self.attempt();
                    *state = State::Connecting(attempt.clone());
                    // driven to its end, whoever leaves
                    self.connector.tasks.spawn(attempt.clone());
                    attempt
                }
            }
        };
        let result = attempt.clone().await;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*state, State::Connecting(current) if current.ptr_eq(&attempt)) {
            *state = match &result {
                Ok(connection) => State::Open(Arc::clone(connection)),
                Err(_) => State::Closed,
            };
        }
        drop(state);
        result.map(|connection| (connection, false)).map_err(|error| error.retold())
    }

    fn attempt(&self) -> Attempt {
        let (connector, target) = (self.connector.clone(), self.target.clone());
        let attempt: BoxFuture<'static, _> = Box::pin(async move {
            let line = connector.connect(&target, &mut Look::default()).await;
            line.map(|line| Arc::new(Connection::new(line, connector.tasks.clone()))).map_err(Arc::new)
        });
        attempt.shared()
    }

    /// Cuts `connection` and forgets it, unless another one took its place.
    pub(super) fn give_up(&self, connection: &Arc<Connection>) {
        connection.cut();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*state, State::Open(current) if Arc::ptr_eq(current, connection)) {
            *state = State::Closed;
        }
        drop(state);
        self.engines.forget();
    }

    /// Does `work` on the connection; where that turns out to have ended while nobody looked, on a new one.
    pub(super) async fn on_connection<'a, T, F>(&'a self, work: impl Fn(Arc<Connection>) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>> + 'a,
    {
        let (connection, is_old) = self.connection().await?;
        match work(Arc::clone(&connection)).await {
            Err(error) if is_old && error.code() == "ssh_closed" => {
                self.give_up(&connection);
                let (connection, _) = self.connection().await?;
                work(connection).await
            }
            result => result,
        }
    }

    async fn batch(&self, asks: &[Ask]) -> Result<Vec<Answer>> {
        // a question asked twice is answered once
        let mut unique: Vec<Ask> = Vec::new();
        let mut places = Vec::with_capacity(asks.len());
        for ask in asks {
            let place = unique.iter().position(|known| known == ask).unwrap_or(unique.len());
            if place == unique.len() {
                unique.push(ask.clone());
            }
            places.push(place);
        }
        let unique = &unique;
        let answers = self.on_connection(|connection| self.batch_on(connection, unique)).await?;
        Ok(places.into_iter().map(|place| answers[place].clone()).collect())
    }

    pub(super) async fn batch_on(&self, connection: Arc<Connection>, asks: &[Ask]) -> Result<Vec<Answer>> {
        let word = uuid::Uuid::new_v4().simple().to_string();
        let script = script::batch(asks, &word);
        let parts = script.parts.clone();
        let caps = script.parts.iter().map(|part| answers::cap(asks, part)).collect();
        let until = Instant::now() + asks.iter().map(|ask| ask.deadline).max().unwrap_or_default();
        let mut conversation = self.begin(&connection, script, &word, caps, until).await?;
        let ended = conversation.run(until, |conversation| conversation.output.is_flooded(FLOOD_BYTES)).await;
        self.heard(&connection, &conversation, ended).await?;
        let (mut output, errors) = conversation.into_pieces();
        output.iter_mut().for_each(Piece::cut_off);
        Ok(answers::answers(asks, &parts, output, &errors))
    }

    /// `key` is the ask as it is remembered while it hangs.
    async fn alone_on(&self, connection: Arc<Connection>, ask: &Ask, key: &Ask) -> Result<Answer> {
        let word = uuid::Uuid::new_v4().simple().to_string();
        let script = script::alone(ask, &word);
        let parts = script.parts.clone();
        let until = Instant::now() + ask.deadline;
        let mut conversation = self.begin(&connection, script, &word, vec![ask.cap_bytes], until).await?;
        if ask.root {
            conversation.ask_to_end();
        }
        let mut is_noted = false;
        let ended = conversation
            .run(until, |conversation| {
                let piece = conversation.output.piece(0);
                if let (false, Some(stat)) = (is_noted, piece.and_then(|piece| piece.process.as_deref()))
                    && let Some(process) = Process::parse(stat)
                {
                    // noted now: who asks may leave at any moment
                    self.hanging.note(key, process);
                    is_noted = true;
                }
                conversation.output.is_flooded(0)
            })
            .await;
        self.heard(&connection, &conversation, ended).await?;
        if ended == Ended::Answered {
            self.hanging.forget(key);
        }
        let (mut output, errors) = conversation.into_pieces();
        // one that said more than is taken was ended for it: what it said so far is its answer
        output.iter_mut().for_each(Piece::cut_off);
        let mut answers = answers::answers(std::slice::from_ref(ask), &parts, output, &errors);
        answers.pop().ok_or_else(|| Error::internal("a question went without an answer"))
    }

    pub(super) async fn begin(
        &self,
        connection: &Arc<Connection>,
        script: Script,
        word: &str,
        caps: Vec<usize>,
        until: Instant,
    ) -> Result<Conversation> {
        match tokio::time::timeout_at(until, connection.start(script::COMMAND)).await {
            Ok(session) => {
                let session = session?;
                let conversation = Conversation::new(session, word, caps);
                conversation.say(script).await.map_err(|_| failure::closed(&connection.line.destination))?;
                Ok(conversation)
            }
            Err(_) if connection.is_alive(ALIVE_DEADLINE).await => {
                Err(failure::sessions_full(&connection.line.destination))
            }
            Err(_) => {
                self.give_up(connection);
                Err(failure::silent(&connection.line.destination, "any more"))
            }
        }
    }

    /// Says why there is no answer at all, where there is none.
    async fn heard(
        &self,
        connection: &Arc<Connection>,
        conversation: &Conversation,
        ended: Ended,
    ) -> Result<()> {
        let destination = &connection.line.destination;
        if conversation.output.is_framed {
            if ended == Ended::Closed {
                let is_lost = connection.is_closed();
                return Err(if is_lost {
                    failure::closed(destination)
                } else {
                    failure::shell_ended(destination)
                });
            }
            return if ended == Ended::Late { self.still_there().await } else { Ok(()) };
        }
        match ended {
            Ended::Late if connection.is_alive(ALIVE_DEADLINE).await => {
                Err(failure::command_refused(destination, &conversation.noise()))
            }
            Ended::Late => {
                self.give_up(connection);
                Err(failure::silent(destination, "any more"))
            }
            _ if connection.is_closed() => Err(failure::closed(destination)),
            _ => Err(failure::command_refused(destination, &conversation.noise())),
        }
    }

    /// Whether the process that an earlier question started is still there.
    async fn still_hangs(&self, ask: &Ask) -> Result<bool> {
        let Some(process) = self.hanging.of(ask) else { return Ok(false) };
        let stat = Ask::file(format!("/proc/{}/stat", process.pid));
        let answers = self.batch(std::slice::from_ref(&stat)).await?;
        let now = answers.first().and_then(Answer::ok).and_then(|text| Process::parse(&text));
        if now == Some(process) {
            return Ok(true);
        }
        self.hanging.forget(ask);
        Ok(false)
    }

    /// An error where the machine itself does not answer any more, rather than what was asked there.
    async fn still_there(&self) -> Result<()> {
        let connection = match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Open(connection) => Arc::clone(connection),
            State::Connecting(_) | State::Closed => return Ok(()),
        };
        if connection.is_alive(ALIVE_DEADLINE).await {
            return Ok(());
        }
        self.give_up(&connection);
        Err(failure::silent(&connection.line.destination, "any more"))
    }

    async fn ask_alone(&self, ask: Ask) -> Result<Answer> {
        let _place = match self.places.take(&ask).await {
            Ok(place) => place,
            Err(answer) => return Ok(answer),
        };
        if let Question::Api { socket, path } = &ask.question {
            let answering = self.engines.get(self, socket, path, ask.cap_bytes);
            return match tokio::time::timeout(ask.deadline, answering).await {
                Ok(answer) => answer,
                Err(_) => self.still_there().await.map(|()| late(&ask)),
            };
        }
        let key = Ask { deadline: Duration::ZERO, ..ask.clone() };
        if self.still_hangs(&key).await? {
            return Ok(Answer::without_output(
                Outcome::StillHanging,
                "an earlier one has not ended on the machine",
            ));
        }
        let (ask, key) = (&ask, &key);
        self.on_connection(|connection| self.alone_on(connection, ask, key)).await
    }
}

impl Shell for SshShell {
    fn converse(&self, asks: Vec<Ask>) -> BoxFuture<'_, Result<Vec<Answer>>> {
        Box::pin(async move { if asks.is_empty() { Ok(Vec::new()) } else { self.batch(&asks).await } })
    }

    fn ask(&self, ask: Ask) -> BoxFuture<'_, Result<Answer>> {
        Box::pin(self.ask_alone(ask))
    }

    fn hang_up(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let state = std::mem::replace(
                &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner),
                State::Closed,
            );
            if let State::Open(connection) = state {
                connection.cut();
            }
            self.engines.forget();
        })
    }
}
