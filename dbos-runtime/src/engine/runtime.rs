//! The façade at the top of the stairs: launch, start, look, shut down.

use std::collections::BTreeMap;
use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::builder::Builder;
use super::handle::{self, WorkflowHandle, WorkflowInfo};
use super::load::{Known, Loads, Order};
use super::registry::{Registry, Target};
use super::shared::{INTERNAL_QUEUE, Running, Shared, Tasks};
use super::start::Start;
use super::{dispatcher, events, guard, queues, signals, wait, watch};
use crate::config::Config;
use crate::error::{DurableError, Error, ErrorKind, Result};
use crate::ids::{self, WorkflowId};
use crate::limits;
use crate::model::queue::OnConflict;
use crate::model::workflow::Identity;
use crate::model::write::{Receipt, Write};
use crate::payload;
use crate::store::Store;
use crate::store::wakeups::Wakeups;
use crate::time::Clock;

/// A launched runtime: runs workflows, and starts, addresses and observes them. Cheap to clone; axum state.
///
/// ```
/// use dbos_runtime::{Ctx, Dbos, Error, workflow};
///
/// #[workflow]
/// async fn greet(ctx: Ctx, name: String) -> Result<String, Error> {
///     ctx.step("compose", || async { Ok(format!("Hello, {name}!")) }).await
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Error> {
/// # let file = std::env::temp_dir().join(format!("dbos-doc-{}.sqlite", std::process::id()));
/// # let url = format!("sqlite:{}", file.display());
/// let dbos = Dbos::builder("greeter").database_url(url).register(greet).launch().await?;
/// let handle = dbos.start(greet, "Ada".to_owned()).id("greet-ada").await?;
/// assert_eq!(handle.result().await?, "Hello, Ada!");
///
/// // The same id again finds the same workflow; nothing runs twice.
/// assert!(!dbos.start(greet, "Ada".to_owned()).id("greet-ada").await?.created());
/// dbos.shutdown(std::time::Duration::from_secs(1)).await;
/// # std::fs::remove_file(file).ok();
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Dbos {
    shared: Arc<Shared>,
}

/// After the drain, how long interrupted workflows have to notice before they are dropped.
const GRACE: Duration = Duration::from_millis(500);

impl Dbos {
    /// Begins to describe a runtime. The name owns its rows on a shared database: 3 to 256 of `a-z`, `0-9`, `-`, `_`.
    pub fn builder(name: &str) -> Builder<()> {
        Builder::new(name)
    }

    pub(crate) async fn launch(config: Config, registry: Registry) -> Result<Self> {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        let identity = Arc::new(Identity {
            application: Some(config.name.clone()),
            executor: Some(config.executor()?.as_str().to_owned()),
            version: Some(config.version(|| registry.version())?.as_str().to_owned()),
            application_id: Some(Config::application_id()),
        });
        let store = Store::open(&config, Arc::clone(&identity)).await?;
        let (wakeups, tasks) = (Wakeups::default(), Tasks::default());
        let journal = store.journal(&config, &wakeups, &tasks.daemons, &tasks.stopped);
        store.carry_hints(&wakeups, &tasks.daemons, &tasks.stopped);
        let shared = Arc::new(Shared {
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            config,
            identity,
            registry,
            store,
            journal,
            wakeups,
            clock: Clock::new(),
            running: Running::default(),
            queues: Known::default(),
            loads: Loads::default(),
            order: Order::default(),
            tasks,
            handle: tokio::runtime::Handle::current(),
        });
        let dbos = Self { shared };
        if let Err(error) = dbos.take_up().await {
            dbos.shutdown(Duration::ZERO).await;
            return Err(error);
        }
        Ok(dbos)
    }

    /// Registers the version, recovers what this executor left behind, then starts the loops.
    async fn take_up(&self) -> Result<()> {
        let shared = &self.shared;
        let opening = async {
            shared.clock.anchor(shared.store.now().await?);
            let row_id = ids::random().to_string();
            let owner = shared.store.register_version(&row_id).await?;
            let recovered = shared.store.recover(INTERNAL_QUEUE).await?;
            Ok::<_, crate::store::error::StoreError>((owner, recovered))
        };
        let (owner, recovered) = opening.await.map_err(|error| {
            let cause =
                std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            Error::new(ErrorKind::Initialization, format!("{error}{cause}"))
        })?;
        let (application, version) = (shared.identity.application(), shared.identity.version());
        if owner.as_ref().is_some_and(|owner| owner != application) {
            let message = format!("version {version:?} belongs to application {owner:?} on this database");
            return Err(Error::new(ErrorKind::Initialization, message));
        }
        tracing::info!(
            dbos.application.version = %version,
            dbos.executor.id = shared.identity.executor(),
            recovered,
            "launched {application}"
        );
        for queue in &shared.config.queues {
            queues::register(shared, queue, OnConflict::UpdateIfLatestVersion).await?;
        }
        // Whatever waits, from before or just recovered.
        shared.wakeups.bell().ring_all();
        shared.tasks.daemons.spawn(dispatcher::dispatch(Arc::clone(shared)));
        shared.tasks.daemons.spawn(watch::watch(Arc::clone(shared)));
        Ok(())
    }

    /// Starts a workflow, or finds the one that has the id.
    ///
    /// ```
    /// # use dbos_runtime::{Ctx, Dbos, Error, workflow};
    /// # #[workflow] async fn pay(_ctx: Ctx, cents: u64) -> Result<u64, Error> { Ok(cents) }
    /// # async fn example(dbos: Dbos) -> Result<(), Error> {
    /// let handle = dbos.start(pay, 995).id("order-7").await?;
    /// let cents = handle.result().await?;
    /// # Ok(()) }
    /// ```
    #[expect(clippy::needless_pass_by_value, reason = "a start reads as the call of the workflow")]
    pub fn start<W: Target>(&self, workflow: W, input: W::Input) -> Start<W::Output, W::Error> {
        Start::new(&self.shared, &workflow, &input)
    }

    /// A handle to a workflow that exists.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NonExistentWorkflow`], or [`ErrorKind::Unavailable`] when the database does not answer.
    pub async fn retrieve<T: DeserializeOwned, E: DurableError>(
        &self,
        id: impl TryInto<WorkflowId, Error: Into<Error>>,
    ) -> Result<WorkflowHandle<T, E>> {
        let id = id.try_into().map_err(Into::into)?;
        let running = self.shared.running.get(&id).map(|execution| Arc::clone(&execution.completion));
        if running.is_none() {
            handle::info(&self.shared, &id).await?;
        }
        Ok(WorkflowHandle::new(&self.shared, id, running, Some(String::new())))
    }

    /// The facts of a workflow.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NonExistentWorkflow`], or [`ErrorKind::Unavailable`] when the database does not answer.
    pub async fn info(&self, id: impl TryInto<WorkflowId, Error: Into<Error>>) -> Result<WorkflowInfo> {
        handle::info(&self.shared, &id.try_into().map_err(Into::into)?).await
    }

    /// Sends a message to a workflow. With an [idempotency key](SendMessage::idempotency_key) it arrives once, however
    /// often it is sent; without one, a send that failed may have arrived.
    pub fn send<T: Serialize + ?Sized>(&self, to: &WorkflowId, message: &T) -> SendMessage {
        let value = payload::encode(message);
        SendMessage { shared: Arc::clone(&self.shared), to: to.clone(), value, topic: None, key: None }
    }

    /// Reads a workflow's event, waiting for it at most that long; `None` when it has not been published by then.
    ///
    /// A workflow that does not exist, or has ended, is waited for too. Zero looks once.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] when the database does not answer, [`ErrorKind::Serialization`] for another type.
    ///
    /// # Cancel safety
    ///
    /// Safe. Nothing is held while it waits.
    pub async fn get_event<T: DeserializeOwned>(
        &self,
        from: &WorkflowId,
        key: &str,
        timeout: Duration,
    ) -> Result<Option<T>> {
        limits::text("event key", key)?;
        limits::duration("the time limit", timeout)?;
        let shared = &self.shared;
        // The first look is brief, so that a database that is away is reported and not waited for.
        let now = wait::briefly(shared, || shared.store.event(from.as_str(), key)).await?;
        let found = match now {
            None if !timeout.is_zero() => {
                let waiting = wait::event(shared, from, key, shared.clock.now().after(timeout));
                let most = timeout.saturating_add(shared.config.patience);
                tokio::time::timeout(most, waiting).await.unwrap_or_else(|_| Err(wait::unavailable()))?
            }
            now => now,
        };
        let Some(stored) = found else { return Ok(None) };
        payload::readable(stored.serialization.as_deref())?;
        payload::decode(&stored.value).map(Some)
    }

    /// All events that a workflow has published.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] when the database does not answer.
    pub async fn get_all_events(&self, from: &WorkflowId) -> Result<BTreeMap<String, Value>> {
        let shared = &self.shared;
        let events = wait::briefly(shared, || shared.store.events(from.as_str())).await?;
        Ok(events::values(events))
    }

    /// Cancels a workflow that has not ended with an outcome. It stops at its next durable call; a step that is running
    /// may finish, but is not recorded. Says whether there was anything to cancel.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] when the database does not answer.
    pub async fn cancel(&self, id: &WorkflowId) -> Result<bool> {
        guard::outside_of_transactions()?;
        let shared = &self.shared;
        let cancelled = wait::briefly(shared, || shared.store.cancel(id.as_str())).await? > 0;
        if cancelled && let Some(execution) = shared.running.get(id) {
            execution.latch(ErrorKind::Cancelled);
        }
        Ok(cancelled)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The name of this application.
    pub fn name(&self) -> &str {
        self.shared.identity.application()
    }

    /// This process's name among those that share the database.
    pub fn executor_id(&self) -> &str {
        self.shared.identity.executor()
    }

    /// The version of the code that runs.
    pub fn application_version(&self) -> &str {
        self.shared.identity.version()
    }

    /// Cancelled when a shutdown begins: long responses and loops of the application should end.
    pub fn shutdown_token(&self) -> CancellationToken {
        self.shared.tasks.draining.clone()
    }

    /// Whether the database answers now.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] when it does not.
    pub async fn ping(&self) -> Result<()> {
        wait::briefly(&self.shared, || self.shared.store.now()).await.map(|_| ())
    }

    /// Stops taking work, gives running workflows that long to end, and leaves the rest to be recovered.
    ///
    /// When it returns, no task of this runtime is left and no connection is open. A second call waits for the first.
    pub async fn shutdown(&self, drain: Duration) {
        let tasks = &self.shared.tasks;
        tasks.draining.cancel();
        tasks.workflows.close();
        if tokio::time::timeout(drain, tasks.workflows.wait()).await.is_err() {
            tasks.interrupted.cancel();
            // What does not notice in time is dropped at its next await.
            let _ = tokio::time::timeout(GRACE, tasks.workflows.wait()).await;
        }
        tasks.stopped.cancel();
        tasks.workflows.wait().await;
        self.shared.wakeups.close();
        tasks.daemons.close();
        tasks.daemons.wait().await;
        self.shared.store.close().await;
    }
}

impl fmt::Debug for Dbos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dbos")
            .field("name", &self.name())
            .field("executor_id", &self.executor_id())
            .finish_non_exhaustive()
    }
}

