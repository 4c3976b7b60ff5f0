//! Waiting on behalf of a client: as long as it prefers, while there is room, until the server drains its requests.

use std::future::Future;
use std::sync::Arc;

use dbos_runtime::{Error, ErrorKind, Outcome, WorkflowHandle};
use http::HeaderValue;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::meter;
use crate::prefer::PreferWait;

/// What lets a request wait.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    pub(crate) long_polls: Arc<Semaphore>,
    pub(crate) draining: CancellationToken,
}

/// What came of a wait.
#[derive(Debug)]
pub(crate) enum Waited<T> {
    /// What was waited for.
    Came(T),
    /// It did not come as long as the client wanted to wait.
    TimeIsUp,
    /// There was no wait: it was not wanted, or there is no room, or the server drains its requests.
    NoWait,
}

impl Patience {
    /// Waits as long as the client prefers, and not at all if it did not say.
    pub(crate) async fn wait<T>(&self, prefer: PreferWait, what: impl Future<Output = T>) -> Waited<T> {
        let wait = prefer.duration();
        if wait.is_zero() {
            return Waited::NoWait;
        }
        let Some(_room) = self.room() else { return Waited::NoWait };
        tokio::select! {
            came = what => Waited::Came(came),
            () = tokio::time::sleep(wait) => Waited::TimeIsUp,
            () = self.draining.cancelled() => Waited::NoWait,
        }
    }

    /// The end of a workflow, waited for as long as the client prefers.
    pub(crate) async fn outcome<O: DeserializeOwned>(
        &self,
        handle: &WorkflowHandle<O>,
        ended: bool,
        prefer: PreferWait,
    ) -> Result<Looked<Outcome<O>>, Error> {
        if ended {
            return Ok(Looked::new(handle.try_outcome().await?, prefer, true));
        }
        match self.wait(prefer, handle.outcome()).await {
            Waited::Came(Ok(outcome)) => Ok(Looked::new(Some(outcome), prefer, true)),
            Waited::Came(Err(error)) if error.kind() != ErrorKind::ShuttingDown => Err(error),
            Waited::TimeIsUp => Ok(Looked::new(None, prefer, true)),
            Waited::Came(Err(_)) | Waited::NoWait => Ok(Looked::new(None, prefer, false)),
        }
    }

    /// The right to wait, if it is free.
    fn room(&self) -> Option<(OwnedSemaphorePermit, meter::Open)> {
        let permit = Arc::clone(&self.long_polls).try_acquire_owned().ok()?;
        Some((permit, meter::Open::long_poll()))
    }
}

/// A look at something that may not be there yet, on behalf of a client.
#[derive(Debug)]
pub(crate) struct Looked<T> {
    pub(crate) found: Option<T>,
    /// What was done for its preference.
    pub(crate) applied: Option<HeaderValue>,
}

impl<T> Looked<T> {
    pub(crate) fn new(found: Option<T>, prefer: PreferWait, honoured: bool) -> Self {
        let applied = prefer.applied(honoured, found.is_none());
        Self { found, applied }
    }
}
