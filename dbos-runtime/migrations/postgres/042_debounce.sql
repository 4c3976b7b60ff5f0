ALTER TABLE {schema}.workflow_status
    ADD COLUMN debounce_deadline_epoch_ms BIGINT,
    ADD COLUMN is_debounced BOOLEAN NOT NULL DEFAULT FALSE;
