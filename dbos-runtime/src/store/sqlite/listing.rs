//! Questions about many workflows or steps at once.

use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value};
use sqlx::AssertSqlSafe;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::values::SqliteQuery;
use super::{Sqlite, classify, rows};
use crate::model::aggregate::{StepAggregate, StepAggregates, WorkflowAggregate, WorkflowAggregates};
use crate::model::filter::Filter;
use crate::model::info::{StepInfo, WorkflowInfo};
use crate::store::conditions::{Bind, Conditions, Dialect, Statement};
use crate::store::error::StoreError;
use crate::store::listing::{self, columns};

type Result<T, E = StoreError> = std::result::Result<T, E>;

/// How many instructions of SQLite's machine pass between two looks at the clock.
const INSTRUCTIONS: i32 = 1000;

const LOOK: &str = concat!(
    "SELECT ",
    columns!(),
    ", NULL AS input, NULL AS output, NULL AS error FROM workflow_status w WHERE w.workflow_uuid = ?1"
);

const WHOLE: &str = concat!(
    "SELECT ",
    columns!(),
    ", coalesce(i.inputs, w.inputs) AS input, coalesce(o.output, w.output) AS output, coalesce(o.error, w.error) AS error
FROM workflow_status w LEFT JOIN workflow_input i ON i.workflow_uuid = w.workflow_uuid
    LEFT JOIN workflow_output o ON o.workflow_uuid = w.workflow_uuid
WHERE w.workflow_uuid = ?1"
);

const STEPS: &str = "\
SELECT function_id, function_name, CASE WHEN ?4 THEN output END AS output, CASE WHEN ?4 THEN error END AS error,
    child_workflow_id, started_at_epoch_ms, completed_at_epoch_ms, serialization
FROM operation_outputs WHERE workflow_uuid = ?1 ORDER BY function_id LIMIT ?2 OFFSET ?3";

/// LIKE takes no notice of case here, so a prefix is compared as it stands; the first comparison lets an index help.
const DIALECT: Dialect = Dialect {
    one_of: "{c} IN (SELECT value FROM json_each({v}))",
    prefixed: "({c} >= {v} AND substr({c}, 1, length({v})) = {v})",
    contains,
    unlimited: "-1",
};

/// What Postgres' `@>` does, spelled out: each member of the object is there with an equal value, objects and arrays in
/// it likewise.
fn contains(conditions: &mut Conditions, attributes: &Map<String, Value>) -> String {
    let stored = "CASE WHEN json_valid(w.attributes) THEN w.attributes END";
    format!("json_type({stored}) = 'object'{}", members(conditions, stored, attributes, 0))
}

fn members(conditions: &mut Conditions, of: &str, expected: &Map<String, Value>, depth: usize) -> String {
    let mut text = String::new();
    for (key, value) in expected {
        let key = conditions.bind(Bind::Text(key.clone()));
        let equal = equal(conditions, value, depth);
        text.push_str(&format!(
            " AND EXISTS (SELECT 1 FROM json_each({of}) m{depth} WHERE m{depth}.key = {key} AND {equal})"
        ));
    }
    text
}

/// Whether `m{depth}`, a row of `json_each`, contains the value.
fn equal(conditions: &mut Conditions, expected: &Value, depth: usize) -> String {
    let (found, deeper) = (format!("m{depth}"), depth + 1);
    match expected {
        Value::Null => format!("{found}.type = 'null'"),
        Value::Bool(truth) => format!("{found}.type = '{truth}'"),
        Value::Number(number) => {
            let number = match number.as_i64() {
                Some(number) => Bind::Int(number),
                None => Bind::Float(number.as_f64().unwrap_or_default()),
            };
            format!("{found}.type IN ('integer', 'real') AND {found}.value = {}", conditions.bind(number))
        }
        Value::String(text) => {
            format!("{found}.type = 'text' AND {found}.value = {}", conditions.bind(Bind::Text(text.clone())))
        }
        Value::Array(items) => {
            let mut text = format!("{found}.type = 'array'");
            for item in items {
                let equal = equal(conditions, item, deeper);
                text.push_str(&format!(
                    " AND EXISTS (SELECT 1 FROM json_each({found}.value) m{deeper} WHERE {equal})"
                ));
            }
            text
        }
        Value::Object(object) => {
            let members = members(conditions, &format!("{found}.value"), object, deeper);
            format!("{found}.type = 'object'{members}")
        }
    }
}

impl Sqlite {
    pub(crate) async fn look(&self, id: &str) -> Result<Option<WorkflowInfo>> {
        let query = sqlx::query(LOOK).bind(id);
        self.ask(async |c| query.fetch_optional(c).await?.as_ref().map(rows::workflow).transpose()).await
    }

    pub(crate) async fn whole(&self, id: &str) -> Result<Option<WorkflowInfo>> {
        let query = sqlx::query(WHOLE).bind(id);
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
        let query = sqlx::query(STEPS).bind(id).bind(limit).bind(offset).bind(output);
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

    /// Puts a question that may take long, under the time limit for such: SQLite itself looks at the clock as it works.
    pub(super) async fn survey<T>(
        &self,
        statement: Statement,
        read: fn(&SqliteRow) -> Result<T, sqlx::Error>,
    ) -> Result<Vec<T>> {
        let text: Arc<str> = statement.text.replace("{s}.", "").into();
        // The text depends on what was asked: prepared for once only.
        let query = sqlx::query(AssertSqlSafe(text)).persistent(false);
        let query = statement.binds.into_iter().fold(query, bind);
        let mut connection = Watched(Some(self.pool.acquire().await.map_err(classify)?));
        let found = async {
            let open: &mut SqliteConnection = connection.0.as_mut().ok_or(sqlx::Error::PoolClosed)?;
            if let Some(limit) = self.listing_timeout {
                let begun = Instant::now();
                open.lock_handle().await?.set_progress_handler(INSTRUCTIONS, move || begun.elapsed() < limit);
            }
            let found = query.fetch_all(&mut *open).await;
            open.lock_handle().await?.remove_progress_handler();
            found?.iter().map(read).collect::<Result<_, sqlx::Error>>()
        }
        .await;
        drop(connection.0.take());
        found.map_err(|error| match (&error, self.listing_timeout) {
            (sqlx::Error::Database(database), Some(limit))
                if database.code().is_some_and(|code| code == INTERRUPTED) =>
            {
                StoreError::Slow(limit)
            }
            _ => classify(error),
        })
    }
}

const INTERRUPTED: &str = "9";

/// A connection that looks at the clock. Dropped with it, it is closed: what it is asked next has another time limit.
struct Watched(Option<PoolConnection<sqlx::Sqlite>>);

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.0.take().map(PoolConnection::detach));
    }
}

fn bind(query: SqliteQuery<'_>, value: Bind) -> SqliteQuery<'_> {
    match value {
        Bind::Text(text) => query.bind(text),
        Bind::Texts(texts) => query.bind(Value::from(texts).to_string()),
        Bind::Int(number) => query.bind(number),
        Bind::Float(number) => query.bind(number),
    }
}
