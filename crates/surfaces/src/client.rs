//! Carries a call of the command line to the server's socket, over REST, and its answer back.

use std::path::PathBuf;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{Request, StatusCode};
use domain::caller::Surface;
use domain::operation::{Method, OperationDef};
use domain::{Error, ErrorKind};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use crate::failure::ProblemBody;
use crate::rest::SURFACE;

/// The server's socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why a call was not answered, in the server's words or in ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What a caller can do about it.
    pub kind: ErrorKind,
    /// Stable name of the situation.
    pub code: String,
    /// What went wrong, for people.
    pub message: String,
    /// What to do about it, for people.
    pub help: String,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self {
            kind: error.kind(),
            code: error.code().to_owned(),
            message: error.message().to_owned(),
            help: error.help().to_owned(),
        }
    }
}

impl From<ProblemBody> for Refusal {
    fn from(problem: ProblemBody) -> Self {
        Self { kind: problem.kind, code: problem.code, message: problem.detail, help: problem.help }
    }
}

impl Client {
    /// A client of the server at this socket.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// Asks the server; gives its answer as JSON. An answer that does not come within the operation's deadline and
    /// five seconds is not waited for.
    pub async fn call(&self, def: &OperationDef, input: Value) -> Result<Value, Refusal> {
        let request = request(def, input)?;
        let patience = def.deadline + Duration::from_secs(5);
        let (status, bytes) = tokio::time::timeout(patience, self.exchange(request))
            .await
            .map_err(|_| Refusal::from(Error::deadline(&def.name)))??;
        if status == StatusCode::OK {
            return serde_json::from_slice(&bytes).map_err(|source| unreadable(source.into()).into());
        }
        match serde_json::from_slice::<ProblemBody>(&bytes) {
            Ok(problem) => Err(problem.into()),
            Err(source) => Err(unreadable(source.into()).into()),
        }
    }

    async fn exchange(&self, request: Request<Body>) -> Result<(StatusCode, Bytes), Error> {
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|source| self.no_server(source.into()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| self.no_server(source.into()))?;
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        let response = sender.send_request(request).await.map_err(|source| self.no_server(source.into()))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|source| unreadable(source.into()))?;
        Ok((status, body.to_bytes()))
    }

    fn no_server(&self, source: Box<dyn std::error::Error + Send + Sync>) -> Error {
        let message = format!("no server answers at {}", self.socket.display());
        Error::unreachable("server_unreachable", message, "start it with: reeve serve").caused_by(source)
    }
}

/// Waits for `work`; where it takes longer than a second, a line on the terminal says that it goes on.
pub async fn with_progress<T>(what: &str, is_terminal: bool, work: impl Future<Output = T>) -> T {
    const FRAMES: [&str; 4] = ["|", "/", "-", "\\"];
    let mut work = std::pin::pin!(work);
    if !is_terminal {
        return work.await;
    }
    let started = tokio::time::Instant::now();
    let mut terminal = tokio::io::stderr();
    let mut tick = tokio::time::interval_at(started + Duration::from_secs(1), Duration::from_millis(120));
    let mut is_shown = false;
    for frame in FRAMES.iter().cycle() {
        tokio::select! {
            biased;
            done = work.as_mut() => {
                if is_shown {
                    let _ = terminal.write_all(b"\r\x1b[K").await;
                    let _ = terminal.flush().await;
                }
                return done;
            }
            _ = tick.tick() => {
                let line = format!("\r\x1b[K{frame} {what} ({}s)", started.elapsed().as_secs());
                // A terminal that is gone takes no line; the work goes on.
                let _ = terminal.write_all(line.as_bytes()).await;
                let _ = terminal.flush().await;
                is_shown = true;
            }
        }
    }
    work.await
}

/// The REST request that means this call.
fn request(def: &OperationDef, input: Value) -> Result<Request<Body>, Error> {
    let mut fields = match input {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    let mut path = String::from("/api");
    for part in def.route.path.split('/').filter(|part| !part.is_empty()) {
        path.push('/');
        match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            None => path.push_str(part),
            Some(name) => {
                let value = text(&fields.shift_remove(name).unwrap_or_default());
                // without it, the path would mean another operation
                if value.is_empty() {
                    let message = format!("“{name}” is empty");
                    return Err(Error::invalid("input_malformed", message, "say which one is meant"));
                }
                path.push_str(&encoded(&value));
            }
        }
    }
    let takes_body = matches!(def.route.method, Method::Post | Method::Patch);
    if !takes_body && !fields.is_empty() {
        let pairs = fields.iter().flat_map(|(name, value)| {
            let values = match value {
                Value::Array(items) => items.iter().map(text).collect(),
                other => vec![text(other)],
            };
            values.into_iter().map(move |value| format!("{}={}", encoded(name), encoded(&value)))
        });
        path.push('?');
        path.push_str(&pairs.collect::<Vec<_>>().join("&"));
    }
    let request = Request::builder()
        .method(def.route.method.name())
        .uri(path)
        .header(HOST, "localhost")
        .header(SURFACE, Surface::Cli.name());
    let request = if takes_body {
        request.header(CONTENT_TYPE, "application/json").body(Body::from(Value::Object(fields).to_string()))
    } else {
        request.body(Body::empty())
    };
    request.map_err(|source| {
        Error::invalid("input_malformed", "this cannot be asked", "use shorter input").caused_by(source)
    })
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Percent-encoded, all but the characters that mean themselves everywhere.
fn encoded(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

fn unreadable(source: Box<dyn std::error::Error + Send + Sync>) -> Error {
    let help = "is another version of reeve serving?";
    Error::unreachable("server_unreadable", "the server's answer cannot be read", help).caused_by(source)
}
