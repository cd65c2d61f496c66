"""Factory strings (acceptance case 29) and tuning (case 30)."""

import nearcell
import numpy as np
import pytest
from support import KINDS, built, manifold, recall

# string, dim, cells, bytes a code, bytes in the re-rank store
ACCEPTED = [
    ("Flat", 48, 1, 192, 0),
    ("SQ8", 48, 1, 56, 0),
    ("SQfp16", 48, 1, 96, 0),
    ("SQbf16", 48, 1, 96, 0),
    ("PQ8", 48, 1, 8, 0),
    ("PQ8np", 48, 1, 8, 0),
    ("PQ8x8", 48, 1, 8, 0),
    ("PQ8x4", 48, 1, 4, 0),
    ("PQ8x4fs", 48, 1, 4, 0),
    ("PQ16x4fs_64", 48, 1, 8, 0),
    ("IVF64,Flat", 48, 64, 192, 0),
    ("IVF64, Flat", 48, 64, 192, 0),
    (" IVF64 ,Flat ", 48, 64, 192, 0),
    ("IVF1k,Flat", 48, 1024, 192, 0),
    ("IVF1M,Flat", 48, 1024 * 1024, 192, 0),
    ("IVF1024,PQ16", 48, 1024, 16, 0),
    ("IVF1024,PQ16x4fs", 48, 1024, 8, 0),
    ("IVF1024,PQ16x4fsr", 48, 1024, 8, 0),
    ("IVF1024,PQ16x4fsr_64", 48, 1024, 8, 0),
    ("IVF1024,SQ8", 48, 1024, 56, 0),
    ("IVF64,SQfp16", 48, 64, 96, 0),
    ("PCA32,IVF64,PQ8", 48, 64, 8, 0),
    ("PCA64,IVF1024,PQ16", 96, 1024, 16, 0),
    ("PCAR32,IVF64,PQ8", 48, 64, 8, 0),
    ("PCAW32,IVF64,Flat", 48, 64, 128, 0),
    ("PCAWR32,IVF64,Flat", 48, 64, 128, 0),
    ("OPQ8_32,IVF64,PQ8", 48, 64, 8, 0),
    ("OPQ16_64,IVF1024,PQ16x4fs,RFlat", 128, 1024, 8, 512),
    ("OPQ16_64,IVF64,PQ16x4fsr", 48, 64, 8, 0),
    ("RR32,IVF64,SQ8", 48, 64, 40, 0),
    ("L2norm,Flat", 48, 1, 192, 0),
    ("PQ8,RFlat", 48, 1, 8, 192),
    ("IVF64,PQ8,Refine(SQ8)", 48, 64, 8, 48),
    ("IVF64,PQ8,Refine(SQfp16)", 48, 64, 8, 96),
    ("IVF64,PQ8,Refine(Flat)", 48, 64, 8, 192),
    ("IDMap,Flat", 48, 1, 192, 0),
    ("Flat,IDMap2", 48, 1, 192, 0),
    ("PQ7", 48, 1, 8, 0),
    ("PQ7x4fs", 48, 1, 4, 0),
]


def test_29_cosines_behind_a_pca():
    """They are of the components: a PCA moves the origin, and lengths are no longer one."""
    base, queries = (x + np.float32(0.4) for x in manifold(32, 2000, 50))
    index = nearcell.Index("PCA8,Flat", 32, metric="cosine")
    assert index.spec == "PCA8,L2norm,Flat"
    index.train(base)
    index.add(base)
    scores, ids = index.search(queries, 10)

    def scaled(x):
        return x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)

    x, q = scaled(base), scaled(queries)
    mean = x.mean(axis=0)
    components = np.linalg.svd(x - mean, full_matrices=False)[2][:8].T
    cosines = scaled((q - mean) @ components) @ scaled((x - mean) @ components).T
    np.testing.assert_allclose(scores, -np.sort(-cosines, axis=1)[:, :10], atol=1e-4)
    np.testing.assert_allclose(scores, np.take_along_axis(cosines, ids, axis=1), atol=1e-4)


