//! Streams: appending to them inside a batch, and questions about them.

use std::collections::HashSet;

use sqlx::Row;

use super::Sqlite;
use super::batch::Work;
use super::values::Values;
use crate::model::mailbox::Stored;
use crate::model::stream::{NewStreamValue, StreamRun, after};
use crate::model::write::{Record, Touched};
use crate::store::error::StoreError;

type Result<T> = std::result::Result<T, StoreError>;

const APPEND: &str = "\
WITH a(place, id, number, key, value, format) AS (VALUES {rows})
INSERT INTO streams (workflow_uuid, key, value, \"offset\", function_id, serialization)
SELECT a.id, a.key, a.value,
    coalesce((SELECT max(s.\"offset\") FROM streams s WHERE s.workflow_uuid = a.id AND s.key = a.key), -1)
        + row_number() OVER (PARTITION BY a.id, a.key ORDER BY a.number, a.place),
    a.number, a.format
FROM a";

const PAGE: &str = "\
SELECT w.status, s.\"offset\" AS place, s.value, s.serialization
FROM workflow_status w
LEFT JOIN streams s ON s.workflow_uuid = w.workflow_uuid AND s.key = ?2 AND s.\"offset\" >= ?3 AND s.\"offset\" < ?4
WHERE w.workflow_uuid = ?1 ORDER BY s.\"offset\"";

const LAST: &str = "\
SELECT \"offset\" AS place, value, serialization FROM streams
WHERE workflow_uuid = ?1 AND key = ?2 ORDER BY \"offset\" DESC LIMIT 1";

const APPENDED: &str = "\
WITH w(ord, id, key, place) AS (VALUES {rows})
SELECT w.ord FROM w JOIN streams s ON s.workflow_uuid = w.id AND s.key = w.key AND s.\"offset\" = w.place";

impl Work<'_> {
    /// Appends the values of these records in their order, each at the offset after the one before. It is the one effect
    /// that has no identity of its own: so only for a step that was not there before.
    pub(super) async fn append<'r>(
        &mut self,
        records: impl Iterator<Item = &'r Record>,
        new_steps: &HashSet<(String, i32)>,
    ) -> std::result::Result<u64, sqlx::Error> {
        let mut appended: Vec<(i64, &str, i32, &NewStreamValue)> = Vec::new();
        for record in records.filter(|record| !record.effects.streams.is_empty()) {
            let id = record.fence.id.as_str();
            if record.steps.is_empty() || new_steps.contains(&(id.to_owned(), record.number)) {
                for value in &record.effects.streams {
                    let place = i64::try_from(appended.len()).unwrap_or(i64::MAX);
                    appended.push((place, id, record.number, value));
                }
            }
        }
        self.values
            .execute(self.connection, APPEND, 6, &appended, |query, (place, id, number, appended)| {
                let query = query.bind(*place).bind(*id).bind(*number).bind(&appended.key);
                query.bind(&appended.value).bind(appended.format.name())
            })
            .await
    }
}

impl Sqlite {
    /// The values from an offset on; nothing when there is no such workflow.
    pub(crate) async fn stream(
        &self,
        id: &str,
        key: &str,
        from: i64,
        limit: u32,
    ) -> Result<Option<StreamRun>> {
        let query = sqlx::query(PAGE).bind(id).bind(key).bind(from).bind(from + i64::from(limit));
        self.ask(async |c| {
            let rows = query.fetch_all(c).await?;
            let Some(first) = rows.first() else { return Ok(None) };
            let status: Option<String> = first.try_get("status")?;
            let mut values = Vec::with_capacity(rows.len());
            for row in &rows {
                if let Some(place) = row.try_get::<Option<i64>, _>("place")? {
                    let stored =
                        Stored { value: row.try_get("value")?, serialization: row.try_get("serialization")? };
                    values.push((place, stored));
                }
            }
            Ok(Some(StreamRun::of(from, limit, &status.unwrap_or_default(), values)))
        })
        .await
    }

    /// The offset after the last value.
    pub(crate) async fn stream_length(&self, id: &str, key: &str) -> Result<i64> {
        let query = sqlx::query(LAST).bind(id).bind(key);
        self.ask(async |c| {
            let Some(row) = query.fetch_optional(c).await? else { return Ok(0) };
            let last = Stored { value: row.try_get("value")?, serialization: row.try_get("serialization")? };
            Ok(after(row.try_get("place")?, &last))
        })
        .await
    }

    /// Which of the awaited values are there.
    pub(super) async fn appended(&self, awaited: &[Touched]) -> Result<Vec<Touched>> {
        let streams: Vec<(i64, &str, &str, i64)> =
            (0..).zip(awaited).filter_map(|(ord, touched)| wanted(ord, touched)).collect();
        let rows = self
            .ask(async |c| {
                Values::default()
                    .fetch(c, APPENDED, 4, &streams, |query, (ord, id, key, from)| {
                        query.bind(*ord).bind(*id).bind(*key).bind(*from)
                    })
                    .await
            })
            .await?;
        let mut found = Vec::new();
        for row in rows {
            let ord: i64 = row.try_get(0).map_err(super::classify)?;
            found.extend(usize::try_from(ord).ok().and_then(|ord| awaited.get(ord)).cloned());
        }
        Ok(found)
    }
}

fn wanted(ord: i64, touched: &Touched) -> Option<(i64, &str, &str, i64)> {
    match touched {
        Touched::Stream { id, key, from } => Some((ord, id, key, *from)),
        _ => None,
    }
}