/// A message from outside that can be configured before it is awaited. Awaiting it says whether the message was new:
/// `false` for a duplicate of one with the same key.
///
/// # Cancel safety
///
/// Dropping it once polled may or may not have sent the message.
#[must_use = "a message is not sent until it is awaited"]
pub struct SendMessage {
    shared: Arc<Shared>,
    to: WorkflowId,
    value: Result<String>,
    topic: Option<String>,
    key: Option<String>,
}

impl SendMessage {
    /// The topic; a receiver asks for it by name.
    pub fn topic(mut self, topic: &str) -> Self {
        self.topic = Some(topic.to_owned());
        self
    }

    /// A second message with this key to the same workflow is dropped.
    pub fn idempotency_key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }
}

impl fmt::Debug for SendMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendMessage")
            .field("to", &self.to)
            .field("topic", &self.topic)
            .finish_non_exhaustive()
    }
}

impl IntoFuture for SendMessage {
    type Output = Result<bool>;
    type IntoFuture = BoxFuture<'static, Result<bool>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            guard::outside_of_transactions()?;
            let message =
                signals::new_message(&self.to, self.topic.as_deref(), self.key.as_deref(), self.value?)?;
            let (destination, keyed) = (message.destination.clone(), self.key.is_some());
            let patience = self.shared.config.patience;
            let sending = self.shared.journal.write_within(Write::Send(vec![message]), patience);
            match tokio::time::timeout(patience, sending).await.unwrap_or(Some(Receipt::Expired)) {
                // Without a key nobody else has its identity: if it was there already, an answer was lost.
                Some(Receipt::Sent(new)) => Ok(new > 0 || !keyed),
                Some(Receipt::NoDestination) => Err(Error::no_workflow(&destination)),
                Some(Receipt::Expired) => Err(wait::unavailable()),
                Some(Receipt::Rejected(why)) => Err(Error::new(ErrorKind::Database, why)),
                Some(other) => {
                    Err(Error::new(ErrorKind::Database, format!("unexpected answer to a send: {other:?}")))
                }
                None => Err(wait::shutting_down()),
            }
        })
    }
}
