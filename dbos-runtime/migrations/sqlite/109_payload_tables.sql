CREATE TABLE workflow_input (
    workflow_uuid TEXT NOT NULL PRIMARY KEY,
    inputs TEXT,
    retention_timestamp INTEGER NOT NULL
        DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4))
);
CREATE INDEX idx_workflow_input_retention ON workflow_input (retention_timestamp);

CREATE TABLE workflow_output (
    workflow_uuid TEXT NOT NULL PRIMARY KEY,
    output TEXT,
    error TEXT,
    retention_timestamp INTEGER NOT NULL
        DEFAULT (strftime('%s', 'now') * 1000 + substr(strftime('%f', 'now'), 4))
);
CREATE INDEX idx_workflow_output_retention ON workflow_output (retention_timestamp);
