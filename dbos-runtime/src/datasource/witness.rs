//! The witness row: proof, in a database that is not the system database, that a transaction step was committed.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;

use super::Datasource;
use super::again::{begin, in_time};
use super::backend::{Backend, Bind, Dialect};
use super::transaction::{Failed, Finished, Open};
use crate::engine::{Execution, Shared};
use crate::error::Result;
use crate::failpoint::{self, Boundary, Side};
use crate::ids::WorkflowId;
use crate::model::mailbox::Stored;
use crate::model::step::StepRow;
use crate::model::workflow::Fence;
use crate::payload::PORTABLE;

/// The datasources in which an execution may have left witnesses.
#[derive(Default)]
pub(crate) struct Witnesses {
    stores: Mutex<Vec<Arc<dyn WitnessStore>>>,
}

trait WitnessStore: Send + Sync {
    /// A pool and a schema in it: what two values have in common that stand for the same tables.
    fn place(&self) -> (*const (), &str);
    fn clean<'a>(&'a self, execution: &'a Execution) -> BoxFuture<'a, Result<()>>;
    fn forget<'a>(&'a self, workflows: &'a [WorkflowId], step: i32) -> BoxFuture<'a, Result<()>>;
}

impl<DB: Backend> WitnessStore for Datasource<DB> {
    fn place(&self) -> (*const (), &str) {
        // All clones of a pool share its options.
        (Arc::as_ptr(&self.inner.pool.connect_options()).cast::<()>(), &self.inner.schema)
    }

    fn clean<'a>(&'a self, execution: &'a Execution) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            // Asked once only: an outcome does not wait for a database that is away.
            let home = match self.known(execution) {
                Some(home) => home,
                None => in_time(self.holds(execution)).await?,
            };
            if home {
                return Ok(());
            }
            let sql = format!(
                "DELETE FROM {} WHERE workflow_id = $1 AND step_id >= 1",
                self.table("datasource_outputs")
            );
            let statement = super::TransactionOptions::named("clean").begin(self.inner.dialect);
            let mut open = begin(&execution.shared, self, statement).await?;
            let id = vec![Bind::text(execution.fence.id.as_str())];
            in_time(DB::execute(&mut open.transaction, sql, id)).await?;
            // A new owner may still need the witnesses. The rows are locked now, so it cannot use them meanwhile.
            execution.still_owner().await?;
            match open.commit().await {
                Ok(()) => Ok(()),
                Err(Failed::Sql(error) | Failed::Unanswered(error)) => Err(error.into()),
                Err(Failed::Runtime(error)) => Err(error),
            }
        })
    }

    fn forget<'a>(&'a self, workflows: &'a [WorkflowId], step: i32) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let mut connection = self.inner.pool.acquire().await?;
            let witnessed = self.has(&mut connection, "datasource_outputs").await?;
            drop(connection);
            if !witnessed {
                return Ok(());
            }
            let sql = format!(
                "DELETE FROM {} WHERE workflow_id = $1 AND step_id >= $2",
                self.table("datasource_outputs")
            );
            let turn = self.turn().await;
            let begin = super::TransactionOptions::named("forget").begin(self.inner.dialect);
            let mut transaction = DB::begin(self.inner.pool.clone(), begin).await?;
            for workflow in workflows {
                let binds = vec![Bind::text(workflow.as_str()), Bind::Int(step)];
                DB::execute(&mut transaction, sql.clone(), binds).await?;
            }
            transaction.commit().await?;
            drop(turn);
            Ok(())
        })
    }
}

impl Witnesses {
    pub(crate) fn add<DB: Backend>(&self, datasource: &Datasource<DB>) {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if !stores.iter().any(|store| store.place() == datasource.place()) {
            stores.push(Arc::new(datasource.clone()));
        }
    }

    /// Removes what these workflows witnessed from a step on, from every one of these datasources.
    pub(crate) async fn forget(&self, workflows: &[WorkflowId], step: i32) -> Result<()> {
        let stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for store in stores {
            store.forget(workflows, step).await?;
        }
        Ok(())
    }

    /// Removes the witnesses of an execution that is about to record its outcome. One that stays is taken along when the workflow is
    /// deleted.
    pub(crate) async fn clean(&self, execution: &Execution) {
        let stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for store in stores {
            if let Err(error) = store.clean(execution).await {
                tracing::warn!(workflow.id = %execution.fence.id, %error, "witness rows were left behind");
            }
        }
    }
}

