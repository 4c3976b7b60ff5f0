//! Changes to workflows from outside of them.

use std::collections::HashSet;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};

use super::{Sqlite, rows};
use crate::ids::WorkflowId;
use crate::model::management::{Found, Missing};
use crate::store::error::StoreError;
use crate::store::management::Due;

type Answer<T> = Result<T, StoreError>;

/// Within the one writer's transaction, what a change will do can be said before it is done.
const CANCELLABLE: &str = "\
SELECT workflow_uuid, status, owner_xid, completed_at,
    coalesce(status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED'), FALSE) AS changed
FROM workflow_status WHERE workflow_uuid IN (SELECT value FROM json_each(?1))";

const CANCEL: &str = "\
UPDATE workflow_status
SET status = 'CANCELLED', owner_xid = NULL, queue_name = NULL, deduplication_id = NULL, started_at_epoch_ms = NULL,
    updated_at = CAST(unixepoch('subsec') * 1000 AS INTEGER),
    completed_at = CAST(unixepoch('subsec') * 1000 AS INTEGER)
WHERE workflow_uuid IN (SELECT value FROM json_each(?1))
    AND status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')";

const RESUMABLE: &str = "\
SELECT workflow_uuid, status, owner_xid, completed_at,
    coalesce(status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED'), FALSE) AS changed
FROM workflow_status WHERE workflow_uuid IN (SELECT value FROM json_each(?1))";

const RESUME: &str = "\
UPDATE workflow_status
SET status = 'ENQUEUED', owner_xid = NULL, queue_name = ?2, recovery_attempts = 0, workflow_deadline_epoch_ms = NULL,
    deduplication_id = NULL, started_at_epoch_ms = NULL, completed_at = NULL,
    updated_at = CAST(unixepoch('subsec') * 1000 AS INTEGER)
WHERE workflow_uuid IN (SELECT value FROM json_each(?1))
    AND status IN ('DELAYED', 'ENQUEUED', 'PENDING', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')";

const DELAYED: &str = "\
SELECT workflow_uuid, status, owner_xid, completed_at, coalesce(status = 'DELAYED', FALSE) AS changed
FROM workflow_status WHERE workflow_uuid = ?1";

const DELAY: &str = "\
UPDATE workflow_status
SET delay_until_epoch_ms = coalesce(?3, CAST(unixepoch('subsec') * 1000 AS INTEGER) + ?2),
    updated_at = CAST(unixepoch('subsec') * 1000 AS INTEGER)
WHERE workflow_uuid = ?1 AND status = 'DELAYED'";

const CONDEMN: &str = "\
SELECT workflow_uuid, status, owner_xid, completed_at, TRUE AS changed
FROM workflow_status WHERE workflow_uuid IN (SELECT value FROM json_each(?1))";

const DELETE_INPUTS: &str =
    "DELETE FROM workflow_input WHERE workflow_uuid IN (SELECT value FROM json_each(?1))";

const DELETE_OUTPUTS: &str =
    "DELETE FROM workflow_output WHERE workflow_uuid IN (SELECT value FROM json_each(?1))";

const DELETE_STEPS: &str =
    "DELETE FROM operation_outputs WHERE workflow_uuid IN (SELECT value FROM json_each(?1))";

const DELETE: &str = "DELETE FROM workflow_status WHERE workflow_uuid IN (SELECT value FROM json_each(?1))";

const CHILDREN: &str = "\
SELECT workflow_uuid FROM workflow_status
WHERE parent_workflow_id IS NOT NULL AND parent_workflow_id IN (SELECT value FROM json_each(?1)) ORDER BY workflow_uuid";

const ANCESTRY: &str = "\
WITH RECURSIVE line(id) AS (
    SELECT ?1 UNION
    SELECT w.parent_workflow_id FROM line JOIN workflow_status w ON w.workflow_uuid = line.id
    WHERE w.parent_workflow_id IS NOT NULL
)
SELECT id FROM line";

impl Sqlite {
    pub(crate) async fn cancel(&self, ids: &[WorkflowId]) -> Answer<Vec<Found>> {
        let ids = json(ids);
        self.change(async |c| {
            let mut transaction = c.begin_with("BEGIN IMMEDIATE").await?;
            let found = found(&mut transaction, CANCELLABLE, &ids).await?;
            sqlx::query(CANCEL).bind(&ids).execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(found)
        })
        .await
    }

    pub(crate) async fn resume(
        &self,
        ids: &[WorkflowId],
        queue: &str,
    ) -> Answer<Result<Vec<Found>, Missing>> {
        let wanted = json(ids);
        self.change(async |c| {
            let mut transaction = c.begin_with("BEGIN IMMEDIATE").await?;
            let found = found(&mut transaction, RESUMABLE, &wanted).await?;
            if let Some(missing) = Missing::among(ids, &found) {
                transaction.rollback().await?;
                return Ok(Err(missing));
            }
            sqlx::query(RESUME).bind(&wanted).bind(queue).execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(Ok(found))
        })
        .await
    }

    pub(crate) async fn delay(&self, id: &WorkflowId, due: Due) -> Answer<Option<Found>> {
        let (wait, at) = due.parts();
        self.change(async |c| {
            let mut transaction = c.begin_with("BEGIN IMMEDIATE").await?;
            let row = sqlx::query(DELAYED).bind(id.as_str()).fetch_optional(&mut *transaction).await?;
            let delay = sqlx::query(DELAY).bind(id.as_str()).bind(wait).bind(at);
            delay.execute(&mut *transaction).await?;
            transaction.commit().await?;
            row.as_ref().map(rows::found).transpose()
        })
        .await
    }

    pub(crate) async fn delete(&self, ids: &[WorkflowId], children: bool) -> Answer<Vec<Found>> {
        self.change(async |c| {
            let mut transaction = c.begin_with("BEGIN IMMEDIATE").await?;
            let mut condemned: HashSet<WorkflowId> = ids.iter().cloned().collect();
            let mut level: Vec<WorkflowId> = ids.to_vec();
            while children && !level.is_empty() {
                let below = below(&mut transaction, &level).await?;
                level = below.into_iter().filter(|id| condemned.insert(id.clone())).collect();
            }
            let all: Vec<WorkflowId> = condemned.into_iter().collect();
            let all = json(&all);
            let found = found(&mut transaction, CONDEMN, &all).await?;
            for statement in [DELETE_INPUTS, DELETE_OUTPUTS, DELETE_STEPS, DELETE] {
                sqlx::query(statement).bind(&all).execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
            Ok(found)
        })
        .await
    }

    pub(crate) async fn children(&self, ids: &[WorkflowId]) -> Answer<Vec<WorkflowId>> {
        self.ask(async |c| below(c, ids).await).await
    }

    pub(crate) async fn ancestry(&self, of: &WorkflowId) -> Answer<Vec<WorkflowId>> {
        self.ask(async |c| {
            sqlx::query(ANCESTRY).bind(of.as_str()).fetch_all(c).await?.iter().map(id).collect()
        })
        .await
    }
}

async fn found(
    connection: &mut SqliteConnection,
    statement: &'static str,
    ids: &str,
) -> Result<Vec<Found>, sqlx::Error> {
    sqlx::query(statement).bind(ids).fetch_all(connection).await?.iter().map(rows::found).collect()
}

async fn below(
    connection: &mut SqliteConnection,
    ids: &[WorkflowId],
) -> Result<Vec<WorkflowId>, sqlx::Error> {
    sqlx::query(CHILDREN).bind(json(ids)).fetch_all(connection).await?.iter().map(id).collect()
}

/// The ids as the JSON array that `json_each` takes apart.
fn json(ids: &[WorkflowId]) -> String {
    serde_json::to_string(ids).unwrap_or_default()
}

fn id(row: &sqlx::sqlite::SqliteRow) -> Result<WorkflowId, sqlx::Error> {
    Ok(WorkflowId::trusted(row.try_get::<String, _>(0)?))
}
