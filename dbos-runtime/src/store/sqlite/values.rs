//! Statements over many rows, on a driver whose every statement is a round trip to its thread.
//!
//! A statement is prepared for 1, 2, 4 … 64 rows. A batch of any size takes a handful of executions, and the cache of
//! prepared statements stays small.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::AssertSqlSafe;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};

const LARGEST: usize = 64;

pub(super) type SqliteQuery<'q> = Query<'q, sqlx::Sqlite, SqliteArguments>;

/// Texts of multi-row statements, by template and number of rows.
#[derive(Debug, Default)]
pub(super) struct Values {
    texts: HashMap<(&'static str, usize), Arc<str>>,
}

impl Values {
    /// Executes `template` for all rows and says how many were affected. In the template, `{rows}` stands for
    /// `(?,?,…),(?,?,…)`, each row with `width` parameters; `bind` binds one row.
    pub(super) async fn execute<T: Sync>(
        &mut self,
        connection: &mut SqliteConnection,
        template: &'static str,
        width: usize,
        rows: &[T],
        bind: impl for<'q> Fn(SqliteQuery<'q>, &'q T) -> SqliteQuery<'q>,
    ) -> Result<u64, sqlx::Error> {
        let mut affected = 0;
        for chunk in chunks(rows) {
            let query = chunk.iter().fold(self.query(template, width, chunk.len()), &bind);
            affected += query.execute(&mut *connection).await?.rows_affected();
        }
        Ok(affected)
    }

    /// Like [`execute`](Self::execute), but reads the rows that the statement returns.
    pub(super) async fn fetch<T: Sync>(
        &mut self,
        connection: &mut SqliteConnection,
        template: &'static str,
        width: usize,
        rows: &[T],
        bind: impl for<'q> Fn(SqliteQuery<'q>, &'q T) -> SqliteQuery<'q>,
    ) -> Result<Vec<SqliteRow>, sqlx::Error> {
        let mut found = Vec::new();
        for chunk in chunks(rows) {
            let query = chunk.iter().fold(self.query(template, width, chunk.len()), &bind);
            found.extend(query.fetch_all(&mut *connection).await?);
        }
        Ok(found)
    }

    fn query<'q>(&mut self, template: &'static str, width: usize, rows: usize) -> SqliteQuery<'q> {
        let text = self.texts.entry((template, rows)).or_insert_with(|| {
            let row = format!("({})", vec!["?"; width].join(","));
            template.replace("{rows}", &vec![row; rows].join(",")).into()
        });
        sqlx::query(AssertSqlSafe(Arc::clone(text)))
    }
}

/// Slices whose lengths are powers of two, the largest first.
fn chunks<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        if rows.is_empty() {
            return None;
        }
        let length = LARGEST.min(1 << rows.len().ilog2());
        let (chunk, rest) = rows.split_at(length);
        rows = rest;
        Some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_in_one_chunk_and_chunks_have_few_sizes() {
        for count in 0..300 {
            let rows: Vec<usize> = (0..count).collect();
            let chunked: Vec<&[usize]> = chunks(&rows).collect();
            assert_eq!(chunked.concat(), rows);
            assert!(chunked.iter().all(|chunk| chunk.len().is_power_of_two() && chunk.len() <= LARGEST));
        }
    }
}
