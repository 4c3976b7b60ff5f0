-- listen/notify
CREATE FUNCTION {schema}.streams_function() RETURNS TRIGGER LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $body$
BEGIN
    PERFORM pg_notify('dbos_streams_channel', NEW.workflow_uuid || '::' || NEW.key);
    RETURN NULL;
END
$body$;
CREATE TRIGGER dbos_streams_trigger AFTER INSERT ON {schema}.streams
    FOR EACH ROW EXECUTE FUNCTION {schema}.streams_function();
