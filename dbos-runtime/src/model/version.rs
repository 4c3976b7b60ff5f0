//! Versions of applications.

/// A stored version.
#[derive(Clone, Debug)]
pub(crate) struct VersionRow {
    pub(crate) name: String,
    pub(crate) timestamp: i64,
    pub(crate) created_at: i64,
    pub(crate) application: Option<String>,
}
