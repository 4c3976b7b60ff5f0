"""Prints the catalogue of a system database as JSON: columns, keys, indexes, functions and triggers.

    schema_catalogue.py [--official] URL

With --official the database at URL is empty, and the Python SDK makes its own system schema there first.
"""

import argparse
import json
import os
import re
import sqlite3

POSTGRES = {
    "column": """
        SELECT t.relname || '.' || c.attname,
               format_type(c.atttypid, c.atttypmod) || CASE WHEN c.attnotnull THEN ' not null' ELSE '' END
                   || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '')
          FROM pg_attribute c
          JOIN pg_class t ON t.oid = c.attrelid AND t.relkind = 'r'
          LEFT JOIN pg_attrdef d ON d.adrelid = c.attrelid AND d.adnum = c.attnum
         WHERE t.relnamespace = %(schema)s::regnamespace AND c.attnum > 0 AND NOT c.attisdropped""",
    "constraint": """
        SELECT conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
          FROM pg_constraint
         WHERE connamespace = %(schema)s::regnamespace AND conrelid <> 0""",
    "index": """
        SELECT x.indexrelid::regclass::text,
               pg_get_indexdef(x.indexrelid) || CASE WHEN x.indisvalid THEN '' ELSE ' invalid' END
          FROM pg_index x
          JOIN pg_class i ON i.oid = x.indexrelid
         WHERE i.relnamespace = %(schema)s::regnamespace""",
    "function": """
        SELECT proname || '(' || pg_get_function_arguments(oid) || ')',
               concat_ws(' ', pg_get_function_result(oid), provolatile, prosecdef,
                         array_to_string(proconfig, '; '))
          FROM pg_proc
         WHERE pronamespace = %(schema)s::regnamespace""",
    "trigger": """
        SELECT g.tgrelid::regclass || '.' || g.tgname, pg_get_triggerdef(g.oid)
          FROM pg_trigger g
          JOIN pg_class t ON t.oid = g.tgrelid
         WHERE t.relnamespace = %(schema)s::regnamespace AND NOT g.tgisinternal""",
    "version": "SELECT 'rows', string_agg(version::text, ',') FROM dbos.dbos_migrations",
}


def postgres(url):
    import psycopg

    with psycopg.connect(url) as connection:
        rows = {kind: connection.execute(query, {"schema": "dbos"}) for kind, query in POSTGRES.items()}
        return {kind: dict(cursor.fetchall()) for kind, cursor in rows.items()}


def sqlite(path):
    connection = sqlite3.connect(path)
    catalogue = {"column": {}, "foreign key": {}, "index": {}, "version": {}}
    tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
    for (table,) in connection.execute(tables).fetchall():
        for _, column, kind, required, default, key in connection.execute(f"PRAGMA table_info({table})"):
            text = kind.upper() + (" not null" if required else "") + (f" key {key}" if key else "")
            catalogue["column"][f"{table}.{column}"] = text + default_of(default)
        for row in connection.execute(f"PRAGMA foreign_key_list({table})"):
            _, _, target, column, referenced, on_update, on_delete, _ = row
            text = f"{target}({referenced}) on update {on_update} on delete {on_delete}"
            catalogue["foreign key"][f"{table}.{column}"] = text
        for _, index, unique, origin, _ in connection.execute(f"PRAGMA index_list({table})").fetchall():
            columns = ", ".join(
                column + (" desc" if descending else "")
                for _, _, column, descending, _, is_key in connection.execute(f"PRAGMA index_xinfo({index})")
                if is_key
            )
            # The index behind a key or a UNIQUE has no lasting name.
            name = index if origin == "c" else f"{origin} {table}({columns})"
            text = f"{'unique ' if unique else ''}{table}({columns})"
            catalogue["index"][name] = text + predicate_of(connection, index)
    rows = connection.execute("SELECT version FROM dbos_migrations").fetchall()
    catalogue["version"]["rows"] = ",".join(str(version) for (version,) in rows)
    return catalogue


def default_of(text):
    if text is None or text.upper() == "NULL":
        return ""
    # How the clock is asked depends on the SQLite that the schema was made with.
    return " default now" if re.search("strftime|unixepoch|julianday", text) else f" default {text.lower()}"


def predicate_of(connection, index):
    (sql,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (index,)).fetchone()
    where = re.search(r"\sWHERE\s(.*)", sql or "", re.DOTALL | re.IGNORECASE)
    return " where " + re.sub(r"\s+", " ", where[1].replace('"', "")) if where else ""


def create_official(url):
    os.environ["DBOS__APPVERSION"] = "schema-catalogue"
    from dbos import DBOS

    # SQLAlchemy would look for psycopg2 by the plain name.
    url = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)
    DBOS(config={"name": "schema-catalogue", "system_database_url": url, "log_level": "ERROR"})
    DBOS.launch()
    DBOS.destroy()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", action="store_true")
    parser.add_argument("url")
    arguments = parser.parse_args()
    is_postgres = arguments.url.startswith("postgres")
    url = arguments.url if is_postgres else "sqlite:///" + sqlite_path(arguments.url)
    if arguments.official:
        create_official(url)
    catalogue = postgres(url) if is_postgres else sqlite(sqlite_path(arguments.url))
    print(json.dumps(catalogue, indent=1, sort_keys=True))


def sqlite_path(url):
    """Takes sqlite:path, sqlite://path and a bare path, with or without options."""
    path = re.sub(r"^sqlite:(//)?", "", url).split("?")[0]
    return re.sub(r"^/+", "/", path)


if __name__ == "__main__":
    main()
