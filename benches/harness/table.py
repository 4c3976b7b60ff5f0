"""The table of medians."""

import statistics

from harness.engines import ENGINES

HEADER = ["workload", "unit", *(title for _, title in ENGINES.values()), "ratio", "target", ""]


def value(workload, result):
    """What a run is compared by."""
    if workload.metric in ("rate", "quiet"):
        return result["operations"] / result["seconds"]
    if workload.metric == "latency":
        return result["latency_us_median"]
    return (result["rss_kib_after"] - result["rss_kib_before"]) / 1024


def one(workload, result):
    """A single run, for the log."""
    if "error" in result:
        return f"FAILED: {result['error']}"
    return f"{number(value(workload, result))} {workload.unit}"


def number(value):
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"


def render(workloads, runs):
    """A line for every workload that ran; with its spread where it ran more than once."""
    lines = [HEADER]
    for workload in workloads:
        mine = [result for result in runs if result["workload"] == workload.name]
        if mine:
            lines.append(line(workload, mine))
            lines += notes(workload, mine)
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER))]
    return "\n".join(
        "  ".join(cell.ljust(width) if i < 2 else cell.rjust(width)
                  for i, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines
    )


def line(workload, runs):
    medians = {name: median(workload, runs, name) for name in ENGINES}
    cells = [cell(workload, runs, name, medians[name]) for name in ENGINES]
    return [workload.name, workload.unit, *cells, *verdict(workload, medians)]


def median(workload, runs, engine):
    """Of the runs of one engine; None where it has none or one of them failed."""
    mine = [result for result in runs if result["engine"] == engine]
    if not mine or any("error" in result for result in mine):
        return None
    return statistics.median(value(workload, result) for result in mine)


def cell(workload, runs, engine, middle):
    mine = [result for result in runs if result["engine"] == engine]
    if not mine:
        return "-"
    if middle is None:
        return "FAILED"
    values = [value(workload, result) for result in mine]
    spread = f" ({number(min(values))}-{number(max(values))})" if len(values) > 1 else ""
    return f"{number(middle)}{spread}"


def verdict(workload, medians):
    """The ratio to the faster peer (how many times better ours is), the target, and whether."""
    ours, ratio = medians["ours"], None
    peers = [medians[name] for name in workload.peers if medians[name] is not None]
    if ours is not None and peers and len(peers) == len(workload.peers):
        ratio = ours / max(peers) if workload.metric == "rate" else min(peers) / max(ours, 0.01)
    shown = "-" if ratio is None else f"{ratio:.2f}x"
    if workload.absolute:
        met = None if ours is None else ours <= workload.target
        return [shown, f"<= {workload.target:g} {workload.unit}", word(met)]
    met = None if ratio is None else ratio >= workload.target
    return [shown, f">= {workload.target:g}x", word(met)]


def word(met):
    return {None: "", True: "met", False: "MISSED"}[met]


def notes(workload, runs):
    """What `parked` says of connections, a line below it."""
    counted = [result for result in runs if "connections" in result]
    if not counted:
        return []
    most = max(result["connections"] for result in counted)
    busy = max(result["connections_busy"] for result in counted)
    text = f"{most} ({busy} busy)"
    return [["", "connections", text, *[""] * (len(HEADER) - 3)]]
