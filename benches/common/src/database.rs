//! A look at the database from outside. The three engines share the schema `dbos`.

use std::time::Duration;

use tokio_postgres::{Client, NoTls};

use crate::BoxError;

/// A connection of the benchmark's own.
pub struct Database(Client);

impl Database {
    /// Connects.
    pub async fn connect(url: &str) -> Result<Self, BoxError> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(connection);
        Ok(Self(client))
    }

    /// The one number that a statement gives.
    pub async fn number(&self, statement: &str) -> Result<i64, BoxError> {
        Ok(self.0.query_one(statement, &[]).await?.get(0))
    }

    /// Workflows with a status.
    pub async fn workflows(&self, status: &str) -> Result<i64, BoxError> {
        let statement =
            format!("SELECT count(*) FROM dbos.workflow_status WHERE status = '{status}'");
        self.number(&statement).await
    }

    /// Waits until as many workflows have ended well.
    pub async fn succeeded(&self, count: usize) -> Result<(), BoxError> {
        while self.workflows("SUCCESS").await? < i64::try_from(count)? {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Waits until this is the only connection: a killed process's are gone.
    pub async fn alone(&self) -> Result<(), BoxError> {
        while connections(self).await?.0 > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Copies the youngest workflow on a queue that often, each copy a millisecond younger.
    pub async fn multiply(&self, times: usize) -> Result<(), BoxError> {
        let youngest = "SELECT workflow_uuid FROM dbos.workflow_status \
                        WHERE status = 'ENQUEUED' ORDER BY created_at DESC LIMIT 1";
        let id: String = self.0.query_one(youngest, &[]).await?.get(0);
        // The input first: in an older schema there is no such table.
        for table in ["workflow_status", "workflow_input"] {
            let columns = "SELECT column_name::text FROM information_schema.columns \
                           WHERE table_schema = 'dbos' AND table_name = $1 AND is_generated = 'NEVER' \
                           AND identity_generation IS NULL";
            let columns: Vec<String> =
                self.0.query(columns, &[&table]).await?.iter().map(|row| row.get(0)).collect();
            if columns.is_empty() {
                continue;
            }
            let values: Vec<String> = columns
                .iter()
                .map(|column| match column.as_str() {
                    "workflow_uuid" => "md5(g::text)::uuid::text".to_owned(),
                    "created_at" => "t.created_at + g".to_owned(),
                    other => format!("t.{other}"),
                })
                .collect();
            let statement = format!(
                "INSERT INTO dbos.{table} ({}) SELECT {} FROM dbos.{table} t, generate_series(1, {times}) g \
                 WHERE t.workflow_uuid = $1",
                columns.join(", "),
                values.join(", "),
            );
            self.0.execute(&statement, &[&id]).await?;
        }
        Ok(())
    }

    /// What a database that has been up for a while has done: statistics, and pages on the disk.
    pub async fn settle(&self) -> Result<(), BoxError> {
        Ok(self.0.batch_execute("ANALYZE; CHECKPOINT").await?)
    }

    /// Begins to count statements, of the connections that are opened from now on.
    pub async fn count_statements(&self) -> Result<(), BoxError> {
        let statements = "CREATE EXTENSION IF NOT EXISTS pg_stat_statements; \
            DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET pg_stat_statements.track = ''all''', \
            current_database()); END $$";
        Ok(self.0.batch_execute(statements).await?)
    }

    /// The statements so far, not counting those that ask for them.
    pub async fn statements(&self) -> Result<i64, BoxError> {
        let statement = "SELECT coalesce(sum(calls), 0)::int8 FROM pg_stat_statements \
            WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) \
            AND query NOT LIKE '%pg_stat_statements%'";
        self.number(statement).await
    }
}

/// The connections to this database but the one that asks: all, and those that do something.
pub async fn connections(database: &Database) -> Result<(i64, i64), BoxError> {
    let statement = "SELECT count(*), count(*) FILTER (WHERE state <> 'idle') FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid() \
         AND backend_type = 'client backend'";
    let row = database.0.query_one(statement, &[]).await?;
    Ok((row.get(0), row.get(1)))
}
