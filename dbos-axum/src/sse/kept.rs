//! An answer that stays open: primed, kept alive, and ended when its time is up or the server's is.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use futures_util::StreamExt;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::admission::Permit;
use super::frame;

/// The body of an event stream. It is pulled: nothing is read for a client that takes nothing.
pub(super) struct Kept<S> {
    events: S,
    primed: bool,
    every: Duration,
    last: Instant,
    until: Instant,
    clock: Pin<Box<Sleep>>,
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
    _permit: Permit,
}

impl<S> Kept<S> {
    pub(super) fn new(events: S, permit: Permit, draining: &CancellationToken) -> Self {
        let (every, lifetime) = permit.times();
        let now = Instant::now();
        Self {
            events,
            primed: false,
            every,
            last: now,
            until: now + lifetime,
            clock: Box::pin(sleep_until(now + every.min(lifetime))),
            draining: Box::pin(draining.clone().cancelled_owned()),
            _permit: permit,
        }
    }
}

impl<S: Stream<Item = Bytes> + Unpin> Stream for Kept<S> {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.draining.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        if !self.primed {
            self.primed = true;
            return Poll::Ready(Some(Ok(frame::PRIMING)));
        }
        if let Poll::Ready(events) = self.events.poll_next_unpin(cx) {
            self.last = Instant::now();
            // Without an `end`, a client comes back with its cursor, and is authenticated again.
            let events = events.filter(|_| self.last < self.until);
            return Poll::Ready(events.map(Ok));
        }
        // The clock is set again when it rings, and not for every event.
        while self.clock.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if now >= self.until {
                return Poll::Ready(None);
            }
            let silent = now >= self.last + self.every;
            if silent {
                self.last = now;
            }
            let next = (self.last + self.every).min(self.until);
            self.clock.as_mut().reset(next);
            if silent {
                return Poll::Ready(Some(Ok(frame::KEEP_ALIVE)));
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::stream;

    use super::super::admission::{Admission, StreamLimits};
    use super::*;
    use crate::principal::Principal;

    fn permit(limits: StreamLimits) -> Permit {
        Arc::new(Admission::new(limits)).enter(&Principal::anonymous()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_broken_and_the_time_runs_out() {
        let begun = Instant::now();
        let limits =
            StreamLimits::default().keep_alive(Duration::from_secs(15)).lifetime(Duration::from_secs(40));
        let mut kept = Kept::new(stream::pending::<Bytes>(), permit(limits), &CancellationToken::new());
        let mut seen = Vec::new();
        while let Some(Ok(bytes)) = kept.next().await {
            seen.push((begun.elapsed().as_secs(), bytes));
        }
        assert_eq!(seen, [(0, frame::PRIMING), (15, frame::KEEP_ALIVE), (30, frame::KEEP_ALIVE)]);
        assert_eq!(begun.elapsed().as_secs(), 40);
    }

    #[tokio::test(start_paused = true)]
    async fn events_put_the_comment_off_and_the_drain_ends_all() {
        let draining = CancellationToken::new();
        let ticks = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            Some((Bytes::from_static(b"x"), ()))
        });
        let mut kept = Kept::new(Box::pin(ticks), permit(StreamLimits::default()), &draining);
        assert_eq!(kept.next().await.unwrap().unwrap(), frame::PRIMING);
        for _ in 0..100 {
            assert_eq!(kept.next().await.unwrap().unwrap(), "x");
        }
        draining.cancel();
        assert!(kept.next().await.is_none());
    }
}
