ALTER TABLE {schema}.workflow_status ADD COLUMN was_forked_from BOOLEAN NOT NULL DEFAULT FALSE;
