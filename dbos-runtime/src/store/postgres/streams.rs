//! Questions about streams.

use sqlx::Row;

use super::Postgres;
use crate::model::mailbox::Stored;
use crate::model::stream::{StreamRun, after};
use crate::model::write::Touched;
use crate::store::error::StoreError;

type Result<T> = std::result::Result<T, StoreError>;

const PAGE: &str = "\
SELECT w.status, s.\"offset\"::int8 AS place, s.value, s.serialization
FROM {s}.workflow_status w
LEFT JOIN {s}.streams s ON s.workflow_uuid = w.workflow_uuid AND s.key = $2 AND s.\"offset\" >= $3 AND s.\"offset\" < $4
WHERE w.workflow_uuid = $1 ORDER BY s.\"offset\"";

const LAST: &str = "\
SELECT \"offset\"::int8 AS place, value, serialization FROM {s}.streams
WHERE workflow_uuid = $1 AND key = $2 ORDER BY \"offset\" DESC LIMIT 1";

const APPENDED: &str = "\
SELECT w.ord FROM unnest($1::text[], $2::text[], $3::int8[]) WITH ORDINALITY AS w(id, key, place, ord)
JOIN {s}.streams s ON s.workflow_uuid = w.id AND s.key = w.key AND s.\"offset\" = w.place";

impl Postgres {
    /// The values from an offset on; nothing when there is no such workflow.
    pub(crate) async fn stream(
        &self,
        id: &str,
        key: &str,
        from: i64,
        limit: u32,
    ) -> Result<Option<StreamRun>> {
        let query = sqlx::query(self.statements.get(PAGE))
            .bind(id)
            .bind(key)
            .bind(from)
            .bind(from + i64::from(limit));
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
        let query = sqlx::query(self.statements.get(LAST)).bind(id).bind(key);
        self.ask(async |c| {
            let Some(row) = query.fetch_optional(c).await? else { return Ok(0) };
            let last = Stored { value: row.try_get("value")?, serialization: row.try_get("serialization")? };
            Ok(after(row.try_get("place")?, &last))
        })
        .await
    }

    /// Which of the awaited values are there.
    pub(super) async fn appended(&self, awaited: &[Touched]) -> Result<Vec<Touched>> {
        let (mut streams, mut ids, mut keys, mut places) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for touched in awaited {
            if let Touched::Stream { id, key, from } = touched {
                streams.push(touched);
                ids.push(id.as_str());
                keys.push(key.as_str());
                places.push(*from);
            }
        }
        if streams.is_empty() {
            return Ok(Vec::new());
        }
        let query = sqlx::query_scalar(self.statements.get(APPENDED)).bind(ids).bind(keys).bind(places);
        let found: Vec<i64> = self.ask(async |c| query.fetch_all(c).await).await?;
        let at = |place: i64| usize::try_from(place - 1).ok().and_then(|place| streams.get(place));
        Ok(found.into_iter().filter_map(at).map(|touched| (*touched).clone()).collect())
    }
}
