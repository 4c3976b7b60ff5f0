//! How long a client may take nothing of what there is for it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// The limit, which becomes shorter when the server stops.
#[derive(Clone, Debug)]
pub(super) struct WriteLimit {
    pub(super) usual: Duration,
    /// Once the server stops.
    pub(super) last: Duration,
    pub(super) draining: CancellationToken,
}

impl WriteLimit {
    /// Ends when a client has taken nothing for too long.
    async fn over(self) {
        let stopping = async {
            self.draining.cancelled().await;
            sleep(self.last).await;
        };
        tokio::select! {
            () = sleep(self.usual) => {}
            () = stopping => {}
        }
    }
}

/// Runs while a client takes nothing.
pub(super) struct Clock {
    limit: WriteLimit,
    running: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Clock {
    pub(super) fn new(limit: WriteLimit) -> Self {
        Self { limit, running: None }
    }

    /// The client has taken something, or there is nothing for it.
    pub(super) fn stop(&mut self) {
        self.running = None;
    }

    /// Runs on; ready when the time is up.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = &self.limit;
        self.running.get_or_insert_with(|| Box::pin(limit.clone().over())).as_mut().poll(cx)
    }
}
