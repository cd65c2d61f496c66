"""Bad input: each case raises the documented exception and leaves the object as it was.

The text names argument, value and remedy.
"""

import pickle

import nearcell
import numpy as np
import pytest
from support import FLT_MAX, KINDS, METRICS, built, uniform

D = 8
X = uniform(600, D, 90)


def broken(value, row=7, column=3, dtype="f4"):
    x = X[:20].astype(dtype)
    x[row, column] = value
    return x


def trained(spec="IVF4,PQ4"):
    return built(spec, X[:500])


def index():
    return built("Flat", X[:100])


NAN, INF = float("nan"), float("inf")


class Broken:
    """A number that fails when it is asked for its value."""

    def __index__(self):
        raise ZeroDivisionError("mine")

    __float__ = __index__


# name, what is called (with a fresh index of 100 flat vectors), exception, words of its text
CASES = [
    ("NaN in a row", lambda i: i.add(broken(NAN)), ValueError, ["x[7, 3]", "finite"]),
    ("infinity in a row", lambda i: i.add(broken(-INF)), ValueError, ["x[7, 3]", "finite"]),
    (
        "NaN in float16",
        lambda i: i.add(broken(NAN).astype("f2")),
        ValueError,
        ["x[7, 3]", "finite"],
    ),
    ("NaN in a query", lambda i: i.search(broken(NAN), 3), ValueError, ["queries[7, 3]", "finite"]),
    (
        "infinity in a query",
        lambda i: i.search(broken(INF), 3),
        ValueError,
        ["queries[7, 3]", "finite"],
    ),
    (
        "NaN in a range query",
        lambda i: i.range_search(broken(NAN), 1),
        ValueError,
        ["queries[7, 3]"],
    ),
    ("NaN radius", lambda i: i.range_search(X[:2], NAN), ValueError, ["radius", "nan"]),
    (
        "NaN when updating",
        lambda i: i.update(range(20), broken(NAN)),
        ValueError,
        ["x[7, 3]", "finite"],
    ),
    (
        "beyond float32",
        lambda i: i.add(broken(1e300, dtype="f8")),
        ValueError,
        ["x[7, 3] = 1e+300", "3.40282e+38", "scale"],
    ),
    (
        "beyond float32 in a list",
        lambda i: i.search([[0.5] * 7 + [-1e300]], 3),
        ValueError,
        ["queries[0, 7] = -1e+300", "3.40282e+38"],
    ),
    (
        "infinity in float64",
        lambda i: i.add(broken(INF).astype("f8")),
        ValueError,
        ["x[7, 3]", "infinite"],
    ),
    ("1e30 squared", lambda i: i.add(broken(1e30)), ValueError, ["x[7, 3]", "1e+30"]),
    ("dimension of rows", lambda i: i.add(X[:, :5]), ValueError, ["x", "5", "8"]),
    ("dimension of no rows", lambda i: i.add(X[:0, :5], []), ValueError, ["x", "5", "8"]),
    ("dimension of queries", lambda i: i.search(X[:, :5], 3), ValueError, ["queries", "5", "8"]),
    ("no columns", lambda i: i.search(X[:2, :0], 3), ValueError, ["queries", "0", "8"]),
    ("one dimension", lambda i: i.search(X[0], 3), ValueError, ["queries", "(8,)", "x[None, :]"]),
    ("three dimensions", lambda i: i.add(X[None]), ValueError, ["x", "(1, 600, 8)", "reshape"]),
    ("complex", lambda i: i.add(X.astype(complex)), TypeError, ["x", "complex128", "float32"]),
    ("int64 vectors", lambda i: i.add(X.astype(int)), TypeError, ["x", "int64", "astype"]),
    ("bool vectors", lambda i: i.add(X > 0.5), TypeError, ["x", "bool", "astype"]),
    ("strings", lambda i: i.add(np.array([["a"] * D])), TypeError, ["x", "astype"]),
    ("objects", lambda i: i.add(np.array([[None] * D])), TypeError, ["x", "object", "astype"]),
    ("a string", lambda i: i.add("vectors"), TypeError, ["x", "str", "numpy"]),
    ("None", lambda i: i.search(None, 3), TypeError, ["queries", "NoneType", "numpy"]),
    ("ragged", lambda i: i.add([[1.0] * 8, [1.0] * 7]), TypeError, ["x", "equal length"]),
    ("k = 0", lambda i: i.search(X[:2], 0), ValueError, ["k = 0", "at least 1"]),
    ("k = -1", lambda i: i.search(X[:2], -1), ValueError, ["k = -1", "at least 1"]),
    ("k = 2.5", lambda i: i.search(X[:2], 2.5), TypeError, ["k = 2.5", "whole number"]),
    ("k = True", lambda i: i.search(X[:2], True), TypeError, ["k = True", "whole number"]),
    (
        "k = 2**70",
        lambda i: i.search(X[:2], 2**70),
        ValueError,
        ["k = 1180591620717411303424", "smaller"],
    ),
    ("k beyond memory", lambda i: i.search(X[:2], 2**50), MemoryError, [str(2**50), "smaller k"]),
    (
        "k of two",
        lambda i: i.search(X[:2], np.array([3, 4])),
        TypeError,
        ["k = array([3, 4])", "whole number"],
    ),
    ("k that fails", lambda i: i.search(X[:2], Broken()), ZeroDivisionError, ["mine"]),
    (
        "threads that fail",
        lambda i: i.search(X[:2], 1, threads=Broken()),
        ZeroDivisionError,
        ["mine"],
    ),
    (
        "radius that fails",
        lambda i: i.range_search(X[:2], Broken()),
        ZeroDivisionError,
        ["mine"],
    ),
    (
        "radius = 10**400",
        lambda i: i.range_search(X[:2], 10**400),
        ValueError,
        ["radius = 1000", "1.8e308"],
    ),
    ("no radius", lambda i: i.range_search(X[:2], None), TypeError, ["radius = None", "number"]),
    (
        "margin",
        lambda i: i.search(X[:2], 3, margin=1e300),
        ValueError,
        ["margin = 1e+300", "3.4e38"],
    ),
    (
        "margin = -1",
        lambda i: i.search(X[:2], 3, margin=-1),
        ValueError,
        ["margin = -1", "least 0"],
    ),
    ("no margin", lambda i: i.search(X[:2], 3, margin=None), TypeError, ["margin = None"]),
    ("no recall", lambda i: i.tune(X[:2], [[1]] * 2, None), TypeError, ["recall = None"]),
    ("a word in the index", lambda i: "3" in i, TypeError, ["id = '3'", "whole number"]),
    (
        "probes = 0",
        lambda i: i.search(X[:2], 3, probes=0),
        ValueError,
        ["probes = 0", "at least 1"],
    ),
    (
        "rerank = -5",
        lambda i: i.search(X[:2], 3, rerank=-5),
        ValueError,
        ["rerank = -5", "at least 1"],
    ),
    (
        "threads = 0",
        lambda i: i.search(X[:2], 3, threads=0),
        ValueError,
        ["threads = 0", "at least 1"],
    ),
    (
        "threads = -1",
        lambda i: i.add(X[:2], threads=-1),
        ValueError,
        ["threads = -1", "at least 1"],
    ),
    (
        "threads = 10**9",
        lambda i: i.add(X[:2], threads=10**9),
        ValueError,
        ["threads = 1000000000", "None"],
    ),
    ("unknown option", lambda i: i.search(X[:2], 3, nprobe=4), TypeError, ["nprobe", "probes"]),
    ("an id twice", lambda i: i.add(X[:3], [500, 501, 500]), ValueError, ["ids", "500"]),
    ("an id stored", lambda i: i.add(X[:3], [500, 99, 501]), ValueError, ["ids", "99", "update"]),
    ("a negative id", lambda i: i.add(X[:3], [500, -7, 501]), ValueError, ["ids", "-7", "0"]),
    ("too few ids", lambda i: i.add(X[:3], [500, 501]), ValueError, ["ids", "2", "3"]),
    ("float ids", lambda i: i.add(X[:2], [0.5, 1.5]), TypeError, ["ids", "float64", "integers"]),
    ("bool ids", lambda i: i.remove(np.ones(3, bool)), TypeError, ["ids", "bool", "integers"]),
    ("2-d ids", lambda i: i.remove([[1, 2]]), ValueError, ["ids", "(1, 2)", "1-d"]),
    ("one id", lambda i: i.reconstruct(5), TypeError, ["ids", "int"]),
    (
        "a huge id",
        lambda i: i.remove(np.array([2**63], np.uint64)),
        ValueError,
        ["ids", str(2**63)],
    ),
    ("a set of ids", lambda i: i.remove({1, 2}), TypeError, ["ids is a set", "list"]),
    (
        "an id of 65 bits",
        lambda i: i.remove([2**64]),
        TypeError,
        ["ids has dtype object", "2^63", ".astype(numpy.int64)"],
    ),
    ("a missing id", lambda i: i.reconstruct([5, 1234]), KeyError, ["1234"]),
    ("update of a missing id", lambda i: i.update([5, 1234], X[:2]), KeyError, ["ids", "1234"]),
    ("update, one id twice", lambda i: i.update([5, 5], X[:2]), ValueError, ["ids", "5"]),
    ("update, too few rows", lambda i: i.update([5, 6], X[:1]), ValueError, ["ids", "2", "1"]),
    (
        "uint8 filter",
        lambda i: i.search(X[:2], 3, filter=np.ones(9, "u1")),
        TypeError,
        ["filter", "bitset"],
    ),
    ("float filter", lambda i: i.search(X[:2], 3, filter=[0.5]), TypeError, ["filter", "integers"]),
    (
        "2-d mask",
        lambda i: i.search(X[:2], 3, filter=np.ones((2, 2), bool)),
        ValueError,
        ["filter", "1-d"],
    ),
    (
        "stepped slice",
        lambda i: i.search(X[:2], 3, filter=slice(0, 9, 2)),
        ValueError,
        ["filter", "step"],
    ),
    (
        "filter of 2**39 ids",
        lambda i: i.search(X[:2], 3, filter=range(0, 2**40, 2)),
        MemoryError,
        ["filter = range(0, 1099511627776, 2)", "549755813888", "GB", "largest id stored"],
    ),
    (
        "stepped filter beyond 2^63",
        lambda i: i.search(X[:2], 3, filter=range(0, 2**70, 2**60)),
        ValueError,
        ["filter = range(0, ", "2^63 - 2"],
    ),
    (
        "id of 65 bits as filter",
        lambda i: i.search(X[:2], 3, filter=[2**64]),
        TypeError,
        ["filter has dtype object", ".astype(numpy.int64)"],
    ),
    ("word as filter", lambda i: i.search(X[:2], 3, filter="all"), TypeError, ["filter", "str"]),
    (
        "progress = 3",
        lambda i: i.search(X[:2], 3, progress=3),
        TypeError,
        ["progress = 3", "callable"],
    ),
    ("training twice", lambda i: i.train(X), (ValueError, RuntimeError), ["train"]),
    ("cutoff = 0", lambda i: i.search(X[:2], 3, cutoff=0), ValueError, ["cutoff = 0", "None"]),
    (
        "cutoff of a word",
        lambda i: i.search(X[:2], 3, cutoff="far"),
        TypeError,
        ["cutoff = 'far'"],
    ),
    (
        "default_probes = 0",
        lambda i: setattr(i, "default_probes", 0),
        ValueError,
        ["default_probes = 0"],
    ),
]


