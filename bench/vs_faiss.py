"""nearcell against faiss-cpu: k-means, adding and batch search, one thread, interleaved in one run.

Each round times both engines on the same work, one after the other; a ratio is Faiss's time over
nearcell's in the same round, and the table gives the median round with the lowest and the highest.
Each engine trains its own index, with the same cells, probes and code size; the last two columns
are recall@10 (for k-means the inertia over all rows), so that speed bought with recall is seen.

Usage: vs_faiss.py [--data fashion-mnist | FILE.npz | FILE.hdf5] [--rounds N] [--cells N] [--json F]
Times are the process's CPU time; both engines are held to one thread.
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import nearcell
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
FASHION = Path("/usr/share/datasets/fashion-mnist")
CODES = ("Flat", "SQ8", "PQ{m}", "PQ{m4}x4fs", "RaBitQ")


def load(name: str) -> tuple[Floats, Floats]:
    """Base and queries, float32."""
    if name == "fashion-mnist":

        def pictures(file: str) -> Floats:
            with gzip.open(FASHION / file) as data:
                values = np.frombuffer(data.read(), np.uint8, offset=16)
            return values.reshape(-1, 784).astype(np.float32)

        return pictures("train-images-idx3-ubyte.gz"), pictures("t10k-images-idx3-ubyte.gz")
    if name.endswith(".npz"):
        data = np.load(name)
        return data["base"].astype(np.float32), data["query"].astype(np.float32)
    return (
        np.asarray(nearcell.read(f"{name}:train"), np.float32),
        np.asarray(nearcell.read(f"{name}:test"), np.float32),
    )


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def race(
    rounds: int, ours: Callable[[], Any], theirs: Callable[[], Any], own_clock: bool = False
) -> dict[str, Any]:
    """Both, in turns; the last round's results. With own_clock they return (seconds, result)."""

    def turn(work: Callable[[], Any]) -> tuple[float, Any]:
        return work() if own_clock else timed(work)

    our_times, their_times = [], []
    our_result = their_result = None
    for number in range(rounds):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            if which == 0:
                seconds, our_result = turn(ours)
                our_times.append(seconds)
            else:
                seconds, their_result = turn(theirs)
                their_times.append(seconds)
    ratios = sorted(t / o for t, o in zip(their_times, our_times, strict=True))
    return {
        "nearcell_seconds": float(np.median(our_times)),
        "faiss_seconds": float(np.median(their_times)),
        "ratio": float(np.median(ratios)),
        "ratio_lowest": ratios[0],
        "ratio_highest": ratios[-1],
        "results": (our_result, their_result),
    }


def recall(found: NDArray[np.int64], truth: NDArray[np.int64], k: int) -> float:
    hits = sum(np.isin(f[:k], t[:k]).sum() for f, t in zip(found, truth, strict=True))
    return float(hits) / (k * len(truth))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cells", type=int, default=256)
    parser.add_argument("--probes", type=int, nargs="*", default=[8, 32])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    base, queries = load(options.data)
    dim, cells, k = base.shape[1], options.cells, 10
    _, truth = nearcell.exact_search(base, queries, k)
    rows: list[dict[str, Any]] = []

    def report(what: str, result: dict[str, Any], ours: str, theirs: str) -> None:
        result.pop("results")
        rows.append({"what": what, **result, "nearcell": ours, "faiss": theirs})
        spread = f"({result['ratio_lowest']:.2f} to {result['ratio_highest']:.2f})"
        print(
            f"{what:34}{result['nearcell_seconds']:9.3f}{result['faiss_seconds']:9.3f}"
            f"{result['ratio']:7.2f} {spread:18}{ours:>14}{theirs:>14}",
            flush=True,
        )

    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    about = nearcell.info()
    print(f"{options.data}: {len(base)} x {dim}, {len(queries)} queries, k = {k}, one thread")
    print(f"nearcell {commit} {about['backend']}; faiss {faiss.__version__}; {platform.machine()}")
    print(
        f"{'':34}{'ours s':>9}{'faiss s':>9}{'ratio':>7} {'(spread)':18}{'ours':>14}{'faiss':>14}"
    )

    def our_kmeans() -> Any:
        return nearcell.KMeans(cells, iterations=10, seed=1).fit(base, threads=1)

    def their_kmeans() -> Any:
        kmeans = faiss.Kmeans(dim, cells, niter=10, seed=1, max_points_per_centroid=256)
        kmeans.train(base)
        return kmeans

    result = race(options.rounds, our_kmeans, their_kmeans)
    ours, theirs = result["results"]
    centroids = np.ascontiguousarray(theirs.centroids)

    def inertia(c: Floats) -> float:
        return float(nearcell.exact_search(c, base, 1)[0].astype(np.float64).sum())

    report(
        f"k-means, {cells} clusters, 10 iterations",
        result,
        f"{inertia(np.asarray(ours.centroids, np.float32)):.5g}",
        f"{inertia(centroids):.5g}",
    )

    for code in CODES:
        spec = f"IVF{cells},{code.format(m=dim // 8 // 4 * 4, m4=dim // 4 // 4 * 4)}"
        their_index = faiss.index_factory(dim, spec)
        their_index.train(base)
        our_index = nearcell.Index(spec, dim, seed=1)
        our_index.train(base, threads=1)

        # Both add to a fresh index: one that was emptied keeps its memory, which is not building.
        empty = our_index.to_bytes()

        def our_add(empty: bytes = empty) -> Any:
            index = nearcell.Index.from_bytes(empty)
            return timed(lambda: index.add(base, threads=1))[0], index

        def their_add(index: Any = their_index) -> Any:
            fresh = faiss.clone_index(index)
            return timed(lambda: fresh.add(base))[0], fresh

        added = race(options.rounds, our_add, their_add, own_clock=True)
        our_index, their_index = added["results"]
        report(f"{spec} add", added, "", "")
        for probes in options.probes:
            their_index.nprobe = probes
            result = race(
                options.rounds,
                lambda index=our_index, p=probes: index.search(queries, k, probes=p, threads=1)[1],
                lambda index=their_index: index.search(queries, k)[1],
            )
            ours, theirs = result["results"]
            report(
                f"{spec} {probes} probes",
                result,
                f"{recall(ours, truth, k):.4f}",
                f"{recall(theirs, truth, k):.4f}",
            )

    if options.json:
        options.json.write_text(
            json.dumps({"commit": commit, "info": about, "rows": rows}, indent=1)
        )


if __name__ == "__main__":
    main()
