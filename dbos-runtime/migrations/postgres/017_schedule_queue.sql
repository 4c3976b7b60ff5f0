ALTER TABLE {schema}.workflow_schedules ADD COLUMN queue_name TEXT;
