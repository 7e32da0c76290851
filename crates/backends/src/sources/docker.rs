//! The Docker Engine's API (Podman speaks it too): HTTP over any byte stream to its Unix socket.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use domain::ask::{Answer, Outcome};
use domain::{BoxFuture, Result};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::stream::Stream;

/// The newest API version that the collectors were written against.
const NEWEST_VERSION: (u32, u32) = (1, 51);
/// Connections kept for the next question.
const MOST_IDLE: usize = 2;

/// A way to a Unix socket on a machine.
pub(crate) trait Dial: Sync {
    /// A stream to `socket`, or why there is none.
    fn dial<'a>(&'a self, socket: &'a str) -> BoxFuture<'a, Result<Dialled>>;
}

/// What dialling gave.
pub(crate) enum Dialled {
    /// A stream.
    Open(Box<dyn Stream>),
    /// None, for this reason.
    Not(Outcome, String),
}

/// The engines of one machine: their versions, and connections that are kept.
pub(crate) struct Engines {
    tasks: TaskTracker,
    closing: CancellationToken,
    idle: Mutex<Vec<(String, Link)>>,
    /// By socket: what goes before a path, such as `/v1.41`.
    prefixes: Mutex<HashMap<String, String>>,
}

/// A connection to an engine; ended when dropped.
struct Link {
    sender: SendRequest<Empty<Bytes>>,
    driver: AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Engines {
    /// No engine is known yet; connections are driven by `tasks` until `closing`.
    pub fn new(tasks: TaskTracker, closing: CancellationToken) -> Self {
        Self { tasks, closing, idle: Mutex::default(), prefixes: Mutex::default() }
    }

    /// Drops kept connections and what is known of versions.
    pub fn forget(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.prefixes.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Answers `GET path` from `socket`, keeping at most `cap` bytes.
    pub async fn get(&self, dial: &dyn Dial, socket: &str, path: &str, cap: usize) -> Result<Answer> {
        let began = Instant::now();
        let prefix = match self.prefix(dial, socket, path).await? {
            Ok(prefix) => prefix,
            Err(answer) => return Ok(answer),
        };
        let mut answer = self.request(dial, socket, &format!("{prefix}{path}"), cap).await?.0;
        answer.took = began.elapsed();
        Ok(answer)
    }

    /// What goes before `path`; or the answer that says why the engine does not tell.
    async fn prefix(&self, dial: &dyn Dial, socket: &str, path: &str) -> Result<Result<String, Answer>> {
        let bare = path.split('?').next().unwrap_or_default();
        if matches!(bare, "/_ping" | "/version") || bare.starts_with("/v1.") || bare.starts_with("/libpod/") {
            return Ok(Ok(String::new()));
        }
        if let Some(prefix) = self.prefixes.lock().unwrap_or_else(PoisonError::into_inner).get(socket) {
            return Ok(Ok(prefix.clone()));
        }
        let (answer, version) = self.request(dial, socket, "/_ping", 1024).await?;
        if !matches!(answer.outcome, Outcome::Done { .. }) {
            return Ok(Err(answer));
        }
        let prefix = version.as_deref().and_then(prefix_of).unwrap_or_default();
        if answer.ok().is_some() {
            self.prefixes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(socket.to_owned(), prefix.clone());
        }
        Ok(Ok(prefix))
    }

    /// The answer, and the API version that its header tells.
    async fn request(
        &self,
        dial: &dyn Dial,
        socket: &str,
        path: &str,
        cap: usize,
    ) -> Result<(Answer, Option<String>)> {
        // a kept connection may have been closed over there; a new one is tried then
        while let Some(link) = self.take_idle(socket) {
            if let Ok(answered) = self.ask(link, socket, path, cap).await {
                return Ok(answered);
            }
        }
        let link = match dial.dial(socket).await? {
            Dialled::Open(stream) => self.link(stream).await,
            Dialled::Not(outcome, words) => {
                self.prefixes.lock().unwrap_or_else(PoisonError::into_inner).remove(socket);
                return Ok((Answer::without_output(outcome, words), None));
            }
        };
        let answered = match link {
            Ok(link) => self.ask(link, socket, path, cap).await,
            Err(error) => Err(error),
        };
        Ok(answered.unwrap_or_else(|error| {
            let words = format!("nothing there speaks HTTP to us: {error}");
            (Answer::without_output(Outcome::Refused, words), None)
        }))
    }

    fn take_idle(&self, socket: &str) -> Option<Link> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, link)| !link.sender.is_closed());
        let at = idle.iter().rposition(|(of, _)| of == socket)?;
        Some(idle.swap_remove(at).1)
    }

    fn keep(&self, socket: &str, link: Link) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() >= MOST_IDLE {
            idle.remove(0);
        }
        idle.push((socket.to_owned(), link));
    }

    async fn link(&self, stream: Box<dyn Stream>) -> hyper::Result<Link> {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let closing = self.closing.clone();
        let driver = self.tasks.spawn(async move {
            tokio::select! {
                // its failure is told to who asks
                _ = connection => {}
                () = closing.cancelled() => {}
            }
        });
        Ok(Link { sender, driver: driver.abort_handle() })
    }

    async fn ask(
        &self,
        mut link: Link,
        socket: &str,
        path: &str,
        cap: usize,
    ) -> Result<(Answer, Option<String>), hyper::Error> {
        let request =
            Request::get(path).header("host", "docker").header("user-agent", "reeve").body(Empty::new());
        let Ok(request) = request else {
            return Ok((Answer::without_output(Outcome::Refused, "this is no path of an API"), None));
        };
        link.sender.ready().await?;
        let response = link.sender.send_request(request).await?;
        let version =
            response.headers().get("api-version").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = i32::from(response.status().as_u16());
        let (output, truncated) = body(response, cap).await?;
        if !truncated {
            self.keep(socket, link);
        }
        let mut answer = Answer::done(status, output);
        answer.truncated = truncated;
        Ok((answer, version))
    }
}

/// At most `cap` bytes of the body, and whether there were more.
async fn body(response: Response<Incoming>, cap: usize) -> Result<(Vec<u8>, bool), hyper::Error> {
    let mut body = response.into_body();
    let mut output = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let room = cap - output.len();
        output.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Ok((output, true));
        }
    }
    Ok((output, false))
}

/// `/v1.41` for `1.41`, at most the newest that we know.
fn prefix_of(version: &str) -> Option<String> {
    let (major, minor) = version.trim().split_once('.')?;
    let theirs: (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
    let (major, minor) = theirs.min(NEWEST_VERSION);
    Some(format!("/v{major}.{minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_lower_of_both() {
        assert_eq!(prefix_of("1.41").as_deref(), Some("/v1.41"));
        assert_eq!(prefix_of("1.99").as_deref(), Some("/v1.51"));
        assert_eq!(prefix_of("x"), None);
    }
}
