"""rabitqlib: SymphonyQG graphs, and cells with RaBitQ codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rabitqlib

from peers.engine import Floats, Setting, Sweep, Task, cell_counts

FEW_ROWS = 64  # a graph must have more rows than neighbours
CODES = (4, 7, 32)  # bits a dimension; 32: one bit, then the floats themselves


class RabitqIndex:
    def __init__(self, index: Any, threads: int) -> None:
        self.index, self.threads = index, threads
        self.effort = 0

    def use(self, setting: Setting) -> None:
        self.effort = setting["ef" if "ef" in setting else "nprobe"]

    def search(self, queries: Floats, k: int) -> Any:
        return self.index.search(queries, k, self.effort, num_threads=self.threads)[0]

    def search_one(self, query: Floats, k: int) -> Any:
        return self.index.search(query, k, self.effort, num_threads=self.threads)[0]

    def save(self, path: Path) -> None:
        self.index.save(str(path / "index"))


class RabitqEngine:
    package = "rabitqlib"

    def specs(self, task: Task) -> list[str]:
        graphs = [f"SymQG,degree={degree},bits={b}" for b in (0, 8) for degree in (32, 64)]
        counts = cell_counts(task.rows, 400, 200, 100)
        return graphs + [f"IVF{c},RaBitQ,bits={b}" for b in CODES for c in counts]

    def sweep(self, spec: str, task: Task) -> Sweep:
        if spec.startswith("SymQG"):
            return Sweep("ef", task.k, min(2000, task.rows))
        return Sweep("nprobe", 1, int(spec.split(",")[0][3:]))

    def build(self, spec: str, base: Floats, task: Task) -> RabitqIndex:
        metric = "l2" if task.metric == "l2" else "ip"
        first, middle, last = spec.split(",")
        bits = int(last.split("=")[1])
        index: Any
        if first == "SymQG":
            degree = int(middle.split("=")[1])
            index = rabitqlib.SymqgIndex(task.dim, degree, metric, bits)
            index.build(base, 200, num_threads=task.threads)
            return RabitqIndex(index, task.threads)
        count = int(first[3:])
        clustering = rabitqlib.RaBitQKMeans(
            task.dim,
            count,
            num_threads=task.threads,
            spherical=metric == "ip",
            final_assignment=rabitqlib.FinalAssignmentMode.Exact,
        )
        clustering.train(base)
        index = rabitqlib.IvfIndex(task.dim, len(base), count, bits, metric)
        index.build(base, clustering.centroids, clustering.assignments, num_threads=task.threads)
        return RabitqIndex(index, task.threads)

    def load(self, spec: str, path: Path, base: Floats, task: Task) -> RabitqIndex:
        kind = rabitqlib.SymqgIndex if spec.startswith("SymQG") else rabitqlib.IvfIndex
        return RabitqIndex(kind.load(str(path / "index")), task.threads)

    def smallest(self, base: Floats, task: Task) -> RabitqIndex:
        index = self.build("SymQG,degree=32,bits=0", base[:FEW_ROWS], task)
        index.use({"ef": 10})
        return index
