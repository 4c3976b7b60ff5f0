//! The answers of HTTP/2. Each is a task of its own, which ends when its client takes nothing.
//!
//! The connection itself cannot tell: such a client goes on answering pings, and reading other answers. A body that has
//! nowhere to go is not polled, so it cannot end by itself, and holds what it holds.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use http_body::{Body as _, Frame, SizeHint};
use hyper::rt::Executor;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::clock::{Clock, WriteLimit};
use super::quiet::Live;

/// An answer is handed over in pieces of this, as long as a frame is: one that is taken shows that its client reads.
const PIECE: usize = 16 * 1024;

tokio::task_local! {
    static HANDED_OVER: Cell<HandedOver>;
}

/// How far an answer's body has come.
#[derive(Clone, Copy, Default)]
struct HandedOver {
    pieces: u64,
    /// The last piece has not been followed by a question for the next one.
    waits: bool,
}

/// The tasks of all answers.
#[derive(Clone)]
pub(super) struct Streams {
    tasks: TaskTracker,
    dropped: CancellationToken,
    limit: WriteLimit,
}

impl Streams {
    pub(super) fn new(limit: WriteLimit) -> Self {
        Self { tasks: TaskTracker::new(), dropped: CancellationToken::new(), limit }
    }

    /// Ends the streams when it is dropped.
    pub(super) fn guard(&self) -> DropGuard {
        self.dropped.clone().drop_guard()
    }

    /// Drops what is left, and waits until it is gone.
    pub(super) async fn end(&self) {
        self.dropped.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl<F> Executor<F> for Streams
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let taken = HANDED_OVER.scope(Cell::default(), while_taken(stream, Clock::new(self.limit.clone())));
        let dropped = self.dropped.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = taken => {}
                () = dropped.cancelled() => {}
            }
        });
    }
}

/// Drives an answer to its end, or until nothing of it has been taken for too long. The client sees the latter as a reset.
async fn while_taken(stream: impl Future, mut clock: Clock) {
    let mut stream = pin!(stream);
    let mut pieces = 0;
    poll_fn(|cx| {
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let now = HANDED_OVER.with(Cell::get);
        if !now.waits || now.pieces != pieces {
            pieces = now.pieces;
            clock.stop();
        }
        if now.waits { clock.poll(cx) } else { Poll::Pending }
    })
    .await;
}

/// The body of an answer of HTTP/2.
pub(super) struct Pieces {
    body: Body,
    /// What is left of the last frame.
    rest: Bytes,
    _live: Live,
}

impl Pieces {
    pub(super) fn new(body: Body, live: Live) -> Self {
        Self { body, rest: Bytes::new(), _live: live }
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return Poll::Ready(other),
            }
        }
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let next = self.next(cx);
        let waits = matches!(next, Poll::Ready(Some(Ok(_))));
        // Elsewhere than in a task of ours nobody looks.
        let _ = HANDED_OVER.try_with(|handed_over| {
            let pieces = handed_over.get().pieces + u64::from(waits);
            handed_over.set(HandedOver { pieces, waits });
        });
        next
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, hint) = (self.rest.len() as u64, self.body.size_hint());
        let mut whole = SizeHint::new();
        whole.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper + rest);
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::super::quiet::Requests;
    use super::*;

    #[tokio::test]
    async fn a_body_comes_in_pieces_and_says_how_long_it_is() {
        let bytes: Vec<u8> = (0..40_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut pieces = Pieces::new(Body::from(bytes.clone()), Requests::new().enter());
        let (mut lengths, mut whole) = (Vec::new(), Vec::new());
        while !pieces.is_end_stream() {
            assert_eq!(pieces.size_hint().exact(), Some((bytes.len() - whole.len()) as u64));
            let piece = poll_fn(|cx| Pin::new(&mut pieces).poll_frame(cx)).await;
            let piece = piece.unwrap().unwrap().into_data().unwrap();
            lengths.push(piece.len());
            whole.extend_from_slice(&piece);
        }
        assert_eq!(lengths, [PIECE, PIECE, 40_000 - 2 * PIECE]);
        assert!(whole == bytes);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_lasts_while_it_is_taken_piece_by_piece() {
        let limit = WriteLimit {
            usual: Duration::from_secs(30),
            last: Duration::from_secs(5),
            draining: CancellationToken::new(),
        };
        // Takes a piece each 29 seconds, has to wait for one for an hour, and then takes no more.
        let reading = async {
            let hand_over = |pieces, waits| HANDED_OVER.with(|cell| cell.set(HandedOver { pieces, waits }));
            for n in 1..=10 {
                hand_over(n, true);
                sleep(Duration::from_secs(29)).await;
            }
            hand_over(10, false);
            sleep(Duration::from_secs(3600)).await;
            hand_over(11, true);
            std::future::pending::<()>().await;
        };
        let begun = Instant::now();
        HANDED_OVER.scope(Cell::default(), while_taken(reading, Clock::new(limit))).await;
        assert_eq!(begun.elapsed().as_secs(), 10 * 29 + 3600 + 30);
    }
}
