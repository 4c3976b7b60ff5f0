-- A foreign key can only be dropped by building the table anew.
CREATE TABLE operation_outputs_unbound (
    workflow_uuid TEXT NOT NULL,
    function_id INTEGER NOT NULL,
    function_name TEXT NOT NULL DEFAULT '',
    output TEXT,
    error TEXT,
    child_workflow_id TEXT,
    started_at_epoch_ms INTEGER,
    completed_at_epoch_ms INTEGER,
    serialization TEXT,
    application_name TEXT DEFAULT NULL,
    retention_timestamp INTEGER NOT NULL
        DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4)),
    PRIMARY KEY (workflow_uuid, function_id)
);
INSERT INTO operation_outputs_unbound (
    workflow_uuid, function_id, function_name, output, error, child_workflow_id,
    started_at_epoch_ms, completed_at_epoch_ms, serialization, application_name,
    retention_timestamp
)
SELECT
    workflow_uuid, function_id, function_name, output, error, child_workflow_id,
    started_at_epoch_ms, completed_at_epoch_ms, serialization, application_name,
    coalesce(retention_timestamp, strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4))
FROM operation_outputs;
DROP TABLE operation_outputs;
ALTER TABLE operation_outputs_unbound RENAME TO operation_outputs;
CREATE INDEX idx_operation_outputs_completed_at_function_name
    ON operation_outputs (completed_at_epoch_ms, function_name);
CREATE INDEX idx_operation_outputs_retention ON operation_outputs (retention_timestamp);
