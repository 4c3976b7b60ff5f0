//! New names for applications.

use sqlx::Row;

use super::Postgres;
use crate::model::rename::{Portion, Rename, Renamed};
use crate::store::error::StoreError;

type Result<T> = std::result::Result<T, StoreError>;

const ACTIVE: &str = "\
WITH queues AS (
    UPDATE {s}.queues SET application_name = $2
    WHERE application_name = $1 OR ($3 AND application_name IS NULL) RETURNING 1
), schedules AS (
    UPDATE {s}.workflow_schedules SET application_name = $2
    WHERE application_name = $1 OR ($3 AND application_name IS NULL) RETURNING 1
), versions AS (
    UPDATE {s}.application_versions SET application_name = $2
    WHERE application_name = $1 OR ($3 AND application_name IS NULL) RETURNING 1
), workflows AS (
    UPDATE {s}.workflow_status SET application_name = $2
    WHERE status IN ('PENDING', 'ENQUEUED', 'DELAYED') AND (application_name = $1 OR ($3 AND application_name IS NULL))
    RETURNING 1
)
SELECT (SELECT count(*) FROM queues), (SELECT count(*) FROM schedules), (SELECT count(*) FROM versions),
    (SELECT count(*) FROM workflows)";

const ENDED: &str = "\
WITH portion AS (
    SELECT workflow_uuid FROM {s}.workflow_status
    WHERE workflow_uuid > $4 AND (application_name = $1 OR ($3 AND application_name IS NULL))
    ORDER BY workflow_uuid LIMIT $5
), moved AS (
    UPDATE {s}.workflow_status w SET application_name = $2 FROM portion WHERE w.workflow_uuid = portion.workflow_uuid
    RETURNING w.workflow_uuid
)
SELECT count(*), coalesce(max(workflow_uuid), ''), 0 FROM moved";

const STEPS: &str = "\
WITH portion AS (
    SELECT workflow_uuid, function_id FROM {s}.operation_outputs
    WHERE (workflow_uuid, function_id) > ($4, $6) AND (application_name = $1 OR ($3 AND application_name IS NULL))
    ORDER BY workflow_uuid, function_id LIMIT $5
), moved AS (
    UPDATE {s}.operation_outputs o SET application_name = $2 FROM portion p
    WHERE o.workflow_uuid = p.workflow_uuid AND o.function_id = p.function_id
    RETURNING o.workflow_uuid, o.function_id
), last AS (
    SELECT workflow_uuid, function_id FROM moved ORDER BY 1 DESC, 2 DESC LIMIT 1
)
SELECT (SELECT count(*) FROM moved), coalesce((SELECT workflow_uuid FROM last), ''),
    coalesce((SELECT function_id FROM last), 0)";

/// Without a deadline: no index is made for an application's name, so a statement may read a whole table.
impl Postgres {
    pub(crate) async fn rename_active(&self, rename: &Rename) -> Result<Renamed> {
        let query = sqlx::query(self.statements.get(ACTIVE));
        let query = query.bind(&rename.from).bind(&rename.to).bind(rename.unclaimed);
        self.ask_within(&self.pool, None, async |c| {
            let row = query.fetch_one(c).await?;
            let count = |column: usize| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
            Ok(Renamed {
                queues: count(0)?,
                schedules: count(1)?,
                versions: count(2)?,
                workflows: count(3)?,
                steps: 0,
            })
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
        let query = sqlx::query(self.statements.get(text));
        let query = query.bind(&rename.from).bind(&rename.to).bind(rename.unclaimed);
        let mut query = query.bind(&after.last).bind(rename.batch);
        if text == STEPS {
            query = query.bind(after.last_step);
        }
        self.ask_within(&self.pool, None, async |c| {
            let row = query.fetch_one(c).await?;
            Ok(Portion {
                moved: row.try_get::<i64, _>(0)?.unsigned_abs(),
                last: row.try_get(1)?,
                last_step: row.try_get(2)?,
            })
        })
        .await
    }
}
