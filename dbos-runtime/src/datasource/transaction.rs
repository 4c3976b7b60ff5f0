//! A step that is one transaction of the application, given as a closure.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Transaction;
use tokio::sync::OwnedMutexGuard;

use super::again::{FIRST_WAIT, begin, curable, in_time, patiently, pause, read_only, transient};
use super::backend::{Backend, Bind, Dialect};
use super::{Datasource, TransactionOptions, witness};
use crate::engine::{Ctx, Execution, Place, Scoped, answer, in_body_of, look};
use crate::error::{DurableError, Error, ErrorKind};
use crate::failpoint::{self, Boundary, Side};
use crate::limits;
use crate::model::step::StepRow;
use crate::payload;
use crate::store::ends_session;

impl<S, E: DurableError> Ctx<S, E> {
    /// Runs `body` in a transaction of the datasource, exactly once: its rows and the record of its result are committed
    /// together.
    ///
    /// The body may run several times (after a serialization failure, a deadlock, a lost connection), but only one run
    /// is committed. An error of the body, also a panic, rolls back and is recorded. The body gets the connection, and must not commit.
    ///
    /// What the body captures has to be its own (`async move`, clones): a captured reference, even a `&'static str`, makes
    /// the future of a workflow not `Send` in the eyes of the compiler. Code that wants to borrow uses
    /// [`begin`](Self::begin).
    ///
    /// On SQLite the transaction is the only writer of the file while the body runs: keep it short, and await nothing
    /// slow in it. On Postgres it holds a connection of the datasource's pool.
    ///
    /// A failure that another run can cure is recognized where the body's error has the [`sqlx::Error`] in its chain of
    /// sources; this crate's [`Error`] made from one has.
    ///
    /// # Errors
    ///
    /// The body's error; a control signal when the workflow has to stop.
    ///
    /// # Cancel safety
    ///
    /// Dropping it while the body runs rolls back. A commit that has begun is finished.
    ///
    /// # Examples
    ///
    /// ```
    /// # use dbos_runtime::{Ctx, Datasource, Error};
    /// async fn pay(ctx: Ctx<Datasource<sqlx::Sqlite>>, order: i64) -> Result<(), Error> {
    ///     let db = ctx.state().clone();
    ///     ctx.transaction(&db, "mark_paid", async move |tx| {
    ///         sqlx::query("UPDATE orders SET paid = 1 WHERE id = $1").bind(order).execute(tx).await?;
    ///         Ok(())
    ///     })
    ///     .await
    /// }
    /// ```
    pub fn transaction<'a, DB, T, F, O>(
        &self,
        datasource: &'a Datasource<DB>,
        options: O,
        body: F,
    ) -> Placed<impl Future<Output = Result<T, E>> + use<'a, S, E, DB, T, F, O>>
    where
        DB: Backend,
        O: Into<TransactionOptions>,
        T: Serialize + DeserializeOwned,
        F: AsyncFn(&mut DB::Connection) -> Result<T, E>,
    {
        let options = options.into();
        let claimed = limits::name("step name", &options.name).and_then(|()| self.execution.claim(1));
        let execution = Arc::clone(&self.execution);
        Placed::new(&self.execution, async move {
            let number = execution.granted(claimed).await?;
            run(execution, number, datasource, options, body).await
        })
    }
}

/// A durable call whose type cannot be forgotten; it checks where it is polled.
#[must_use = "a durable call does nothing until it is awaited"]
pub struct Placed<F> {
    execution: Arc<Execution>,
    future: Pin<Box<F>>,
}

impl<F> Placed<F> {
    pub(super) fn new(execution: &Arc<Execution>, future: F) -> Self {
        Self { execution: Arc::clone(execution), future: Box::pin(future) }
    }
}

impl<F> std::fmt::Debug for Placed<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Placed").field("workflow_id", &self.execution.fence.id).finish_non_exhaustive()
    }
}

impl<F, T, E> Future for Placed<F>
where
    F: Future<Output = Result<T, E>>,
    E: From<Error>,
{
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Err(error) = in_body_of(self.execution.serial) {
            return Poll::Ready(Err(error.into()));
        }
        self.future.as_mut().poll(cx)
    }
}

