//! Questions about many workflows or steps at once.

use std::time::Duration;

use serde_json::{Map, Value};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Executor, Postgres as Driver};

use super::{DEADLINE, Postgres, rows};
use crate::model::aggregate::{StepAggregate, StepAggregates, WorkflowAggregate, WorkflowAggregates};
use crate::model::filter::Filter;
use crate::model::info::{StepInfo, WorkflowInfo};
use crate::store::conditions::{Bind, Conditions, Dialect, Statement};
use crate::store::error::StoreError;
use crate::store::listing::{self, columns};

type Result<T, E = StoreError> = std::result::Result<T, E>;

const LOOK: &str = concat!(
    "SELECT ",
    columns!(),
    ", NULL AS input, NULL AS output, NULL AS error FROM {s}.workflow_status w WHERE w.workflow_uuid = $1"
);

const WHOLE: &str = concat!(
    "SELECT ",
    columns!(),
    ", coalesce(i.inputs, w.inputs) AS input, coalesce(o.output, w.output) AS output, coalesce(o.error, w.error) AS error
FROM {s}.workflow_status w LEFT JOIN {s}.workflow_input i ON i.workflow_uuid = w.workflow_uuid
    LEFT JOIN {s}.workflow_output o ON o.workflow_uuid = w.workflow_uuid
WHERE w.workflow_uuid = $1"
);

const STEPS: &str = "\
SELECT function_id, function_name, CASE WHEN $4 THEN output END AS output, CASE WHEN $4 THEN error END AS error,
    child_workflow_id, started_at_epoch_ms, completed_at_epoch_ms, serialization
FROM {s}.operation_outputs WHERE workflow_uuid = $1 ORDER BY function_id LIMIT $2 OFFSET $3";

const DIALECT: Dialect =
    Dialect { one_of: "{c} = ANY({v})", prefixed: "starts_with({c}, {v})", contains, unlimited: "ALL" };

fn contains(conditions: &mut Conditions, attributes: &Map<String, Value>) -> String {
    let value = conditions.bind(Bind::Text(Value::from(attributes.clone()).to_string()));
    format!("w.attributes @> CAST({value} AS jsonb)")
}

impl Postgres {
    pub(crate) async fn look(&self, id: &str) -> Result<Option<WorkflowInfo>> {
        let query = sqlx::query(self.statements.get(LOOK)).bind(id);
        self.ask(async |c| query.fetch_optional(c).await?.as_ref().map(rows::workflow).transpose()).await
    }

    pub(crate) async fn whole(&self, id: &str) -> Result<Option<WorkflowInfo>> {
        let query = sqlx::query(self.statements.get(WHOLE)).bind(id);
        self.ask(async |c| query.fetch_optional(c).await?.as_ref().map(rows::workflow).transpose()).await
    }

    pub(crate) async fn list(&self, filter: &Filter) -> Result<Vec<WorkflowInfo>> {
        let statement = listing::workflows(filter, self.identity.application(), &DIALECT);
        self.survey(statement, rows::workflow).await
    }

    pub(crate) async fn steps(
        &self,
        id: &str,
        limit: i64,
        offset: i64,
        output: bool,
    ) -> Result<Vec<StepInfo>> {
        let query = sqlx::query(self.statements.get(STEPS)).bind(id).bind(limit).bind(offset).bind(output);
        self.ask(async |c| query.fetch_all(c).await?.iter().map(rows::step_info).collect()).await
    }

    pub(crate) async fn aggregates(&self, asked: &WorkflowAggregates) -> Result<Vec<WorkflowAggregate>> {
        let statement = listing::workflow_groups(asked, self.identity.application(), &DIALECT);
        self.survey(statement, rows::workflow_group).await
    }

    pub(crate) async fn step_aggregates(&self, asked: &StepAggregates) -> Result<Vec<StepAggregate>> {
        let statement = listing::step_groups(asked, self.identity.application(), &DIALECT);
        self.survey(statement, rows::step_group).await
    }

    /// Puts a question that may take long, under the time limit for such: the server's own, for this transaction only.
    pub(super) async fn survey<T>(
        &self,
        statement: Statement,
        read: fn(&PgRow) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>> {
        let text = self.statements.fill(&statement.text);
        // The text depends on what was asked: prepared for once only.
        let query = sqlx::query(AssertSqlSafe(text)).persistent(false);
        let query = statement.binds.into_iter().fold(query, bind);
        let limit = self.listing_timeout;
        let begin = format!(
            "BEGIN READ ONLY; SET LOCAL statement_timeout = {}",
            limit.map_or(0, |limit| limit.as_millis())
        );
        // The server ends what takes too long. If it does not answer at all, the connection is lost.
        let deadline = limit.map(|limit| limit + DEADLINE);
        let asked = self.ask_within(&self.pool, deadline, async |c| {
            sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut *c).await?;
            let found = query.fetch_all(&mut *c).await;
            (&mut *c).execute("ROLLBACK").await?;
            found?.iter().map(read).collect()
        });
        asked.await.map_err(|error| slow(error, limit))
    }
}

fn bind(query: Query<'_, Driver, PgArguments>, value: Bind) -> Query<'_, Driver, PgArguments> {
    match value {
        Bind::Text(text) => query.bind(text),
        Bind::Texts(texts) => query.bind(texts),
        Bind::Int(number) => query.bind(number),
        #[cfg(feature = "sqlite")]
        Bind::Float(number) => query.bind(number),
    }
}

/// The server's own statement limit, which for a listing is ours.
fn slow(error: StoreError, limit: Option<Duration>) -> StoreError {
    const QUERY_CANCELED: &str = "57014";
    match (&error, limit) {
        (StoreError::Exhausted(sqlx::Error::Database(database)), Some(limit))
            if database.code().is_some_and(|code| code == QUERY_CANCELED) =>
        {
            StoreError::Slow(limit)
        }
        _ => error,
    }
}
