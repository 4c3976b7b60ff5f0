//! Steps: recording them inside a batch, and questions about them.

use std::collections::HashSet;

use sqlx::Row;

use super::batch::Work;
use super::values::SqliteQuery;
use super::{Sqlite, rows};
use crate::model::step::StepRow;
use crate::model::workflow::Fence;
use crate::store::error::StoreError;

const HISTORY: &str = "\
SELECT function_id, function_name, output, error, child_workflow_id, started_at_epoch_ms, completed_at_epoch_ms,
    serialization
FROM operation_outputs WHERE workflow_uuid = ?1 ORDER BY function_id";

const STEP: &str = "\
INSERT INTO operation_outputs (workflow_uuid, function_id, function_name, output, error, child_workflow_id,
    started_at_epoch_ms, completed_at_epoch_ms, serialization, application_name)
VALUES {rows} ON CONFLICT DO NOTHING";

const STEP_IF_NEW: &str = "\
INSERT INTO operation_outputs (workflow_uuid, function_id, function_name, output, error, child_workflow_id,
    started_at_epoch_ms, completed_at_epoch_ms, serialization, application_name)
VALUES {rows} ON CONFLICT DO NOTHING RETURNING workflow_uuid, function_id";

/// A step, and the ownership under which it is recorded.
type Step<'a> = (&'a Fence, &'a StepRow);

impl Sqlite {
    pub(crate) async fn history(&self, id: &str) -> Result<Vec<StepRow>, StoreError> {
        let query = sqlx::query(HISTORY).bind(id);
        self.ask(async |c| query.fetch_all(c).await?.iter().map(rows::step).collect()).await
    }
}

impl Work<'_> {
    /// Records these steps, and says how many of them were not there before.
    pub(super) async fn steps(&mut self, steps: &[Step<'_>]) -> std::result::Result<u64, sqlx::Error> {
        let application = &self.identity.application;
        self.values
            .execute(self.connection, STEP, 10, steps, |query, step| bind(query, step, application))
            .await
    }

    /// Records these steps, and says which of them were not there before.
    pub(super) async fn steps_if_new(
        &mut self,
        steps: &[Step<'_>],
    ) -> std::result::Result<HashSet<(String, i32)>, sqlx::Error> {
        let application = &self.identity.application;
        let rows = self
            .values
            .fetch(self.connection, STEP_IF_NEW, 10, steps, |query, step| bind(query, step, application))
            .await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }
}

fn bind<'q>(
    query: SqliteQuery<'q>,
    (fence, step): &'q Step<'_>,
    application: &Option<String>,
) -> SqliteQuery<'q> {
    query
        .bind(fence.id.as_str())
        .bind(step.number)
        .bind(&step.name)
        .bind(&step.output)
        .bind(&step.error)
        .bind(&step.child)
        .bind(step.started)
        .bind(step.completed)
        .bind(&step.serialization)
        .bind(application.clone())
}
