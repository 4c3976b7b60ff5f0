//! A connection whose client has to take what is sent to it.
//!
//! A body that nobody reads is not polled, so it cannot end by itself: what it holds would be held as long as the client
//! likes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::clock::{Clock, WriteLimit};

/// Breaks the connection off when the client takes nothing at all for a while, though there is something for it.
pub(super) struct Patient<T> {
    stream: T,
    clock: Clock,
}

impl<T> Patient<T> {
    pub(super) fn new(stream: T, limit: WriteLimit) -> Self {
        Self { stream, clock: Clock::new(limit) }
    }

    fn judge<R>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.clock.stop();
            return written;
        }
        ready!(self.clock.poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Patient<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Patient<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.judge(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn limit(draining: &CancellationToken) -> WriteLimit {
        let (usual, last) = (Duration::from_secs(30), Duration::from_secs(5));
        WriteLimit { usual, last, draining: draining.clone() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_may_be_slow_but_not_stuck() {
        let (mut client, server) = tokio::io::duplex(8);
        let mut server = Patient::new(server, limit(&CancellationToken::new()));
        let begun = tokio::time::Instant::now();
        let reading = async {
            let mut byte = [0; 1];
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_secs(29)).await;
                client.read_exact(&mut byte).await.unwrap();
            }
            client
        };
        let (written, _client) = tokio::join!(server.write_all(&[7; 20]), reading);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), 10 * 29 + 30);
    }
    #[tokio::test(start_paused = true)]
    async fn a_server_that_stops_waits_for_no_stuck_client() {
        let (_client, server) = tokio::io::duplex(8);
        let draining = CancellationToken::new();
        let mut server = Patient::new(server, limit(&draining));
        let begun = tokio::time::Instant::now();
        let stop = async {
            tokio::time::sleep(Duration::from_secs(7)).await;
            draining.cancel();
        };
        let (written, ()) = tokio::join!(server.write_all(&[7; 20]), stop);
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), 7 + 5);
    }
}
