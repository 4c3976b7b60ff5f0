ALTER TABLE {schema}.workflow_status ADD COLUMN rate_limited BOOLEAN NOT NULL DEFAULT FALSE;
