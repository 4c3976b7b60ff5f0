//! Which failures of a datasource another try can cure, and how long to wait for it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::Datasource;
use super::backend::Backend;
use super::transaction::Open;
use crate::engine::{Execution, Shared};
use crate::error::Error;
use crate::store::ends_session;

/// The first wait before another run, and the longest; each wait is half as long again as the one before.
pub(super) const FIRST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// How long the datasource may take over one statement of this crate's own. The driver has no limit: what a network has
/// swallowed would be waited for without end.
const DEADLINE: Duration = Duration::from_secs(10);

/// Waits for an answer, but not for ever; one that is late is a connection that was lost.
pub(super) async fn in_time<T>(answer: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    tokio::time::timeout(DEADLINE, answer).await.unwrap_or_else(|_| Err(too_late()))
}

fn too_late() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        "the datasource did not answer in time",
    ))
}

/// Begins a transaction in a task of its own: a caller that leaves in the middle would leave a connection in an open
/// transaction, and the pool would hand it on.
pub(super) async fn begin<DB: Backend>(
    shared: &Arc<Shared>,
    datasource: &Datasource<DB>,
    statement: String,
) -> sqlx::Result<Open<DB>> {
    let (datasource, runtime) = (datasource.clone(), Arc::clone(shared));
    let begun = shared.tasks.workflows.spawn(async move {
        let turn = datasource.turn().await;
        let pool = &datasource.inner.pool;
        let patience = pool.options().get_acquire_timeout() + DEADLINE;
        let mut beginning = DB::begin(pool.clone(), statement);
        tokio::select! {
            biased;
            begun = &mut beginning => return Ok(Open { transaction: begun?, _turn: turn }),
            () = tokio::time::sleep(patience) => {}
            () = runtime.tasks.stopped.cancelled() => {}
        }
        // Nobody waits for it any more, not even a shutdown; but when it comes it has to be rolled back.
        runtime.handle.spawn(async move { drop((beginning.await, turn)) });
        Err(too_late())
    });
    begun.await.unwrap_or(Err(sqlx::Error::WorkerCrashed))
}

/// Asks the datasource until it answers, as far as another try can help.
pub(super) async fn patiently<T, F>(execution: &Execution, question: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = sqlx::Result<T>>,
{
    let mut wait = FIRST_WAIT;
    loop {
        match question().await {
            Ok(answer) => return Ok(answer),
            Err(error) if transient(&error) || locked(&error) => pause(execution, &error, &mut wait).await?,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether a lock was not given up in time. A body's own is its own affair: it may not want to wait.
fn locked(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("55P03"))
}

/// Waits before another run.
pub(super) async fn pause(
    execution: &Execution,
    error: &sqlx::Error,
    wait: &mut Duration,
) -> Result<(), Error> {
    tracing::debug!(workflow.id = %execution.fence.id, retry_wait_ms = wait.as_millis(), %error, "a transaction runs again");
    execution.sleep_until(execution.now().after(*wait)).await?;
    *wait = wait.mul_f64(1.5).min(LONGEST_WAIT);
    Ok(())
}

/// The driver's error behind the body's, if another run can cure it.
pub(super) fn curable<'e, E: std::error::Error + 'static>(error: &'e E) -> Option<&'e sqlx::Error> {
    let mut next: Option<&'e (dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(sql) = error.downcast_ref::<sqlx::Error>() {
            return transient(sql).then_some(sql);
        }
        next = error.source();
    }
    None
}

/// Whether the connection leads to a database that cannot write: a primary no longer.
pub(super) fn read_only(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("25006"))
}

/// Conflicts, and connections that were lost: by exact code, as in the stores.
pub(super) fn transient(error: &sqlx::Error) -> bool {
    match error {
        error if ends_session(error) => true,
        sqlx::Error::Database(database) => database.code().is_some_and(|code| {
            matches!(&*code, "40001" | "40P01" | "57P01" | "57P02" | "57P03" | "25P03" | "25006" | "53300")
                || code.parse::<u32>().is_ok_and(|code| code < 10_000 && matches!(code & 0xff, 5 | 6))
        }),
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        _ => false,
    }
}
