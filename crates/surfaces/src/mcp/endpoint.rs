//! MCP over HTTP: both eras at one address, with the guards that the protocol's library leaves to us.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, request};
use axum::response::{IntoResponse, Response};
use domain::{Error, ErrorKind};
use http_body_util::Full;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::Tools;
use crate::failure::Failure;
use crate::guard::{LARGEST_BODY, read_body};
use crate::peer::Peer;

/// Most sessions of the older era at once. One that is idle for five minutes ends.
pub const MOST_SESSIONS: usize = 64;
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// The tools at `/mcp`.
pub struct Endpoint {
    service: StreamableHttpService<Tools, LocalSessionManager>,
    sessions: Arc<LocalSessionManager>,
    owners: Mutex<HashMap<String, Peer>>,
}

/// As much of a message as we must know before the library reads it.
#[derive(Deserialize)]
struct Glimpse<'a> {
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
}

impl Endpoint {
    /// The endpoint of these tools; its sessions end when `stop` is cancelled.
    pub fn new(tools: &Tools, stop: CancellationToken) -> Self {
        let sessions = Arc::new(LocalSessionManager::default());
        // Host and Origin are checked on every route, before this one is reached.
        let config = StreamableHttpServerConfig::default()
            .disable_allowed_hosts()
            .with_json_response(true)
            .with_max_request_body_bytes(LARGEST_BODY)
            .with_cancellation_token(stop);
        let tools = tools.clone();
        let service = StreamableHttpService::new(move || Ok(tools.clone()), Arc::clone(&sessions), config);
        Self { service, sessions, owners: Mutex::default() }
    }

    /// Answers a request of this peer.
    pub async fn answer(&self, peer: Peer, request: Request) -> Response {
        let (mut parts, body) = request.into_parts();
        let body = match read_body(body).await {
            Ok(body) => body,
            Err(failure) => return failure.into_response(),
        };
        let method = match glimpse(&parts.method, &body) {
            Ok(method) => method,
            Err(refusal) => return *refusal,
        };
        if let Some(session) = parts.headers.get(SESSION) {
            let owner = self.owners.lock().await.get(session.to_str().unwrap_or_default()).copied();
            if owner != Some(peer) {
                return (StatusCode::NOT_FOUND, "Not Found: Session not found").into_response();
            }
        }
        if parts.method == Method::POST {
            accept_both(&mut parts);
        }
        parts.extensions.insert(peer);
        let opens_session = method.as_deref() == Some("initialize") && !parts.headers.contains_key(SESSION);
        let request = Request::from_parts(parts, Body::new(Full::new(body)));
        if opens_session {
            self.open(peer, request).await
        } else {
            self.service.handle(request).await.map(Body::new)
        }
    }

    /// Opens a session where there is room, one after the other, and notes whose it is.
    async fn open(&self, peer: Peer, request: Request) -> Response {
        let mut owners = self.owners.lock().await;
        {
            let live = self.sessions.sessions.read().await;
            owners.retain(|session, _| live.contains_key(session.as_str()));
        }
        if owners.len() >= MOST_SESSIONS {
            return full();
        }
        let response = self.service.handle(request).await.map(Body::new);
        if let Some(session) = response.headers().get(SESSION).and_then(|session| session.to_str().ok()) {
            owners.insert(session.to_owned(), peer);
        }
        response
    }
}

/// The method of a message that is one JSON object; otherwise the answer that JSON-RPC has for what it is.
fn glimpse(method: &Method, body: &Bytes) -> Result<Option<String>, Box<Response>> {
    if method != Method::POST {
        return Ok(None);
    }
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    if first == Some(&b'[') {
        return Err(Box::new(refusal(
            -32_600,
            "batches are not part of this protocol: send one message at a time",
        )));
    }
    match serde_json::from_slice::<Glimpse<'_>>(body) {
        Ok(glimpse) => Ok(glimpse.method.map(Cow::into_owned)),
        Err(_) => Err(Box::new(refusal(-32_700, "the body is not a JSON-RPC message"))),
    }
}

fn refusal(code: i32, message: &str) -> Response {
    let body = json!({ "jsonrpc": "2.0", "id": null, "error": { "code": code, "message": message } });
    (StatusCode::BAD_REQUEST, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// Clients that say `*/*`, or only one of the two media types, are served all the same.
fn accept_both(parts: &mut request::Parts) {
    parts.headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
}

fn full() -> Response {
    let message = format!("{MOST_SESSIONS} sessions are open, and that is the most");
    let error = Error::new(
        ErrorKind::Busy,
        "too_many_sessions",
        message,
        "close one with DELETE, or wait: idle ones end",
    );
    let mut response = Failure::from(error).into_response();
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("30"));
    response
}
