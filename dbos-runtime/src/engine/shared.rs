//! What every file of the engine needs. At the bottom of the room: it knows none of them but the execution.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::execution::{Completion, Execution};
use super::load::{Known, Loads, Order};
use super::registry::Registry;
use super::streams::Streams;
use super::watch;
use crate::config::Config;
use crate::error::{ErrorKind, Result};
use crate::ids::{ExecutorId, WorkflowId};
use crate::model::workflow::Identity;
use crate::store::Store;
use crate::store::journal::Journal;
use crate::store::presence::Presence;
use crate::store::wakeups::Wakeups;
use crate::time::Clock;

pub(crate) use crate::model::queue::INTERNAL_QUEUE;

/// After the drain, how long interrupted workflows have to notice before they are dropped.
const GRACE: Duration = Duration::from_millis(500);

/// One launched runtime.
pub(crate) struct Shared {
    /// Tells runtimes of this process apart.
    pub(crate) serial: u64,
    pub(crate) config: Config,
    pub(crate) identity: Arc<Identity>,
    pub(crate) presence: Arc<Presence>,
    pub(crate) registry: Registry,
    pub(crate) store: Store,
    pub(crate) journal: Journal,
    pub(crate) wakeups: Wakeups,
    pub(crate) streams: Streams,
    pub(crate) clock: Clock,
    pub(crate) running: Running,
    /// The schedules may have changed.
    pub(crate) rescheduled: Notify,
    pub(crate) queues: Known,
    pub(crate) loads: Loads,
    pub(crate) order: Order,
    pub(crate) tasks: Tasks,
    /// Whether work is taken that is not under way yet.
    active: AtomicBool,
    /// Where tasks are spawned from places that may have no runtime of their own, such as a drop.
    pub(crate) handle: tokio::runtime::Handle,
}

impl Shared {
    /// Opens the database and starts what carries writes and hints. Nothing runs yet.
    pub(crate) async fn open(
        config: Config,
        identity: Identity,
        registry: Registry,
        presence: Presence,
    ) -> Result<Arc<Self>> {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let identity = Arc::new(identity);
        let store = Store::open(&config, Arc::clone(&identity)).await?;
        let (wakeups, tasks) = (Wakeups::default(), Tasks::default());
        let journal = store.journal(&config, &wakeups, &tasks.daemons, &tasks.stopped);
        store.carry_hints(&wakeups, &tasks.daemons, &tasks.stopped);
        Ok(Arc::new(Self {
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            config,
            identity,
            presence: Arc::new(presence),
            registry,
            store,
            journal,
            wakeups,
            streams: Streams::default(),
            clock: Clock::new(),
            running: Running::default(),
            rescheduled: Notify::new(),
            queues: Known::default(),
            loads: Loads::default(),
            order: Order::default(),
            tasks,
            active: AtomicBool::new(true),
            handle: tokio::runtime::Handle::current(),
        }))
    }

    /// What a client needs: the same without workflows. It looks only for what it waits for.
    pub(crate) async fn for_client(config: Config, identity: Identity) -> Result<Arc<Self>> {
        let presence = Presence::new(ExecutorId::trusted(""), None);
        let shared = Self::open(config, identity, Registry::default(), presence).await?;
        let asked = Instant::now();
        match shared.store.now().await {
            Ok(now) => shared.clock.anchor(now, asked),
            Err(error) => {
                shared.shut_down(Duration::ZERO).await;
                return Err(error.into());
            }
        }
        shared.tasks.daemons.spawn(watch::watch(Arc::clone(&shared)));
        Ok(shared)
    }

    /// Stops taking work, waits for what runs, stops the rest, and closes the database.
    pub(crate) async fn shut_down(&self, drain: Duration) {
        let tasks = &self.tasks;
        tasks.draining.cancel();
        tasks.workflows.close();
        if tokio::time::timeout(drain, tasks.workflows.wait()).await.is_err() {
            tasks.interrupted.cancel();
            // What does not notice in time is dropped at its next await.
            let _ = tokio::time::timeout(GRACE, tasks.workflows.wait()).await;
        }
        tasks.stopped.cancel();
        tasks.workflows.wait().await;
        self.wakeups.close();
        tasks.daemons.close();
        tasks.daemons.wait().await;
        self.store.close().await;
    }

    /// Whether this process takes work that is not under way yet.
    pub(crate) fn is_active(&self) -> bool {
        self.active.load(Ordering::SeqCst) && !self.tasks.draining.is_cancelled()
    }

    /// Says whether it is to; whether it was.
    pub(crate) fn set_active(&self, active: bool) -> bool {
        let was = self.active.swap(active, Ordering::SeqCst);
        self.rescheduled.notify_one();
        self.wakeups.bell().ring_all();
        was
    }

    /// Whether this is a client, which runs nothing.
    pub(crate) fn is_client(&self) -> bool {
        self.identity.version.is_none()
    }
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

    /// Where the end of a workflow that runs here will be found.
    pub(crate) fn completion_of(&self, id: &WorkflowId) -> Option<Arc<Completion>> {
        self.lock().get(id).map(|execution| Arc::clone(&execution.completion))
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Execution>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WorkflowId, Arc<Execution>>> {
        self.executions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
