//! Bounces.

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};

use super::Sqlite;
use crate::model::debounce::{Bounce, Bounced, STEP};
use crate::store::error::StoreError;

const ALLOWED: &str = "\
SELECT EXISTS (SELECT 1 FROM workflow_status WHERE workflow_uuid = ?1 AND owner_xid = ?2)
    AND NOT EXISTS (SELECT 1 FROM operation_outputs WHERE workflow_uuid = ?1 AND function_id = ?3)";

const BOUNCE: &str = "\
UPDATE workflow_status
SET delay_until_epoch_ms = min(?7, coalesce(debounce_deadline_epoch_ms, ?7)), serialization = ?8,
    updated_at = CAST(unixepoch('subsec') * 1000 AS INTEGER), application_name = coalesce(application_name, ?6)
WHERE queue_name = ?4 AND deduplication_id = ?5 AND name = ?1 AND class_name IS ?2 AND config_name IS ?3
    AND status = 'DELAYED' AND is_debounced AND (?6 IS NULL OR application_name = ?6 OR application_name IS NULL)
RETURNING workflow_uuid";

const INPUT: &str = "\
INSERT INTO workflow_input (workflow_uuid, inputs) VALUES (?1, ?2)
ON CONFLICT (workflow_uuid) DO UPDATE SET inputs = excluded.inputs";

const HOLDER: &str = "\
SELECT workflow_uuid, CASE WHEN is_debounced THEN class_name IS ?3 AND config_name IS ?4 ELSE is_debounced END, name,
    application_name
FROM workflow_status
WHERE queue_name = ?1 AND deduplication_id = ?2";

const RECORD: &str = "\
INSERT INTO operation_outputs (workflow_uuid, function_id, function_name, output, started_at_epoch_ms,
    completed_at_epoch_ms, serialization, application_name)
VALUES (?1, ?2, ?3, ?4, ?5, ?5, 'portable_json', ?6)";

impl Sqlite {
    /// `None` when the bounce is a step that may not be recorded: its workflow was lost, or it is recorded already.
    pub(crate) async fn bounce(&self, bounce: &Bounce) -> Result<Option<Bounced>, StoreError> {
        let application = self.identity.application.as_deref();
        self.change(async |c| {
            let mut transaction = c.begin_with("BEGIN IMMEDIATE").await?;
            let bounced = within(&mut transaction, bounce, application).await?;
            transaction.commit().await?;
            Ok(bounced)
        })
        .await
    }
}

async fn within(
    c: &mut SqliteConnection,
    bounce: &Bounce,
    application: Option<&str>,
) -> Result<Option<Bounced>, sqlx::Error> {
    if let Some(step) = &bounce.step {
        let query = sqlx::query_scalar(ALLOWED).bind(step.fence.id.as_str()).bind(step.fence.token.as_str());
        let allowed: bool = query.bind(step.number).fetch_one(&mut *c).await?;
        if !allowed {
            return Ok(None);
        }
    }
    let query = sqlx::query_scalar(BOUNCE);
    let query = query.bind(&bounce.name).bind(&bounce.class_name).bind(&bounce.config_name);
    let query = query.bind(&bounce.queue).bind(&bounce.deduplication_id).bind(&bounce.application);
    let moved: Option<String> =
        query.bind(bounce.delay_until.as_millis()).bind(bounce.format.name()).fetch_optional(&mut *c).await?;
    let found = match moved {
        Some(id) => {
            sqlx::query(INPUT).bind(&id).bind(&bounce.input).execute(&mut *c).await?;
            Bounced { bounced_workflow_id: Some(id), ..Bounced::default() }
        }
        None => {
            let query = sqlx::query(HOLDER).bind(&bounce.queue).bind(&bounce.deduplication_id);
            let query = query.bind(&bounce.class_name).bind(&bounce.config_name);
            match query.fetch_optional(&mut *c).await? {
                None => Bounced::default(),
                Some(row) => Bounced {
                    bounced_workflow_id: None,
                    holder_workflow_id: row.try_get(0)?,
                    holder_is_debounced: row.try_get(1)?,
                    holder_workflow_name: row.try_get(2)?,
                    holder_application_name: row.try_get(3)?,
                },
            }
        }
    };
    if let Some(step) = &bounce.step {
        let output = serde_json::to_string(&found).unwrap_or_default();
        let query = sqlx::query(RECORD).bind(step.fence.id.as_str()).bind(step.number).bind(STEP);
        query.bind(output).bind(step.at.as_millis()).bind(application).execute(c).await?;
    }
    Ok(Some(found))
}
