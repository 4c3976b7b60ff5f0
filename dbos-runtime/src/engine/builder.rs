//! Settings and workflows, gathered before a launch.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::Ctx;
use super::registration::Registration;
use super::registry::{Registry, Workflow};
use super::runtime::Dbos;
use super::schedules::Schedule;
use crate::config::Config;
use crate::datasource::{Backend, Datasource};
use crate::error::{DurableError, Result};
use crate::model::queue::Queue;
use crate::model::retention::Retention;
use crate::payload::{Codec, Serializer};

/// A runtime that has not been launched. Made by [`Dbos::builder`].
#[must_use = "nothing runs until the builder is launched"]
pub struct Builder<S> {
    config: Config,
    state: Arc<S>,
    registry: Result<Registry>,
}

impl Builder<()> {
    pub(crate) fn new(name: &str) -> Self {
        Self { config: Config::new(name.to_owned()), state: Arc::new(()), registry: Ok(Registry::default()) }
    }

    /// The application's state, which every workflow's context carries. Set it before registering workflows.
    pub fn state<S: Send + Sync + 'static>(self, state: S) -> Builder<S> {
        Builder { config: self.config, state: Arc::new(state), registry: self.registry }
    }
}

impl<S: Send + Sync + 'static> Builder<S> {
    /// Where the workflows are stored: `sqlite:path` or `postgres://…`. By default a SQLite file in the working
    /// directory that is named after the application.
    pub fn database_url(mut self, url: impl Into<String>) -> Self {
        self.config.database_url = url.into();
        self
    }

    /// The Postgres schema of the system tables; `dbos` by default. Every program on the database must agree.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.config.schema = schema.into();
        self
    }

    /// Whether a launch creates and upgrades the schema (the default), or only checks it.
    pub fn migrate(mut self, migrate: bool) -> Self {
        self.config.migrate = migrate;
        self
    }

    /// Whether processes wake each other by LISTEN and NOTIFY (the default) or only poll. Turn it off where a pooler in
    /// transaction mode stands between. A new schema keeps the choice that it was created with.
    pub fn listen_notify(mut self, listen: bool) -> Self {
        self.config.listen_notify = listen;
        self
    }

    /// Whether this process makes itself known to its peers and they to it (the default, on Postgres): when one dies, the
    /// others notice within seconds and go on with its workflows. Executors that do not make themselves known, those of
    /// other languages among them, are left alone.
    ///
    /// It takes a connection that holds an advisory lock as long as the process lives, so it is off wherever
    /// [`listen_notify`](Self::listen_notify) is. Turned off, work is recovered by the next process of the same
    /// [`executor_id`](Self::executor_id) alone. SQLite always works like that.
    pub fn peer_recovery(mut self, recover: bool) -> Self {
        self.config.peer_recovery = recover;
        self
    }

    /// Connections for reads and claims; 20 by default. The journal has its own.
    pub fn pool_size(mut self, connections: u32) -> Self {
        self.config.pool_size = connections;
        self
    }

    /// Connections on which hot writes are committed in groups; 2 by default. SQLite has one.
    pub fn journal_lanes(mut self, lanes: usize) -> Self {
        self.config.lanes = lanes;
        self
    }

    /// This process's name; `DBOS__VMID` by default. A process without one takes the first of `executor-1`,
    /// `executor-2`, … that no living process has, where there is [peer recovery](Self::peer_recovery), and is `local`
    /// elsewhere.
    ///
    /// Work that it leaves unfinished is recovered when the next process of the name launches. With peer recovery two
    /// may have one name at the same time, as in a rolling restart: each keeps its own work. Without it they take over
    /// each other's.
    pub fn executor_id(mut self, id: impl Into<String>) -> Self {
        self.config.executor = Some(id.into());
        self
    }

    /// The version of the code; by default `DBOS__APPVERSION`, else a hash over the registered workflows. Only
    /// processes of one version recover each other's work.
    pub fn application_version(mut self, version: impl Into<String>) -> Self {
        self.config.version = Some(version.into());
        self
    }

    /// How often a workflow is recovered before it is parked; 100 by default, never with `None`.
    pub fn max_recovery_attempts(mut self, most: impl Into<Option<u32>>) -> Self {
        self.config.max_recovery_attempts = most.into().map(i64::from);
        self
    }

    /// How long calls from outside of workflows wait for a database that is away; 5 seconds by default.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.config.patience = patience;
        self
    }

    /// How often the process looks for what no hint told it: claims, cancels, results elsewhere. A second by default.
    pub fn polling_interval(mut self, interval: Duration) -> Self {
        self.config.poll = interval;
        self
    }

    /// How long a listing may take before it fails with [`ErrorKind::QueryTimeout`](crate::ErrorKind::QueryTimeout):
    /// 30 seconds by default, 1 ms to 24 days, `None` for as long as it takes. What is asked for by an id is not limited.
    pub fn listing_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.config.listing_timeout = limit.into();
        self
    }

    /// Deletes ended workflows from time to time, as [`Workflows::collect`](crate::Workflows::collect) does; without
    /// it they stay. Of several processes on one database, one at a time does it.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.config.retention = Some(retention);
        self
    }

    /// How values are stored; by default as portable JSON, which every SDK reads. Sleeps and the marks that close streams
    /// stay portable; attributes, names and ids are no values, and stay as they are.
    pub fn serializer(mut self, serializer: impl Serializer) -> Self {
        self.config.serializer = Codec::new(serializer);
        self
    }

    /// Registers a queue at launch. One that is there already is changed if this is the application's latest version.
    pub fn queue(mut self, queue: Queue) -> Self {
        self.config.queues.push(queue);
        self
    }

    /// The only queues that this process works on; every queue of the application by default. Recovered work, which is
    /// on a queue of the runtime's own, is always taken.
    pub fn listen_queues<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.config.listen = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Registers a workflow that `#[workflow]` made, under its function's name.
    #[expect(clippy::needless_pass_by_value, reason = "a workflow is a unit that reads as its function")]
    pub fn register<W>(self, workflow: W) -> Self
    where
        W: Workflow<State = S>,
    {
        let state = Arc::clone(&self.state);
        let registration = registration_of(&workflow);
        self.add(registration, &state, W::run)
    }

    /// Registers a workflow once more for a configured instance, with a state of its own. A start chooses by the
    /// instance's name.
    ///
    /// ```
    /// # use dbos_runtime::{Ctx, Dbos, Error, workflow};
    /// struct Gateway {
    ///     url: &'static str,
    /// }
    ///
    /// #[workflow(class = "Gateway")]
    /// async fn charge(ctx: Ctx<Gateway>, cents: u64) -> Result<String, Error> {
    ///     Ok(format!("{} {cents}", ctx.state().url))
    /// }
    ///
    /// let builder = Dbos::builder("shop")
    ///     .register_instance(charge, "north", Gateway { url: "https://north.example" })
    ///     .register_instance(charge, "south", Gateway { url: "https://south.example" });
    /// # drop(builder);
    /// ```
    #[expect(clippy::needless_pass_by_value, reason = "a workflow is a unit that reads as its function")]
    pub fn register_instance<W: Workflow>(self, workflow: W, instance: &str, state: W::State) -> Self {
        let registration = registration_of(&workflow).instance(instance);
        self.add(registration, &Arc::new(state), W::run)
    }

    /// Registers a function under a name, without the macro. Start it with a [`WorkflowRef`](crate::WorkflowRef). A
    /// [`Registration`] says more than a name.
    ///
    /// Its code is not part of the computed application version; its name is.
    pub fn register_fn<I, O, E, F, Fut>(self, name: impl Into<Registration>, function: F) -> Self
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + Send + 'static,
        E: DurableError,
        F: Fn(Ctx<S, E>, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = std::result::Result<O, E>> + Send + 'static,
    {
        let state = Arc::clone(&self.state);
        self.add(name.into(), &state, function)
    }

    fn add<S2, I, O, E, F, Fut>(mut self, registration: Registration, state: &Arc<S2>, function: F) -> Self
    where
        S2: Send + Sync + 'static,
        I: DeserializeOwned + Send + 'static,
        O: Serialize + Send + 'static,
        E: DurableError,
        F: Fn(Ctx<S2, E>, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = std::result::Result<O, E>> + Send + 'static,
    {
        if let Ok(registry) = &mut self.registry
            && let Err(error) = registry.add(registration, state, function)
        {
            self.registry = Err(error);
        }
        self
    }

    /// Tells the runtime of a datasource in another database than the system database. A
    /// [rewind](crate::Workflows::rewind) and a [delete](crate::Workflows::delete) then remove the witnesses of
    /// transactions from it, also in a process that has not used it.
    pub fn datasource<DB: Backend>(self, datasource: &Datasource<DB>) -> Self {
        if let Ok(registry) = &self.registry {
            registry.datasources.add(datasource);
        }
        self
    }

    /// A schedule that this program brings along: at the launch it is created, or the one of its name is given this
    /// definition. Whether it is paused stays as it is.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        match schedule.define() {
            Ok(definition) => self.config.schedules.push(definition),
            Err(error) => self.registry = self.registry.and(Err(error)),
        }
        self
    }

    /// How often the process reads the schedules though nothing told it to; 30 seconds by default. What others change is
    /// noticed within a [polling interval](Self::polling_interval), one's own changes at once, and a schedule that was
    /// paused, deleted or redefined fires nothing any more.
    pub fn schedule_poll(mut self, interval: Duration) -> Self {
        self.config.schedule_poll = interval;
        self
    }

    /// Opens the database, takes up what this executor left unfinished, and begins to run.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for a setting or a name that breaks a rule,
    /// before anything is opened; [`ErrorKind::Initialization`](crate::ErrorKind::Initialization) when the database
    /// cannot be opened or its schema not be used.
    pub async fn launch(self) -> Result<Dbos> {
        self.config.check()?;
        let registry = self.registry?;
        Dbos::launch(self.config, registry).await
    }

    /// Creates or upgrades the schema and does nothing else: for a run before a rollout, with a role that may change
    /// tables. No version is registered and no workflow runs. [`migrate`](Self::migrate) makes no difference.
    ///
    /// # Errors
    ///
    /// As of [`launch`](Self::launch): what would be refused there is refused here.
    ///
    /// # Cancel safety
    ///
    /// A migration that was under way may be finished or not. The next one continues from there.
    pub async fn migrate_only(mut self) -> Result<()> {
        self.config.check()?;
        self.config.migrate = true;
        Dbos::migrate(self.config, self.registry?).await
    }
}

fn registration_of<W: Workflow>(workflow: &W) -> Registration {
    Registration {
        name: workflow.name().to_owned(),
        class: workflow.class_name().map(ToOwned::to_owned),
        instance: workflow.config_name().map(ToOwned::to_owned),
        roles: workflow.roles().iter().map(|role| (*role).to_owned()).collect(),
        fingerprint: workflow.fingerprint(),
    }
}

impl<S> fmt::Debug for Builder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("name", &self.config.name).finish_non_exhaustive()
    }
}
