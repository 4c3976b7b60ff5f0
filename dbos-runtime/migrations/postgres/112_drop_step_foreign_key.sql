-- The second name is the one that TypeScript's history gave it.
ALTER TABLE {schema}.operation_outputs
    DROP CONSTRAINT IF EXISTS operation_outputs_workflow_uuid_fkey,
    DROP CONSTRAINT IF EXISTS operation_outputs_workflow_uuid_foreign;
