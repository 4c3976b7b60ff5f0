ALTER TABLE {schema}.operation_outputs ADD COLUMN application_name TEXT;
