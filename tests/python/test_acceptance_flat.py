"""Exact search: acceptance cases 1 to 7."""

import faiss
import nearcell
import numpy as np
import pytest
from support import (
    EXACT_KINDS,
    FLT_MAX,
    KINDS_AND_METRICS,
    METRICS,
    WORST,
    assert_nearest,
    assert_same_up_to_ties,
    built,
    scores64,
    uniform,
)

FAISS_METRIC = {"l2": faiss.METRIC_L2, "ip": faiss.METRIC_INNER_PRODUCT, "l1": faiss.METRIC_L1}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("nq", [10, 200])
@pytest.mark.parametrize("k", [10, 150])
def test_01_flat_exact(metric, nq, k):
    base, queries = uniform(1000, 32, 1), uniform(nq, 32, 2)
    index = built("Flat", base, metric)
    scores, ids = index.search(queries, k)
    assert_nearest(scores, ids, base, queries, metric)
    if metric in FAISS_METRIC:
        reference = faiss.IndexFlat(32, FAISS_METRIC[metric])
        reference.add(base)
        theirs = reference.search(queries, k)
        assert_same_up_to_ties((scores, ids), theirs)
        assert np.mean(ids != theirs[1]) <= 0.002  # Faiss orders equal inner products otherwise
    assert_same_up_to_ties(
        (scores, ids), nearcell.exact_search(base, queries, k, metric), 1e-6, 1e-6
    )


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("nq", [1, 2, 4])
def test_02_few_queries_many_threads(metric, nq):
    base, queries = uniform(20000, 32, 3), uniform(nq, 32, 4)
    index = built("Flat", base, metric)
    for k in (1, 10, 200):
        scores, ids = index.search(queries, k, threads=1)
        assert_nearest(scores, ids, base, queries, metric)
        for threads in (2, 4, 8):
            again = index.search(queries, k, threads=threads)
            assert np.array_equal(ids, again[1]) and scores.tobytes() == again[0].tobytes()


@pytest.mark.parametrize(("spec", "metric"), KINDS_AND_METRICS)
def test_03_no_queries(spec, metric):
    index = built(spec, uniform(500, 32, 5), metric)
    none = np.zeros((0, 32), np.float32)
    scores, ids = index.search(none, 7)
    assert scores.shape == ids.shape == (0, 7)
    offsets, scores, ids = index.range_search(none, 1.0)
    assert offsets.tolist() == [0] and len(scores) == len(ids) == 0


@pytest.mark.parametrize(("spec", "metric"), KINDS_AND_METRICS)
def test_04_padding(spec, metric):
    train = uniform(500, 32, 6)
    index = built(spec, train[:3], metric, train=train)
    for queries in (train[:1], train[:40]):
        scores, ids, stats = index.search(queries, 5, probes=16, stats=True)
        assert (np.sort(ids[:, :3], axis=1) == [0, 1, 2]).all()
        assert (ids[:, 3:] == -1).all()
        assert (scores[:, 3:] == WORST[metric] * FLT_MAX).all()
        assert (stats["counts"] == 3).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("spec", EXACT_KINDS)
def test_05_ties_by_smaller_id(spec, metric):
    four = uniform(4, 32, 7)
    base = np.tile(four, (40, 1))
    queries = np.vstack([four, uniform(3, 32, 8)])
    index = built(spec, base, metric, train=np.vstack([base, uniform(400, 32, 9)]))
    for k in (1, 10, 50, 160):
        for threads in (1, 2, 4):
            scores, ids = index.search(queries, k, probes=16, threads=threads)
            for s, i in zip(scores, ids):
                assert all(a < b for a, b, t, u in zip(i, i[1:], s, s[1:]) if t == u)
                assert (i[: min(k, 40)] // 4 == np.arange(min(k, 40))).all()


@pytest.mark.parametrize("shift", [0, 3000, 12345])
@pytest.mark.parametrize("spec", EXACT_KINDS)
@pytest.mark.parametrize("nq", [2, 25, 500])
def test_06_translation(shift, spec, nq):
    base = (uniform(2000, 16, 10) + np.float32(shift)).astype(np.float32)
    queries = (uniform(nq, 16, 11) + np.float32(shift)).astype(np.float32)
    index = built(spec, base)
    scores, ids = index.search(queries, 10, probes=16)
    assert_nearest(scores, ids, base, queries, "l2", rtol=1e-4, atol=1e-5)
    scores, ids = nearcell.exact_search(base, queries, 10)
    assert_nearest(scores, ids, base, queries, "l2", rtol=1e-4, atol=1e-5)


def test_06_zero_columns_keep_range_hits():
    base, queries = uniform(300, 16, 12), uniform(30, 16, 13)
    wide = [np.hstack([x, np.zeros((len(x), 4080), np.float32)]) for x in (base, queries)]
    narrow = built("Flat", base).range_search(queries, 2.0)
    padded = built("Flat", wide[0]).range_search(wide[1], 2.0)
    assert np.array_equal(narrow[0], padded[0]) and np.array_equal(narrow[2], padded[2])
    np.testing.assert_allclose(narrow[1], padded[1], rtol=1e-6)


@pytest.mark.parametrize("spec", sorted({s for s, _ in KINDS_AND_METRICS}))
def test_07_squared_distances_are_not_negative(spec):
    base = uniform(600, 32, 14) + np.float32(10)
    index = built(spec, base)
    scores, ids = index.search(base, 3, probes=16)
    assert (scores >= 0).all()
    if spec in EXACT_KINDS:
        assert (scores[:, 0] == 0).all() and (ids[:, 0] == np.arange(600)).all()


def test_flat_scores_are_those_of_float64():
    base, queries = uniform(500, 7, 15) * 1000, uniform(20, 7, 16) * 1000
    scores, ids = built("Flat", base).search(queries, 500)
    own = np.take_along_axis(scores64(base, queries, "l2"), ids, axis=1)
    np.testing.assert_allclose(scores, own, rtol=2e-6, atol=1e-6)
