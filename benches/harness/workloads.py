"""The workloads, their sizes and what is asked of us."""

from dataclasses import dataclass, replace

PEERS = ("dbos", "durare")


@dataclass(frozen=True)
class Size:
    count: int
    steps: int
    concurrency: int


@dataclass(frozen=True)
class Workload:
    name: str
    size: Size
    # What to compare: "rate" (operations a second), "latency" (the median) or "memory" (growth).
    metric: str
    unit: str
    # How many times better than the faster peer; for "memory" the most MiB.
    target: float
    peers: tuple = PEERS
    database: str = "postgres"

    @property
    def engines(self):
        return ("ours", *self.peers)

    def quick(self):
        """A tenth of the size."""
        count, steps = self.size.count, self.size.steps
        return replace(
            self.size,
            count=max(count // 10, 1),
            steps=steps // 10 if count == 1 else steps,
        )


WORKLOADS = [
    Workload("steps", Size(1, 2_000, 1), "rate", "steps/s", 2),
    Workload("throughput", Size(2_000, 5, 64), "rate", "workflows/s", 5),
    Workload("empty64", Size(5_000, 0, 64), "rate", "workflows/s", 3),
    Workload("empty1", Size(1_000, 0, 1), "latency", "µs", 1.5),
    Workload("sqlite", Size(2_000, 5, 64), "rate", "workflows/s", 10, ("durare",), "sqlite"),
    Workload("parked", Size(10_000, 0, 64), "memory", "MiB", 60, ()),
]
