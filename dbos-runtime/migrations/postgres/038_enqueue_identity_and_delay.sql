DROP FUNCTION IF EXISTS {schema}.enqueue_workflow(
    TEXT, TEXT, JSON[], JSON, TEXT, TEXT, TEXT, TEXT, BIGINT, BIGINT, TEXT, INT4, TEXT
);
CREATE FUNCTION {schema}.enqueue_workflow(
    workflow_name TEXT,
    queue_name TEXT,
    positional_args JSON[] DEFAULT ARRAY[]::JSON[],
    named_args JSON DEFAULT '{}'::JSON,
    class_name TEXT DEFAULT NULL,
    config_name TEXT DEFAULT NULL,
    workflow_id TEXT DEFAULT NULL,
    app_version TEXT DEFAULT NULL,
    timeout_ms BIGINT DEFAULT NULL,
    deadline_epoch_ms BIGINT DEFAULT NULL,
    deduplication_id TEXT DEFAULT NULL,
    priority INT4 DEFAULT NULL,
    queue_partition_key TEXT DEFAULT NULL,
    authenticated_user TEXT DEFAULT NULL,
    authenticated_roles TEXT DEFAULT NULL,
    delay_until_epoch_ms BIGINT DEFAULT NULL
) RETURNS TEXT LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
    new_id CONSTANT TEXT := coalesce(workflow_id, gen_random_uuid()::TEXT);
    now_ms CONSTANT BIGINT := extract(epoch FROM now()) * 1000;
    payload CONSTANT TEXT := json_build_object(
        'positionalArgs', coalesce(positional_args, ARRAY[]::JSON[]),
        'namedArgs', coalesce(named_args, '{}'::JSON)
    );
BEGIN
    IF coalesce(workflow_name, '') = '' THEN
        RAISE EXCEPTION 'enqueue_workflow needs a workflow name';
    ELSIF coalesce(queue_name, '') = '' THEN
        RAISE EXCEPTION 'enqueue_workflow needs a queue name';
    ELSIF workflow_id = '' THEN
        RAISE EXCEPTION 'enqueue_workflow needs a workflow ID that is not empty, or none';
    ELSIF json_typeof(named_args) <> 'object' THEN
        RAISE EXCEPTION 'enqueue_workflow takes its named arguments as a JSON object';
    ELSIF delay_until_epoch_ms < 0 THEN
        RAISE EXCEPTION 'enqueue_workflow cannot delay until a time before 1970';
    END IF;

    INSERT INTO {schema}.workflow_status (
        workflow_uuid, status, name, class_name, config_name, application_version,
        authenticated_user, authenticated_roles, queue_name, queue_partition_key, deduplication_id,
        priority, delay_until_epoch_ms, workflow_timeout_ms, workflow_deadline_epoch_ms, inputs,
        serialization, owner_xid, recovery_attempts, created_at, updated_at
    ) VALUES (
        new_id, CASE WHEN delay_until_epoch_ms IS NULL THEN 'ENQUEUED' ELSE 'DELAYED' END,
        workflow_name, class_name, config_name, app_version, authenticated_user,
        authenticated_roles, queue_name, queue_partition_key, deduplication_id,
        coalesce(priority, 0), delay_until_epoch_ms, timeout_ms, deadline_epoch_ms, payload,
        'portable_json', gen_random_uuid()::TEXT, 0, now_ms, now_ms
    )
    ON CONFLICT (workflow_uuid) DO UPDATE SET updated_at = excluded.updated_at;

    RETURN new_id;
EXCEPTION
    -- The ID cannot collide here, so this is the deduplication index.
    WHEN unique_violation THEN
        RAISE EXCEPTION 'DBOS queue duplicated' USING
            ERRCODE = 'unique_violation',
            DETAIL = format('Queue %s holds deduplication ID %s already, so workflow %s is refused',
                queue_name, deduplication_id, new_id);
END
$body$;
