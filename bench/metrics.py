"""The same search by squared distance, cosine and inner product, and by one and two threads.

For each metric an index is built of the vectors as they are and tuned to recall@10 .95 on one half
of the queries; the batches timed are of the other half, in turns. Threads: the metric l2, by the
wall clock, in turns. Medians, with the least and the most.

Usage: metrics.py [--data FILE.npz...] [--spec SPEC] [--rounds N]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import nearcell
import numpy as np
from datasets import BATCH, Floats, read
from peers.report import about_machine

K, RECALL = 10, 0.95


def recall(found: Any, truth: Any) -> float:
    shared = [len(set(a) & set(b)) for a, b in zip(found, truth, strict=True)]
    return float(np.mean(shared)) / K


def in_turns(works: dict[str, Callable[[], Any]], rounds: int, clock: Any) -> dict[str, Floats]:
    """Seconds of each, round by round; one way and back, after a round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        names = list(works) if number % 2 == 0 else list(works)[::-1]
        for name in names:
            start = clock()
            works[name]()
            if number > 0:
                seconds[name].append(clock() - start)
    return {name: np.asarray(values) for name, values in seconds.items()}


def spread(values: Floats, digits: int = 2) -> str:
    low, middle, high = (f"{v:.{digits}f}" for v in np.percentile(values, [0, 50, 100]))
    return f"{middle} ({low} to {high})"


def compare(data: str, spec: str, rounds: int) -> None:
    base, queries = (np.asarray(x, np.float32) for x in read(data)[:2])
    half = len(queries) // 2
    batch = np.resize(queries[half:], (BATCH, base.shape[1]))
    print(f"{data.rsplit('/', 1)[-1]}: {len(base)} x {base.shape[1]}, {spec}, batches of {BATCH}")
    indexes = {}
    for metric in ("l2", "cosine", "ip"):
        index = nearcell.Index(spec, base.shape[1], metric=metric)
        index.train(base)
        index.add(base)
        truth = nearcell.exact_search(base, queries, K, metric=metric)[1]
        index.tune(queries[:half], truth[:half], RECALL, k=K)
        reached = recall(index.search(queries[half:], K)[1], truth[half:])
        indexes[metric] = index
        print(f"  {metric:7} probes {index.default_probes}, recall of the other half {reached:.4f}")
    searches = {m: lambda i=i: i.search(batch, K, threads=1) for m, i in indexes.items()}
    times = in_turns(searches, rounds, time.process_time)
    for metric, seconds in times.items():
        ratio = spread(seconds / times["l2"]) if metric != "l2" else "1"
        print(f"  {metric:7} {spread(seconds / BATCH * 1e6)} us a query, times l2's: {ratio}")
    threads = {str(t): lambda t=t: indexes["l2"].search(batch, K, threads=t) for t in (1, 2)}
    walls = in_turns(threads, 2 * rounds, time.perf_counter)
    print(f"  two threads, times as fast as one: {spread(walls['1'] / walls['2'])}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--spec", default="IVF512,SQ8nr")
    parser.add_argument("--rounds", type=int, default=7)
    parser.set_defaults(threads=1)  # for the report
    options = parser.parse_args()
    about = about_machine(options)
    print(f"nearcell {about['commit']} {about['nearcell']['backend']}; {about['cpu']}")
    for data in options.data:
        compare(data, options.spec, options.rounds)


if __name__ == "__main__":
    main()
