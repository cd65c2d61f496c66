"""faiss-cpu: cells with fast-scan codes and re-ranking, scalar codes, plain cells, and a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np

from peers.engine import (
    DEPTHS,
    FEW_ROWS,
    Floats,
    Setting,
    Sweep,
    Task,
    cell_counts,
    power_of_two,
    subspaces,
)
from peers.nearcell_engine import cells


class FaissIndex:
    def __init__(self, index: Any) -> None:
        self.owner = index  # the cast ones below would not keep it alive
        # As what it is: settings are attributes of the derived class.
        self.index: Any = faiss.downcast_index(index)
        self.inner: Any = self.index
        if isinstance(self.inner, faiss.IndexRefine):
            self.inner = faiss.downcast_index(self.inner.base_index)
        if isinstance(self.inner, faiss.IndexPreTransform):
            self.inner = faiss.downcast_index(self.inner.index)

    def use(self, setting: Setting) -> None:
        if "k_factor" in setting:
            self.index.k_factor = setting["k_factor"]
        if "efSearch" in setting:
            self.inner.hnsw.efSearch = setting["efSearch"]
        if "nprobe" in setting:
            self.inner.nprobe = setting["nprobe"]
            quantizer: Any = faiss.downcast_index(self.inner.quantizer)
            if isinstance(quantizer, faiss.IndexHNSW):
                # The graph must keep more candidates than cells asked for, or it misses near ones.
                quantizer.hnsw.efSearch = max(32, 2 * setting["nprobe"])

    def search(self, queries: Floats, k: int) -> Any:
        return self.index.search(queries, k)[1]

    def search_one(self, query: Floats, k: int) -> Any:
        return self.index.search(query, k)[1]

    def save(self, path: Path) -> None:
        faiss.write_index(self.index, str(path / "index"))


class FaissEngine:
    package = "faiss-cpu"

    def __init__(self) -> None:
        faiss.omp_set_num_threads(1)

    def specs(self, task: Task) -> list[str]:
        m2, m4 = subspaces(task.dim, 2), subspaces(task.dim, 4)
        counts = cell_counts(task.rows, 800, 400, 200, 100)
        middle = cell_counts(task.rows, 200)[0]
        many = max(16, power_of_two(task.rows / 50))
        return [
            *(f"IVF{c},PQ{m},RFlat" for m in (f"{m2}x4fs", f"{m4}x4fs") for c in counts),
            f"IVF{middle},PQ{m2}x4fs,Refine(SQ8)",
            f"IVF{middle},PQ{m2}x4fs,Refine(SQfp16)",
            f"IVF{middle},PQ{m4}x4fs,Refine(SQfp16)",
            f"IVF{middle},PQ{m4}x4fsr,RFlat",  # r: codes of residuals, dearer and finer
            f"IVF{many}_HNSW32,PQ{m2}x4fs,RFlat",
            # A random rotation before it (RR) made it no better.
            *(f"IVF{c},RaBitQfs,RFlat" for c in counts[1:3]),
            *(f"IVF{c},{code}" for code in ("SQ8", "Flat") for c in counts[2:]),
            "HNSW32",
        ]

    def sweep(self, spec: str, task: Task) -> Sweep:
        if spec.startswith("HNSW"):
            return Sweep("efSearch", task.k, min(2000, task.rows))
        refined = "Refine" in spec or "RFlat" in spec
        outer = [{"k_factor": factor} for factor in DEPTHS] if refined else [{}]
        return Sweep("nprobe", 1, cells(spec), outer)

    def build(self, spec: str, base: Floats, task: Task) -> FaissIndex:
        faiss.omp_set_num_threads(task.threads)
        # On vectors of length one the product orders as the distance does, and costs less.
        metric = faiss.METRIC_L2 if task.metric == "l2" else faiss.METRIC_INNER_PRODUCT
        index: Any = faiss.index_factory(task.dim, spec, metric)
        if spec.startswith("HNSW"):
            index.hnsw.efConstruction = 200
        index.train(base)
        index.add(base)
        return FaissIndex(index)

    def load(self, spec: str, path: Path, base: Floats, task: Task) -> FaissIndex:
        faiss.omp_set_num_threads(task.threads)
        return FaissIndex(faiss.read_index(str(path / "index")))

    def smallest(self, base: Floats, task: Task) -> FaissIndex:
        return self.build("Flat", np.ascontiguousarray(base[:FEW_ROWS]), task)
