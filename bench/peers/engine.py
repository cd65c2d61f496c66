"""What vs_peers.py asks of an engine, and the small things that several adapters need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Setting = Mapping[str, Any]  # what one search is told; as JSON can write it


@dataclass(frozen=True)
class Task:
    """What is to be indexed and asked for; vectors of length one when the metric is cosine."""

    rows: int
    dim: int
    metric: str  # l2, ip or cosine
    k: int
    threads: int


@dataclass(frozen=True)
class Sweep:
    """The settings of an index: each of `outer`, from cheap to dear, with any whole number from
    `low` to `high` for the setting named `inner`, which costs more and finds more as it grows."""

    inner: str
    low: int
    high: int
    outer: Sequence[Setting] = field(default_factory=lambda: [{}])


class Index(Protocol):
    def use(self, setting: Setting) -> None:
        """For the next searches; not timed."""

    def search(self, queries: Floats, k: int) -> Any:
        """Ids, len(queries) x k; the engine's own batch call on its own type of ids."""

    def search_one(self, query: Floats, k: int) -> Any:
        """Ids for one query, given as 1 x dim, by the call that the engine has for one."""

    def save(self, path: Path) -> None:
        """All that searching needs: the size of what is written is the size of the index."""


class Engine(Protocol):
    package: str  # its name on PyPI; empty: no package

    def specs(self, task: Task) -> list[str]:
        """What to build: the best that the engine's own documents know for such data."""

    def sweep(self, spec: str, task: Task) -> Sweep: ...

    def build(self, spec: str, base: Floats, task: Task) -> Index: ...

    def load(self, spec: str, path: Path, base: Floats, task: Task) -> Index: ...

    def smallest(self, base: Floats, task: Task) -> Index | None:
        """A few rows, ready to search: that costs no more than any call does. None: cannot be."""


FEW_ROWS = 16
DEPTHS = (1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)  # candidates to score again, in k


def power_of_two(value: float) -> int:
    """The nearest, by ratio."""
    return 1 << max(0, round(float(np.log2(max(value, 1.0)))))


def cell_counts(rows: int, *parts: int) -> list[int]:
    """rows / part for each, to powers of two, each once, at least 4."""
    return sorted({max(4, power_of_two(rows / part)) for part in parts})


def subspaces(dim: int, width: int) -> int:
    """Of about `width` dimensions: the most that divide dim, an even number where there is one."""
    fits = [m for m in range(1, dim // width + 1) if dim % m == 0]
    return max([m for m in fits if m % 2 == 0] or fits or [1])


def depths(k: int, most: int) -> list[int]:
    """How many candidates to score again: growing by about 1.4."""
    return [round(k * f) for f in DEPTHS if round(k * f) <= most] or [most]
