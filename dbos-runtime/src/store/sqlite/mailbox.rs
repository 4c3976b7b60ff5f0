//! Questions about messages and events.

use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::Sqlite;
use super::values::Values;
use crate::model::mailbox::Stored;
use crate::model::write::Touched;
use crate::store::error::StoreError;

type Result<T> = std::result::Result<T, StoreError>;

const EVENT: &str = "SELECT value, serialization FROM workflow_events WHERE workflow_uuid = ?1 AND key = ?2";

const EVENTS: &str =
    "SELECT key, value, serialization FROM workflow_events WHERE workflow_uuid = ?1 ORDER BY key";

const ARRIVED: &str = "\
WITH w(place, id, topic) AS (VALUES {rows})
SELECT w.place FROM w WHERE EXISTS (SELECT 1 FROM notifications n
    WHERE n.destination_uuid = w.id AND n.topic = w.topic AND NOT n.consumed)";

const PUBLISHED: &str = "\
WITH w(place, id, key) AS (VALUES {rows})
SELECT w.place FROM w JOIN workflow_events e ON e.workflow_uuid = w.id AND e.key = w.key";

/// Breadth first, and each once: a fork may be reached on one way only.
const FORKS: &str = "\
WITH RECURSIVE forks(id) AS (
    SELECT workflow_uuid FROM workflow_status WHERE forked_from = ?1
    UNION
    SELECT w.workflow_uuid FROM workflow_status w JOIN forks ON w.forked_from = forks.id
)
SELECT id FROM forks ORDER BY id";

impl Sqlite {
    pub(crate) async fn event(&self, id: &str, key: &str) -> Result<Option<Stored>> {
        let query = sqlx::query(EVENT).bind(id).bind(key);
        self.ask(async |c| {
            let row = query.fetch_optional(c).await?;
            row.map(|row| Ok(Stored { value: row.try_get(0)?, serialization: row.try_get(1)? })).transpose()
        })
        .await
    }

    pub(crate) async fn events(&self, id: &str) -> Result<Vec<(String, Stored)>> {
        let query = sqlx::query(EVENTS).bind(id);
        self.ask(async |c| {
            let rows = query.fetch_all(c).await?;
            let pair = |row: SqliteRow| {
                Ok((row.try_get(0)?, Stored { value: row.try_get(1)?, serialization: row.try_get(2)? }))
            };
            rows.into_iter().map(pair).collect()
        })
        .await
    }

    /// The workflows forked from this one, and from those.
    pub(crate) async fn forks(&self, id: &str) -> Result<Vec<String>> {
        let query = sqlx::query_scalar(FORKS).bind(id);
        self.ask(async |c| query.fetch_all(c).await).await
    }

    /// Which of the awaited messages and events, and values of streams, are there.
    pub(crate) async fn present(&self, awaited: &[Touched]) -> Result<Vec<Touched>> {
        let mut present = Vec::new();
        for (statement, wanted) in [(ARRIVED, true), (PUBLISHED, false)] {
            let of_kind: Vec<(i64, &str, &str)> =
                (0..).zip(awaited).filter_map(|(place, touched)| pair(place, touched, wanted)).collect();
            let rows = self
                .ask(async |c| {
                    Values::default()
                        .fetch(c, statement, 3, &of_kind, |query, (place, id, key)| {
                            query.bind(*place).bind(*id).bind(*key)
                        })
                        .await
                })
                .await?;
            for row in rows {
                let place: i64 = row.try_get(0).map_err(super::classify)?;
                present.extend(usize::try_from(place).ok().and_then(|place| awaited.get(place)).cloned());
            }
        }
        present.extend(self.appended(awaited).await?);
        Ok(present)
    }
}

fn pair(place: i64, touched: &Touched, message: bool) -> Option<(i64, &str, &str)> {
    match touched {
        Touched::Message { id, topic } if message => Some((place, id, topic)),
        Touched::Event { id, key } if !message => Some((place, id, key)),
        _ => None,
    }
}
