//! Questions about messages and events.

use sqlx::Row;

use super::Postgres;
use crate::model::mailbox::Stored;
use crate::model::write::Touched;
use crate::store::error::StoreError;

type Result<T> = std::result::Result<T, StoreError>;

const EVENT: &str =
    "SELECT value, serialization FROM {s}.workflow_events WHERE workflow_uuid = $1 AND key = $2";

const EVENTS: &str =
    "SELECT key, value, serialization FROM {s}.workflow_events WHERE workflow_uuid = $1 ORDER BY key";

const ARRIVED: &str = "\
SELECT w.ord FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w(id, topic, ord)
WHERE EXISTS (SELECT FROM {s}.notifications n
    WHERE n.destination_uuid = w.id AND n.topic = w.topic AND NOT n.consumed)";

const PUBLISHED: &str = "\
SELECT w.ord FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w(id, key, ord)
JOIN {s}.workflow_events e ON e.workflow_uuid = w.id AND e.key = w.key";

/// Breadth first, and each once: a fork may be reached on one way only.
const FORKS: &str = "\
WITH RECURSIVE forks(id) AS (
    SELECT workflow_uuid FROM {s}.workflow_status WHERE forked_from = $1
    UNION
    SELECT w.workflow_uuid FROM {s}.workflow_status w JOIN forks ON w.forked_from = forks.id
)
SELECT id FROM forks ORDER BY id";

impl Postgres {
    pub(crate) async fn event(&self, id: &str, key: &str) -> Result<Option<Stored>> {
        let query = sqlx::query(self.statements.get(EVENT)).bind(id).bind(key);
        self.ask(async |c| {
            let row = query.fetch_optional(c).await?;
            row.map(|row| Ok(Stored { value: row.try_get(0)?, serialization: row.try_get(1)? })).transpose()
        })
        .await
    }

    pub(crate) async fn events(&self, id: &str) -> Result<Vec<(String, Stored)>> {
        let query = sqlx::query(self.statements.get(EVENTS)).bind(id);
        self.ask(async |c| {
            let rows = query.fetch_all(c).await?;
            let pair = |row: sqlx::postgres::PgRow| {
                Ok((row.try_get(0)?, Stored { value: row.try_get(1)?, serialization: row.try_get(2)? }))
            };
            rows.into_iter().map(pair).collect()
        })
        .await
    }

    /// The workflows forked from this one, and from those.
    pub(crate) async fn forks(&self, id: &str) -> Result<Vec<String>> {
        let query = sqlx::query_scalar(self.statements.get(FORKS)).bind(id);
        self.ask(async |c| query.fetch_all(c).await).await
    }

    /// Which of the awaited messages and events, and values of streams, are there.
    pub(crate) async fn present(&self, awaited: &[Touched]) -> Result<Vec<Touched>> {
        let mut present = Vec::new();
        for (statement, wanted) in [(ARRIVED, true), (PUBLISHED, false)] {
            let of_kind: Vec<(&Touched, &str, &str)> =
                awaited.iter().filter_map(|t| pair(t, wanted)).collect();
            if of_kind.is_empty() {
                continue;
            }
            let ids: Vec<&str> = of_kind.iter().map(|(_, id, _)| *id).collect();
            let keys: Vec<&str> = of_kind.iter().map(|(_, _, key)| *key).collect();
            let query = sqlx::query_scalar(self.statements.get(statement)).bind(ids).bind(keys);
            let places: Vec<i64> = self.ask(async |c| query.fetch_all(c).await).await?;
            let at = |place: i64| usize::try_from(place - 1).ok().and_then(|place| of_kind.get(place));
            present.extend(places.into_iter().filter_map(at).map(|(touched, _, _)| (*touched).clone()));
        }
        present.extend(self.appended(awaited).await?);
        Ok(present)
    }
}

fn pair(touched: &Touched, message: bool) -> Option<(&Touched, &str, &str)> {
    match touched {
        Touched::Message { id, topic } if message => Some((touched, id, topic)),
        Touched::Event { id, key } if !message => Some((touched, id, key)),
        _ => None,
    }
}
