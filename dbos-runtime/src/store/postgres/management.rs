//! Changes to workflows from outside of them. Rows are locked in the order of their ids, so two calls cannot deadlock.

use std::collections::HashSet;

use sqlx::{Connection, Row};

use super::{Postgres, rows};
use crate::ids::WorkflowId;
use crate::model::management::{Found, Missing};
use crate::store::error::StoreError;
use crate::store::management::Due;

type Answer<T> = Result<T, StoreError>;

const CANCEL: &str = "\
WITH found AS (
    SELECT workflow_uuid, status, owner_xid, completed_at FROM {s}.workflow_status
    WHERE workflow_uuid = ANY($1) ORDER BY workflow_uuid FOR NO KEY UPDATE
), changed AS (
    UPDATE {s}.workflow_status w
    SET status = 'CANCELLED', owner_xid = NULL, queue_name = NULL, deduplication_id = NULL, started_at_epoch_ms = NULL,
        updated_at = (EXTRACT(epoch FROM now()) * 1000)::int8, completed_at = (EXTRACT(epoch FROM now()) * 1000)::int8
    FROM found WHERE w.workflow_uuid = found.workflow_uuid
        AND w.status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')
    RETURNING w.workflow_uuid
)
SELECT found.*, changed.workflow_uuid IS NOT NULL AS changed FROM found LEFT JOIN changed USING (workflow_uuid)";

const RESUME: &str = "\
WITH found AS (
    SELECT workflow_uuid, status, owner_xid, completed_at FROM {s}.workflow_status
    WHERE workflow_uuid = ANY($1) ORDER BY workflow_uuid FOR NO KEY UPDATE
), changed AS (
    UPDATE {s}.workflow_status w
    SET status = 'ENQUEUED', owner_xid = NULL, queue_name = $2, recovery_attempts = 0, workflow_deadline_epoch_ms = NULL,
        deduplication_id = NULL, started_at_epoch_ms = NULL, completed_at = NULL,
        updated_at = (EXTRACT(epoch FROM now()) * 1000)::int8
    FROM found WHERE w.workflow_uuid = found.workflow_uuid
        AND w.status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')
        AND (SELECT count(*) FROM found) = cardinality($1)
    RETURNING w.workflow_uuid
)
SELECT found.*, changed.workflow_uuid IS NOT NULL AS changed FROM found LEFT JOIN changed USING (workflow_uuid)";

const DELAY: &str = "\
WITH found AS (
    SELECT workflow_uuid, status, owner_xid, completed_at FROM {s}.workflow_status
    WHERE workflow_uuid = $1 FOR NO KEY UPDATE
), changed AS (
    UPDATE {s}.workflow_status w
    SET delay_until_epoch_ms = coalesce($3, (EXTRACT(epoch FROM now()) * 1000)::int8 + $2),
        updated_at = (EXTRACT(epoch FROM now()) * 1000)::int8
    FROM found WHERE w.workflow_uuid = found.workflow_uuid AND w.status = 'DELAYED'
    RETURNING w.workflow_uuid
)
SELECT found.*, changed.workflow_uuid IS NOT NULL AS changed FROM found LEFT JOIN changed USING (workflow_uuid)";

/// Locks the rows first, in a statement of its own: the next ones see what their owners have committed until then, and
/// nothing comes after it. So a deleted workflow leaves no step, and no child is missed.
const CONDEMN: &str = "\
SELECT workflow_uuid, status, owner_xid, completed_at, TRUE AS changed FROM {s}.workflow_status
WHERE workflow_uuid = ANY($1) ORDER BY workflow_uuid FOR UPDATE";

const DELETE: &str = "\
WITH inputs AS (DELETE FROM {s}.workflow_input WHERE workflow_uuid = ANY($1)),
outputs AS (DELETE FROM {s}.workflow_output WHERE workflow_uuid = ANY($1)),
steps AS (DELETE FROM {s}.operation_outputs WHERE workflow_uuid = ANY($1))
DELETE FROM {s}.workflow_status WHERE workflow_uuid = ANY($1)";

