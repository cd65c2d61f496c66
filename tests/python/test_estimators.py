"""KMeans and Pca beside other threads, and what is refused."""

from __future__ import annotations

import threading
import time

import nearcell
import numpy as np
import pytest

X = np.random.default_rng(1).random((40000, 96), dtype="f4")


def test_a_call_has_one_kmeans_to_its_end() -> None:
    means = nearcell.KMeans(256, iterations=1).fit(X[:1000])
    expected = means.predict(X)
    found = []
    thread = threading.Thread(target=lambda: found.append(means.predict(X, threads=1)))
    thread.start()
    while not found:
        means.fit(X[1000:2000], threads=1)
        time.sleep(0.01)
    thread.join()
    second = means.predict(X)
    assert (found[0] == expected).all() or (found[0] == second).all()


def test_a_call_has_one_pca_to_its_end() -> None:
    pca = nearcell.Pca(90).fit(X[:500])
    expected = [pca.transform(X)]
    found = []
    thread = threading.Thread(target=lambda: found.append(pca.transform(X, threads=1)))
    thread.start()
    for i in range(20):
        pca.partial_fit(X[500 + i : 501 + i], threads=1)
        expected.append(pca.transform(X))
    thread.join()
    assert any((found[0] == one).all() for one in expected)


def test_rows_of_all_threads_count() -> None:
    pca = nearcell.Pca(4)
    parts = np.array_split(np.round(16 * X[:8000, :8]), 40)  # of which sums are exact
    threads = [threading.Thread(target=pca.partial_fit, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pca.rows_seen == 8000
    whole = nearcell.Pca(4).fit(np.concatenate(parts))
    np.testing.assert_allclose(pca.mean_, whole.mean_, rtol=1e-5)
    np.testing.assert_allclose(pca.explained_variance_, whole.explained_variance_, rtol=1e-5)


def test_what_is_refused_changes_nothing() -> None:
    pca = nearcell.Pca(2)
    with pytest.raises(ValueError, match="NaN"):
        pca.partial_fit(np.full((2, 8), np.nan))
    pca.partial_fit(X[:0, :8])
    assert pca.rows_seen == 0
    pca.partial_fit(X[:20, :5])
    assert pca.components_.shape == (2, 5)
    with pytest.raises(ValueError, match="column"):
        pca.partial_fit(X[:20, :6])
    assert pca.rows_seen == 20
    with pytest.raises(ValueError, match="1e-12"):
        nearcell.Pca(2, whiten=True, epsilon=0)
