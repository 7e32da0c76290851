//! MCP over a pair of streams: standard input and output of `reeve mcp`, in process or through the server's socket.

use std::path::Path;

use axum::body::Body;
use axum::http::header::{CONNECTION, HOST, UPGRADE};
use axum::http::{HeaderValue, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use domain::{Error, Result};
use hyper_util::rt::TokioIo;
use rmcp::ServiceExt as _;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Tools, Toolsets};
use crate::failure::Failure;

/// The protocol that a connection to the socket is turned into.
const PROTOCOL: HeaderValue = HeaderValue::from_static("reeve-mcp");
/// Where the socket turns a connection into a stream of messages.
pub(crate) const STREAM_PATH: &str = "/mcp/stream";

/// Serves one client over these streams, a message a line, until it leaves or `stop` is cancelled.
pub async fn serve_stream<R, W>(tools: Tools, read: R, write: W, stop: CancellationToken) -> Result<()>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let broken = |source: Box<dyn std::error::Error + Send + Sync>| {
        Error::invalid("mcp_broken", "the MCP client did not introduce itself", "start it again")
            .caused_by(source)
    };
    match tools.serve_with_ct((read, write), stop.clone()).await {
        Ok(running) => {
            running
                .waiting()
                .await
                .map_err(|source| Error::internal("an MCP connection broke").caused_by(source))?;
            Ok(())
        }
        Err(_) if stop.is_cancelled() => Ok(()),
        Err(rmcp::service::ServerInitializeError::ConnectionClosed(_)) => Ok(()),
        Err(source) => Err(broken(source.into())),
    }
}

/// Passes messages between these streams and the server at `socket`, until either ends.
pub async fn bridge<R, W>(socket: &Path, toolsets: &Toolsets, read: R, write: W) -> Result<()>
where
    R: AsyncRead + Send + Unpin,
    W: AsyncWrite + Send + Unpin,
{
    let unreachable = |source: Box<dyn std::error::Error + Send + Sync>| {
        Error::unreachable(
            "server_unreachable",
            "the server does not take the connection",
            "is reeve serve running?",
        )
        .caused_by(source)
    };
    let stream = UnixStream::connect(socket).await.map_err(|source| unreachable(source.into()))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake::<_, Body>(TokioIo::new(stream))
        .await
        .map_err(|source| unreachable(source.into()))?;
    let mut tasks = JoinSet::new();
    tasks.spawn(connection.with_upgrades());
    let request = Request::get(format!("{STREAM_PATH}?toolsets={}", toolsets.names()))
        .header(HOST, "localhost")
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, PROTOCOL)
        .body(Body::empty())
        .map_err(|source| {
            Error::invalid("toolsets_malformed", "these toolsets cannot be named", "use letters")
                .caused_by(source)
        })?;
    let response = sender.send_request(request).await.map_err(|source| unreachable(source.into()))?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(unreachable(format!("it answered {}", response.status()).into()));
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(|source| unreachable(source.into()))?;
    let (mut from_server, mut to_server) = tokio::io::split(TokioIo::new(upgraded));
    let (mut read, mut write) = (read, write);
    let mut told = std::pin::pin!(tokio::io::copy(&mut from_server, &mut write));
    let asked = async {
        tokio::io::copy(&mut read, &mut to_server).await?;
        to_server.shutdown().await
    };
    // a server that ends must not leave us waiting for the client; a client that ends still gets its answers
    let ended = tokio::select! {
        told = told.as_mut() => told,
        asked = asked => match asked {
            Ok(()) => told.await,
            Err(source) => Err(source),
        },
    };
    ended.map(|_| ()).map_err(|source| unreachable(source.into()))
}

/// Turns the connection of this request into a stream of messages.
pub(crate) fn turn(
    tools: Tools,
    mut request: axum::extract::Request,
    tasks: &TaskTracker,
    stop: CancellationToken,
) -> Response {
    if request.headers().get(UPGRADE) != Some(&PROTOCOL) {
        let error = Error::invalid(
            "upgrade_needed",
            "this address only turns connections into streams",
            "run: reeve mcp",
        );
        return Failure::with_status(error, StatusCode::UPGRADE_REQUIRED).into_response();
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tasks.spawn(async move {
        let served = match upgrade.await {
            Ok(upgraded) => {
                let (read, write) = tokio::io::split(TokioIo::new(upgraded));
                serve_stream(tools, read, write, stop).await
            }
            Err(source) => Err(Error::internal("a connection could not be turned").caused_by(source)),
        };
        if let Err(error) = served {
            tracing::debug!(cause = %error.chain(), "an MCP stream ended: {error}");
        }
    });
    (
        StatusCode::SWITCHING_PROTOCOLS,
        [(CONNECTION, HeaderValue::from_static("upgrade")), (UPGRADE, PROTOCOL)],
    )
        .into_response()
}
