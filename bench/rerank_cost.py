"""What a re-ranked candidate costs, in scanned codes: kRerankWork of index/tune.cpp.

Batch searches, one thread: the slope of the time over the probes is that of a scanned code, the
slope over the re-rank depth that of a candidate. The fastest of four runs each.

Usage: rerank_cost.py FILE.npz
"""

from __future__ import annotations

import sys
import time

import nearcell
from vs_faiss import load

CELLS, K = 512, 10
SPECS = ("PQ{m}x8,RFlat", "PQ{m2}x4fs,RFlat", "RaBitQ,RFlat", "PQ{m}x8,Refine(SQfp16)")


def main() -> None:
    base, queries = load(sys.argv[1])
    dim = base.shape[1]
    print(
        f"{sys.argv[1]}: {len(base)} x {dim}, {len(queries)} queries, {nearcell.info()['backend']}"
    )
    for code in SPECS:
        spec = f"IVF{CELLS}," + code.format(m=dim // 8, m2=dim // 4)
        index = nearcell.Index(spec, dim, seed=1)
        index.train(base, threads=1)
        index.add(base)

        def seconds(probes: int, rerank: int, index: nearcell.Index = index) -> float:
            times = []
            for _ in range(4):
                start = time.process_time()
                index.search(queries, K, probes=probes, rerank=rerank, threads=1)
                times.append(time.process_time() - start)
            return min(times) / len(queries)

        scanned = (seconds(40, 20) - seconds(8, 20)) / (32 * len(base) / CELLS)
        candidate = (seconds(16, 520) - seconds(16, 20)) / 500
        print(
            f"{spec:30} a scanned code {scanned * 1e9:5.2f} ns,"
            f" a candidate {candidate * 1e9:6.1f} ns, ratio {candidate / scanned:5.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
