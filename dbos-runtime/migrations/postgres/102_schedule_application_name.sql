ALTER TABLE {schema}.workflow_schedules ADD COLUMN application_name TEXT;
