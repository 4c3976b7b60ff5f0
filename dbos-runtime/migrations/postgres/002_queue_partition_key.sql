ALTER TABLE {schema}.workflow_status ADD COLUMN queue_partition_key TEXT;
