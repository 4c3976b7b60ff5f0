ALTER TABLE {schema}.workflow_status ADD COLUMN attributes JSONB;
CREATE INDEX idx_workflow_status_attributes
    ON {schema}.workflow_status USING gin (attributes)
    WHERE attributes IS NOT NULL;
