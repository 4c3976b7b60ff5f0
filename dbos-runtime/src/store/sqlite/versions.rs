//! The register of application versions.

use sqlx::Row;

use super::Sqlite;
use crate::store::error::StoreError;

const ADOPT: &str = "UPDATE application_versions SET application_name = ?2 WHERE version_name = ?1 AND application_name IS NULL";

const REGISTER: &str = "\
INSERT INTO application_versions (version_id, version_name, application_name) SELECT ?1, ?2, ?3
WHERE NOT EXISTS (SELECT 1 FROM application_versions WHERE version_name = ?2) ON CONFLICT DO NOTHING";

const OWNER: &str = "SELECT application_name FROM application_versions WHERE version_name = ?1";

const LATEST: &str = "\
SELECT version_name FROM application_versions WHERE application_name = ?1 OR application_name IS NULL
ORDER BY version_timestamp DESC LIMIT 1";

impl Sqlite {
    /// Registers the running version; the name of the application that has it.
    pub(crate) async fn register_version(&self, row_id: &str) -> Result<Option<String>, StoreError> {
        let identity = &self.identity;
        let adopt = sqlx::query(ADOPT).bind(&identity.version).bind(&identity.application);
        let insert = sqlx::query(REGISTER).bind(row_id).bind(&identity.version).bind(&identity.application);
        let owner = sqlx::query(OWNER).bind(&identity.version);
        self.change(async |c| {
            adopt.execute(&mut *c).await?;
            insert.execute(&mut *c).await?;
            owner.fetch_optional(c).await?.map_or(Ok(None), |row| row.try_get(0))
        })
        .await
    }

    /// Whether this process runs the latest version of its application.
    pub(crate) async fn runs_latest(&self) -> Result<bool, StoreError> {
        let identity = &self.identity;
        let query = sqlx::query_scalar(LATEST).bind(&identity.application);
        let latest: Option<String> = self.ask(async |c| query.fetch_optional(c).await).await?;
        Ok(latest.is_none() || latest == identity.version)
    }
}
