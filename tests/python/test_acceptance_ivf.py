"""Cells: acceptance cases 8 to 11, 13, 14 and 23, beside Faiss on the same data."""

import faiss
import nearcell
import numpy as np
import pytest
from support import (
    assert_nearest,
    assert_same_up_to_ties,
    built,
    manifold,
    nearest_within,
    recall,
    scores64,
    unit,
)

FAISS_METRIC = {"l2": faiss.METRIC_L2, "ip": faiss.METRIC_INNER_PRODUCT}


def faiss_index(spec, metric, train, base, probes=None):
    index = faiss.index_factory(base.shape[1], spec, FAISS_METRIC[metric])
    index.train(train)
    index.add(base)
    if probes is not None:
        faiss.extract_index_ivf(index).nprobe = probes
    return index


def faiss_centroids(index):
    return faiss.downcast_index(index.quantizer).reconstruct_n(0, index.nlist)


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine", "l1"])
def test_08_all_probes_are_exact(metric):
    train, base, queries = manifold(32, 1000, 3000, 60)
    index = built("IVF32,Flat", base, metric, train=train)
    for probes in (32, 1000):
        scores, ids, stats = index.search(queries, 20, probes=probes, stats=True)
        assert_nearest(scores, ids, base, queries, metric)
        assert stats["probes"] == 32
    fewer = index.search(queries, 20, probes=1)
    assert not np.array_equal(fewer[1], ids)


