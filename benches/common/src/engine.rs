//! What every engine under test can do.

use std::future::Future;

use tokio::sync::mpsc;

use crate::{Args, BoxError};

/// The registered workflows; each takes and returns an integer. Their bodies call [`mark`](crate::mark).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// As many steps as its input; step `i` returns `i`, the workflow their sum. Calls
    /// [`mark::ran`](crate::mark::ran) before it returns.
    Adds,
    /// Calls [`mark::began`](crate::mark::began) with its input.
    Begins,
    /// Sets the event [`KEY`] to [`mark::now`](crate::mark::now).
    Publishes,
    /// Receives as many messages of the topic [`KEY`] as its input says, and calls
    /// [`mark::began`](crate::mark::began) with each.
    Receives,
    /// Writes as many times [`mark::now`](crate::mark::now) to the stream [`KEY`], each after
    /// [`mark::turn`](crate::mark::turn).
    Writes,
}

/// The event's key, the topic and the stream.
pub const KEY: &str = "k";

/// How long any wait of a workload may take.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// A process's part.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Its name among the processes.
    pub executor: &'static str,
    /// How many queues are registered: [`queue`]`(0)` and so on.
    pub queues: usize,
    /// Whether it runs what is on them.
    pub works: bool,
}

/// The name of a queue.
pub fn queue(number: usize) -> String {
    format!("queue{number}")
}

/// A durable workflow engine under test.
pub trait Engine: Sized + Send + Sync + 'static {
    /// Opens the engine with every [`Flow`] registered.
    fn launch(args: &Args, place: Place) -> impl Future<Output = Result<Self, BoxError>> + Send;

    /// Starts [`Flow::Adds`] with `steps`, awaits its result and returns it.
    fn run(&self, steps: i64) -> impl Future<Output = Result<i64, BoxError>> + Send;

    /// Starts a workflow here, under that id if there is one.
    fn start(
        &self,
        flow: Flow,
        id: Option<&str>,
        input: i64,
    ) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Leaves a workflow on [`queue`]`(0)`.
    fn enqueue(&self, flow: Flow, input: i64) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Sends a message of the topic [`KEY`] from outside of workflows.
    fn send(&self, to: &str, value: i64) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// Waits for the event [`KEY`] of a workflow, from outside of workflows.
    fn event(&self, of: &str) -> impl Future<Output = Result<i64, BoxError>> + Send;

    /// Reads the stream [`KEY`] of a workflow to its end, from outside of workflows.
    ///
    /// Not `Send`, because durare's streams are not.
    fn read(
        &self,
        of: &str,
        values: mpsc::UnboundedSender<i64>,
    ) -> impl Future<Output = Result<(), BoxError>>;

    /// Ends the engine.
    fn shutdown(&self) -> impl Future<Output = Result<(), BoxError>> + Send;
}
