"""Recall on real vectors, own training, beside Faiss at the same cells, probes and code size."""

import functools

import faiss
import nearcell
import numpy as np
import pytest
from support import fashion, sift

LEEWAY = 0.005
K = 10
SEEDS = (1, 2, 3)  # one k-means differs from another by up to 0.01
SETS = {"fashion-mnist": (lambda: fashion(20000, 1000)), "photo-sift": (lambda: sift(60000, 2000))}


@functools.cache
def data(name):
    base, queries = SETS[name]()
    scores, _ = nearcell.exact_search(base, queries, K)
    return base, queries, scores[:, -1]


def recall_by_distance(base, queries, ids, limit):
    """The share of found vectors that are no farther than the K-th neighbour: fair to ties."""
    base, queries = base.astype(np.float32), queries.astype(np.float32)
    hits = 0
    for query, row, radius in zip(queries, ids, limit):
        found = base[row[row >= 0]]
        hits += int((((found - query) ** 2).sum(axis=1) <= radius * (1 + 1e-6)).sum())
    return hits / ids.size


def faiss_recall(spec, name, probes, rerank, parameters, seed):
    base, queries, limit = data(name)
    x = base.astype(np.float32)
    index = faiss.index_factory(x.shape[1], spec)
    faiss.extract_index_ivf(index).cp.seed = seed
    index.train(x)
    index.add(x)
    if parameters is None:
        faiss.extract_index_ivf(index).nprobe = probes
        if rerank is not None:
            index.k_factor = rerank / K
        ids = index.search(queries.astype(np.float32), K)[1]
    else:
        ids = index.search(queries.astype(np.float32), K, params=parameters)[1]
    return recall_by_distance(base, queries, ids, limit)


def our_recall(spec, name, probes, rerank, seed):
    base, queries, limit = data(name)
    index = nearcell.Index(spec, base.shape[1], seed=seed)
    index.train(base)
    index.add(base)
    ids = index.search(queries, K, probes=probes, rerank=rerank)[1]
    return recall_by_distance(base, queries, ids, limit)


def rabitq_parameters(probes):
    """No rounding of the query, which would only cost Faiss recall."""
    inner = faiss.IVFRaBitQSearchParameters(nprobe=probes, qb=0)
    return faiss.SearchParametersPreTransform(index_params=inner)


CASES = [
    ("fashion-mnist", "IVF128,Flat", None, 8, None),
    ("fashion-mnist", "IVF128,SQ8", None, 8, None),
    ("fashion-mnist", "IVF128,PQ56", None, 8, None),
    ("fashion-mnist", "IVF128,PQ56x4fs,RFlat", None, 8, 50),
    ("fashion-mnist", "IVF128,RaBitQ", "RR784,IVF128,RaBitQ", 8, None),
    ("fashion-mnist", "IVF128,RaBitQ4", "RR784,IVF128,RaBitQ4", 8, None),
    ("photo-sift", "IVF256,Flat", None, 8, None),
    ("photo-sift", "IVF256,SQ8", None, 8, None),
    ("photo-sift", "IVF256,PQ16", None, 8, None),
    ("photo-sift", "IVF256,PQ32x4fs,RFlat", None, 8, 50),
    ("photo-sift", "IVF256,RaBitQ", "RR128,IVF256,RaBitQ", 8, None),
    ("photo-sift", "IVF256,RaBitQ4", "RR128,IVF256,RaBitQ4", 8, None),
]


@pytest.mark.parametrize(("name", "spec", "theirs", "probes", "rerank"), CASES)
def test_recall_beside_faiss(name, spec, theirs, probes, rerank):
    parameters = rabitq_parameters(probes) if theirs else None
    reference = np.mean(
        [faiss_recall(theirs or spec, name, probes, rerank, parameters, s) for s in SEEDS]
    )
    ours = np.mean([our_recall(spec, name, probes, rerank, s) for s in SEEDS])
    print(f"{name} {spec}: nearcell {ours:.4f}, Faiss {reference:.4f}")
    assert ours >= reference - LEEWAY
