"""hnswlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hnswlib

from peers.engine import FEW_ROWS, Floats, Setting, Sweep, Task


class HnswlibIndex:
    def __init__(self, index: Any, threads: int) -> None:
        self.index, self.threads = index, threads
        index.set_num_threads(threads)

    def use(self, setting: Setting) -> None:
        self.index.set_ef(setting["ef"])

    def search(self, queries: Floats, k: int) -> Any:
        return self.index.knn_query(queries, k, self.threads)[0]

    def search_one(self, query: Floats, k: int) -> Any:
        return self.index.knn_query(query, k, self.threads)[0]

    def save(self, path: Path) -> None:
        self.index.save_index(str(path / "index"))


class HnswlibEngine:
    package = "hnswlib"

    def specs(self, task: Task) -> list[str]:
        # ann-benchmarks builds with 500; more costs time and finds no more.
        return [f"M={m},efC=500" for m in (12, 16, 24, 32)]

    def sweep(self, spec: str, task: Task) -> Sweep:
        return Sweep("ef", task.k, min(2000, task.rows))

    def empty(self, task: Task) -> Any:
        # Vectors of length one need no cosine space, which would divide again.
        return hnswlib.Index("l2" if task.metric == "l2" else "ip", task.dim)

    def build(self, spec: str, base: Floats, task: Task) -> HnswlibIndex:
        index = self.empty(task)
        m, ef = (int(part.split("=")[1]) for part in spec.split(","))
        index.init_index(len(base), M=m, ef_construction=ef, random_seed=1)
        index.add_items(base, num_threads=task.threads)
        return HnswlibIndex(index, task.threads)

    def load(self, spec: str, path: Path, base: Floats, task: Task) -> HnswlibIndex:
        index = self.empty(task)
        index.load_index(str(path / "index"), max_elements=len(base))
        return HnswlibIndex(index, task.threads)

    def smallest(self, base: Floats, task: Task) -> HnswlibIndex:
        index = self.build("M=16,efC=16", base[:FEW_ROWS], task)
        index.use({"ef": 10})
        return index
