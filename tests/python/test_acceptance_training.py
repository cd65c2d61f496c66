"""Training: acceptance cases 19 (k-means) and 20 (PCA and OPQ)."""

import faiss
import nearcell
import numpy as np
import pytest
from support import built, manifold, nearest_within, scores64, uniform, unit


def error(x, centroids):
    return scores64(centroids, x, "l2").min(axis=1).sum()


def test_19_objective_falls():
    (x,) = manifold(32, 3000)
    fitted = nearcell.KMeans(64, iterations=10).fit(x)
    assert len(fitted.objective) == 10
    assert (np.diff(fitted.objective) < 0).all()
    assert fitted.points_given == fitted.points_used == 3000
    assert fitted.centroids.shape == (64, 32)
    more = nearcell.KMeans(32, iterations=10).fit(x)
    assert error(x, fitted.centroids) < error(x, more.centroids)


@pytest.mark.parametrize("seeding", ["random", "k-means++"])
def test_19_as_good_as_faiss(seeding):
    (x,) = manifold(32, 8000)
    ours = nearcell.KMeans(100, iterations=15, seeding=seeding).fit(x)
    theirs = faiss.Kmeans(32, 100, niter=15, seed=1)
    theirs.train(x)
    assert error(x, ours.centroids) <= error(x, theirs.centroids) * 1.02


@pytest.mark.parametrize("method", ["lloyd", "hierarchical", "mini-batch"])
def test_19_methods_are_close(method):
    (x,) = manifold(32, 10000)
    lloyd = nearcell.KMeans(100, iterations=15, method="lloyd").fit(x)
    other = nearcell.KMeans(100, iterations=15, method=method).fit(x)
    assert error(x, other.centroids) <= error(x, lloyd.centroids) * 1.1
    again = nearcell.KMeans(100, iterations=15, method=method).fit(x, threads=2)
    assert np.array_equal(other.centroids, again.centroids)


def test_19_integer_data_and_predict():
    x = np.random.default_rng(5).integers(0, 256, (2000, 16), dtype=np.uint8)
    fitted = nearcell.KMeans(20).fit(x)
    floats = nearcell.KMeans(20).fit(x.astype(np.float32))
    assert np.array_equal(fitted.centroids, floats.centroids)
    labels = fitted.predict(x)
    assert labels.dtype == np.int64
    assert np.array_equal(labels, scores64(fitted.centroids, x, "l2").argmin(axis=1))


def test_19_few_distinct_points():
    x = np.repeat(uniform(5, 8, 40), 20, axis=0)
    fitted = nearcell.KMeans(10).fit(x)
    assert np.isfinite(fitted.centroids).all()
    assert error(x, fitted.centroids) < 1e-4


def test_19_as_many_points_as_clusters_are_copied():
    x = uniform(30, 8, 41)
    centroids = nearcell.KMeans(30).fit(x).centroids
    assert sorted(map(tuple, centroids)) == sorted(map(tuple, x))


def test_19_refusals():
    x = uniform(9, 8, 42)
    with pytest.raises(ValueError, match=r"9.*10|10.*9"):
        nearcell.KMeans(10).fit(x)
    bad = uniform(100, 8, 43)
    bad[50, 3] = np.nan
    with pytest.raises(ValueError, match=r"x\[50, 3\]"):
        nearcell.KMeans(4).fit(bad)
    with pytest.raises(RuntimeError, match="fit"):
        _ = nearcell.KMeans(4).centroids


def test_19_weights_move_centroids():
    x = np.array([[0.0], [1.0], [10.0], [11.0]], np.float32).repeat(25, axis=0)
    weights = np.where(x[:, 0] == 1, 3, 1).astype(np.float32)
    plain = np.sort(nearcell.KMeans(2, seeding="k-means++").fit(x).centroids[:, 0])
    heavy = np.sort(nearcell.KMeans(2, seeding="k-means++").fit(x, weights=weights).centroids[:, 0])
    np.testing.assert_allclose(plain, [0.5, 10.5], atol=1e-5)
    np.testing.assert_allclose(heavy, [0.75, 10.5], atol=1e-5)


def test_19_doubled_weights_are_doubled_points():
    x = uniform(400, 8, 44)
    initial = x[:12].copy()
    doubled = nearcell.KMeans(12, iterations=8).fit(np.vstack([x, x]), initial=initial)
    weighted = nearcell.KMeans(12, iterations=8).fit(
        x, weights=np.full(400, 2, np.float32), initial=initial
    )
    np.testing.assert_allclose(doubled.centroids, weighted.centroids, rtol=1e-4, atol=1e-5)


def test_19_warm_start_and_redo():
    (x,) = manifold(32, 3000)
    first = nearcell.KMeans(50, iterations=5).fit(x)
    warm = nearcell.KMeans(50, iterations=5).fit(x, initial=first.centroids)
    assert warm.objective[0] < 0.99 * first.objective[0]
    one = nearcell.KMeans(50, iterations=5).fit(x).objective[-1]
    ten = nearcell.KMeans(50, iterations=5, redo=10).fit(x).objective[-1]
    assert ten < one


@pytest.mark.parametrize("metric", ["ip", "cosine"])
def test_19_spherical(metric):
    x = unit(2000, 24, 45)
    fitted = nearcell.KMeans(40, metric=metric).fit(x)
    np.testing.assert_allclose(np.linalg.norm(fitted.centroids, axis=1), 1, atol=1e-5)
    labels = fitted.predict(x)
    assert np.array_equal(labels, (x.astype(np.float64) @ fitted.centroids.T).argmax(axis=1))


