ALTER TABLE {schema}.queues ADD COLUMN application_name TEXT;
