"""An application on the last Python SDK that has an admin server, for the comparison with ours.

    admin_server.py URL OPTIONS

OPTIONS is a JSON object: name, version, executor. It prints the port of its admin server, and ends with its input.
"""

import json
import re
import sys

from dbos import DBOS


def main():
    url, options = sys.argv[1], json.loads(sys.argv[2])
    # SQLAlchemy would look for psycopg2 by the plain name.
    url = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", re.sub(r"^sqlite:/+", "sqlite:////", url))
    dbos = DBOS(
        config={
            "name": options["name"],
            "system_database_url": url,
            "application_version": options["version"],
            "executor_id": options["executor"],
            "log_level": "ERROR",
            "run_migrations": False,
            "run_admin_server": True,
            "admin_port": 0,
        }
    )
    DBOS.launch()
    DBOS.register_queue("plain")
    DBOS.register_queue("limited", global_concurrency=7, worker_concurrency=3, limiter={"limit": 5, "period": 1.5})
    print(dbos._admin_server.server.server_address[1], flush=True)
    # The handlers print too, and nobody reads it.
    sys.stdout = sys.stderr
    sys.stdin.read()
    DBOS.destroy()


if __name__ == "__main__":
    main()