def test_19_sampling_is_reported():
    (x,) = manifold(32, 10000)
    sampled = nearcell.KMeans(10, max_points_per_cluster=100).fit(x)
    assert (sampled.points_given, sampled.points_used) == (10000, 1000)
    assert nearcell.KMeans(10, max_points_per_cluster=None).fit(x).points_used == 10000
    report = nearcell.Index("IVF8,PQ4", 32).train(x)
    assert report.rows_given == 10000
    assert report.rows_used_for_cells <= 8 * 256


def test_20_pca_of_float64():
    rng = np.random.default_rng(50)
    x = (rng.standard_normal((3000, 20)) @ rng.standard_normal((20, 20)) + 5).astype(np.float32)
    pca = nearcell.Pca(8).fit(x)
    values, vectors = np.linalg.eigh(np.cov(x.astype(np.float64), rowvar=False))
    values, vectors = values[::-1], vectors[:, ::-1].T
    variances = pca.explained_variance_
    assert (np.diff(variances) <= 0).all()
    np.testing.assert_allclose(variances, values[:8], rtol=1e-3)
    np.testing.assert_allclose(pca.explained_variance_ratio_, values[:8] / values.sum(), rtol=1e-3)
    np.testing.assert_allclose(np.abs((pca.components_ * vectors[:8]).sum(1)), 1, atol=1e-4)
    assert (pca.components_[np.arange(8), np.abs(pca.components_).argmax(1)] > 0).all()
    y = pca.transform(x)
    np.testing.assert_allclose(y, (x - pca.mean_) @ pca.components_.T, rtol=1e-4, atol=1e-3)
    full = nearcell.Pca(20).fit(x)
    np.testing.assert_allclose(full.inverse_transform(full.transform(x)), x, rtol=1e-4, atol=1e-3)


def test_20_pca_in_pieces_is_the_same():
    x = uniform(1001, 16, 51)
    whole = nearcell.Pca(5).fit(x)
    pieces = nearcell.Pca(5)
    for start in range(0, 1001, 97):
        assert pieces.partial_fit(x[start : start + 97]) is pieces
    np.testing.assert_allclose(whole.components_, pieces.components_, atol=1e-4)
    np.testing.assert_allclose(whole.explained_variance_, pieces.explained_variance_, rtol=1e-4)


def test_20_whitening():
    rng = np.random.default_rng(52)
    x = (rng.standard_normal((5000, 12)) @ rng.standard_normal((12, 12))).astype(np.float32)
    y = nearcell.Pca(12, whiten=True).fit(x).transform(x)
    np.testing.assert_allclose(np.cov(y, rowvar=False), np.eye(12), atol=0.01)


def test_20_whitening_of_rank_deficient_rows_is_finite():
    x = uniform(500, 3, 53) @ uniform(3, 10, 54)
    pca = nearcell.Pca(10, whiten=True).fit(x)
    y = pca.transform(x)
    assert np.isfinite(y).all() and np.isfinite(pca.inverse_transform(y)).all()


def unbalanced(n, d, seed):
    """Unit-variance noise with a few directions much wider, mixed: where OPQ helps."""
    rng = np.random.default_rng(55)
    scales = np.exp(-np.arange(d) / 6.0) * 10
    rotation = np.linalg.qr(rng.standard_normal((d, d)))[0]
    x = np.random.default_rng(seed).standard_normal((n, d)) * scales
    return (x @ rotation.T[:, np.argsort(rng.random(d))]).astype(np.float32)


def test_20_opq_beats_pq():
    base, queries = unbalanced(8000, 64, 56), unbalanced(300, 64, 57)
    truth = nearcell.exact_search(base, queries, 1)[1]
    plain = built("PQ8", base).search(queries, 100)[1]
    rotated = built("OPQ8,PQ8", base).search(queries, 100)[1]
    for k in (1, 10, 100):
        assert nearest_within(rotated, truth, k) >= nearest_within(plain, truth, k)
    assert nearest_within(rotated, truth, 1) > nearest_within(plain, truth, 1)


def test_20_opq_with_cells():
    base, queries = unbalanced(8000, 64, 58), unbalanced(300, 64, 59)
    truth = nearcell.exact_search(base, queries, 1)[1]
    plain = built("IVF32,PQ8", base).search(queries, 10, probes=8)[1]
    rotated = built("OPQ8,IVF32,PQ8", base).search(queries, 10, probes=8)[1]
    assert nearest_within(rotated, truth, 10) >= nearest_within(plain, truth, 10) - 0.005
    reference = faiss.index_factory(64, "OPQ8,IVF32,PQ8")
    reference.train(base)
    reference.add(base)
    faiss.extract_index_ivf(reference).nprobe = 8
    theirs = reference.search(queries, 10)[1]
    assert nearest_within(rotated, truth, 10) >= nearest_within(theirs, truth, 10) - 0.04


@pytest.mark.parametrize("spec", ["RR,Flat", "RR32,IVF8,Flat", "OPQ8,IVF8,Flat"])
def test_20_rotations_keep_distances(spec):
    (base, queries) = manifold(32, 1500, 20)
    index = built(spec, base)
    scores, ids = index.search(queries, 10, probes=8)
    own = np.take_along_axis(scores64(base, queries, "l2"), ids, axis=1)
    np.testing.assert_allclose(scores, own, rtol=1e-3, atol=1e-4)
    assert np.array_equal(ids[:, 0], nearcell.exact_search(base, queries, 1)[1][:, 0])
    np.testing.assert_allclose(index.reconstruct(np.arange(50)), base[:50], atol=1e-4)
