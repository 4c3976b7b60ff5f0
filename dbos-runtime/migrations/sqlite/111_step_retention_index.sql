CREATE INDEX idx_operation_outputs_retention
    ON operation_outputs (retention_timestamp);
