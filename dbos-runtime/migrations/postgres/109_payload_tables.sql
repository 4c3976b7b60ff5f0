CREATE TABLE {schema}.workflow_input (
    workflow_uuid TEXT PRIMARY KEY,
    inputs TEXT,
    retention_timestamp BIGINT NOT NULL DEFAULT (EXTRACT(epoch FROM now()) * 1000.0)::BIGINT
);
CREATE INDEX idx_workflow_input_retention ON {schema}.workflow_input (retention_timestamp);

CREATE TABLE {schema}.workflow_output (
    workflow_uuid TEXT PRIMARY KEY,
    output TEXT,
    error TEXT,
    retention_timestamp BIGINT NOT NULL DEFAULT (EXTRACT(epoch FROM now()) * 1000.0)::BIGINT
);
CREATE INDEX idx_workflow_output_retention ON {schema}.workflow_output (retention_timestamp);
