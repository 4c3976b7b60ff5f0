//! New names for applications.

use sqlx::{AssertSqlSafe, Connection, Row};

use super::Sqlite;
use crate::model::rename::{Portion, Rename, Renamed};
use crate::store::error::StoreError;

type Result<T> = std::result::Result<T, StoreError>;

const QUEUES: &str = "UPDATE queues SET application_name = ?2 WHERE application_name = ?1 OR (?3 AND application_name IS NULL)";

const SCHEDULES: &str = "\
UPDATE workflow_schedules SET application_name = ?2
WHERE application_name = ?1 OR (?3 AND application_name IS NULL)";

const VERSIONS: &str = "\
UPDATE application_versions SET application_name = ?2
WHERE application_name = ?1 OR (?3 AND application_name IS NULL)";

const WORKFLOWS: &str = "\
UPDATE workflow_status SET application_name = ?2
WHERE status IN ('PENDING', 'ENQUEUED', 'DELAYED') AND (application_name = ?1 OR (?3 AND application_name IS NULL))";

const ENDED: &str = "\
UPDATE workflow_status SET application_name = ?2 WHERE workflow_uuid IN (
    SELECT workflow_uuid FROM workflow_status
    WHERE workflow_uuid > ?4 AND (application_name = ?1 OR (?3 AND application_name IS NULL))
    ORDER BY workflow_uuid LIMIT ?5)
RETURNING workflow_uuid, 0";

const STEPS: &str = "\
UPDATE operation_outputs SET application_name = ?2 WHERE (workflow_uuid, function_id) IN (
    SELECT workflow_uuid, function_id FROM operation_outputs
    WHERE (workflow_uuid, function_id) > (?4, ?6) AND (application_name = ?1 OR (?3 AND application_name IS NULL))
    ORDER BY workflow_uuid, function_id LIMIT ?5)
RETURNING workflow_uuid, function_id";

/// Without a deadline: no index is made for an application's name, so a statement may read a whole table.
impl Sqlite {
    pub(crate) async fn rename_active(&self, rename: &Rename) -> Result<Renamed> {
        self.change_within(None, async |c| {
            let mut transaction = c.begin_with("BEGIN IMMEDIATE").await?;
            let mut moved = [0; 4];
            for (moved, text) in moved.iter_mut().zip([QUEUES, SCHEDULES, VERSIONS, WORKFLOWS]) {
                let query = sqlx::query(text).bind(&rename.from).bind(&rename.to).bind(rename.unclaimed);
                *moved = query.execute(&mut *transaction).await?.rows_affected();
            }
            transaction.commit().await?;
            let [queues, schedules, versions, workflows] = moved;
            Ok(Renamed { queues, schedules, versions, workflows, steps: 0 })
        })
        .await
    }

    pub(crate) async fn rename_ended(&self, rename: &Rename, after: &Portion) -> Result<Portion> {
        self.rename_portion(ENDED, rename, after).await
    }

    pub(crate) async fn rename_steps(&self, rename: &Rename, after: &Portion) -> Result<Portion> {
        self.rename_portion(STEPS, rename, after).await
    }

    async fn rename_portion(&self, text: &'static str, rename: &Rename, after: &Portion) -> Result<Portion> {
        let query = sqlx::query(AssertSqlSafe(text)).bind(&rename.from).bind(&rename.to);
        let mut query = query.bind(rename.unclaimed).bind(&after.last).bind(rename.batch);
        if text == STEPS {
            query = query.bind(after.last_step);
        }
        self.change_within(None, async |c| {
            let rows = query.fetch_all(c).await?;
            let mut keys: Vec<(String, i32)> = rows
                .iter()
                .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
                .collect::<std::result::Result<_, sqlx::Error>>()?;
            keys.sort_unstable();
            let moved = u64::try_from(keys.len()).unwrap_or(u64::MAX);
            let (last, last_step) = keys.pop().unwrap_or_default();
            Ok(Portion { moved, last, last_step })
        })
        .await
    }
}
