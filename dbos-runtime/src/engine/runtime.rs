//! The façade at the top of the stairs: launch, start, look, shut down.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::builder::Builder;
use super::outside::outside_verbs;
use super::registry::Registry;
use super::shared::{INTERNAL_QUEUE, Shared};
use super::{dispatcher, queues, watch, workflows};
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{self, AppVersion, ExecutorId};
use crate::model::queue::OnConflict;
use crate::model::workflow::Identity;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::presence::Presence;
use crate::time::Timestamp;

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
    pub(crate) shared: Arc<Shared>,
}

impl Dbos {
    /// Begins to describe a runtime. The name owns its rows on a shared database: 3 to 256 of `a-z`, `0-9`, `-`, `_`.
    pub fn builder(name: &str) -> Builder<()> {
        Builder::new(name)
    }

    pub(crate) async fn launch(config: Config, registry: Registry) -> Result<Self> {
        let version = config.version(|| registry.version())?;
        let (presence, vigil) = Presence::announce(&config).await?;
        let identity = identity(&config, presence.executor(), &version);
        let shared = Shared::open(config, identity, registry, presence).await?;
        shared.store.keep(&shared.presence, vigil, &shared.tasks.daemons, &shared.tasks.stopped);
        let dbos = Self { shared };
        if let Err(error) = dbos.take_up().await {
            dbos.shutdown(Duration::ZERO).await;
            return Err(error);
        }
        Ok(dbos)
    }

    /// Opens the database, which brings its schema up to date, and closes it.
    pub(crate) async fn migrate(config: Config, registry: Registry) -> Result<()> {
        let version = config.version(|| registry.version())?;
        let executor = config.executor()?.unwrap_or_else(|| ExecutorId::trusted(""));
        let store = Store::open(&config, Arc::new(identity(&config, &executor, &version))).await?;
        let owner = store.version_owner(version.as_str()).await.map_err(|error| unusable(&error));
        store.close().await;
        check_owner(owner?.flatten().as_deref(), &config.name, version.as_str())
    }

    /// Registers the version, recovers what this executor left behind, then starts the loops.
    async fn take_up(&self) -> Result<()> {
        let shared = &self.shared;
        let opening = async {
            let asked = std::time::Instant::now();
            shared.clock.anchor(shared.store.now().await?, asked);
            let row_id = ids::random().to_string();
            let owner = shared.store.register_version(&row_id).await?;
            let recovered = shared.store.recover(INTERNAL_QUEUE).await?;
            Ok::<_, StoreError>((owner, recovered))
        };
        let (owner, recovered) = opening.await.map_err(|error| unusable(&error))?;
        let (application, version) = (shared.identity.application(), shared.identity.version());
        check_owner(owner.as_deref(), application, version)?;
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
        if let Some(retention) = shared.config.retention.clone() {
            shared.tasks.daemons.spawn(workflows::keep(Arc::clone(shared), retention));
        }
        self.schedules().take_up().await?;
        Ok(())
    }

    outside_verbs!();

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

    /// Whether this process runs workflows of that name. One that is registered for configured instances only is not
    /// known by its name alone.
    pub fn has_workflow(&self, name: &str) -> bool {
        self.shared.registry.known(name).is_ok()
    }

    /// Stops taking work here, while this process goes on: nothing is claimed from a queue, no schedule is fired, and a
    /// start that would run here is refused with [`ErrorKind::ShuttingDown`]. What runs goes on to its end, with its
    /// children; what is started on a queue waits there for another process. It may be called again.
    ///
    /// ```
    /// # use dbos_runtime::{Dbos, Error};
    /// # async fn example(dbos: Dbos) -> Result<(), Error> {
    /// dbos.deactivate();
    /// assert!(!dbos.is_active());
    /// // Whether it is idle now, or has something to run still:
    /// let running = dbos_runtime::Filter::new().executors([dbos.executor_id()]);
    /// let running = running.statuses([dbos_runtime::WorkflowStatus::Pending]);
    /// println!("{} left", dbos.workflows().list(&running).await?.len());
    /// dbos.reactivate();
    /// # Ok(()) }
    /// ```
    pub fn deactivate(&self) {
        if self.shared.set_active(false) {
            tracing::info!(
                dbos.application.version = self.application_version(),
                dbos.executor.id = self.executor_id(),
                "deactivated: workflows that run go on, and no others are taken"
            );
        }
    }

    /// Takes work again after [`deactivate`](Self::deactivate). Schedules go on with their next time.
    pub fn reactivate(&self) {
        if !self.shared.set_active(true) {
            tracing::info!(dbos.executor.id = self.executor_id(), "active again");
        }
    }

    /// Whether this process takes work: it was not deactivated, and does not shut down.
    pub fn is_active(&self) -> bool {
        self.shared.is_active()
    }

    /// How long a workflow stays in the database after its end, if this runtime's [retention](Builder::retention) goes by
    /// age alone; `None` where nothing is known of an end of its stay.
    pub fn kept_for(&self) -> Option<Duration> {
        self.shared.config.retention.as_ref()?.only_age()
    }

    /// Cancelled when a shutdown begins: long responses and loops of the application should end.
    pub fn shutdown_token(&self) -> CancellationToken {
        self.shared.tasks.draining.clone()
    }

    /// The time by the database's clock, without asking the database. Inside of workflows use [`Ctx::now`](crate::Ctx::now),
    /// which is recorded.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Stops taking work, gives running workflows that long to end, and leaves the rest to be recovered.
    ///
    /// When it returns, no task of this runtime is left and no connection is open. A second call waits for the first.
    pub async fn shutdown(&self, drain: Duration) {
        self.shared.shut_down(drain).await;
    }
}

fn identity(config: &Config, executor: &ExecutorId, version: &AppVersion) -> Identity {
    Identity {
        application: Some(config.name.clone()),
        executor: Some(executor.as_str().to_owned()),
        version: Some(version.as_str().to_owned()),
        application_id: Some(Config::application_id()),
    }
}

/// Refuses a version that another application on the database has.
fn check_owner(owner: Option<&str>, application: &str, version: &str) -> Result<()> {
    match owner {
        Some(owner) if owner != application => {
            let message = format!("version {version:?} belongs to application {owner:?} on this database");
            Err(Error::new(ErrorKind::Initialization, message))
        }
        _ => Ok(()),
    }
}

/// A database that was opened, and does not answer the first questions.
fn unusable(error: &StoreError) -> Error {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    Error::new(ErrorKind::Initialization, format!("{error}{cause}"))
}

impl fmt::Debug for Dbos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dbos")
            .field("name", &self.name())
            .field("executor_id", &self.executor_id())
            .finish_non_exhaustive()
    }
}
