"""The engines: building and running their binaries."""

import json
import os
import pathlib
import subprocess
import sys

BENCHES = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", BENCHES / "target")).resolve()

# The package of each engine and its title in the table.
ENGINES = {
    "ours": ("ours", "ours"),
    "dbos": ("peer-dbos", "dbos 0.5.0"),
    "durare": ("peer-durare", "durare 0.5.0"),
    "fastapi": ("peer-fastapi", "FastAPI, dbos 2.31.1"),
}

# Workloads over HTTP: one binary puts every engine's server under load.
HTTP = {"post", "layer", "sse", "sse-idle"}

PYTHON = TARGET / "fastapi" / "bin" / "python"

# Seconds after which a run has failed.
PATIENCE = 600


def build(runs):
    """Builds in release what these pairs of a workload and an engine need.

    The packages are workspaces of their own: see README.md.
    """
    packages = {"http" if workload in HTTP else ENGINES[engine][0] for workload, engine in runs}
    for package in sorted(packages):
        manifest = BENCHES / package / "Cargo.toml"
        command = ["cargo", "build", "--release", "--quiet", "--manifest-path", manifest]
        subprocess.run(command, check=True, env=os.environ | {"CARGO_TARGET_DIR": str(TARGET)})
    if any(engine == "fastapi" for _, engine in runs):
        install()


def install():
    """The virtual environment of the server in Python."""
    requirements = BENCHES / "peer-fastapi" / "requirements.txt"
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", PYTHON.parent.parent], check=True)
    command = [PYTHON, "-m", "pip", "install", "--quiet", "--requirement", requirements]
    subprocess.run(command, check=True)


def run(engine, workload, url, size):
    """One run; its line of JSON, or an `error`."""
    command = [
        *binary(engine, workload),
        "--workload", workload,
        "--url", url,
        "--count", str(size.count),
        "--steps", str(size.steps),
        "--concurrency", str(size.concurrency),
        "--behind", str(size.behind),
    ]
    try:
        server = {"BENCH_FASTAPI": f"{PYTHON} {BENCHES / 'peer-fastapi' / 'server.py'}"}
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, env=os.environ | server
        )
    except subprocess.TimeoutExpired:
        return {"error": f"not done in {PATIENCE} s"}
    if done.returncode != 0:
        print(done.stderr, file=sys.stderr)
        return {"error": (done.stderr.strip() or f"exit {done.returncode}")[-400:]}
    return json.loads(done.stdout)


def binary(engine, workload):
    if workload in HTTP:
        return [TARGET / "release" / "bench-http", "--engine", engine]
    return [TARGET / "release" / f"bench-{engine}"]
