//! Schedules, and the runs that they ask for.

use sqlx::postgres::PgRow;
use sqlx::{Connection, Row};

use super::{Postgres, rows};
use crate::model::queue::INTERNAL_QUEUE;
use crate::model::schedule::{Due, Fired, Firing, NewSchedule, ScheduleRow, ScheduleScope, Tick};
use crate::store::error::StoreError;
use crate::time::Timestamp;

type Result<T> = std::result::Result<T, StoreError>;

/// The change of nothing makes the row that is in the way come back.
const CREATE: &str = "\
INSERT INTO {s}.workflow_schedules (schedule_id, schedule_name, workflow_name, workflow_class_name, schedule, context,
    cron_timezone, queue_name, automatic_backfill, application_name)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (schedule_name) DO UPDATE SET schedule_name = excluded.schedule_name
RETURNING schedule_id, application_name";

const APPLY: &str = "\
INSERT INTO {s}.workflow_schedules AS s (schedule_id, schedule_name, workflow_name, workflow_class_name, schedule, context,
    cron_timezone, queue_name, automatic_backfill, application_name)
SELECT n.*, $10
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bool[]) AS n
ON CONFLICT (schedule_name) DO UPDATE
SET workflow_name = excluded.workflow_name, workflow_class_name = excluded.workflow_class_name,
    schedule = excluded.schedule, context = excluded.context, cron_timezone = excluded.cron_timezone,
    queue_name = excluded.queue_name, automatic_backfill = excluded.automatic_backfill,
    application_name = coalesce(s.application_name, excluded.application_name)
WHERE s.application_name IS NULL OR excluded.application_name IS NULL OR s.application_name = excluded.application_name
RETURNING s.schedule_name";

const LOOK: &str = "\
SELECT schedule_id, schedule_name, workflow_name, workflow_class_name, schedule, status, context, cron_timezone, queue_name,
    automatic_backfill, last_fired_at, application_name
FROM {s}.workflow_schedules WHERE schedule_name = $1";

const LIST: &str = "\
SELECT schedule_id, schedule_name, workflow_name, workflow_class_name, schedule, status, context, cron_timezone, queue_name,
    automatic_backfill, last_fired_at, application_name
FROM {s}.workflow_schedules
WHERE (cardinality($1::text[]) = 0 OR application_name = ANY($1) OR application_name IS NULL)
    AND (cardinality($2::text[]) = 0 OR status = ANY($2))
    AND (cardinality($3::text[]) = 0 OR workflow_name = ANY($3))
    AND left(schedule_name, length($4)) = $4
ORDER BY schedule_name";

const ACTIVE: &str = "\
SELECT s.schedule_id, s.schedule_name, s.workflow_name, s.workflow_class_name, s.schedule, s.status, s.context, s.cron_timezone, s.queue_name,
    s.automatic_backfill, s.last_fired_at, s.application_name,
    (EXTRACT(epoch FROM now()) * 1000)::int8 AS now
FROM (VALUES (1)) AS one LEFT JOIN {s}.workflow_schedules s
    ON s.status = 'ACTIVE' AND (s.application_name = $1 OR s.application_name IS NULL)";

const SET_STATUS: &str = "UPDATE {s}.workflow_schedules SET status = $2 WHERE schedule_name = $1";

const DELETE: &str = "DELETE FROM {s}.workflow_schedules WHERE schedule_name = $1";

