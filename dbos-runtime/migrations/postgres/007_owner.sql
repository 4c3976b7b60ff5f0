ALTER TABLE {schema}.workflow_status ADD COLUMN owner_xid TEXT;