async fn run<DB, T, E, F>(
    execution: Arc<Execution>,
    number: i32,
    datasource: &Datasource<DB>,
    options: TransactionOptions,
    body: F,
) -> Result<T, E>
where
    DB: Backend,
    T: Serialize + DeserializeOwned,
    E: DurableError,
    F: AsyncFn(&mut DB::Connection) -> Result<T, E>,
{
    let plan = match Plan::make(&execution, number, datasource, &options).await? {
        Prepared::Recorded(row) => return answer(&row, &execution),
        Prepared::Run(plan) => plan,
    };
    let mut wait = FIRST_WAIT;
    // Whether a run may have been committed without this side hearing of it.
    let mut unsure = false;
    let failure = loop {
        if unsure && let Some(row) = plan.committed().await? {
            return answer(&row, &execution);
        }
        let mut open = match plan.begin().await {
            Ok(open) => open,
            Err(error) if transient(&error) => {
                pause(&execution, &error, &mut wait).await?;
                continue;
            }
            Err(error) => break Error::from(error).into(),
        };
        // Built inside the scope, so that code before the body's first await counts as the body too.
        let running = async { body(&mut open.transaction).await };
        let running =
            Scoped::new(execution.serial, Place::Transaction, AssertUnwindSafe(running).catch_unwind());
        let result = running.await.unwrap_or_else(|panic| {
            Err(payload::panicked(&*panic, &format!("transaction {:?}", plan.options.name)).into())
        });
        let encoded = result.and_then(|value| Ok((payload::encode(&value)?, value)));
        let (output, value) = match encoded {
            Ok(encoded) => encoded,
            Err(error) => {
                let cause = curable(&error);
                open.give_up(cause).await;
                let Some(cause) = cause else { break error };
                pause(&execution, cause, &mut wait).await?;
                continue;
            }
        };
        match plan.finish(open, output).await {
            Ok(Finished::Committed) => return Ok(value),
            Ok(Finished::Recorded(row)) => return answer(&row, &execution),
            Err(Failed::Runtime(error)) => return Err(error.into()),
            Err(Failed::Unanswered(error)) => {
                unsure = true;
                pause(&execution, &error, &mut wait).await?;
            }
            Err(Failed::Sql(error)) if transient(&error) => {
                unsure = true;
                pause(&execution, &error, &mut wait).await?;
            }
            Err(Failed::Sql(error)) => break Error::from(error).into(),
        }
    };
    // The body's last run may have failed because an earlier one is there already.
    if unsure && let Some(row) = plan.committed().await? {
        return answer(&row, &execution);
    }
    execution.live()?;
    execution.record(vec![plan.row().with_error(payload::encode_error(&failure))]).await?;
    Err(failure)
}

/// How a transaction step is going to be made exactly once.
pub(super) struct Plan<DB: Backend> {
    execution: Arc<Execution>,
    datasource: Datasource<DB>,
    options: TransactionOptions,
    number: i32,
    /// Whether the step's record is in the same database.
    home: bool,
    started: crate::time::Timestamp,
}

pub(super) enum Prepared<DB: Backend> {
    Recorded(StepRow),
    Run(Plan<DB>),
}

/// An open transaction, with this process's turn to write.
pub(super) struct Open<DB: Backend> {
    pub(super) transaction: Transaction<'static, DB>,
    /// Declared after the transaction, so that it is given up after it.
    pub(super) _turn: Option<OwnedMutexGuard<()>>,
}

impl<DB: Backend> Open<DB> {
    /// Commits. Whatever is not the database's own answer leaves open whether it did.
    pub(super) async fn commit(self) -> Result<(), Failed> {
        in_time(self.transaction.commit()).await.map_err(|error| match error {
            sqlx::Error::Database(_) if !ends_session(&error) => Failed::Sql(error),
            _ => Failed::Unanswered(error),
        })
    }

    /// Rolls back, and does not keep a connection that leads to a database which cannot write.
    async fn give_up(mut self, cause: Option<&sqlx::Error>) {
        if matches!(cause, Some(sqlx::Error::Io(_))) {
            // Nobody is there to hear of it.
            return;
        }
        if cause.is_some_and(read_only) {
            for end in ["ROLLBACK", "SELECT pg_terminate_backend(pg_backend_pid())"] {
                let _ = in_time(DB::execute(&mut self.transaction, end.to_owned(), Vec::new())).await;
            }
        }
        self.rollback().await;
    }

    pub(super) async fn rollback(self) {
        // A connection that cannot roll back is closed by the pool, which rolls back.
        let _ = in_time(self.transaction.rollback()).await;
    }
}

pub(super) enum Finished {
    Committed,
    Recorded(StepRow),
}

pub(super) enum Failed {
    Sql(sqlx::Error),
    /// The transaction may have been committed all the same.
    Unanswered(sqlx::Error),
    Runtime(Error),
}

impl<DB: Backend> Plan<DB> {
    pub(super) async fn make(
        execution: &Arc<Execution>,
        number: i32,
        datasource: &Datasource<DB>,
        options: &TransactionOptions,
    ) -> Result<Prepared<DB>, Error> {
        let recorded = execution.recorded(number);
        if let Some(row) = look(recorded.as_ref(), &execution.fence.id, number, &options.name)? {
            // The execution that recorded it may have left a witness.
            execution.witnesses.add(datasource);
            execution.shared.registry.datasources.add(datasource);
            return Ok(Prepared::Recorded(row.clone()));
        }
        execution.live()?;
        let plan = Self {
            execution: Arc::clone(execution),
            datasource: datasource.clone(),
            options: options.clone(),
            number,
            home: datasource.is_home(execution).await?,
            started: execution.now(),
        };
        if !plan.home {
            execution.witnesses.add(datasource);
            execution.shared.registry.datasources.add(datasource);
            if let Some(row) = plan.committed().await? {
                return Ok(Prepared::Recorded(row));
            }
        }
        Ok(Prepared::Run(plan))
    }