/// A live tick is fired only as long as its schedule is the active one that this process knows. The newest tick moves
/// `last_fired_at`, and only forwards: the texts of one schedule sort like its times but for a repeated hour, in which
/// the process that enqueued the tick moves it.
const FIRE: &str = "\
WITH known AS (
    SELECT s.schedule_id, s.schedule_name, s.workflow_name, s.workflow_class_name, s.queue_name, s.application_name
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[]) AS k(id, cron, zone, workflow, context)
    JOIN {s}.workflow_schedules s ON s.schedule_id = k.id
    WHERE NOT $10 OR (s.status = 'ACTIVE' AND s.schedule = k.cron AND s.cron_timezone IS NOT DISTINCT FROM k.zone
        AND s.workflow_name = k.workflow AND s.context = k.context)
), ticks AS (
    SELECT t.* FROM unnest($6::text[], $7::text[], $8::text[], $9::text[], $12::int8[],
        $14::text[]) AS t(schedule_id, id, text, input, at, format)
    WHERE NOT $10 OR t.at <= (EXTRACT(epoch FROM now()) * 1000)::int8
), created AS (
    INSERT INTO {s}.workflow_status (workflow_uuid, status, name, class_name, queue_name, application_version,
        application_name, schedule_name, recovery_attempts, serialization)
    SELECT t.id, 'ENQUEUED', s.workflow_name, s.workflow_class_name, coalesce(s.queue_name, $13), (
            SELECT v.version_name FROM {s}.application_versions v
            WHERE v.application_name = coalesce(s.application_name, $11) OR v.application_name IS NULL
            ORDER BY v.version_timestamp DESC LIMIT 1),
        coalesce(s.application_name, $11), s.schedule_name, 0, t.format
    FROM ticks t JOIN known s USING (schedule_id)
    ORDER BY t.id
    ON CONFLICT DO NOTHING
    RETURNING workflow_uuid
), inputs AS (
    INSERT INTO {s}.workflow_input (workflow_uuid, inputs)
    SELECT t.id, t.input FROM ticks t JOIN created ON created.workflow_uuid = t.id
    ON CONFLICT DO NOTHING
), moved AS (
    UPDATE {s}.workflow_schedules s SET last_fired_at = n.text
    FROM (SELECT DISTINCT ON (schedule_id) * FROM ticks ORDER BY schedule_id, at DESC) AS n
    WHERE $10 AND s.schedule_id = n.schedule_id AND s.schedule_id IN (SELECT schedule_id FROM known)
        AND (s.last_fired_at IS NULL OR s.last_fired_at COLLATE \"C\" < n.text
            OR n.id IN (SELECT workflow_uuid FROM created))
)
SELECT s.schedule_id, (SELECT count(*) FROM created) AS created
FROM known s WHERE s.schedule_id IN (SELECT schedule_id FROM ticks)";

impl Postgres {
    pub(crate) async fn create_schedule(&self, new: &NewSchedule) -> Result<(String, Option<String>)> {
        let query = sqlx::query(self.statements.get(CREATE)).bind(&new.row_id).bind(&new.name);
        let query = query.bind(&new.workflow).bind(&new.class_name).bind(&new.cron).bind(&new.context);
        let query = query.bind(&new.time_zone).bind(&new.queue).bind(new.automatic_backfill);
        let query = query.bind(&self.identity.application);
        self.ask(async |c| {
            let row = query.fetch_one(c).await?;
            Ok((row.try_get(0)?, row.try_get(1)?))
        })
        .await
    }

    pub(crate) async fn apply_schedules(&self, new: &[NewSchedule]) -> Result<Option<String>> {
        fn column<'a, T>(new: &'a [NewSchedule], part: impl Fn(&'a NewSchedule) -> T) -> Vec<T> {
            new.iter().map(part).collect()
        }
        let query = sqlx::query(self.statements.get(APPLY))
            .bind(column(new, |n| n.row_id.as_str()))
            .bind(column(new, |n| n.name.as_str()))
            .bind(column(new, |n| n.workflow.as_str()))
            .bind(column(new, |n| n.class_name.as_deref()))
            .bind(column(new, |n| n.cron.as_str()))
            .bind(column(new, |n| n.context.as_str()))
            .bind(column(new, |n| n.time_zone.as_deref()))
            .bind(column(new, |n| n.queue.as_deref()))
            .bind(column(new, |n| n.automatic_backfill))
            .bind(&self.identity.application);
        self.ask(async |c| {
            let mut transaction = c.begin().await?;
            let applied = query.fetch_all(&mut *transaction).await?;
            let applied =
                applied.iter().map(|row| row.try_get(0)).collect::<std::result::Result<Vec<String>, _>>()?;
            let refused = new.iter().find(|new| !applied.contains(&new.name)).map(|new| new.name.clone());
            if refused.is_none() { transaction.commit().await } else { transaction.rollback().await }?;
            Ok(refused)
        })
        .await
    }

