ALTER TABLE {schema}.workflow_status ADD COLUMN serialization TEXT;
ALTER TABLE {schema}.notifications ADD COLUMN serialization TEXT;
ALTER TABLE {schema}.workflow_events ADD COLUMN serialization TEXT;
ALTER TABLE {schema}.workflow_events_history ADD COLUMN serialization TEXT;
ALTER TABLE {schema}.operation_outputs ADD COLUMN serialization TEXT;
ALTER TABLE {schema}.streams ADD COLUMN serialization TEXT;