@pytest.mark.parametrize(
    ("call", "exception", "words"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_calls(call, exception, words):
    target = index()
    before = target.to_bytes()
    with pytest.raises(exception) as caught:
        call(target)
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert target.to_bytes() == before


BUILD = [
    ("dim = -1", lambda: nearcell.Index("Flat", -1), ValueError, ["dim = -1", "at least 1"]),
    ("dim = 0", lambda: nearcell.Index("Flat", 0), ValueError, ["dim = 0", "at least 1"]),
    (
        "dim = 2^31-1",
        lambda: nearcell.Index("Flat", 2**31 - 1),
        ValueError,
        ["dim", "2147483647", "65536"],
    ),
    ("dim = 8.0", lambda: nearcell.Index("Flat", 8.0), TypeError, ["dim = 8.0", "whole number"]),
    (
        "metric",
        lambda: nearcell.Index("Flat", 8, "euclid"),
        ValueError,
        ["metric = 'euclid'", "'l2'"],
    ),
    ("seed = -1", lambda: nearcell.Index("Flat", 8, seed=-1), ValueError, ["seed = -1"]),
    ("no seed", lambda: nearcell.Index("Flat", 8, seed=None), TypeError, ["seed = None"]),
    ("no seed of k-means", lambda: nearcell.KMeans(4, seed=None), TypeError, ["seed = None"]),
    ("no epsilon", lambda: nearcell.Pca(2, epsilon=None), TypeError, ["epsilon = None"]),
    ("spec", lambda: nearcell.Index("Flta", 8), ValueError, ["Flta", "Flat"]),
    ("option", lambda: nearcell.Index("Flat", 8, nlist=3), TypeError, ["nlist"]),
    ("clusters = 0", lambda: nearcell.KMeans(0), ValueError, ["clusters = 0", "at least 1"]),
    (
        "seeding",
        lambda: nearcell.KMeans(4, seeding="best"),
        ValueError,
        ["seeding = 'best'", "'random'"],
    ),
    ("method", lambda: nearcell.KMeans(4, method="gpu"), ValueError, ["method = 'gpu'", "'lloyd'"]),
    ("iterations", lambda: nearcell.KMeans(4, iterations=0), ValueError, ["iterations = 0"]),
    (
        "weights",
        lambda: nearcell.KMeans(4).fit(X, weights=[1, 2]),
        ValueError,
        ["weights", "2", "600"],
    ),
    (
        "sign",
        lambda: nearcell.KMeans(4).fit(X, weights=-np.ones(600)),
        ValueError,
        ["weights", "-1"],
    ),
    (
        "initial",
        lambda: nearcell.KMeans(4).fit(X, initial=X[:3]),
        ValueError,
        ["initial", "3", "4"],
    ),
    ("L1 means", lambda: nearcell.KMeans(4, "l1").fit(X), NotImplementedError, ["l1"]),
    ("components = 0", lambda: nearcell.Pca(0), ValueError, ["components = 0", "at least 1"]),
    ("components", lambda: nearcell.Pca(9).fit(X), ValueError, ["components = 9", "8"]),
    ("one row", lambda: nearcell.Pca(2).fit(X[:1]), ValueError, ["1", "2"]),
    ("NaN", lambda: nearcell.Pca(2).fit(broken(NAN)), ValueError, ["x[7, 3]", "finite"]),
    ("unfitted", lambda: nearcell.Pca(2).transform(X), RuntimeError, ["fit"]),
    ("columns", lambda: nearcell.Pca(2).fit(X).transform(X[:, :3]), ValueError, ["x", "3", "8"]),
    ("predict", lambda: nearcell.KMeans(4).fit(X).predict(X[:, :3]), ValueError, ["x", "3", "8"]),
    ("exact k", lambda: nearcell.exact_search(X, X, 0), ValueError, ["k = 0", "at least 1"]),
    ("exact d", lambda: nearcell.exact_search(X, X[:, :3], 1), ValueError, ["queries", "3", "8"]),
    ("exact NaN", lambda: nearcell.exact_search(broken(NAN), X, 1), ValueError, ["base[7, 3]"]),
    ("filter of None", lambda: nearcell.IdFilter.range(None, 2), TypeError, ["first = None"]),
    ("filter range", lambda: nearcell.IdFilter.range(9, 2), ValueError, ["9", "2", "first"]),
    (
        "filter bits",
        lambda: nearcell.IdFilter.bitset([1, 2]),
        TypeError,
        ["bits", "uint8", "packbits"],
    ),
]


@pytest.mark.parametrize(
    ("call", "exception", "words"), [c[1:] for c in BUILD], ids=[c[0] for c in BUILD]
)
def test_builders(call, exception, words):
    with pytest.raises(exception) as caught:
        call()
    text = str(caught.value)
    assert all(word in text for word in words), text


@pytest.mark.parametrize("spec", [s for s in KINDS if s not in ("Flat", "SQfp16", "SQbf16", "I8")])
def test_an_untrained_index(spec):
    if "L2norm" in spec:
        spec = "L2norm,IVF16,Flat"
    empty = nearcell.Index(spec, 32)
    if empty.is_trained:
        pytest.skip(f"{spec} needs no training")
    x = uniform(5, 32, 91)
    for call in (
        lambda: empty.add(x),
        lambda: empty.add(x[:0], []),
        lambda: empty.search(x, 3),
        lambda: empty.range_search(x, 1.0),
        lambda: empty.update([0], x[:1]),
        lambda: empty.to_bytes(),
    ):
        with pytest.raises(RuntimeError, match="train"):
            call()
    for save in (empty.to_bytes, lambda: pickle.dumps(empty), lambda: empty.save("none")):
        with pytest.raises(
            RuntimeError, match=r"^saving, by save\(\), to_bytes\(\) or pickle, needs"
        ):
            save()
    with pytest.raises((RuntimeError, KeyError)):
        empty.reconstruct([0])
    assert not empty.is_trained and len(empty) == 0


def test_training_on_too_little_or_broken_rows():
    for spec, rows in (("IVF16,Flat", 15), ("PQ4", 255), ("IVF4,PQ4x4fs", 3)):
        target = nearcell.Index(spec, D)
        with pytest.raises(ValueError, match=str(rows)):
            target.train(X[:rows])
        assert not target.is_trained
    target = nearcell.Index("IVF4,PQ4", D)
    with pytest.raises(ValueError, match=r"x\[7, 3\]"):
        target.train(broken(NAN))
    with pytest.raises(ValueError, match="0"):
        target.train(X[:0])
    assert not target.is_trained


def test_training_over_stored_vectors():
    target = trained()
    before = target.to_bytes()
    with pytest.raises((ValueError, RuntimeError), match="500"):
        target.train(X)
    assert target.to_bytes() == before


@pytest.mark.parametrize("spec", ["Flat", "IVF4,Flat", "IVF4,SQ8", "L2norm,Flat"])
def test_zero_vectors_under_cosine(spec):
    """A zero vector has cosine 0 with everything, as a row and as a query."""
    x = X[:50].copy()
    x[10] = 0
    target = nearcell.Index(spec, D, "cosine")
    target.train(X)
    target.add(x)
    scores, ids = target.search(x[:12], 50, probes=4)
    assert np.isfinite(scores).all() and (np.abs(scores) <= 1).all()
    assert (scores[10] == 0).all()
    stored = np.abs(scores[ids == 10]).max()  # int8 codes hold zero roughly
    assert stored < 0.1 if "SQ8" in spec else stored == 0


@pytest.mark.parametrize("metric", METRICS)
def test_more_neighbours_than_vectors(metric):
    target = nearcell.Index("Flat", D, metric)
    scores, ids = target.search(X[:3], 4)
    worst = -FLT_MAX if metric in ("ip", "cosine") else FLT_MAX
    assert (ids == -1).all() and (scores == worst).all()
    target.add(X[:2])
    scores, ids, stats = target.search(X[:3], 4, stats=True)
    assert (ids[:, 2:] == -1).all() and (scores[:, 2:] == worst).all()
    assert stats["counts"].tolist() == [2, 2, 2]


def test_numbers_that_no_id_can_be():
    target = index()
    for number in (2**63 - 1, 2**63, 2**70, -1, -(2**70)):
        assert number not in target
        assert number not in nearcell.IdFilter.range(0, 2**70)
    assert 99 in target and np.int64(99) in target and np.uint8(99) in target
    queries = X[:3]
    for ids, same in (
        (range(2**70), range(100)),
        (range(90, 2**70), range(90, 100)),
        (range(-(2**70), 7), range(7)),
        (range(2**70, 2**71), []),
        (range(3, 2**70, 2**70), None),
        (range(99, -4, -7), list(range(99, -4, -7))),
        (range(-5, 100, 3), list(range(1, 100, 3))),
        (range(9, 2, 3), []),
        (range(-(2**63), 2**63 - 1, 2**60), list(range(0, 2**63 - 1, 2**60))),
    ):
        if same is None:
            with pytest.raises(ValueError, match="filter"):
                target.search(queries, 100, filter=ids)
            continue
        found = target.search(queries, 100, filter=ids)[1]
        assert found.tolist() == target.search(queries, 100, filter=same)[1].tolist()


def test_removing_what_is_not_there():
    target = index()
    assert target.remove([1000, 2000]) == 0 and target.remove([]) == 0
    assert target.remove([5, 5, 1000]) == 1 and len(target) == 99
    assert -1 not in target


def test_empty_arguments_change_nothing():
    target = index()
    before = target.to_bytes()
    assert target.add(X[:0]).tolist() == []
    assert target.add(X[:0], []).tolist() == []
    target.update([], X[:0])
    assert target.reconstruct([]).shape == (0, D)
    assert target.to_bytes() == before


def test_imported_parts_of_wrong_shape():
    target = nearcell.Index("IVF4,PQ4", D)
    good = trained()
    centroids, parameters = good.centroids, good.codec_parameters
    for bad_centroids, bad_parameters, words in (
        (centroids[:3], parameters, "centroids"),
        (centroids[:, :5], parameters, "centroids"),
        (centroids, parameters[:-1], "codec_parameters"),
        (centroids * np.float32(NAN), parameters, "centroids"),
    ):
        with pytest.raises(ValueError, match=words):
            target.set_trained(bad_centroids, bad_parameters)
        assert not target.is_trained
    target.set_trained(centroids, parameters)
    assert target.is_trained


def test_imported_centroids_for_cosine_have_length_one():
    good = built("IVF4,Flat", X[:500], "cosine")
    target = nearcell.Index("IVF4,Flat", D, "cosine")
    longer = good.centroids
    longer[2] *= 1.5
    with pytest.raises(ValueError, match=r"centroids\[2\] has length 1.5, .* length 1 for cosine"):
        target.set_trained(longer)
    assert not target.is_trained
    target.set_trained(good.centroids.astype("f2"))  # length one but for rounding
    target.set_trained(good.centroids)
    assert np.array_equal(target.centroids, good.centroids)
    nearcell.Index("IVF4,Flat", D, "ip").set_trained(longer)
