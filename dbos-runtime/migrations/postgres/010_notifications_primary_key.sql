DO $body$
BEGIN
    ALTER TABLE {schema}.notifications ADD PRIMARY KEY (message_uuid);
EXCEPTION
    -- Only tables of an older history lack the key; the others answer that two are too many.
    WHEN invalid_table_definition THEN NULL;
END
$body$;
