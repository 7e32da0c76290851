//! The doors: the loopback address, which may read, and the data directory's socket, which may do everything.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Extension, Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use domain::context::Ports;
use domain::operation::OperationDef;
use domain::{Error, ErrorKind, Result};
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::failure::Failure;
use crate::guard::{self, Names};
use crate::mcp::{self, Endpoint, Tools, Toolsets};
use crate::openapi;
use crate::peer::Peer;
use crate::rest::Rest;

/// Most connections at once, at each door. More wait to be taken.
const MOST_CONNECTIONS: usize = 256;
/// Longest time in which a request's head must have arrived, and longest time a connection may be idle.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Longest time that answers under way are waited for when the program stops.
const FINISH_WITHIN: Duration = Duration::from_secs(5);

/// What all doors share.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

struct Shared {
    rest: Rest,
    tools: Tools,
    endpoint: Endpoint,
    document: Bytes,
    ready: watch::Receiver<bool>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// A server of these operations. `ready` says whether the program has started; `stop` ends everything.
    pub fn new(
        operations: &[OperationDef],
        ports: &Arc<Ports>,
        ready: watch::Receiver<bool>,
        stop: CancellationToken,
    ) -> Self {
        let tools = Tools::new(operations, Arc::clone(ports));
        Self(Arc::new(Shared {
            rest: Rest::new(operations, Arc::clone(ports)),
            endpoint: Endpoint::new(&tools, stop.child_token()),
            tools,
            document: openapi::document_bytes(operations),
            ready,
            stop,
            tasks: TaskTracker::new(),
        }))
    }

    /// Everything under one roof, for callers who know it by these names. Each request must carry its [`Peer`].
    pub fn router(&self, names: Names) -> Router {
        let is_socket = names == Names::Socket;
        let router = Router::new()
            .route("/health", get(async || status(StatusCode::OK, "ok")))
            .route("/ready", get(ready))
            .route(
                "/version",
                get(async || json_answer(&json!({ "name": "reeve", "version": env!("CARGO_PKG_VERSION") }))),
            )
            .route("/api/openapi.json", get(document))
            .route("/api/docs", get(async || page(Path(String::new())).await))
            .route("/api/docs/{file}", get(page))
            .route("/api", any(rest))
            .route("/api/{*rest}", any(rest))
            .route("/mcp", any(mcp_answer));
        let router = if is_socket { router.route(mcp::STREAM_PATH, any(mcp_stream)) } else { router };
        router
            .fallback(nothing_here)
            .method_not_allowed_fallback(not_allowed)
            .with_state(self.clone())
            .layer(from_fn_with_state(names, guard::stand))
    }

    /// Serves the loopback address until the program stops.
    pub async fn serve_tcp(&self, listener: TcpListener) -> Result<()> {
        let address = listener
            .local_addr()
            .map_err(|source| Error::internal("the listener has no address").caused_by(source))?;
        if !address.ip().is_loopback() {
            return Err(Error::invalid(
                "listen_not_loopback",
                format!("{address} is not a loopback address"),
                "until there are keys, Reeve listens on this machine only: use 127.0.0.1, and ssh -L from elsewhere",
            ));
        }
        let router = self.router(Names::of(address));
        let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        while let Some((accepted, permit)) = self.next(&room, listener.accept()).await {
            match accepted {
                Ok((stream, _)) => {
                    // Without it, events of a stream wait for the acknowledgement of the one before: 44 ms each.
                    let _ = stream.set_nodelay(true);
                    self.serve(stream, router.clone(), Peer::Loopback, permit);
                }
                Err(error) => not_accepted(&error).await,
            }
        }
        Ok(())
    }

