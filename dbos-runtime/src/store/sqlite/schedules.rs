//! Schedules, and the runs that they ask for.

use std::collections::HashSet;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Row};

use super::values::Values;
use super::{Sqlite, rows};
use crate::model::queue::INTERNAL_QUEUE;
use crate::model::schedule::{Due, Fired, Firing, NewSchedule, ScheduleRow, ScheduleScope, Tick};
use crate::store::error::StoreError;
use crate::time::Timestamp;

type Result<T, E = StoreError> = std::result::Result<T, E>;

/// The change of nothing makes the row that is in the way come back.
const CREATE: &str = "\
INSERT INTO workflow_schedules (schedule_id, schedule_name, workflow_name, workflow_class_name, schedule, context,
    cron_timezone, queue_name, automatic_backfill, application_name)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
ON CONFLICT (schedule_name) DO UPDATE SET schedule_name = excluded.schedule_name
RETURNING schedule_id, application_name";

const APPLY: &str = "\
INSERT INTO workflow_schedules AS s (schedule_id, schedule_name, workflow_name, workflow_class_name, schedule, context,
    cron_timezone, queue_name, automatic_backfill, application_name)
VALUES {rows}
ON CONFLICT (schedule_name) DO UPDATE
SET workflow_name = excluded.workflow_name, workflow_class_name = excluded.workflow_class_name,
    schedule = excluded.schedule, context = excluded.context, cron_timezone = excluded.cron_timezone,
    queue_name = excluded.queue_name, automatic_backfill = excluded.automatic_backfill,
    application_name = coalesce(s.application_name, excluded.application_name)
WHERE s.application_name IS NULL OR excluded.application_name IS NULL OR s.application_name = excluded.application_name
RETURNING schedule_name";

const LOOK: &str = "\
SELECT schedule_id, schedule_name, workflow_name, workflow_class_name, schedule, status, context, cron_timezone, queue_name,
    automatic_backfill, last_fired_at, application_name
FROM workflow_schedules WHERE schedule_name = ?1";

const LIST: &str = "\
SELECT schedule_id, schedule_name, workflow_name, workflow_class_name, schedule, status, context, cron_timezone, queue_name,
    automatic_backfill, last_fired_at, application_name
FROM workflow_schedules
WHERE (json_array_length(?1) = 0 OR application_name IN (SELECT value FROM json_each(?1)) OR application_name IS NULL)
    AND (json_array_length(?2) = 0 OR status IN (SELECT value FROM json_each(?2)))
    AND (json_array_length(?3) = 0 OR workflow_name IN (SELECT value FROM json_each(?3)))
    AND substr(schedule_name, 1, length(?4)) = ?4
ORDER BY schedule_name";

const ACTIVE: &str = "\
SELECT s.schedule_id, s.schedule_name, s.workflow_name, s.workflow_class_name, s.schedule, s.status, s.context, s.cron_timezone, s.queue_name,
    s.automatic_backfill, s.last_fired_at, s.application_name,
    CAST(unixepoch('subsec') * 1000 AS INTEGER) AS now
FROM (SELECT 1) LEFT JOIN workflow_schedules s
    ON s.status = 'ACTIVE' AND (s.application_name = ?1 OR s.application_name IS NULL)";

const SET_STATUS: &str = "UPDATE workflow_schedules SET status = ?2 WHERE schedule_name = ?1";

const DELETE: &str = "DELETE FROM workflow_schedules WHERE schedule_name = ?1";

const NOW: &str = "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)";

/// A live tick is fired only as long as its schedule is the active one that this process knows.
const KNOWN: &str = "\
WITH k(live, id, cron, zone, workflow, context) AS (VALUES {rows})
SELECT s.schedule_id FROM k JOIN workflow_schedules s ON s.schedule_id = k.id
WHERE NOT k.live OR (s.status = 'ACTIVE' AND s.schedule = k.cron AND s.cron_timezone IS k.zone
    AND s.workflow_name = k.workflow AND s.context = k.context)";

