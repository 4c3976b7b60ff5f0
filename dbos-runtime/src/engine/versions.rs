//! The versions of an application's code that have run on the database.

use std::fmt;
use std::sync::Arc;

use super::shared::Shared;
use super::{guard, wait};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::model::version::VersionRow;
use crate::time::Timestamp;

/// The versions of this application. Made by [`Dbos::versions`](crate::Dbos::versions).
///
/// A version is registered when it is first launched, which makes it the latest. Work that names no version, and all
/// scheduled work, is run by the latest one. To go back to an earlier one, launch it and make it the latest again.
///
/// ```
/// # async fn example(dbos: dbos_runtime::Dbos) -> Result<(), dbos_runtime::Error> {
/// dbos.versions().set_latest(dbos.application_version()).await?;
/// assert_eq!(dbos.versions().latest().await?.map(|latest| latest.name), Some("v1".to_owned()));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Versions {
    pub(crate) shared: Arc<Shared>,
}

/// The facts of a version.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct VersionInfo {
    /// Its name.
    pub name: String,
    /// When it became the latest.
    pub promoted_at: Timestamp,
    /// When it was first launched.
    pub created_at: Timestamp,
    /// The application that it belongs to; any, if there is none.
    pub application_name: Option<String>,
}

impl From<VersionRow> for VersionInfo {
    fn from(row: VersionRow) -> Self {
        Self {
            name: row.name,
            promoted_at: Timestamp::from_millis(row.timestamp),
            created_at: Timestamp::from_millis(row.created_at),
            application_name: row.application,
        }
    }
}

impl Versions {
    /// All versions of this application and those that belong to none, the latest first.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] when the database does not answer.
    pub async fn list(&self) -> Result<Vec<VersionInfo>> {
        let rows = wait::briefly(&self.shared, || self.shared.store.versions(i64::MAX)).await?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    /// The latest version.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unavailable`] when the database does not answer.
    pub async fn latest(&self) -> Result<Option<VersionInfo>> {
        let rows = wait::briefly(&self.shared, || self.shared.store.versions(1)).await?;
        Ok(rows.into_iter().next().map(Into::into))
    }

    /// Makes a version the latest.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NotFound`] for a version that has never been launched, [`ErrorKind::NameInUse`] for one of another
    /// application, [`ErrorKind::Unavailable`] when the database does not answer.
    pub async fn set_latest(&self, name: &str) -> Result<()> {
        guard::outside_of_transactions()?;
        limits::name("application version", name)?;
        let shared = &self.shared;
        if wait::briefly(shared, || shared.store.promote_version(name)).await? > 0 {
            return Ok(());
        }
        let (kind, why) = match wait::briefly(shared, || shared.store.version_owner(name)).await? {
            Some(_) => (ErrorKind::NameInUse, "belongs to another application"),
            None => (ErrorKind::NotFound, "does not exist"),
        };
        Err(Error::new(kind, format!("version {name:?} {why}")))
    }
}

impl fmt::Debug for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Versions").finish_non_exhaustive()
    }
}