    pub(crate) async fn schedule(&self, name: &str) -> Result<Option<ScheduleRow>> {
        let query = sqlx::query(self.statements.get(LOOK)).bind(name);
        self.ask(async |c| query.fetch_optional(c).await?.as_ref().map(rows::schedule).transpose()).await
    }

    pub(crate) async fn schedules(&self, scope: &ScheduleScope) -> Result<Vec<ScheduleRow>> {
        let own = self.identity.application.as_slice();
        let applications = if scope.applications.is_empty() { own } else { &scope.applications };
        let query = sqlx::query(self.statements.get(LIST)).bind(applications).bind(&scope.statuses);
        let query = query.bind(&scope.workflows).bind(&scope.name_prefix);
        self.ask(async |c| query.fetch_all(c).await?.iter().map(rows::schedule).collect()).await
    }

    pub(crate) async fn active_schedules(&self) -> Result<(Timestamp, Vec<ScheduleRow>)> {
        let query = sqlx::query(self.statements.get(ACTIVE)).bind(&self.identity.application);
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
        let query = sqlx::query(self.statements.get(SET_STATUS)).bind(name).bind(status);
        self.ask(async |c| Ok(query.execute(c).await?.rows_affected())).await
    }

    pub(crate) async fn delete_schedule(&self, name: &str) -> Result<u64> {
        let query = sqlx::query(self.statements.get(DELETE)).bind(name);
        self.ask(async |c| Ok(query.execute(c).await?.rows_affected())).await
    }

    pub(crate) async fn fire(&self, due: &[Due], firing: Firing) -> Result<Fired> {
        fn known<'a, T>(due: &'a [Due], part: impl Fn(&'a ScheduleRow) -> T) -> Vec<T> {
            due.iter().map(|due| part(&due.schedule)).collect()
        }
        fn ticks<'a, T>(due: &'a [Due], part: impl Fn(&'a Due, &'a Tick) -> T) -> Vec<T> {
            due.iter()
                .flat_map(|due| due.ticks.iter().map(move |tick| (due, tick)))
                .map(|(due, tick)| part(due, tick))
                .collect()
        }
        let query = sqlx::query(self.statements.get(FIRE))
            .bind(known(due, |row| row.row_id.as_str()))
            .bind(known(due, |row| row.cron.as_str()))
            .bind(known(due, |row| row.time_zone.as_deref()))
            .bind(known(due, |row| row.workflow.as_str()))
            .bind(known(due, |row| row.stored_context()))
            .bind(ticks(due, |due, _| due.schedule.row_id.as_str()))
            .bind(ticks(due, |_, tick| tick.id.as_str()))
            .bind(ticks(due, |_, tick| tick.text.as_str()))
            .bind(ticks(due, |_, tick| tick.input.as_str()))
            .bind(firing == Firing::Live)
            .bind(&self.identity.application)
            .bind(ticks(due, |_, tick| tick.at.as_millis()))
            .bind(INTERNAL_QUEUE)
            .bind(ticks(due, |_, tick| tick.format.name()));
        self.ask(async |c| {
            let mut fired = Fired::default();
            for row in query.fetch_all(c).await? {
                fired.schedules.push(row.try_get(0)?);
                fired.created = count(&row)?;
            }
            Ok(fired)
        })
        .await
    }
}

fn count(row: &PgRow) -> std::result::Result<u64, sqlx::Error> {
    Ok(u64::try_from(row.try_get::<i64, _>("created")?).unwrap_or(0))
}
