"""A private Postgres that keeps its promises, and fresh databases on it."""

import contextlib
import os
import pathlib
import pwd
import shutil
import socket
import subprocess
from urllib.parse import urlsplit

# Durable: nothing here weakens a default (`full_page_writes` is on too).
SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "256MB",
    "max_connections": "200",
    "listen_addresses": "'127.0.0.1'",
    "unix_socket_directories": "''",
    # Counts the statements of an idle process; asleep until a database asks for it.
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "none",
}

SHOWN = (
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "max_connections",
)


class Server:
    """A running server, reached by the URL of one of its databases."""

    def __init__(self, url):
        self.url = url

    def sql(self, *statements):
        """Runs them and returns what the last one printed."""
        command = [program("psql"), self.url, "--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1"]
        for statement in statements:
            command += ["-c", statement]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"psql: {done.stderr.strip()}")
        return done.stdout.strip()

    def settings(self):
        return {f"postgres {name}": self.sql(f"SHOW {name}") for name in SHOWN}

    @contextlib.contextmanager
    def fresh_database(self, name):
        """An empty database, after a checkpoint: no run writes the pages of the one before."""
        self.sql(
            f"DROP DATABASE IF EXISTS {name} WITH (FORCE)",
            f"CREATE DATABASE {name}",
            "CHECKPOINT",
        )
        try:
            yield urlsplit(self.url)._replace(path=f"/{name}").geturl()
        finally:
            self.sql(f"DROP DATABASE {name} WITH (FORCE)")


class Cluster:
    """A server with a data directory of its own under `directory`, stopped at the end."""

    def __init__(self, directory):
        self.home = pathlib.Path(directory, "postgres")
        # Postgres refuses to run as root.
        self.user = unprivileged() if os.geteuid() == 0 else None

    def __enter__(self):
        self.home.mkdir(mode=0o700)
        if self.user:
            shutil.chown(self.home, self.user)
        data, port = self.home / "data", free_port()
        self.command("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
                     "--no-locale", "--no-instructions")
        with open(data / "postgresql.conf", "a", encoding="utf-8") as file:
            file.writelines(f"{name} = {value}\n" for name, value in SETTINGS.items())
            file.write(f"port = {port}\n")
        self.command("pg_ctl", "-D", data, "-l", self.home / "log", "-w", "start")
        return Server(f"postgres://postgres@127.0.0.1:{port}/postgres")

    def __exit__(self, *_):
        self.command("pg_ctl", "-D", self.home / "data", "-m", "fast", "-w", "stop")

    def command(self, name, *arguments):
        command = [program(name), *map(str, arguments)]
        if self.user:
            command = ["runuser", "-u", self.user, "--", *command]
        # `pg_ctl start` leaves the server with its output: a pipe would never end.
        subprocess.run(command, check=True, cwd=self.home, stdout=subprocess.DEVNULL)


def unprivileged():
    """Who runs the server when we are root."""
    users = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in users)


def program(name):
    """A program of Postgres: in PG_BIN, on the path, or the newest where Debian keeps them."""
    if directory := os.environ.get("PG_BIN"):
        return os.path.join(directory, name)
    # Debian's psql on the path is a wrapper that asks about clusters; the real ones come first.
    versions = pathlib.Path("/usr/lib/postgresql").glob(f"*/bin/{name}")
    newest = max(versions, key=lambda path: float(path.parts[-3]), default=None)
    if found := newest or shutil.which(name):
        return str(found)
    raise RuntimeError(f"{name} is not installed: set PG_BIN, or BENCH_POSTGRES_URL")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