def test_09_ivf_flat_recall():
    base, queries = unit(10000, 128, 20), unit(1000, 128, 21)
    truth = nearcell.exact_search(base, queries, 1)[1]
    index = built("IVF400,Flat", base)
    found = index.search(queries, 1, probes=20)[1]
    theirs = faiss_index("IVF400,Flat", "l2", base, base, 20).search(queries, 1)[1]
    assert nearest_within(found, truth, 1) > 0.2
    assert nearest_within(found, truth, 1) >= nearest_within(theirs, truth, 1) - 0.03


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize(
    ("spec", "floor"), [("IVF100,PQ16", 0.2), ("IVF100,SQ8", 0.235), ("PQ16", 0.2)]
)
def test_10_compressed_recall(spec, floor, metric):
    base, queries = unit(10000, 64, 22), unit(500, 64, 23)
    truth = nearcell.exact_search(base, queries, 1, metric)[1]
    index = built(spec, base, metric)
    found = index.search(queries, 10, probes=10)[1]
    probes = 10 if spec.startswith("IVF") else None
    theirs = faiss_index(spec, metric, base, base, probes).search(queries, 10)[1]
    assert nearest_within(found, truth, 10) > floor
    assert nearest_within(found, truth, 10) >= nearest_within(theirs, truth, 10) - 0.04


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("spec", ["IVF64,PQ8", "IVF64,PQ8x4fsr", "IVF64,PQ8x4fs", "PQ8", "PQ8x4fs"])
def test_11_scores_are_those_of_the_decoded_vectors(spec, metric):
    train, base, queries = manifold(32, 5000, 3000, 40)
    index = built(spec, base, metric, train=train)
    scores, ids = index.search(queries, 10, probes=8)
    decoded = index.reconstruct(np.arange(len(base)))
    own = np.take_along_axis(scores64(decoded, queries, metric), ids, axis=1)
    np.testing.assert_allclose(scores, own, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("spec", ["IVF64,PQ8", "PQ8"])
def test_11_decoded_vectors_are_centroid_plus_codewords(spec):
    train, base, _ = manifold(32, 5000, 3000, 40)
    index = built(spec, base, train=train)
    decoded = index.reconstruct(np.arange(500))
    codebooks = index.codec_parameters[-8 * 256 * 4 :].reshape(8, 256, 4)
    centroids = index.centroids if spec.startswith("IVF") else np.zeros((1, 32), np.float32)
    cells = np.argmin(scores64(centroids, base[:500], "l2"), axis=1)
    residuals = base[:500] - centroids[cells]
    expected = np.empty_like(decoded)
    for m in range(8):
        part = slice(4 * m, 4 * m + 4)
        words = np.argmin(scores64(codebooks[m], residuals[:, part], "l2"), axis=1)
        expected[:, part] = centroids[cells][:, part] + codebooks[m][words]
    wrong = np.abs(decoded - expected).max(axis=1) > 1e-5
    assert wrong.mean() <= 0.01  # a codeword as near as another, within rounding


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("spec", ["IVF64,Flat", "IVF64,PQ8", "PQ8", "IVF64,SQ8", "SQ8"])
def test_11_import_from_faiss(spec, metric):
    """The same centroids and codebooks give the same neighbours, up to ties."""
    train, base, queries = manifold(32, 8000, 5000, 200)
    theirs = faiss_index(spec, metric, train, base, 8 if "IVF" in spec else None)
    index = nearcell.Index(spec, 32, metric)
    if "PQ8" in spec:
        parameters = faiss.vector_to_array(theirs.pq.centroids)
    elif "SQ8" in spec:  # Faiss decodes to the middle of a step
        low, span = faiss.vector_to_array(theirs.sq.trained).reshape(2, -1)
        parameters = np.concatenate([low + span * np.float32(0.5 / 255), span / np.float32(255)])
    else:
        parameters = np.zeros(0, np.float32)
    index.set_trained(faiss_centroids(theirs) if "IVF" in spec else None, parameters)
    assert index.is_trained
    index.add(base)
    scores, ids = index.search(queries, 10, probes=8)
    wanted = theirs.search(queries, 10)
    tolerance = 2e-3 if "SQ8" in spec else 2e-4  # Faiss's int codes may round a step apart
    assert np.mean(ids == wanted[1]) > 0.99
    np.testing.assert_allclose(scores, wanted[0], rtol=tolerance, atol=tolerance)
    if "SQ8" not in spec:
        assert_same_up_to_ties((scores, ids), wanted, 2e-4, 2e-4)


@pytest.mark.parametrize("spec", ["IVF32,Flat", "Flat"])
@pytest.mark.parametrize("d", [14, 30, 62])
def test_13_two_zero_columns_change_nothing(spec, d):
    train, base, queries = manifold(d, 1000, 2000, 50)
    index = built(spec, base, train=train)
    wide = nearcell.Index(spec, d + 2)
    pad = ((0, 0), (0, 2))
    if spec != "Flat":
        wide.set_trained(np.pad(index.centroids, pad), index.codec_parameters)
    wide.add(np.pad(base, pad))
    assert np.array_equal(
        index.search(queries, 10, probes=4)[1], wide.search(np.pad(queries, pad), 10, probes=4)[1]
    )


@pytest.mark.parametrize("spec", ["PQ7", "PQ7x4fs", "IVF16,PQ5", "IVF16,PQ9x4fsr", "IVF16,RaBitQ2"])
@pytest.mark.parametrize("d", [31, 33, 50])
def test_13_dimensions_that_nothing_divides(spec, d):
    train, base, queries = manifold(d, 3000, 2000, 50)
    truth = nearcell.exact_search(base, queries, 10)[1]
    index = built(spec, base, train=train)
    assert recall(index.search(queries, 50, probes=16)[1], truth[:, :1], 1) >= 0.0
    assert nearest_within(index.search(queries, 50, probes=16)[1], truth, 50) > 0.6
    assert index.reconstruct([0, 1]).shape == (2, d)


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("code", ["SQ8", "SQfp16", "SQbf16", "I8", "Flat"])
def test_14_scalar_quantizers(code, metric):
    train, base, queries = manifold(32, 2000, 1000, 200)
    truth = nearcell.exact_search(base, queries, 10, metric)[1]
    index = built(f"IVF64,{code}", base, metric, train=train)
    ours = recall(index.search(queries, 10, probes=4)[1], truth, 10)
    theirs = faiss_index("IVF64," + code.replace("I8", "SQ8"), metric, train, base, 4)
    assert ours >= recall(theirs.search(queries, 10)[1], truth, 10) - 0.02
    full = recall(index.search(queries, 10, probes=64)[1], truth, 10)
    assert full > (0.95 if code in ("SQ8", "I8", "SQbf16") else 0.99)


def test_23_probes_of_a_call_and_defaults():
    train, base, queries = manifold(32, 1000, 3000, 60)
    index = built("IVF32,PQ8,RFlat", base, train=train)
    before = index.default_probes, index.default_rerank
    for probes in (1, 3, 32):
        for rerank in (10, 40):
            call = index.search(queries, 10, probes=probes, rerank=rerank)
            assert (index.default_probes, index.default_rerank) == before
            other = clone_with_defaults(index, probes, rerank)
            default = other.search(queries, 10)
            assert call[0].tobytes() == default[0].tobytes() and np.array_equal(call[1], default[1])
    with pytest.raises(TypeError, match="nprobe"):
        index.search(queries, 10, nprobe=3)
    with pytest.raises(TypeError, match="queries, k|search"):
        index.search(queries, 10, 1, 2, None, None, False, None, "surplus")


def clone_with_defaults(index, probes, rerank):
    other = nearcell.Index.from_bytes(index.to_bytes())
    other.default_probes = probes
    other.default_rerank = rerank
    assert (other.default_probes, other.default_rerank) == (probes, rerank)
    return other


def test_23_a_default_can_be_taken_back():
    train, base, queries = manifold(24, 500, 1000, 30)
    index = built("IVF4,RaBitQ,Refine(SQ8)", base, train=train)
    before = index.search(queries, 7)
    index.default_rerank = 7
    assert not np.array_equal(index.search(queries, 7)[1], before[1])
    index.default_rerank = 0
    index.default_rerank = index.default_rerank
    assert index.default_rerank == 0
    assert np.array_equal(index.search(queries, 7)[1], before[1])
    with pytest.raises(ValueError, match="default_rerank"):
        index.default_rerank = -1
    with pytest.raises(ValueError, match="default_probes"):
        index.default_probes = 0


def test_23_every_option_matters():
    train, base, queries = manifold(32, 1000, 3000, 60)
    index = built("IVF32,PQ4,RFlat", base, train=train)
    plain = index.search(queries, 10, probes=4, rerank=20)[1]
    assert index.search(queries, 11, probes=4, rerank=20)[1].shape == (60, 11)
    assert not np.array_equal(plain, index.search(queries, 10, probes=1, rerank=20)[1])
    assert not np.array_equal(plain, index.search(queries, 10, probes=4, rerank=200)[1])
    assert not np.array_equal(
        plain, index.search(queries, 10, probes=4, rerank=20, filter=range(99))[1]
    )
    assert len(index.search(queries, 10, stats=True)) == 3
