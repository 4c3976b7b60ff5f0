CREATE TABLE {schema}.workflow_events_history (
    workflow_uuid TEXT NOT NULL
        REFERENCES {schema}.workflow_status ON UPDATE CASCADE ON DELETE CASCADE,
    function_id INT4 NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (workflow_uuid, function_id, key)
);
ALTER TABLE {schema}.streams ADD COLUMN function_id INT4 NOT NULL DEFAULT 0;
