ALTER TABLE workflow_status ADD COLUMN application_name TEXT DEFAULT NULL;
