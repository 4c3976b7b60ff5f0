//! What every file of the engine needs. At the bottom of the room: it knows none of them but the execution.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::execution::Execution;
use super::load::{Known, Loads, Order};
use super::registry::Registry;
use crate::config::Config;
use crate::error::ErrorKind;
use crate::ids::WorkflowId;
use crate::model::workflow::Identity;
use crate::store::Store;
use crate::store::journal::Journal;
use crate::store::wakeups::Wakeups;
use crate::time::Clock;

/// The queue on which recovered work waits to be claimed; every SDK has it.
pub(crate) const INTERNAL_QUEUE: &str = "_dbos_internal_queue";

/// One launched runtime.
pub(crate) struct Shared {
    /// Tells runtimes of this process apart.
    pub(crate) serial: u64,
    pub(crate) config: Config,
    pub(crate) identity: Arc<Identity>,
    pub(crate) registry: Registry,
    pub(crate) store: Store,
    pub(crate) journal: Journal,
    pub(crate) wakeups: Wakeups,
    pub(crate) clock: Clock,
    pub(crate) running: Running,
    pub(crate) queues: Known,
    pub(crate) loads: Loads,
    pub(crate) order: Order,
    pub(crate) tasks: Tasks,
    /// Where tasks are spawned from places that may have no runtime of their own, such as a drop.
    pub(crate) handle: tokio::runtime::Handle,
}

/// The tasks of a runtime and the signals that end them, in the order of a shutdown.
#[derive(Default)]
pub(crate) struct Tasks {
    /// No new work is taken.
    pub(crate) draining: CancellationToken,
    /// Workflows still running stop at their next durable call.
    pub(crate) interrupted: CancellationToken,
    /// Whatever is left is dropped.
    pub(crate) stopped: CancellationToken,
    /// Starts and executions of workflows.
    pub(crate) workflows: TaskTracker,
    /// The dispatcher, the watch, the journal and the carriers of hints.
    pub(crate) daemons: TaskTracker,
}

/// The executions of this process.
#[derive(Default)]
pub(crate) struct Running {
    executions: Mutex<HashMap<WorkflowId, Arc<Execution>>>,
}

impl Running {
    /// Adds an execution that owns its row. One of the same workflow that was here before has lost it, and is told now:
    /// the sweep will not find it any more.
    pub(crate) fn add(&self, execution: &Arc<Execution>) {
        let before = self.lock().insert(execution.fence.id.clone(), Arc::clone(execution));
        if let Some(before) = before {
            before.latch(ErrorKind::LostOwnership);
        }
    }

    /// Removes this execution, not a later one of the same workflow.
    pub(crate) fn remove(&self, execution: &Arc<Execution>) {
        let mut executions = self.lock();
        if executions.get(&execution.fence.id).is_some_and(|other| Arc::ptr_eq(other, execution)) {
            executions.remove(&execution.fence.id);
        }
    }

    pub(crate) fn get(&self, id: &WorkflowId) -> Option<Arc<Execution>> {
        self.lock().get(id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Execution>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WorkflowId, Arc<Execution>>> {
        self.executions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
