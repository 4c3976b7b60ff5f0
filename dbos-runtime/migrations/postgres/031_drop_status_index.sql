DROP INDEX CONCURRENTLY IF EXISTS {schema}.workflow_status_status_index;