    /// Serves the data directory's socket until the program stops. Who may open it is up to its file's mode.
    pub async fn serve_unix(&self, listener: UnixListener) -> Result<()> {
        let router = self.router(Names::Socket);
        let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        while let Some((accepted, permit)) = self.next(&room, listener.accept()).await {
            match accepted.and_then(|(stream, _)| stream.peer_cred().map(|peer| (stream, peer.uid()))) {
                Ok((stream, uid)) => self.serve(stream, router.clone(), Peer::User(uid), permit),
                Err(error) => not_accepted(&error).await,
            }
        }
        Ok(())
    }

    /// Waits until answers under way are finished, for a few seconds. Call it after `stop` is cancelled.
    pub async fn finish(&self) {
        self.0.tasks.close();
        if tokio::time::timeout(FINISH_WITHIN, self.0.tasks.wait()).await.is_err() {
            tracing::warn!(
                connections = self.0.tasks.len(),
                "connections were cut because the program stops"
            );
        }
    }

    /// The tools, for a client at standard input and output.
    pub fn tools(&self) -> Tools {
        self.0.tools.clone()
    }

    /// The next connection, when there is room for it; nothing when the program stops.
    async fn next<T>(
        &self,
        room: &Arc<Semaphore>,
        accept: impl Future<Output = T>,
    ) -> Option<(T, OwnedSemaphorePermit)> {
        let next = async {
            let permit = Arc::clone(room).acquire_owned().await.ok()?;
            Some((accept.await, permit))
        };
        tokio::select! {
            next = next => next,
            () = self.0.stop.cancelled() => None,
        }
    }

    fn serve<S>(&self, stream: S, router: Router, peer: Peer, permit: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stop = self.0.stop.clone();
        self.0.tasks.spawn(async move {
            let roof = TowerToHyperService::new(router);
            let service = service_fn(move |mut request: axum::http::Request<Incoming>| {
                request.extensions_mut().insert(peer);
                roof.call(request)
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_headers(64);
            let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!("a connection ended: {error}");
            }
            drop(permit);
        });
    }
}

async fn rest(State(server): State<Server>, Extension(peer): Extension<Peer>, request: Request) -> Response {
    server.0.rest.answer(peer, request).await
}

async fn mcp_answer(
    State(server): State<Server>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    server.0.endpoint.answer(peer, request).await
}

async fn mcp_stream(
    State(server): State<Server>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Response {
    let toolsets = Toolsets::of_request(request.uri(), request.headers());
    let tools = server.0.tools.of(peer, toolsets);
    mcp::turn(tools, request, &server.0.tasks, server.0.stop.child_token())
}

async fn ready(State(server): State<Server>) -> Response {
    let is_ready = *server.0.ready.borrow();
    if is_ready {
        status(StatusCode::OK, "ready")
    } else {
        status(StatusCode::SERVICE_UNAVAILABLE, "starting")
    }
}

async fn document(State(server): State<Server>) -> Response {
    ([(CONTENT_TYPE, "application/json")], server.0.document.clone()).into_response()
}

async fn page(Path(file): Path<String>) -> Response {
    match openapi::page(&file) {
        Some(page) => page,
        None => nothing_here().await,
    }
}

async fn nothing_here() -> Response {
    let message = "there is nothing at this address";
    let help = "look at /api/docs, /api/openapi.json, /mcp, /health, /ready or /version";
    Failure::from(Error::new(ErrorKind::NotFound, "route_unknown", message, help)).into_response()
}

async fn not_allowed() -> Response {
    let error = Error::invalid("method_not_allowed", "this method is not possible here", "use GET");
    Failure::with_status(error, StatusCode::METHOD_NOT_ALLOWED).into_response()
}

fn status(code: StatusCode, word: &str) -> Response {
    (code, json_answer(&json!({ "status": word }))).into_response()
}

fn json_answer(value: &serde_json::Value) -> Response {
    ([(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

/// Out of file descriptors, most likely: others must end before the next can begin.
async fn not_accepted(error: &std::io::Error) {
    tracing::warn!("a connection could not be accepted: {error}");
    tokio::time::sleep(Duration::from_millis(100)).await;
}
