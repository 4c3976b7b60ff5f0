//! The register of application versions.

use sqlx::Row;

use super::{Sqlite, rows};
use crate::model::version::VersionRow;
use crate::store::error::StoreError;

const ADOPT: &str = "UPDATE application_versions SET application_name = ?2 WHERE version_name = ?1 AND application_name IS NULL";

const REGISTER: &str = "\
INSERT INTO application_versions (version_id, version_name, application_name) SELECT ?1, ?2, ?3
WHERE NOT EXISTS (SELECT 1 FROM application_versions WHERE version_name = ?2) ON CONFLICT DO NOTHING";

const OWNER: &str = "SELECT application_name FROM application_versions WHERE version_name = ?1";

const LIST: &str = "\
SELECT version_name, version_timestamp, created_at, application_name FROM application_versions
WHERE ?1 IS NULL OR application_name = ?1 OR application_name IS NULL
ORDER BY version_timestamp DESC, created_at DESC LIMIT ?2";

// Later than every other one, also than one of the same millisecond.
const PROMOTE: &str = "\
UPDATE application_versions
SET application_name = coalesce(application_name, ?2), version_timestamp = max(CAST(unixepoch('subsec') * 1000 AS INTEGER), coalesce((
    SELECT max(version_timestamp) + 1 FROM application_versions
    WHERE (?2 IS NULL OR application_name = ?2 OR application_name IS NULL) AND version_name <> ?1), 0))
WHERE version_name = ?1 AND (?2 IS NULL OR application_name = ?2 OR application_name IS NULL)";

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

    pub(crate) async fn versions(&self, most: i64) -> Result<Vec<VersionRow>, StoreError> {
        let query = sqlx::query(LIST).bind(&self.identity.application).bind(most);
        self.ask(async |c| query.fetch_all(c).await?.iter().map(rows::version).collect()).await
    }

    pub(crate) async fn promote_version(&self, name: &str) -> Result<u64, StoreError> {
        let query = sqlx::query(PROMOTE).bind(name).bind(&self.identity.application);
        self.change(async |c| Ok(query.execute(c).await?.rows_affected())).await
    }

    pub(crate) async fn version_owner(&self, name: &str) -> Result<Option<Option<String>>, StoreError> {
        let query = sqlx::query(OWNER).bind(name);
        self.ask(async |c| query.fetch_optional(c).await?.map(|row| row.try_get(0)).transpose()).await
    }

    /// Whether this process runs the latest version of its application.
    pub(crate) async fn runs_latest(&self) -> Result<bool, StoreError> {
        let identity = &self.identity;
        let query = sqlx::query_scalar(LATEST).bind(&identity.application);
        let latest: Option<String> = self.ask(async |c| query.fetch_optional(c).await).await?;
        Ok(latest.is_none() || latest == identity.version)
    }
}
