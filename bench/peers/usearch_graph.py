"""usearch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from usearch.index import Index

from peers.engine import FEW_ROWS, Floats, Setting, Sweep, Task


class UsearchIndex:
    def __init__(self, index: Any, threads: int) -> None:
        self.index, self.threads = index, threads

    def use(self, setting: Setting) -> None:
        self.index.expansion_search = setting["expansion"]

    def search(self, queries: Floats, k: int) -> Any:
        return self.index.search(queries, k, threads=self.threads).keys

    def search_one(self, query: Floats, k: int) -> Any:
        return self.index.search(query[0], k, threads=self.threads).keys

    def save(self, path: Path) -> None:
        self.index.save(str(path / "index"))


class UsearchEngine:
    package = "usearch"

    def specs(self, task: Task) -> list[str]:
        return [
            f"connectivity={c},expansion_add={e},{t}"
            for c, e in ((16, 128), (16, 400), (32, 400))
            for t in (("f32", "f16") if e > 128 else ("f32",))
        ]

    def sweep(self, spec: str, task: Task) -> Sweep:
        return Sweep("expansion", task.k, min(2000, task.rows))

    def empty(self, spec: str, task: Task) -> Any:
        connectivity, expansion, dtype = (part.split("=")[-1] for part in spec.split(","))
        return Index(
            ndim=task.dim,
            metric="l2sq" if task.metric == "l2" else "ip",
            dtype=dtype,
            connectivity=int(connectivity),
            expansion_add=int(expansion),
        )

    def build(self, spec: str, base: Floats, task: Task) -> UsearchIndex:
        index = self.empty(spec, task)
        index.add(np.arange(len(base)), base, threads=task.threads)
        return UsearchIndex(index, task.threads)

    def load(self, spec: str, path: Path, base: Floats, task: Task) -> UsearchIndex:
        index = self.empty(spec, task)
        index.load(str(path / "index"))
        return UsearchIndex(index, task.threads)

    def smallest(self, base: Floats, task: Task) -> UsearchIndex:
        index = self.build("16,16,f32", base[:FEW_ROWS], task)
        index.use({"expansion": 10})
        return index