/// Makes the witness table, if it is not there.
pub(super) async fn migrate<DB: Backend>(
    shared: &Arc<Shared>,
    datasource: &Datasource<DB>,
) -> sqlx::Result<()> {
    if in_time(is_migrated(datasource)).await? {
        return Ok(());
    }
    let (outputs, versions) =
        (datasource.table("datasource_outputs"), datasource.table("dbos_datasource_migrations"));
    let (first, schema, now) = match datasource.inner.dialect {
        Dialect::Postgres => (
            "BEGIN",
            Some(datasource.inner.schema.replace('"', "\"\"")),
            "(EXTRACT(epoch FROM now()) * 1000)::bigint",
        ),
        Dialect::Sqlite => ("BEGIN IMMEDIATE", None, "(CAST(unixepoch('subsec') * 1000 AS INTEGER))"),
    };
    let mut statements = Vec::new();
    if let Some(schema) = schema {
        let lock = "SELECT pg_advisory_xact_lock(hashtext('dbos.datasource_migrations'))";
        statements.push(lock.to_owned());
        statements.push(format!("CREATE SCHEMA IF NOT EXISTS \"{schema}\""));
    }
    statements.push(format!(
        "CREATE TABLE IF NOT EXISTS {outputs} (workflow_id TEXT NOT NULL, step_id INT4 NOT NULL, output TEXT, error TEXT, \
         serialization TEXT, created_at BIGINT NOT NULL DEFAULT {now}, PRIMARY KEY (workflow_id, step_id))"
    ));
    statements.push(format!("CREATE TABLE IF NOT EXISTS {versions} (version BIGINT NOT NULL PRIMARY KEY)"));
    statements.push(format!(
        "INSERT INTO {versions} (version) SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM {versions})"
    ));
    let mut open = begin(shared, datasource, first.to_owned()).await?;
    for statement in statements {
        in_time(DB::execute(&mut open.transaction, statement, Vec::new())).await?;
    }
    in_time(open.transaction.commit()).await
}

/// Looked at first, because a role that may not create tables may not even try.
async fn is_migrated<DB: Backend>(datasource: &Datasource<DB>) -> sqlx::Result<bool> {
    let mut connection = datasource.inner.pool.acquire().await?;
    Ok(datasource.has(&mut connection, "datasource_outputs").await?
        && datasource.has(&mut connection, "dbos_datasource_migrations").await?)
}

/// The result of a step that was committed here, if it was.
pub(super) async fn find<DB: Backend>(
    datasource: &Datasource<DB>,
    fence: &Fence,
    number: i32,
) -> sqlx::Result<Option<Stored>> {
    let sql = format!(
        "SELECT output, serialization FROM {} WHERE workflow_id = $1 AND step_id = $2",
        datasource.table("datasource_outputs")
    );
    let mut connection = datasource.inner.pool.acquire().await?;
    let row = DB::first(&mut connection, sql, vec![Bind::text(fence.id.as_str()), Bind::Int(number)]).await?;
    Ok(row.map(|row| {
        let mut columns = row.into_iter();
        let output = columns.next().flatten();
        Stored {
            serialization: columns
                .next()
                .flatten()
                .filter(|_| output.is_some())
                .or_else(|| Some(PORTABLE.to_owned())),
            value: output.unwrap_or_else(|| "null".to_owned()),
        }
    }))
}

/// The application's rows and the witness in one commit.
///
/// The witness is inserted before ownership is looked at: while we hold its row, a new owner's insert waits for us, so
/// a takeover after the look is still ordered behind this commit.
pub(super) async fn commit<DB: Backend>(
    execution: &Arc<Execution>,
    datasource: &Datasource<DB>,
    open: Open<DB>,
    row: &StepRow,
) -> std::result::Result<Finished, Failed> {
    let mut open = open;
    let sql = format!(
        "INSERT INTO {} (workflow_id, step_id, output, serialization) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        datasource.table("datasource_outputs")
    );
    let binds = vec![
        Bind::text(execution.fence.id.as_str()),
        Bind::Int(row.number),
        Bind::Text(row.output.clone()),
        Bind::Text(row.serialization.clone()),
    ];
    failpoint::pass(Boundary::Witness, Side::Before);
    let inserted = in_time(DB::execute(&mut open.transaction, sql, binds)).await.map_err(Failed::Sql)?;
    execution.still_owner().await.map_err(Failed::Runtime)?;
    if inserted == 0 {
        open.rollback().await;
        let found = in_time(find(datasource, &execution.fence, row.number)).await.map_err(Failed::Sql)?;
        let mut found = found.unwrap_or_else(|| Stored { value: "null".to_owned(), serialization: None });
        execution.shared.store.codec().open_stored(&mut found);
        let recorded = found.into_output_of(row.clone());
        execution.record(vec![recorded.clone()]).await.map_err(Failed::Runtime)?;
        return Ok(Finished::Recorded(recorded));
    }
    open.commit().await?;
    failpoint::pass(Boundary::Witness, Side::After);
    Ok(Finished::Committed)
}

#[cfg(feature = "sqlite")]
#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pool_counts_once_however_often_a_datasource_is_made_of_it() {
        let pool = || sqlx::SqlitePool::connect_lazy("sqlite::memory:").unwrap();
        let (one, other) = (pool(), pool());
        let witnesses = Witnesses::default();
        for pool in [&one, &other, &one] {
            for schema in ["dbos", "app", "dbos"] {
                witnesses.add(&Datasource::from_pool(pool.clone()).unwrap().schema(schema));
            }
        }
        assert_eq!(witnesses.stores.lock().unwrap().len(), 4);
    }
}