const ENQUEUE: &str = "\
WITH t(schedule_id, id, queue, application, format) AS (VALUES {rows})
INSERT INTO workflow_status (workflow_uuid, status, name, class_name, queue_name, application_version, application_name,
    schedule_name, recovery_attempts, serialization)
SELECT t.id, 'ENQUEUED', s.workflow_name, s.workflow_class_name, coalesce(s.queue_name, t.queue), (
        SELECT v.version_name FROM application_versions v
        WHERE v.application_name = coalesce(s.application_name, t.application) OR v.application_name IS NULL
        ORDER BY v.version_timestamp DESC LIMIT 1),
    coalesce(s.application_name, t.application), s.schedule_name, 0, t.format
FROM t JOIN workflow_schedules s ON s.schedule_id = t.schedule_id WHERE true
ON CONFLICT DO NOTHING
RETURNING workflow_uuid";

const INPUT: &str = "INSERT INTO workflow_input (workflow_uuid, inputs) VALUES {rows} ON CONFLICT DO NOTHING";

/// Only forwards: the texts of one schedule sort like its times but for a repeated hour, in which the process that
/// enqueued the tick moves it.
const MOVE: &str = "\
WITH n(schedule_id, text, created) AS (VALUES {rows})
UPDATE workflow_schedules SET last_fired_at = n.text FROM n
WHERE workflow_schedules.schedule_id = n.schedule_id AND (last_fired_at IS NULL OR last_fired_at < n.text OR n.created)";

impl Sqlite {
    pub(crate) async fn create_schedule(&self, new: &NewSchedule) -> Result<(String, Option<String>)> {
        let query = sqlx::query(CREATE).bind(&new.row_id).bind(&new.name).bind(&new.workflow);
        let query = query.bind(&new.class_name).bind(&new.cron).bind(&new.context).bind(&new.time_zone);
        let query = query.bind(&new.queue).bind(new.automatic_backfill).bind(&self.identity.application);
        self.change(async |c| {
            let row = query.fetch_one(c).await?;
            Ok((row.try_get(0)?, row.try_get(1)?))
        })
        .await
    }

    pub(crate) async fn apply_schedules(&self, new: &[NewSchedule]) -> Result<Option<String>> {
        let application = self.identity.application.as_deref();
        let new: Vec<(&NewSchedule, Option<&str>)> = new.iter().map(|new| (new, application)).collect();
        self.change(async |c| {
            let mut transaction = c.begin_with("BEGIN IMMEDIATE").await?;
            let applied = Values::default()
                .fetch(&mut transaction, APPLY, 10, &new, |query, (new, application)| {
                    let query =
                        query.bind(&new.row_id).bind(&new.name).bind(&new.workflow).bind(&new.class_name);
                    let query =
                        query.bind(&new.cron).bind(&new.context).bind(&new.time_zone).bind(&new.queue);
                    query.bind(new.automatic_backfill).bind(*application)
                })
                .await?;
            let applied = applied.iter().map(|row| row.try_get(0)).collect::<Result<Vec<String>, _>>()?;
            let refused =
                new.iter().find(|(new, _)| !applied.contains(&new.name)).map(|(new, _)| new.name.clone());
            if refused.is_none() { transaction.commit().await } else { transaction.rollback().await }?;
            Ok(refused)
        })
        .await
    }

    pub(crate) async fn schedule(&self, name: &str) -> Result<Option<ScheduleRow>> {
        let query = sqlx::query(LOOK).bind(name);
        self.ask(async |c| query.fetch_optional(c).await?.as_ref().map(rows::schedule).transpose()).await
    }

    pub(crate) async fn schedules(&self, scope: &ScheduleScope) -> Result<Vec<ScheduleRow>> {
        fn array<T: serde::Serialize>(texts: &[T]) -> String {
            serde_json::to_string(texts).unwrap_or_default()
        }
        let own = self.identity.application.as_slice();
        let applications = if scope.applications.is_empty() { own } else { &scope.applications };
        let query = sqlx::query(LIST).bind(array(applications)).bind(array(&scope.statuses));
        let query = query.bind(array(&scope.workflows)).bind(&scope.name_prefix);
        self.ask(async |c| query.fetch_all(c).await?.iter().map(rows::schedule).collect()).await
    }

