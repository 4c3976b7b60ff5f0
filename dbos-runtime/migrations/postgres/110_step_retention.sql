ALTER TABLE {schema}.operation_outputs ADD COLUMN retention_timestamp
    BIGINT NOT NULL DEFAULT (EXTRACT(epoch FROM now()) * 1000.0)::BIGINT;
