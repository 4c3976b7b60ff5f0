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
}

# Seconds after which a run has failed.
PATIENCE = 600


def build(engines):
    """Builds in release. They are workspaces of their own: see README.md."""
    for name in engines:
        manifest = BENCHES / ENGINES[name][0] / "Cargo.toml"
        command = ["cargo", "build", "--release", "--quiet", "--manifest-path", manifest]
        subprocess.run(command, check=True, env=os.environ | {"CARGO_TARGET_DIR": str(TARGET)})


def run(engine, workload, url, size):
    """One run; its line of JSON, or an `error`."""
    command = [
        TARGET / "release" / f"bench-{engine}",
        "--workload", workload,
        "--url", url,
        "--count", str(size.count),
        "--steps", str(size.steps),
        "--concurrency", str(size.concurrency),
        "--behind", str(size.behind),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return {"error": f"not done in {PATIENCE} s"}
    if done.returncode != 0:
        print(done.stderr, file=sys.stderr)
        return {"error": (done.stderr.strip() or f"exit {done.returncode}")[-400:]}
    return json.loads(done.stdout)
