//! Bodies are read before anybody knows who sends them: in bounded time, and in bounded memory.
//!
//! When too many bytes are being read, the body that is under way for the longest has to go. A sender is done in a moment,
//! so whoever holds bytes back to keep others out only keeps himself out.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::StreamExt as _;
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::json;
use crate::problem::Problem;

/// What a reader costs besides the bytes.
const READER_BYTES: usize = 4096;

/// The bodies that are being read.
pub(super) struct Readers {
    /// As many bytes may be held for all of them.
    most: usize,
    /// As long may one of them take.
    deadline: Duration,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    bytes: usize,
    came: u64,
    /// In the order in which they came.
    readers: BTreeMap<u64, Entry>,
}

struct Entry {
    bytes: usize,
    gone: CancellationToken,
}

impl Readers {
    /// There is always room for one that is as long as any may be.
    pub(super) fn new(most: usize, longest: usize, deadline: Duration) -> Self {
        let most = most.max(longest.saturating_add(READER_BYTES));
        Self { most, deadline, held: Mutex::default() }
    }

    /// The bytes of a body as they come, up to a limit.
    pub(super) async fn read(&self, body: Body, limit: usize) -> Result<Bytes, Problem> {
        let gone = CancellationToken::new();
        let reader = self.enter(gone.clone());
        let reading = timeout(self.deadline, reader.all(body, limit));
        match gone.run_until_cancelled(reading).await {
            Some(Ok(read)) => read.map(Bytes::from),
            Some(Err(_)) => {
                let slow = Problem::new(StatusCode::REQUEST_TIMEOUT);
                Err(slow.with_detail("The body takes too long to come."))
            }
            None => Err(throttled()),
        }
    }

    fn enter(&self, gone: CancellationToken) -> Reader<'_> {
        let mut held = self.held();
        let number = held.came;
        held.came += 1;
        held.readers.insert(number, Entry { bytes: 0, gone });
        let _ = held.take(number, READER_BYTES, self.most);
        drop(held);
        Reader { readers: self, number }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Counts what a reader holds more, and sends those away for whom there is no room then: the oldest first. Says whether
    /// it may stay itself.
    fn take(&mut self, number: u64, bytes: usize, most: usize) -> bool {
        let Some(entry) = self.readers.get_mut(&number) else { return false };
        entry.bytes += bytes;
        self.bytes += bytes;
        while self.bytes > most
            && let Some((_, oldest)) = self.readers.pop_first()
        {
            self.bytes -= oldest.bytes;
            oldest.gone.cancel();
        }
        self.readers.contains_key(&number)
    }
}

/// One body, on its way in.
struct Reader<'a> {
    readers: &'a Readers,
    number: u64,
}

impl Reader<'_> {
    async fn all(&self, body: Body, limit: usize) -> Result<Vec<u8>, Problem> {
        let mut chunks = pin!(body.into_data_stream());
        let mut read = Vec::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|_| json::broken_off())?;
            if chunk.len() > limit - read.len() {
                return Err(json::too_large());
            }
            if !self.readers.held().take(self.number, chunk.len(), self.readers.most) {
                return Err(throttled());
            }
            read.extend_from_slice(&chunk);
        }
        Ok(read)
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let mut held = self.readers.held();
        if let Some(entry) = held.readers.remove(&self.number) {
            held.bytes -= entry.bytes;
        }
    }
}

/// Too much comes at a time.
pub(super) fn throttled() -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS).with_header(RETRY_AFTER, HeaderValue::from_static("1"))
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, stream};
    use tokio::sync::mpsc;

    use super::*;

    type Chunks = mpsc::UnboundedSender<Result<Bytes, std::io::Error>>;

    fn body() -> (Chunks, Body) {
        let (send, mut receive) = mpsc::unbounded_channel();
        (send, Body::from_stream(stream::poll_fn(move |cx| receive.poll_recv(cx))))
    }

    fn chunk(bytes: usize) -> Result<Bytes, std::io::Error> {
        Ok(vec![b'x'; bytes].into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_read_in_time_and_to_its_limit_or_not_at_all() {
        let readers = Readers::new(1 << 20, 10, Duration::from_secs(15));
        let read =
            async |body: Body| readers.read(body, 10).await.map_err(|problem| problem.status().as_u16());
        assert_eq!(read(Body::empty()).await, Ok(Bytes::new()));
        assert_eq!(read(Body::from("0123456789")).await, Ok(Bytes::from("0123456789")));
        assert_eq!(read(Body::from("0123456789a")).await, Err(413));
        let (send, broken) = body();
        send.send(Err(std::io::Error::other("gone"))).unwrap();
        assert_eq!(read(broken).await, Err(400));
        // A byte each five seconds is progress, and not enough of it.
        let begun = tokio::time::Instant::now();
        let (send, dripping) = body();
        let drip = async {
            while send.send(chunk(1)).is_ok() {
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        };
        let (answer, ()) = tokio::join!(read(dripping), drip);
        assert_eq!((answer, begun.elapsed().as_secs()), (Err(408), 15));
        let held = readers.held();
        assert_eq!((held.bytes, held.readers.len()), (0, 0));
    }

    #[tokio::test]
    async fn the_oldest_body_makes_room_for_a_new_one() {
        let readers = Readers::new(0, 100_000 - READER_BYTES, Duration::from_secs(15));
        let (first, one) = body();
        let (second, two) = body();
        let (third, three) = body();
        let mut reading = [one, two, three].map(|body| Box::pin(readers.read(body, 1_000_000)));
        first.send(chunk(40_000)).unwrap();
        second.send(chunk(40_000)).unwrap();
        for reading in &mut reading {
            assert!(reading.now_or_never().is_none(), "there is room for 80 000 bytes");
        }
        // A small one has room too, without a sacrifice.
        assert_eq!(readers.read(Body::from("{}"), 100).await.unwrap(), "{}");
        third.send(chunk(40_000)).unwrap();
        drop(third);
        let [one, two, three] = &mut reading;
        assert_eq!(three.await.unwrap().len(), 40_000);
        let sent_away = one.await.unwrap_err();
        assert_eq!(sent_away.status(), StatusCode::TOO_MANY_REQUESTS);
        drop(second);
        assert_eq!(two.await.unwrap().len(), 40_000);
        // Who wants more than there is goes, too.
        let alone = readers.read(Body::from(vec![b'x'; 100_001]), 1_000_000).await;
        assert_eq!(alone.map_err(|problem| problem.status().as_u16()), Err(429));
        let held = readers.held();
        assert_eq!((held.bytes, held.readers.len()), (0, 0));
    }
}
