"""nearcell against its peers at equal recall, one thread, in one run.

For each recall asked for, each engine's fastest index and setting is looked for on one part of the
queries; the chosen ones then race on the others, in turns. An engine that is not installed is left
out and named. Each runs in a process of its own, on the same processor, and searches an index
that it loaded from its own file; the size of that file is the bytes a vector. Times are CPU time.

Peers: pip install faiss-cpu hnswlib usearch scann scalable-vs rabitqlib

Usage: vs_peers.py --data fashion-mnist | FILE.npz --metric l2 | FILE.hdf5 [--rows N] [--k K]
       [--recall R...] [--engines NAME...] [--specs PATTERN...] [--one-by-one] [--json FILE]
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from peers import ENGINES

POOLS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "BLIS")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", default="fashion-mnist")
    add("--metric", choices=("l2", "ip", "cosine"), help="default: what the file says")
    add("--rows", type=int, help="only the first of the base vectors")
    add("--k", type=int, default=10)
    add("--recall", type=float, nargs="+", default=[0.90, 0.95, 0.99])
    add("--engines", nargs="+", choices=list(ENGINES), default=list(ENGINES))
    add("--specs", nargs="+", default=["*"], help="patterns of ENGINE/SPEC; default all")
    add("--nearcell", nargs="+", metavar="SPEC", help="instead of nearcell's; {c} {m2} {m4} filled")
    add("--rounds", type=int, default=5)
    add("--one-by-one", action="store_true", help="also each query in a call of its own")
    add("--sweep-seconds", type=float, default=60, help="at most, for each index")
    add("--build-seconds", type=float, help="at most, for each index")
    add("--threads", type=int, default=1)
    add("--cache", type=Path, default=Path("~/.cache/nearcell/peers"), help="of peers' indexes")
    add("--cache-above", type=float, default=5, help="keep what took so many seconds to build")
    add("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    os.environ.update({f"{pool}_NUM_THREADS": str(options.threads) for pool in POOLS})
    processors = set(sorted(os.sched_getaffinity(0))[: options.threads])
    os.sched_setaffinity(0, processors)
    # Only now: libraries read these variables once. And not at the top of this file, which each
    # engine's process reads again, though it needs nothing of it.
    from peers.compare import compare

    compare(options, processors)


if __name__ == "__main__":
    main()
