//! One channel of a connection: closed on the machine too when it is dropped, and counted until it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::{Error, Result};
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelStream, Sig};
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::connect::Line;
use super::failure;
use crate::sources::stream::{Held, Stream};

/// Most channels of a connection; OpenSSH allows ten sessions by default.
const MOST_CHANNELS: usize = 8;
/// How long a closed channel may take to end on the machine before it is no longer counted.
const CLOSING_DEADLINE: Duration = Duration::from_secs(5);
/// How long a command that was asked to end may take before it is made to.
const GRACE: Duration = Duration::from_secs(1);
/// Pause before a server that gave no session is asked again, where none of ours ended meanwhile.
const SESSION_PAUSE: Duration = Duration::from_millis(200);
/// How long a server that gives no session at all is asked again.
const SESSION_PATIENCE: Duration = Duration::from_secs(3);

/// A connection with its channels counted.
pub(crate) struct Connection {
    pub line: Line,
    channels: Arc<Semaphore>,
    sessions: Arc<Sessions>,
    tasks: TaskTracker,
    runtime: Handle,
}

/// How many sessions are open, and word of those that end.
#[derive(Default)]
struct Sessions {
    open: AtomicUsize,
    ended: Notify,
}

impl Connection {
    pub fn new(line: Line, tasks: TaskTracker) -> Self {
        Self {
            line,
            channels: Arc::new(Semaphore::new(MOST_CHANNELS)),
            sessions: Arc::default(),
            tasks,
            runtime: Handle::current(),
        }
    }

    pub fn is_closed(&self) -> bool {
        self.line.handle.is_closed()
    }

    /// Whether the other side still answers, within `deadline`.
    pub async fn is_alive(&self, deadline: Duration) -> bool {
        matches!(tokio::time::timeout(deadline, self.line.handle.send_ping()).await, Ok(Ok(())))
    }

    /// Cuts the wire: everything on this connection ends now.
    pub fn cut(&self) {
        self.line.cut.cancel();
    }

    /// Opens a session and starts `command` in it. Where the server gives fewer sessions than we want, this waits for
    /// one of ours to end.
    pub async fn start(self: &Arc<Self>, command: &'static str) -> Result<Session> {
        let connection = Arc::clone(self);
        // a task, so that a channel whose opener left half way is closed too
        let opening = self.tasks.spawn(async move { connection.open_session(command).await });
        opening.await.unwrap_or_else(|_| Err(Error::cancelled()))
    }

    async fn open_session(&self, command: &str) -> Result<Session> {
        let permit = self.permit().await?;
        let began = Instant::now();
        loop {
            let ended = self.sessions.ended.notified();
            match self.line.handle.channel_open_session().await {
                Ok(channel) => {
                    let session = self.session(channel, permit);
                    session.exec(command).await.map_err(|error| self.lost(error))?;
                    return Ok(session);
                }
                Err(russh::Error::ChannelOpenFailure(_)) => {
                    let is_ours_open = self.sessions.open.load(Ordering::Relaxed) > 0;
                    if !is_ours_open && began.elapsed() > SESSION_PATIENCE {
                        return Err(failure::sessions_full(&self.line.destination));
                    }
                    // a session that just ended may still be counted over there
                    let _ = tokio::time::timeout(SESSION_PAUSE, ended).await;
                }
                Err(error) => return Err(self.lost(error)),
            }
        }
    }

    /// A stream to the Unix socket at `path` on the machine; `None` where the server gives none.
    pub async fn forward(self: &Arc<Self>, path: &str) -> Result<Option<impl Stream + use<>>> {
        let (connection, path) = (Arc::clone(self), path.to_owned());
        let opening = self.tasks.spawn(async move { connection.open_forward(path).await });
        opening.await.unwrap_or_else(|_| Err(Error::cancelled()))
    }

    async fn open_forward(
        &self,
        path: String,
    ) -> Result<Option<Held<ChannelStream<Msg>, OwnedSemaphorePermit>>> {
        let permit = self.permit().await?;
        match self.line.handle.channel_open_direct_streamlocal(path).await {
            Ok(channel) => Ok(Some(Held::new(channel.into_stream(), permit))),
            Err(russh::Error::ChannelOpenFailure(_)) => Ok(None),
            Err(error) => Err(self.lost(error)),
        }
    }

    fn lost(&self, error: russh::Error) -> Error {
        failure::closed(&self.line.destination).caused_by(error)
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.channels).acquire_owned().await.map_err(|_| Error::cancelled())
    }

    fn session(&self, channel: Channel<Msg>, permit: OwnedSemaphorePermit) -> Session {
        self.sessions.open.fetch_add(1, Ordering::Relaxed);
        let counted = Counted { sessions: Arc::clone(&self.sessions), _permit: permit };
        Session {
            open: Some((channel, counted)),
            is_asked_to_end: false,
            tasks: self.tasks.clone(),
            runtime: self.runtime.clone(),
        }
    }
}

/// A place among the sessions; free again when dropped.
struct Counted {
    sessions: Arc<Sessions>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.sessions.open.fetch_sub(1, Ordering::Relaxed);
        self.sessions.ended.notify_waiters();
    }
}

/// A session in which a command runs. Dropping it closes the channel.
pub(crate) struct Session {
    open: Option<(Channel<Msg>, Counted)>,
    is_asked_to_end: bool,
    tasks: TaskTracker,
    runtime: Handle,
}

impl Session {
    async fn exec(&self, command: &str) -> Result<(), russh::Error> {
        match &self.open {
            Some((channel, _)) => channel.exec(true, command).await,
            None => Err(russh::Error::Disconnect),
        }
    }

    /// When it is dropped, the command is first asked to end by SIGTERM, which sudo passes on to a command of root's: that
    /// one cannot be killed by the user we are, and would outlive sudo's own end.
    pub fn ask_to_end(&mut self) {
        self.is_asked_to_end = true;
    }

    /// Sends `bytes` to the command's standard input.
    pub async fn send(&self, bytes: Vec<u8>) -> Result<(), russh::Error> {
        match &self.open {
            Some((channel, _)) => channel.data_bytes(bytes).await,
            None => Err(russh::Error::Disconnect),
        }
    }

    /// Ends the command's standard input.
    pub async fn end_input(&self) -> Result<(), russh::Error> {
        match &self.open {
            Some((channel, _)) => channel.eof().await,
            None => Err(russh::Error::Disconnect),
        }
    }

    /// The next thing that comes; `None` when the channel is closed.
    pub async fn next(&mut self) -> Option<ChannelMsg> {
        match &mut self.open {
            Some((channel, _)) => channel.wait().await,
            None => None,
        }
    }

    /// The session as a byte stream to and from the command.
    pub fn into_stream(mut self) -> Option<impl Stream + use<>> {
        self.open.take().map(|(channel, counted)| Held::new(channel.into_stream(), counted))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some((mut channel, counted)) = self.open.take() else { return };
        let is_asked_to_end = self.is_asked_to_end;
        let closing = async move {
            if is_asked_to_end && channel.signal(Sig::TERM).await.is_ok() {
                let ending = async { while channel.wait().await.is_some() {} };
                let _ = tokio::time::timeout(GRACE, ending).await;
            }
            let closed = async {
                let _ = channel.close().await;
                while channel.wait().await.is_some() {}
            };
            let _ = tokio::time::timeout(CLOSING_DEADLINE, closed).await;
            drop(counted);
        };
        // on the runtime that made the connection: a drop may happen anywhere
        self.tasks.spawn_on(closing, &self.runtime);
    }
}
