"""Data sets, float64 truth and tie-aware comparisons for the acceptance tests."""

from __future__ import annotations

import functools
import gzip
import struct
from pathlib import Path

import nearcell
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
FASHION = Path("/usr/share/datasets/fashion-mnist")
SIFT = ROOT.parent / "shared" / "data" / "photo-sift-200k.npz"

METRICS = ("l2", "ip", "cosine", "l1")
WORST = {"l2": 1, "l1": 1, "ip": -1, "cosine": -1}
FLT_MAX = np.finfo(np.float32).max

# Every kind of part at least once; 16 cells, so that 16 probes look at everything.
KINDS = (
    "Flat",
    "SQ8",
    "SQfp16",
    "SQbf16",
    "I8",
    "PQ8",
    "PQ8x4fs",
    "RaBitQ",
    "RaBitQ4",
    "IVF16,Flat",
    "IVF16,SQ8",
    "IVF16,SQfp16",
    "IVF16,I8",
    "IVF16,PQ8",
    "IVF16,PQ8x4fs",
    "IVF16,PQ8x4fsr",
    "IVF16,RaBitQ",
    "IVF16,RaBitQ4",
    "IVF16,PQ8x4fs,RFlat",
    "IVF16,SQ8,Refine(SQfp16)",
    "PCA16,IVF16,Flat",
    "OPQ8_16,IVF16,PQ8",
    "RR,IVF16,PQ8",
    "L2norm,IVF16,Flat",
)
EXACT_KINDS = ("Flat", "IVF16,Flat")


def supported(spec: str, metric: str) -> bool:
    """L1 is for codes of plain values, without transforms."""
    return metric != "l1" or spec.removeprefix("IVF16,") in ("Flat", "SQ8", "SQfp16", "SQbf16")


def deep(spec: str, depth: int) -> dict[str, int]:
    """The option that re-ranks so many, where there is something to re-rank with."""
    return {"rerank": depth} if "RFlat" in spec or "Refine" in spec else {}


KINDS_AND_METRICS = [(s, m) for s in KINDS for m in METRICS if supported(s, m)]


def uniform(n: int, d: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((n, d), dtype=np.float32)


def unit(n: int, d: int, seed: int) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal((n, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@functools.cache
def manifold(d: int, *sizes: int, seed: int = 1338) -> tuple[np.ndarray, ...]:
    """Sets from one 10-dimensional manifold bent into d dimensions by sines."""
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal((sum(sizes), 10))
    x = hidden @ rng.random((10, d)) * (rng.random(d) * 4 + 0.1)
    return tuple(np.split(np.sin(x).astype(np.float32), np.cumsum(sizes)[:-1]))


def scores64(base: np.ndarray, queries: np.ndarray, metric: str) -> np.ndarray:
    """All scores in double precision, queries x base."""
    b, q = base.astype(np.float64), queries.astype(np.float64)
    if metric == "ip":
        return q @ b.T
    if metric == "cosine":
        norms = np.linalg.norm(q, axis=1)[:, None] * np.linalg.norm(b, axis=1)[None, :]
        return np.divide(q @ b.T, norms, out=np.zeros((len(q), len(b))), where=norms > 0)
    differences = (row - b for row in q)
    if metric == "l1":
        return np.array([np.abs(d).sum(1) for d in differences]).reshape(len(q), len(b))
    return np.array([(d * d).sum(1) for d in differences]).reshape(len(q), len(b))


def order(scores: np.ndarray, metric: str) -> np.ndarray:
    """Column numbers, best first, ties by smaller number."""
    return np.argsort(scores * WORST[metric], axis=1, kind="stable")


def assert_nearest(scores, ids, base, queries, metric, k=None, rtol=1e-5, atol=1e-5, names=None):
    """scores and ids are the true neighbours, up to ties within the tolerance.

    Each score is that of its id, it is the true score of its rank, and no id comes twice.
    """
    all_scores = scores64(base, queries, metric)
    best = np.take_along_axis(all_scores, order(all_scores, metric), axis=1)
    k = min(ids.shape[1] if k is None else k, len(base))
    assert scores.dtype == np.float32 and ids.dtype == np.int64
    rows = ids[:, :k] if names is None else np.searchsorted(names, ids[:, :k])
    assert (rows >= 0).all() and (rows < len(base)).all()
    np.testing.assert_allclose(scores[:, :k], best[:, :k], rtol=rtol, atol=atol)
    own = np.take_along_axis(all_scores, rows, axis=1)
    np.testing.assert_allclose(own, best[:, :k], rtol=rtol, atol=atol)
    assert all(len(set(row)) == k for row in ids[:, :k].tolist())


def assert_same_up_to_ties(a, b, rtol=1e-5, atol=1e-5):
    """Two answers (scores, ids): equal scores by rank, equal ids but for ties at the end."""
    (sa, ia), (sb, ib) = a, b
    np.testing.assert_allclose(sa, sb, rtol=rtol, atol=atol)
    for row in np.flatnonzero((ia != ib).any(axis=1)):
        extra = set(ia[row].tolist()) ^ set(ib[row].tolist())
        edge = sa[row, -1]
        for score, identity in [*zip(sa[row], ia[row]), *zip(sb[row], ib[row])]:
            if identity in extra:
                assert abs(score - edge) <= atol + rtol * abs(edge), (row, identity, score, edge)


def recall(ids: np.ndarray, truth: np.ndarray, k: int) -> float:
    """The share of the first k true neighbours among the first k found."""
    hits = sum(len(set(a) & set(b)) for a, b in zip(ids[:, :k].tolist(), truth[:, :k].tolist()))
    return hits / (k * len(truth))


def nearest_within(ids: np.ndarray, truth: np.ndarray, k: int) -> float:
    """How often the nearest true neighbour is among the first k found."""
    return float((ids[:, :k] == truth[:, :1]).any(axis=1).mean())


def built(spec, base, metric="l2", train=None, ids=None, seed=1234, threads=None):
    index = nearcell.Index(spec, base.shape[1], metric, seed=seed)
    index.train(base if train is None else train, threads=threads)
    index.add(base, ids, threads=threads)
    return index


def clone(index):
    return nearcell.Index.from_bytes(index.to_bytes())


@functools.cache
def fashion(n: int, nq: int) -> tuple[np.ndarray, np.ndarray]:
    """The first pictures of Fashion-MNIST, as bytes."""
    if not FASHION.is_dir():
        pytest.skip(f"{FASHION} is missing: apt-get install dataset-fashion-mnist")
    pictures = []
    for name in ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"):
        data = gzip.decompress((FASHION / name).read_bytes())
        shape = struct.unpack(">3I", data[4:16])
        pictures.append(np.frombuffer(data, np.uint8, offset=16).reshape(shape[0], -1))
    return pictures[0][:n], pictures[1][:nq]


@functools.cache
def sift(n: int, nq: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the photograph descriptors, as bytes; spread over all pictures."""
    if not SIFT.exists():
        pytest.skip(f"{SIFT} is missing: the photo-sift set is not beside this checkout")
    with np.load(SIFT) as data:
        base, queries = data["base"], data["query"]
    return base[:: max(1, len(base) // n)][:n].copy(), queries[:: max(1, len(queries) // nq)][
        :nq
    ].copy()
