ALTER FUNCTION {schema}.enqueue_workflow(
    TEXT, TEXT, JSON[], JSON, TEXT, TEXT, TEXT, TEXT, BIGINT, BIGINT, TEXT, INT4, TEXT
) SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION {schema}.send_message(TEXT, JSON, TEXT, TEXT) SET search_path = pg_catalog, pg_temp;

-- listen/notify
ALTER FUNCTION {schema}.notifications_function() SET search_path = pg_catalog, pg_temp;
ALTER FUNCTION {schema}.workflow_events_function() SET search_path = pg_catalog, pg_temp;
