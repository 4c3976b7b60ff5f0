CREATE INDEX idx_workflow_status_pending
    ON workflow_status (created_at)
    WHERE "status" = 'PENDING';