const CHILDREN: &str = "\
SELECT workflow_uuid FROM {s}.workflow_status
WHERE parent_workflow_id IS NOT NULL AND parent_workflow_id = ANY($1) ORDER BY workflow_uuid";

const ANCESTRY: &str = "\
WITH RECURSIVE line(id) AS (
    SELECT $1 UNION
    SELECT w.parent_workflow_id FROM line JOIN {s}.workflow_status w ON w.workflow_uuid = line.id
    WHERE w.parent_workflow_id IS NOT NULL
)
SELECT id FROM line";

impl Postgres {
    pub(crate) async fn cancel(&self, ids: &[WorkflowId]) -> Answer<Vec<Found>> {
        let query = sqlx::query(self.statements.get(CANCEL)).bind(texts(ids));
        self.ask(async |c| query.fetch_all(c).await?.iter().map(rows::found).collect()).await
    }

    pub(crate) async fn resume(
        &self,
        ids: &[WorkflowId],
        queue: &str,
    ) -> Answer<Result<Vec<Found>, Missing>> {
        let query = sqlx::query(self.statements.get(RESUME)).bind(texts(ids)).bind(queue);
        let found: Vec<Found> =
            self.ask(async |c| query.fetch_all(c).await?.iter().map(rows::found).collect()).await?;
        Ok(Missing::among(ids, &found).map_or(Ok(found), Err))
    }

    pub(crate) async fn delay(&self, id: &WorkflowId, due: Due) -> Answer<Option<Found>> {
        let (wait, at) = due.parts();
        let query = sqlx::query(self.statements.get(DELAY)).bind(id.as_str()).bind(wait).bind(at);
        self.ask(async |c| query.fetch_optional(c).await?.as_ref().map(rows::found).transpose()).await
    }

    pub(crate) async fn delete(&self, ids: &[WorkflowId], children: bool) -> Answer<Vec<Found>> {
        self.ask(async |c| {
            let mut transaction = c.begin().await?;
            let mut condemned: HashSet<String> = ids.iter().map(|id| id.as_str().to_owned()).collect();
            let mut level: Vec<String> = condemned.iter().cloned().collect();
            let mut found = Vec::new();
            while !level.is_empty() {
                let lock = sqlx::query(self.statements.get(CONDEMN)).bind(&level);
                for row in lock.fetch_all(&mut *transaction).await? {
                    found.push(rows::found(&row)?);
                }
                if !children {
                    break;
                }
                let below = sqlx::query_scalar(self.statements.get(CHILDREN)).bind(&level);
                let below: Vec<String> = below.fetch_all(&mut *transaction).await?;
                level = below.into_iter().filter(|id| condemned.insert(id.clone())).collect();
            }
            let all: Vec<String> = condemned.into_iter().collect();
            sqlx::query(self.statements.get(DELETE)).bind(all).execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(found)
        })
        .await
    }

    pub(crate) async fn children(&self, ids: &[WorkflowId]) -> Answer<Vec<WorkflowId>> {
        let query = sqlx::query(self.statements.get(CHILDREN)).bind(texts(ids));
        self.ask(async |c| query.fetch_all(c).await?.iter().map(id).collect()).await
    }

    pub(crate) async fn ancestry(&self, of: &WorkflowId) -> Answer<Vec<WorkflowId>> {
        let query = sqlx::query(self.statements.get(ANCESTRY)).bind(of.as_str());
        self.ask(async |c| query.fetch_all(c).await?.iter().map(id).collect()).await
    }
}

fn texts(ids: &[WorkflowId]) -> Vec<&str> {
    ids.iter().map(WorkflowId::as_str).collect()
}

fn id(row: &sqlx::postgres::PgRow) -> Result<WorkflowId, sqlx::Error> {
    Ok(WorkflowId::trusted(row.try_get::<String, _>(0)?))
}
