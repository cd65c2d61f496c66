"""The races themselves: chosen indexes and settings on the held-out queries, in turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import BATCH, Data

from peers.report import say
from peers.worker import EngineError, Remote

BLOCK = 100  # single queries that one engine answers before the next one's turn
SINGLES = 2000
WARM_UP = 50

Rows = list[dict[str, Any]]
Built = Mapping[tuple[str, str], tuple[Path, dict[str, Any]]]


def fastest(choices: Rows, target: float, engine: str, by: str) -> dict[str, Any] | None:
    rows = [c for c in choices if c["target"] == target and c["engine"] == engine]
    return min(rows, key=lambda row: float(row[by]), default=None)


def line_up(
    engines: Mapping[str, Remote], choices: Rows, built: Built, data: Data, target: float, kind: str
) -> Rows:
    """Each engine's fastest choice, loaded, with its recall of the held-out queries."""
    rows = []
    for name, engine in engines.items():
        chosen = fastest(choices, target, name, f"{kind}seconds")
        if chosen is None:
            continue
        spec, setting = chosen["spec"], chosen[f"{kind}setting"]
        path, took = built[name, spec]
        try:
            engine.call("drop", [spec])
            engine.call("load", spec, path)
            found = engine.call("search", spec, "held_out", setting)[1]
        except EngineError as error:
            print(f"left out of the race: {name} {spec}: {error}", flush=True)
            continue
        row = {key: chosen[key] for key in ("target", "engine", "spec")}
        row |= {"setting": setting, "recall": data.recall(data.held_out, found), "seconds": []}
        row["build"] = {key: value for key, value in took.items() if key != "points"}
        rows.append(row)
    return rows


def turns(rows: Rows, number: int) -> Sequence[dict[str, Any]]:
    return rows if number % 2 == 0 else rows[::-1]


def spread(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Median, lowest and highest of their time over ours, turn by turn."""
    ratios = sorted(t / o for t, o in zip(theirs, ours, strict=True))
    return [float(np.median(ratios)), ratios[0], ratios[-1]]


def race(
    engines: Mapping[str, Remote], choices: Rows, built: Built, data: Data, rounds: int
) -> Rows:
    """Batches: seconds per round, queries a second, and the ratio to nearcell."""
    result = []
    count = len(data.held_out.repeated(BATCH))
    for target in sorted({choice["target"] for choice in choices}):
        rows = line_up(engines, choices, built, data, target, "")
        say(f"racing batches at recall {target:g}: {', '.join(row['engine'] for row in rows)}")
        for number in range(rounds):
            for row in turns(rows, number):
                seconds, _ = engines[row["engine"]].call(
                    "search", row["spec"], "batch", row["setting"]
                )
                row["seconds"].append(seconds)
        own = next((row["seconds"] for row in rows if row["engine"] == "nearcell"), None)
        for row in rows:
            row["queries_per_second"] = count / float(np.median(row["seconds"]))
            if own is not None:
                row["ratio"] = spread(own, row["seconds"])
        result += rows
    return result


def one_by_one(
    engines: Mapping[str, Remote], choices: Rows, built: Built, data: Data
) -> dict[str, Any]:
    """Each query its own call: latencies by the clock, throughput by CPU time, in blocks."""
    overhead: dict[str, float | None] = {}
    for name, engine in engines.items():
        try:
            overhead[name] = engine.call("call_cost")
        except EngineError as error:
            print(f"no call overhead of {name}: {error}", flush=True)
            overhead[name] = None
    result = []
    count = min(SINGLES, len(data.held_out.queries))
    for target in sorted({choice["target"] for choice in choices}):
        rows = line_up(engines, choices, built, data, target, "single_")
        say(f"racing single queries at recall {target:g}")
        times: dict[str, list[int]] = {row["engine"]: [] for row in rows}
        for number, first in enumerate(range(0, count, BLOCK)):
            for row in turns(rows, number):
                call = engines[row["engine"]].call
                many = min(BLOCK, count - first)
                if number == 0:
                    call("singles", row["spec"], "tune", 0, WARM_UP, row["setting"])
                nanoseconds, cpu = call(
                    "singles", row["spec"], "held_out", first, many, row["setting"]
                )
                times[row["engine"]] += nanoseconds
                row["seconds"].append(cpu)
        own = next((row["seconds"] for row in rows if row["engine"] == "nearcell"), None)
        for row in rows:
            p50, p99 = np.percentile(times[row["engine"]], [50, 99]) / 1000
            row |= {"p50_us": float(p50), "p99_us": float(p99)}
            row["queries_per_second"] = count / sum(row["seconds"])
            if own is not None:
                row["ratio"] = spread(own, row["seconds"])
        result += rows
    return {"queries": count, "block": BLOCK, "call_seconds": overhead, "rows": result}