    /// The step's record, where an earlier run of it was committed after all.
    pub(super) async fn committed(&self) -> Result<Option<StepRow>, Error> {
        let (execution, number) = (&self.execution, self.number);
        if self.home {
            let found = execution.reread(number).await?;
            return Ok(look(found.as_ref(), &execution.fence.id, number, &self.options.name)?.cloned());
        }
        let found =
            patiently(execution, || in_time(witness::find(&self.datasource, &execution.fence, number)))
                .await?;
        let Some(mut found) = found else { return Ok(None) };
        self.execution.shared.store.codec().open_stored(&mut found);
        let row = found.into_output_of(self.row());
        execution.record(vec![row.clone()]).await?;
        Ok(Some(row))
    }

    pub(super) fn row(&self) -> StepRow {
        StepRow::marker(self.number, self.options.name.clone(), self.started, self.execution.now())
    }

    pub(super) fn execution(&self) -> &Arc<Execution> {
        &self.execution
    }

    pub(super) async fn begin(&self) -> Result<Open<DB>, sqlx::Error> {
        let statement = self.options.begin(self.datasource.inner.dialect);
        begin(&self.execution.shared, &self.datasource, statement).await
    }

    /// Records and commits, in a task of its own: what has begun to be committed is finished.
    pub(super) async fn finish(&self, open: Open<DB>, output: String) -> Result<Finished, Failed> {
        let mut row = self.row().with_output(output);
        self.execution.shared.store.codec().seal_step(&mut row).map_err(Failed::Runtime)?;
        let (execution, datasource, home) = (Arc::clone(&self.execution), self.datasource.clone(), self.home);
        let task = self.execution.shared.tasks.workflows.spawn(async move {
            if home {
                return commit_at_home(&execution, &datasource, open, &row).await;
            }
            let finished = witness::commit(&execution, &datasource, open, &row).await?;
            if matches!(finished, Finished::Committed) {
                execution.record(vec![row]).await.map_err(Failed::Runtime)?;
            }
            Ok(finished)
        });
        task.await.unwrap_or(Err(Failed::Sql(sqlx::Error::WorkerCrashed)))
    }
}

/// The application's rows and the step's record in one commit.
async fn commit_at_home<DB: Backend>(
    execution: &Arc<Execution>,
    datasource: &Datasource<DB>,
    open: Open<DB>,
    row: &StepRow,
) -> Result<Finished, Failed> {
    let mut open = open;
    let (status, steps) = (datasource.table("workflow_status"), datasource.table("operation_outputs"));
    let lock = if datasource.inner.dialect == Dialect::Postgres { "FOR NO KEY UPDATE" } else { "" };
    let sql = format!(
        "INSERT INTO {steps} (workflow_uuid, function_id, function_name, output, started_at_epoch_ms, \
         completed_at_epoch_ms, serialization, application_name) \
         SELECT owned.workflow_uuid, $3, $4, $5, $6, $7, $8, $9 FROM \
         (SELECT workflow_uuid FROM {status} WHERE workflow_uuid = $1 AND owner_xid = $2 {lock}) AS owned \
         WHERE true ON CONFLICT DO NOTHING"
    );
    let binds = vec![
        Bind::text(execution.fence.id.as_str()),
        Bind::text(execution.token().as_str()),
        Bind::Int(row.number),
        Bind::text(&row.name),
        Bind::Text(row.output.clone()),
        Bind::Big(row.started),
        Bind::Big(row.completed),
        Bind::Text(row.serialization.clone()),
        Bind::Text(execution.shared.identity.application.clone()),
    ];
    failpoint::pass(Boundary::Transaction, Side::Before);
    let inserted = match in_time(DB::execute(&mut open.transaction, sql, binds)).await {
        Ok(inserted) => inserted,
        Err(error) => {
            open.give_up(Some(&error)).await;
            return Err(Failed::Sql(error));
        }
    };
    if inserted == 1 {
        open.commit().await?;
        failpoint::pass(Boundary::Transaction, Side::After);
        return Ok(Finished::Committed);
    }
    open.rollback().await;
    already(execution, row).await
}

/// Nothing was inserted: the execution has lost its row, or an earlier try of this very step was committed.
async fn already(execution: &Arc<Execution>, row: &StepRow) -> Result<Finished, Failed> {
    execution.still_owner().await.map_err(Failed::Runtime)?;
    let found = execution.reread(row.number).await.map_err(Failed::Runtime)?;
    let found = look(found.as_ref(), &execution.fence.id, row.number, &row.name).map_err(Failed::Runtime)?;
    found.cloned().map(Finished::Recorded).ok_or_else(|| {
        Failed::Runtime(Error::new(ErrorKind::Database, "a transaction step could not be recorded"))
    })
}