def test_29_cosines_behind_a_pca_come_back(tmp_path):
    """With the mean length of components, so that the mean is added to rows of the right size."""
    base = manifold(32, 2000)[0] + np.float32(3)
    index = nearcell.Index("PCA31,SQ8", 32, metric="cosine")
    index.train(base)
    index.add(base)
    index.save(tmp_path / "x.nc")
    truth = base / np.linalg.norm(base, axis=1, keepdims=True)
    for some in (index, nearcell.Index.open(tmp_path / "x.nc")):
        rows = some.reconstruct(np.arange(2000))
        spread = np.linalg.norm(truth - truth.mean(axis=0), axis=1).mean()
        assert np.linalg.norm(rows - truth, axis=1).mean() < 0.3 * spread


@pytest.mark.parametrize(("spec", "dim", "cells", "code", "rerank"), ACCEPTED)
def test_29_accepted(spec, dim, cells, code, rerank):
    index = nearcell.Index(spec, dim)
    stats = index.stats()
    assert (stats["cells"], stats["code_bytes"], stats["rerank_bytes"]) == (cells, code, rerank)
    again = nearcell.Index(index.spec, dim)
    assert again.spec == index.spec
    other = again.stats()
    assert all(other[key] == stats[key] for key in ("cells", "code_bytes", "rerank_bytes"))


@pytest.mark.parametrize("bits", range(1, 9))
def test_29_rabitq_bits(bits):
    index = nearcell.Index(f"IVF64,RaBitQ{bits}", 64)
    factors = 8 if bits == 1 else 16
    assert index.stats()["code_bytes"] == bits * 8 + factors
    assert nearcell.Index(index.spec, 64).stats() == index.stats()
    assert nearcell.Index("IVF64,RaBitQ", 64).stats()["code_bytes"] == 16


@pytest.mark.parametrize("spec", KINDS)
def test_29_the_string_builds_the_same(spec):
    train, base, queries = manifold(32, 1200, 400, 20)
    index = built(spec, base, train=train)
    again = built(index.spec, base, train=train)
    assert index.to_bytes() == again.to_bytes()


# string, words that the message must hold
REJECTED = [
    ("", ["empty"]),
    ("flat", ["flat", "Flat"]),
    ("ivf64,Flat", ["ivf64", "IVF"]),
    ("IVF64,Flta", ["Flta", "7", "Flat"]),
    ("IVF64", ["code"]),
    ("IVF64,", ["7", "missing"]),
    ("IVF0,Flat", ["IVF0"]),
    ("IVF64,,Flat", ["7"]),
    ("IVF64,HNSW", ["HNSW", "Faiss"]),
    ("IVF64_HNSW32,Flat", ["IVF64_HNSW32", "Faiss"]),
    ("HNSW32", ["HNSW32", "Faiss"]),
    ("IVF64,SQ4", ["SQ4", "Faiss"]),
    ("IVF64,SQ6", ["SQ6", "Faiss"]),
    ("LSH", ["LSH", "Faiss"]),
    ("IMI2x8,PQ8", ["IMI2x8", "Faiss"]),
    ("RQ4x8", ["RQ4x8", "Faiss"]),
    ("PQ8x12", ["PQ8x12"]),
    ("PQ16x4fs_48", ["PQ16x4fs_48", "32"]),
    ("PQ16x4fsr", ["PQ16x4fsr", "IVF"]),
    ("PQ16x8fs", ["PQ16x8fs"]),
    ("RaBitQ0", ["RaBitQ0"]),
    ("RaBitQ99", ["RaBitQ99", "8"]),
    ("PQ0", ["PQ0"]),
    ("PQ49", ["49", "48"]),
    ("PCA32", ["code"]),
    ("PCA64,Flat", ["64", "48"]),
    ("Flat,Flat", ["Flat", "6"]),
    ("Flat,IVF64", ["IVF64", "6"]),
    ("IVF64,PQ8,RFlat,RFlat", ["RFlat"]),
    ("IVF64,MinMax,SQ8", ["MinMax"]),
    ("Cosine,Flat", ["Cosine"]),
    ("IVF99999999999999999999,Flat", ["IVF99999999999999999999"]),
    ("PQ8,Refine(PQ4)", ["Refine(PQ4)"]),
    ("Flat\0", ["Flat"]),
    ("x" * 5000, ["1000"]),
]


