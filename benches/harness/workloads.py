"""The workloads, their sizes and what is asked of us."""

from dataclasses import dataclass, replace

PEERS = ("dbos", "durare")


@dataclass(frozen=True)
class Size:
    # How many workflows, samples or seconds.
    count: int
    steps: int = 0
    concurrency: int = 1
    # How many more workflows wait behind those that are measured.
    behind: int = 0


@dataclass(frozen=True)
class Workload:
    name: str
    size: Size
    # What to compare: "rate" (operations a second), "latency" (the median), "memory" (growth) or
    # "quiet" (operations a second, the fewer the better).
    metric: str
    unit: str
    # How many times better than the faster peer; the most where `absolute`.
    target: float
    peers: tuple = PEERS
    database: str = "postgres"
    absolute: bool = False
    # What the binaries call it, and what `--only` calls it together with others.
    binary: str = ""
    group: str = ""

    @property
    def engines(self):
        return ("ours", *self.peers)

    @property
    def names(self):
        return (self.name, self.group) if self.group else (self.name,)

    def quick(self):
        """A tenth of the size."""
        count, steps, behind = self.size.count, self.size.steps, self.size.behind
        return replace(
            self.size,
            count=max(count // 10, 1),
            steps=steps // 10 if count == 1 else steps,
            behind=behind // 10,
        )


WORKLOADS = [
    Workload("steps", Size(1, 2_000), "rate", "steps/s", 2),
    Workload("throughput", Size(2_000, 5, 64), "rate", "workflows/s", 5),
    Workload("empty64", Size(5_000, 0, 64), "rate", "workflows/s", 3),
    Workload("empty1", Size(1_000), "latency", "µs", 1.5),
    Workload("sqlite", Size(2_000, 5, 64), "rate", "workflows/s", 10, ("durare",), "sqlite"),
    Workload("parked", Size(10_000, 0, 64), "memory", "MiB", 60, (), absolute=True),
    Workload("drain", Size(10_000, 1, 64), "rate", "workflows/s", 4),
    Workload("drain100k", Size(10_000, 1, 64, 100_000), "rate", "workflows/s", 1, binary="drain"),
    Workload("recovery", Size(2_000, 1, 64), "rate", "workflows/s", 4),
    Workload("enqueue", Size(40), "latency", "µs", 10_000, absolute=True),
    Workload("event", Size(200), "latency", "µs", 5_000, absolute=True, group="latency"),
    Workload("message", Size(200), "latency", "µs", 5_000, absolute=True, group="latency"),
    Workload("stream", Size(200), "latency", "µs", 5_000, ("durare",), absolute=True, group="latency"),
    Workload("idle", Size(30), "quiet", "statements/s", 1, absolute=True),
    Workload("post", Size(3_000, 0, 64), "rate", "requests/s", 5, ("fastapi",), group="http"),
    Workload("sse", Size(1_000, 0, 1_000), "latency", "µs", 20_000, (), absolute=True, group="http"),
    Workload("sse-idle", Size(5, 0, 10_000), "memory", "MiB", 312, (), absolute=True, group="http"),
    Workload("layer", Size(200), "latency", "µs", 1, (), absolute=True, group="http"),
]
