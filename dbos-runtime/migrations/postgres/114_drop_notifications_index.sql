DROP INDEX CONCURRENTLY IF EXISTS {schema}.idx_notifications;
