//! What a schema contains, as the server's catalogue tells it.

use std::collections::HashSet;

use sqlx::{AssertSqlSafe, PgConnection};

use super::schema::Schema;
use crate::store::migrate::{MigrateError, State};

/// Every column as `table.column`, and every index that queries can use.
const CONTENT: &str = "
    SELECT t.relname || '.' || c.attname
      FROM pg_catalog.pg_namespace n
      JOIN pg_catalog.pg_class t ON t.relnamespace = n.oid AND t.relkind IN ('r', 'p')
      JOIN pg_catalog.pg_attribute c ON c.attrelid = t.oid AND c.attnum > 0 AND NOT c.attisdropped
     WHERE n.nspname = $1
     UNION ALL
    SELECT i.relname
      FROM pg_catalog.pg_namespace n
      JOIN pg_catalog.pg_class i ON i.relnamespace = n.oid
      JOIN pg_catalog.pg_index x ON x.indexrelid = i.oid AND x.indisvalid
     WHERE n.nspname = $1";

/// Reads what is there and what is recorded. An absent schema, table or row is version 0.
pub(super) async fn state(connection: &mut PgConnection, schema: &Schema) -> Result<State, MigrateError> {
    let content = sqlx::query_scalar(CONTENT).bind(&schema.name);
    let content = content.fetch_all(&mut *connection).await;
    let content: HashSet<String> = HashSet::from_iter(content.map_err(MigrateError::read)?);
    let mut version = None;
    if State::is_versioned(&content) {
        let text = format!("SELECT max(version) FROM {}.dbos_migrations", schema.quoted);
        let recorded = sqlx::query_scalar(AssertSqlSafe(text)).persistent(false);
        version = recorded.fetch_one(connection).await.map_err(MigrateError::read)?;
    }
    State::new(version, content)
}

const EXISTS: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)";

/// Says whether there is such a schema.
pub(super) async fn exists(connection: &mut PgConnection, schema: &Schema) -> sqlx::Result<bool> {
    let exists = sqlx::query_scalar(EXISTS).bind(&schema.name);
    exists.fetch_one(connection).await
}

/// What the view of builds hides from our role may be the one asked about.
const UNFINISHED: &str = "
    SELECT EXISTS (
        SELECT FROM pg_catalog.pg_stat_progress_create_index p
         WHERE p.datname = current_database() AND coalesce(p.index_relid, i.oid) = i.oid)
      FROM pg_catalog.pg_namespace n
      JOIN pg_catalog.pg_class i ON i.relnamespace = n.oid
      JOIN pg_catalog.pg_index x ON x.indexrelid = i.oid AND NOT x.indisvalid
     WHERE n.nspname = $1 AND i.relname = $2";

/// Returns nothing for a finished or missing index; otherwise says whether a peer is building it now.
pub(super) async fn unfinished(
    connection: &mut PgConnection,
    schema: &Schema,
    index: &str,
) -> sqlx::Result<Option<bool>> {
    let unfinished = sqlx::query_scalar(UNFINISHED).bind(&schema.name).bind(index);
    unfinished.fetch_optional(connection).await
}
