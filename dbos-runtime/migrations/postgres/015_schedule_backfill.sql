ALTER TABLE {schema}.workflow_schedules
    ADD COLUMN last_fired_at TEXT,
    ADD COLUMN automatic_backfill BOOLEAN NOT NULL DEFAULT FALSE,
    ADD COLUMN cron_timezone TEXT;
