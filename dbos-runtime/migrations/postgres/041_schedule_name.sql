ALTER TABLE {schema}.workflow_status ADD COLUMN schedule_name TEXT;
CREATE INDEX idx_workflow_status_schedule_name
    ON {schema}.workflow_status (schedule_name)
    WHERE schedule_name IS NOT NULL;
