//! The register of application versions.

use sqlx::Row;

use super::Postgres;
use crate::store::error::StoreError;

const REGISTER: &str = "\
WITH adopted AS (
    UPDATE {s}.application_versions SET application_name = $3 WHERE version_name = $2 AND application_name IS NULL
    RETURNING 1
)
INSERT INTO {s}.application_versions (version_id, version_name, application_name)
SELECT $1, $2, $3 WHERE NOT EXISTS (SELECT FROM adopted)
ON CONFLICT DO NOTHING";

const OWNER: &str = "SELECT application_name FROM {s}.application_versions WHERE version_name = $1";

const LATEST: &str = "\
SELECT version_name FROM {s}.application_versions WHERE application_name = $1 OR application_name IS NULL
ORDER BY version_timestamp DESC LIMIT 1";

impl Postgres {
    /// Registers the running version; the name of the application that has it.
    pub(crate) async fn register_version(&self, row_id: &str) -> Result<Option<String>, StoreError> {
        let identity = &self.identity;
        let insert = sqlx::query(self.statements.get(REGISTER)).bind(row_id).bind(&identity.version);
        let insert = insert.bind(&identity.application);
        let owner = sqlx::query(self.statements.get(OWNER)).bind(&identity.version);
        self.ask(async |c| {
            insert.execute(&mut *c).await?;
            owner.fetch_optional(c).await?.map_or(Ok(None), |row| row.try_get(0))
        })
        .await
    }

    /// Whether this process runs the latest version of its application.
    pub(crate) async fn runs_latest(&self) -> Result<bool, StoreError> {
        let identity = &self.identity;
        let query = sqlx::query_scalar(self.statements.get(LATEST)).bind(&identity.application);
        let latest: Option<String> = self.ask(async |c| query.fetch_optional(c).await).await?;
        Ok(latest.is_none() || latest == identity.version)
    }
}
