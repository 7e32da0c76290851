//! The byte stream below an SSH connection: it can be cut, and it remembers how the other side began to speak.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::sources::stream::Stream;

/// As much of the first words as tells SSH from anything else.
const REMEMBERED_BYTES: usize = 80;

/// What the other side said first.
#[derive(Clone, Debug, Default)]
pub(super) struct FirstWords(Arc<Mutex<Vec<u8>>>);

impl FirstWords {
    /// Cleaned; empty where it said nothing.
    pub fn text(&self) -> String {
        let said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        domain::untrusted::clean(String::from_utf8_lossy(&said).lines().next().unwrap_or_default())
    }

    /// Whether it introduced itself as SSH.
    pub fn is_ssh(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).starts_with(b"SSH-")
    }
}

/// A stream that ends when `cut` is cancelled, so that no half-open connection outlives its owner.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    first_words: FirstWords,
}

impl Wire {
    pub fn new(stream: Box<dyn Stream>, cut: CancellationToken, first_words: FirstWords) -> Self {
        Self { stream, cut: Box::pin(cut.cancelled_owned()), first_words }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if poll.is_ready() {
            let mut said = self.first_words.0.lock().unwrap_or_else(PoisonError::into_inner);
            let room = REMEMBERED_BYTES.saturating_sub(said.len());
            let heard = &buffer.filled()[before..];
            said.extend_from_slice(&heard[..heard.len().min(room)]);
        }
        poll
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
