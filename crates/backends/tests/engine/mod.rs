//! A small HTTP server on a Unix socket, which answers as Docker's does: it echoes the request line.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

pub struct Engine {
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Engine {
    pub fn start(socket: &str, version: &str) -> Self {
        let listener = UnixListener::bind(socket).expect("bound");
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, version) = (Arc::clone(&connections), version.to_owned());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                serving.spawn(serve(stream, version.clone()));
            }
        });
        Self { connections, _tasks: tasks }
    }

    /// How many were made so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn serve(stream: UnixStream, version: String) {
    let (input, mut output) = stream.into_split();
    let mut lines = BufReader::new(input).lines();
    while let Ok(Some(request)) = lines.next_line().await {
        while lines.next_line().await.is_ok_and(|line| line.is_some_and(|line| !line.is_empty())) {}
        let request = request.trim_end_matches(" HTTP/1.1");
        let (status, body) = match request.rsplit('/').next() {
            Some("404") => ("404 Not Found", "{}".to_owned()),
            Some("long") => ("200 OK", "x".repeat(100_000)),
            Some("slow") => std::future::pending().await,
            _ => ("200 OK", request.to_owned()),
        };
        let head =
            format!("HTTP/1.1 {status}\r\nApi-Version: {version}\r\nContent-Length: {}\r\n\r\n", body.len());
        if output.write_all((head + &body).as_bytes()).await.is_err() {
            return;
        }
    }
}