    pub(crate) async fn active_schedules(&self) -> Result<(Timestamp, Vec<ScheduleRow>)> {
        let query = sqlx::query(ACTIVE).bind(&self.identity.application);
        self.ask(async |c| {
            let (mut now, mut schedules) = (0, Vec::new());
            for row in query.fetch_all(c).await? {
                now = row.try_get("now")?;
                if row.try_get::<Option<&str>, _>("schedule_id")?.is_some() {
                    schedules.push(rows::schedule(&row)?);
                }
            }
            Ok((Timestamp::from_millis(now), schedules))
        })
        .await
    }

    pub(crate) async fn set_schedule_status(&self, name: &str, status: &str) -> Result<u64> {
        let query = sqlx::query(SET_STATUS).bind(name).bind(status);
        self.change(async |c| Ok(query.execute(c).await?.rows_affected())).await
    }

    pub(crate) async fn delete_schedule(&self, name: &str) -> Result<u64> {
        let query = sqlx::query(DELETE).bind(name);
        self.change(async |c| Ok(query.execute(c).await?.rows_affected())).await
    }

    pub(crate) async fn fire(&self, due: &[Due], firing: Firing) -> Result<Fired> {
        let application = self.identity.application.as_deref();
        self.change(async |c| {
            let mut transaction = c.begin_with("BEGIN IMMEDIATE").await?;
            let fired = fire(&mut transaction, due, firing == Firing::Live, application).await?;
            transaction.commit().await?;
            Ok(fired)
        })
        .await
    }
}

async fn fire(
    connection: &mut SqliteConnection,
    due: &[Due],
    live: bool,
    application: Option<&str>,
) -> Result<Fired, sqlx::Error> {
    let mut values = Values::default();
    let now: i64 = sqlx::query_scalar(NOW).fetch_one(&mut *connection).await?;
    let known = values
        .fetch(connection, KNOWN, 6, due, |query, due| {
            let row = &due.schedule;
            let query = query.bind(live).bind(&row.row_id).bind(&row.cron).bind(&row.time_zone);
            query.bind(&row.workflow).bind(row.stored_context())
        })
        .await?;
    let known = known.iter().map(|row| row.try_get(0)).collect::<Result<HashSet<String>, _>>()?;
    let ticks: Vec<(&str, &Tick, Option<&str>)> = due
        .iter()
        .map(|due| (due.schedule.row_id.as_str(), &due.ticks))
        .filter(|(schedule, _)| known.contains(*schedule))
        .flat_map(|(schedule, ticks)| ticks.iter().map(move |tick| (schedule, tick, application)))
        .filter(|(_, tick, _)| !live || tick.at.as_millis() <= now)
        .collect();
    let created = values
        .fetch(connection, ENQUEUE, 5, &ticks, |query, (schedule, tick, application)| {
            let query = query.bind(*schedule).bind(&tick.id).bind(INTERNAL_QUEUE);
            query.bind(*application).bind(tick.format.name())
        })
        .await?;
    let created = created.iter().map(|row| row.try_get(0)).collect::<Result<HashSet<String>, _>>()?;
    let new: Vec<&Tick> =
        ticks.iter().map(|(_, tick, _)| *tick).filter(|tick| created.contains(&tick.id)).collect();
    values.execute(connection, INPUT, 2, &new, |query, tick| query.bind(&tick.id).bind(&tick.input)).await?;
    let mut newest: Vec<(&str, &Tick)> = ticks.iter().map(|(schedule, tick, _)| (*schedule, *tick)).collect();
    // The ticks of one schedule stand together and in their order.
    newest.reverse();
    newest.dedup_by_key(|(schedule, _)| *schedule);
    if live {
        values
            .execute(connection, MOVE, 3, &newest, |query, (schedule, tick)| {
                query.bind(*schedule).bind(&tick.text).bind(created.contains(&tick.id))
            })
            .await?;
    }
    let schedules = newest.iter().map(|(schedule, _)| (*schedule).to_owned()).collect();
    Ok(Fired { schedules, created: u64::try_from(created.len()).unwrap_or(0) })
}
