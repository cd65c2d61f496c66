"""nearcell itself. Settings are the keywords of Index.search, as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nearcell

from peers.engine import FEW_ROWS, Floats, Setting, Sweep, Task, cell_counts, depths, subspaces

# {c}: the number of cells; {m4} and {m2}: subspaces of four and two dimensions.
TEMPLATES = (
    "IVF{c},RaBitQ,Refine(SQ8)",
    "IVF{c},PQ{m2}x4fs,Refine(SQ8)",
    "IVF{c},SQ8",
    "IVF{c},SQ8nr",
)
# Times the error bound of the codes: less loses neighbours that more would have scored again. The
# bound of SQ8 codes is one that next to none passes; that of RaBitQ codes is of their deviation.
MARGINS = {"RaBitQ": (0.7, 1.0, 1.5), "SQ8": (0.25, 0.5, 1.0)}
# Leaves out probes by how far they lie; too small a one reaches a recall with no number of probes.
CUTOFFS = (0.55, 0.7, 0.9)


def cells(spec: str) -> int:
    """The number of cells; 1 for a flat index."""
    part = next((part for part in spec.split(",") if part.startswith("IVF")), "IVF1")
    return int(part[3:].split("_")[0])


class NearcellIndex:
    def __init__(self, index: nearcell.Index, threads: int) -> None:
        self.index = index
        self.keywords: dict[str, Any] = {"threads": threads}

    def use(self, setting: Setting) -> None:
        self.keywords = {"threads": self.keywords["threads"], **setting}

    def search(self, queries: Floats, k: int) -> Any:
        return self.index.search(queries, k, **self.keywords)[1]

    def search_one(self, query: Floats, k: int) -> Any:
        return self.index.search(query, k, **self.keywords)[1]

    def save(self, path: Path) -> None:
        self.index.save(path / "index")


class NearcellEngine:
    package = ""

    def __init__(self, templates: tuple[str, ...] = TEMPLATES) -> None:
        self.templates = templates

    def specs(self, task: Task) -> list[str]:
        parts = {"m4": subspaces(task.dim, 4), "m2": subspaces(task.dim, 2)}
        counts = cell_counts(task.rows, 400, 200, 100)
        return list(dict.fromkeys(t.format(c=c, **parts) for t in self.templates for c in counts))

    def sweep(self, spec: str, task: Task) -> Sweep:
        outer: list[Setting] = [{}]
        code = spec.split(",")[1]
        margins = next((m for name, m in MARGINS.items() if code.startswith(name)), None)
        if margins:
            outer = [{"margin": margin} for margin in margins]
        elif "Refine" in spec or "RFlat" in spec:
            outer = [{"rerank": depth} for depth in depths(task.k, task.rows)]
        if task.metric != "ip":
            outer += [{**setting, "cutoff": cutoff} for cutoff in CUTOFFS for setting in outer]
        return Sweep("probes", 1, cells(spec), outer)

    def build(self, spec: str, base: Floats, task: Task) -> NearcellIndex:
        index = nearcell.Index(spec, task.dim, metric=task.metric, seed=1)
        index.train(base, threads=task.threads)
        index.add(base, threads=task.threads)
        return NearcellIndex(index, task.threads)

    def load(self, spec: str, path: Path, base: Floats, task: Task) -> NearcellIndex:
        return NearcellIndex(nearcell.Index.open(path / "index"), task.threads)

    def smallest(self, base: Floats, task: Task) -> NearcellIndex:
        return self.build("Flat", base[:FEW_ROWS], task)
