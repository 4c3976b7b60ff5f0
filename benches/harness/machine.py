"""What the numbers were measured on."""

import os
import pathlib
import statistics
import subprocess
import time


def facts(directory):
    return {
        "cores": len(os.sched_getaffinity(0)),
        "file system": filesystem(directory),
        "sync of a page, median µs": round(sync_us(directory)),
    }


def filesystem(directory):
    """Its type, with a warning where nothing on it is durable."""
    command = ["stat", "--file-system", "--format=%T", directory]
    kind = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return f"{kind} (NOT DURABLE: set BENCH_DIR)" if kind in ("tmpfs", "ramfs") else kind


def sync_us(directory):
    """The time an fdatasync takes after a write of 8 KiB, as a commit of Postgres makes it."""
    times = []
    path = pathlib.Path(directory, "sync")
    with open(path, "wb", buffering=0) as file:
        file.write(bytes(8192))
        os.fsync(file.fileno())
        for _ in range(200):
            file.seek(0)
            file.write(bytes(8192))
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - start)
    path.unlink()
    return statistics.median(times) * 1e6
