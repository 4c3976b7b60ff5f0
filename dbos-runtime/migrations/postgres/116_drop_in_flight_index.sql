DROP INDEX CONCURRENTLY IF EXISTS {schema}.idx_workflow_status_in_flight;
