ALTER TABLE workflow_status ADD COLUMN attributes TEXT;
