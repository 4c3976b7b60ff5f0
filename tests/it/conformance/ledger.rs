//! An application with one table, and what its tests need: a count of runs, a door, a second process.
//!
//! The table has no key, so that an effect that happens twice shows as two rows.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test may fail in the shortest way there is")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dbos_runtime::{Backend, Builder, Ctx, Datasource, Dbos, Error, Workflow, WorkflowRef};
use harness::Fresh;
use serde::{Deserialize, Serialize};
use sqlx::{Any, AnyConnection};
use tokio::sync::Semaphore;

/// The application's state.
pub(crate) type App = Arc<Parts<Any>>;

pub(crate) struct Parts<DB: Backend> {
    pub(crate) db: Datasource<DB>,
    /// How often bodies have run.
    pub(crate) runs: AtomicU32,
    pub(crate) door: Door,
}

impl Parts<Any> {
    /// An application whose table is made in that database.
    pub(crate) async fn on(fresh: &Fresh) -> App {
        let db = Datasource::connect(fresh.url()).await.unwrap();
        sqlx::query("CREATE TABLE ledger (entry TEXT NOT NULL)").execute(db.pool()).await.unwrap();
        Self::with(db)
    }
}

impl<DB: Backend> Parts<DB> {
    pub(crate) fn with(db: Datasource<DB>) -> Arc<Self> {
        Arc::new(Self { db, runs: AtomicU32::new(0), door: Door::default() })
    }

    /// Counts a run of a body, and says which one it is, from 1.
    pub(crate) fn run(&self) -> u32 {
        self.runs.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn runs(&self) -> u32 {
        self.runs.load(Ordering::SeqCst)
    }
}

/// Code stops at a door until the test lets it through.
pub(crate) struct Door {
    arrived: Semaphore,
    open: Semaphore,
}

impl Default for Door {
    fn default() -> Self {
        Self { arrived: Semaphore::new(0), open: Semaphore::new(0) }
    }
}

impl Door {
    /// Says that it is here, and waits to be let through.
    pub(crate) async fn pass(&self) {
        self.arrived.add_permits(1);
        self.open.acquire().await.unwrap().forget();
    }

    /// Waits until somebody is at the door.
    pub(crate) async fn knock(&self) {
        let arrived = tokio::time::timeout(harness::PATIENCE, self.arrived.acquire()).await;
        arrived.expect("nobody came to the door").unwrap().forget();
    }

    pub(crate) fn let_in(&self, many: usize) {
        self.open.add_permits(many);
    }
}

/// The application's error: one of its own, and the runtime's.
#[derive(Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Fail {
    #[error("only {left} left")]
    SoldOut { left: i64 },
    #[error(transparent)]
    Runtime(#[from] Error),
}

impl From<sqlx::Error> for Fail {
    fn from(error: sqlx::Error) -> Self {
        Self::Runtime(error.into())
    }
}

impl Fail {
    pub(crate) fn kind(&self) -> Option<dbos_runtime::ErrorKind> {
        match self {
            Self::SoldOut { .. } => None,
            Self::Runtime(error) => Some(error.kind()),
        }
    }
}

/// The query of an application, in a function of its own.
pub(crate) async fn add(tx: &mut AnyConnection, entry: &str) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO ledger (entry) VALUES ($1)").bind(entry).execute(tx).await.map(drop)
}

/// The entries, in order.
pub(crate) async fn entries(fresh: &Fresh) -> Vec<String> {
    fresh.query("SELECT entry FROM ledger ORDER BY entry").await.into_iter().flatten().flatten().collect()
}

/// What is recorded of each step: name, and output or error.
pub(crate) async fn steps(fresh: &Fresh) -> Vec<(String, String)> {
    let rows = fresh
        .query("SELECT function_name, COALESCE(output, error) AS result FROM operation_outputs ORDER BY workflow_uuid, function_id")
        .await;
    let text = |row: Vec<Option<String>>| {
        let [name, result] = <[Option<String>; 2]>::try_from(row).unwrap();
        (name.unwrap(), result.unwrap_or_default())
    };
    rows.into_iter().map(text).collect()
}

pub(crate) async fn witnesses(fresh: &Fresh) -> i64 {
    fresh.scalar("SELECT count(*) FROM datasource_outputs").await
}

/// Whether a database has a table of that name.
pub(crate) async fn has_table(fresh: &Fresh, table: &str) -> bool {
    let tables = match fresh.backend() {
        harness::Backend::Sqlite => "SELECT count(*) FROM sqlite_master WHERE name",
        harness::Backend::Postgres => "SELECT count(*) FROM pg_class WHERE relname",
    };
    fresh.scalar(&format!("{tables} = '{table}'")).await > 0
}

/// A process that runs one workflow. Two on one database are two processes.
pub(crate) fn process<W: Workflow>(
    fresh: &Fresh,
    executor: &str,
    state: W::State,
    workflow: W,
) -> Builder<W::State> {
    harness::builder(fresh).executor_id(executor).state(state).register(workflow)
}

/// A process that notices by its own writes alone that a workflow is not its own any more.
pub(crate) fn unaware<S: Send + Sync + 'static>(builder: Builder<S>) -> Builder<S> {
    builder.polling_interval(Duration::from_secs(3600))
}

/// Ends a process in the middle of its work.
pub(crate) async fn kill(dbos: Dbos) {
    dbos.shutdown(Duration::ZERO).await;
}

/// Says that another process owns every workflow now.
pub(crate) async fn steal(fresh: &Fresh) {
    fresh.execute("UPDATE workflow_status SET owner_xid = 'thief'").await;
}

/// Puts every workflow back into the queue, as a process does that takes its owner for dead.
pub(crate) async fn give_away(fresh: &Fresh) {
    let sql = "UPDATE workflow_status SET status = 'ENQUEUED', owner_xid = NULL, started_at_epoch_ms = NULL, \
               queue_name = '_dbos_internal_queue'";
    fresh.execute(sql).await;
}

/// A workflow that is registered with a closure under the name `w`.
pub(crate) const W: WorkflowRef<(), String, Fail> = WorkflowRef::named("w");

/// Launches a process whose workflow `w` is that closure.
pub(crate) async fn launch<S, F, Fut>(builder: Builder<()>, state: S, body: F) -> Dbos
where
    S: Send + Sync + 'static,
    F: Fn(Ctx<S, Fail>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<String, Fail>> + Send + 'static,
{
    builder.state(state).register_fn("w", move |ctx, (): ()| body(ctx)).launch().await.unwrap()
}
