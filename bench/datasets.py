"""Data sets by name; queries to tune on and held-out ones; recall that counts by distance."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nearcell
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
FASHION = Path("/usr/share/datasets/fashion-mnist")
TUNING_QUERIES = 2000
BATCH = 10_000
SPARE = 10  # candidates beyond k, so that rounding in exact_search cannot lose a true neighbour


@dataclass
class Half:
    """Queries, and how far the k-th true neighbour of each is."""

    queries: Floats
    kth: NDArray[np.float64]

    def repeated(self, count: int) -> Floats:
        """All, again and again until there are at least `count`."""
        order = np.arange(max(count, len(self.queries))) % len(self.queries)
        return np.ascontiguousarray(self.queries[order])


@dataclass
class Data:
    """With cosine, all vectors have length one: an engine may use any metric that orders so."""

    name: str
    metric: str
    k: int
    base: Floats
    tune: Half
    held_out: Half
    truth_from: str

    def recall(self, half: Half, found: NDArray[Any]) -> float:
        """Of k neighbours, how many are as near as the k-th true one; an id counts once.

        Results of repeated queries are left out.
        """
        ids = np.sort(np.asarray(found)[: len(half.queries)].astype(np.int64), axis=1)
        # An engine with too few neighbours fills up with -1 or with another id that is none.
        usable = (ids >= 0) & (ids < len(self.base))
        usable[:, 1:] &= ids[:, 1:] != ids[:, :-1]
        far = distances(self.base, half.queries, np.where(usable, ids, 0), self.metric)
        limit = half.kth + 1e-6 * np.abs(half.kth)
        return float((usable & (far <= limit[:, None])).sum()) / (self.k * len(ids))


def distances(base: Floats, queries: Floats, ids: NDArray[np.int64], metric: str) -> Any:
    """Of these ids from their queries, in double precision; minus the product with ip."""
    result = np.empty(ids.shape)
    for first in range(0, len(ids), 256):
        part = slice(first, first + 256)
        near = base[ids[part]].astype(np.float64)
        query = queries[part, None, :].astype(np.float64)
        if metric == "ip":
            result[part] = -np.einsum("qkd,qkd->qk", near, np.broadcast_to(query, near.shape))
        else:
            near -= query
            result[part] = np.einsum("qkd,qkd->qk", near, near)
    return result


def fashion_labels() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Which of ten kinds of clothing a picture shows, of the base and of the queries."""

    def labels(file: str) -> NDArray[np.uint8]:
        with gzip.open(FASHION / file) as data:
            return np.frombuffer(data.read(), np.uint8, offset=8)

    return labels("train-labels-idx1-ubyte.gz"), labels("t10k-labels-idx1-ubyte.gz")


def read(name: str) -> tuple[Any, Any, Any, str | None]:
    """Base, queries, truth and metric, each of the last two None where the file does not say."""
    if name == "fashion-mnist":

        def pictures(file: str) -> Any:
            with gzip.open(FASHION / file) as data:
                return np.frombuffer(data.read(), np.uint8, offset=16).reshape(-1, 784)

        return (
            pictures("train-images-idx3-ubyte.gz"),
            pictures("t10k-images-idx3-ubyte.gz"),
            None,
            "l2",
        )
    if name.endswith(".npz"):
        file = np.load(name)
        return file["base"], file["query"], file["gt"] if "gt" in file else None, None
    if name.endswith(".hdf5"):
        import h5py  # here, because the other formats do without it

        with h5py.File(name) as file:
            metric = {"euclidean": "l2", "angular": "cosine", "dot": "ip", "ip": "ip"}.get(
                str(file.attrs.get("distance"))
            )
            truth = file["neighbors"][:] if "neighbors" in file else None
            return file["train"][:], file["test"][:], truth, metric
    raise SystemExit(f"--data {name}: neither fashion-mnist nor a file .npz or .hdf5")


def load(name: str, metric: str | None, rows: int | None, k: int, threads: int) -> Data:
    """Reads, shortens to the first rows, splits the queries, and finds the k-th distances."""
    base, queries, truth, own_metric = read(name)
    if metric is None and own_metric is None:
        raise SystemExit(f"--data {name}: the file names no metric; give --metric l2, ip or cosine")
    metric = metric or own_metric or "l2"
    if metric != own_metric and own_metric is not None:
        truth = None
    if rows is not None and rows < len(base):
        base, truth = base[:rows], None
    base = np.ascontiguousarray(base, np.float32)
    queries = np.ascontiguousarray(queries, np.float32)
    if metric == "cosine":
        for vectors in (base, queries):
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    if truth is not None and truth.shape[1] >= k:
        truth_from = "file"
        truth = truth[:, :k].astype(np.int64)
        check = np.arange(min(20, len(queries)))
        near = nearcell.exact_search(base, queries[check], k, *exact_metric(metric))[1]
        given = distances(base, queries[check], truth[check], metric).max(axis=1)
        own = distances(base, queries[check], near, metric).max(axis=1)
        if (np.abs(given - own) > 1e-3 * np.abs(own) + 1e-6).any():
            raise SystemExit(f"--data {name}: its ground truth is not that of metric {metric}")
    else:
        truth_from = "nearcell.exact_search"
        truth = nearcell.exact_search(
            base, queries, min(k + SPARE, len(base)), *exact_metric(metric), threads=threads
        )[1]
    kth = np.sort(distances(base, queries, truth, metric), axis=1)[:, k - 1]
    split = min(len(queries) // 2, TUNING_QUERIES)
    return Data(
        Path(name).name,
        metric,
        k,
        base,
        Half(queries[:split], kth[:split]),
        Half(queries[split:], kth[split:]),
        truth_from,
    )


def exact_metric(metric: str) -> tuple[str]:
    """Vectors of length one are searched by product: it needs no further division."""
    return ("ip" if metric == "cosine" else metric,)
