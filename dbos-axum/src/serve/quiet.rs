//! Whether a connection of HTTP/2 has anything to do. HTTP/1.1 has one request at a time, and hyper looks after that.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// How many requests are being answered; nothing until HTTP/2 is spoken.
#[derive(Clone, Debug)]
pub(super) struct Requests(Arc<watch::Sender<Option<usize>>>);

impl Requests {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// One more, until what is returned is dropped.
    pub(super) fn enter(&self) -> Live {
        self.0.send_modify(|live| *live = Some(live.unwrap_or_default() + 1));
        Live(self.clone())
    }

    /// Ends when there has been none for as long. It never does for HTTP/1.1.
    pub(super) async fn none_for(self, limit: Duration) {
        let mut live = self.0.subscribe();
        loop {
            // The sender is here, so there is always a next one to wait for.
            let _ = live.wait_for(|live| *live == Some(0)).await;
            if timeout(limit, live.changed()).await.is_err() {
                return;
            }
        }
    }
}

/// A request that is being answered.
pub(super) struct Live(Requests);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.0.send_modify(|live| *live = live.map(|live| live.saturating_sub(1)));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_quiet_when_nothing_has_been_asked_for_a_while() {
        let limit = Duration::from_secs(75);
        let requests = Requests::new();
        sleep(limit * 2).await;
        assert!(requests.clone().none_for(limit).now_or_never().is_none(), "nobody speaks HTTP/2");
        let begun = Instant::now();
        let use_it = async {
            let first = requests.enter();
            sleep(limit * 3).await;
            drop(first);
            sleep(limit - Duration::from_secs(1)).await;
            drop((requests.enter(), requests.enter()));
        };
        tokio::join!(requests.clone().none_for(limit), use_it);
        assert_eq!(begun.elapsed(), limit * 5 - Duration::from_secs(1));
    }
}