@pytest.mark.parametrize(("spec", "words"), REJECTED)
def test_29_rejected(spec, words):
    with pytest.raises((ValueError, NotImplementedError)) as caught:
        nearcell.Index(spec, 48)
    text = str(caught.value)
    assert all(word in text for word in words), text


@pytest.mark.parametrize("spec", [s for s in KINDS if s not in ("Flat", "IVF16,Flat")])
def test_29_metrics_without_a_meaning_are_refused(spec):
    """Never another metric's answers: L1 works, or the combination is named."""
    try:
        index = nearcell.Index(spec, 32, "l1")
    except (ValueError, NotImplementedError) as error:
        assert "l1" in str(error).lower()
        return
    train, base, queries = manifold(32, 1200, 400, 20)
    index.train(train)
    index.add(base)
    truth = nearcell.exact_search(base, queries, 10, "l1")[1]
    assert recall(index.search(queries, 10, probes=16)[1], truth, 10) > 0.3


@pytest.mark.parametrize("spec", ["IVF64,Flat", "IVF64,PQ8,RFlat", "IVF64,PQ16x4fs,RFlat"])
@pytest.mark.parametrize("target", [0.8, 0.95])
def test_30_tune_reaches_the_recall(spec, target):
    train, base, queries = manifold(32, 4000, 10000, 1000)
    truth = nearcell.exact_search(base, queries, 10)[1]
    index = built(spec, base, train=train)
    result = index.tune(queries[:500], truth[:500], recall=target, k=10)
    assert result.reached and result.chosen.recall >= target
    assert (index.default_probes, index.default_rerank) == (
        result.chosen.probes,
        max(result.chosen.rerank, index.default_rerank),
    )
    held_out = index.search(queries[500:], 10)[1]
    assert recall(held_out, truth[500:], 10) >= target - 0.01
    assert result.chosen.probes < 64
    assert len(result.tried) >= len(result.pareto) >= 1
    for point in result.pareto:
        for other in result.tried:
            better = (
                other.recall > point.recall and other.queries_per_second > point.queries_per_second
            )
            equal = other.recall == point.recall
            assert not better
            assert not (equal and other.queries_per_second > point.queries_per_second)
    assert "probes=" in repr(result)


def test_30_tune_says_when_it_cannot():
    train, base, queries = manifold(32, 4000, 10000, 1000)
    truth = nearcell.exact_search(base, queries, 10)[1]
    index = built("IVF16,PQ2", base, train=train)
    result = index.tune(queries[:200], truth[:200], recall=0.99)
    assert not result.reached and 0 < result.chosen.recall < 0.99
    with pytest.raises(ValueError, match="recall"):
        index.tune(queries[:200], truth[:200], recall=1.5)
    with pytest.raises(ValueError, match="truth"):
        index.tune(queries[:200], truth[:100])
    with pytest.raises(ValueError, match="truth|k"):
        index.tune(queries[:200], truth[:200], k=11)


def test_30_the_choice_is_the_same_each_time():
    train, base, queries = manifold(32, 4000, 10000, 1000)
    truth = nearcell.exact_search(base, queries, 10)[1]
    index = built("IVF64,PQ8,RFlat", base, train=train)
    chosen = [index.tune(queries[:200], truth[:200], threads=t).chosen for t in (1, 2)]
    assert len({(c.probes, c.rerank, c.recall) for c in chosen}) == 1
    assert np.isfinite(chosen[0].queries_per_second)
