"""Arrays of every sort: acceptance case 33."""

import nearcell
import numpy as np
import pytest
from support import built, uniform

D = 24


class Foreign:
    """Nothing but DLPack, as arrays of other libraries offer it."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **arguments):
        return self.array.__dlpack__(**arguments)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def frozen(x):
    copy = x.copy()
    copy.flags.writeable = False
    return copy


def gapped(x):
    wide = np.zeros((len(x), x.shape[1] + 5), x.dtype)
    wide[:, : x.shape[1]] = x
    return wide[:, : x.shape[1]]


def packed(x):
    records = np.zeros(len(x), [("mark", "u1"), ("x", x.dtype, x.shape[1])])
    records["x"] = x
    return records["x"]


WAYS = {
    "as it is": lambda x: x,
    "rows apart": gapped,
    "columns apart": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "Fortran order": np.asfortranarray,
    "rows reversed": lambda x: x[::-1].copy()[::-1],
    "columns reversed": lambda x: x[:, ::-1].copy()[:, ::-1],
    "read only": frozen,
    "rows of packed records": packed,
    "other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
    "DLPack": Foreign,
    "DLPack, rows apart": lambda x: Foreign(gapped(x)),
    "list": lambda x: x.tolist(),
    "tuple of arrays": tuple,
    "memoryview": memoryview,
}
DTYPES = ("float32", "float16", "float64", "int8", "uint8", "int16", "uint16")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spec", ["Flat", "IVF8,SQ8", "PQ6x4fs,RFlat"])
def test_33_dtypes_and_strides(dtype, spec):
    base = (uniform(400, D, 80) * 100).astype(dtype)
    queries = (uniform(20, D, 81) * 100).astype(dtype)
    reference = built(spec, base.astype(np.float32))
    wanted = reference.search(queries.astype(np.float32), 10, probes=8)
    for name, way in WAYS.items():
        if name == "memoryview" and dtype == "float16":
            continue  # no letter for it in every Python
        index = built_from(spec, way(base))
        assert index.to_bytes() == reference.to_bytes(), name
        scores, ids = index.search(way(queries), 10, probes=8)
        assert np.array_equal(ids, wanted[1]) and scores.tobytes() == wanted[0].tobytes(), name
        exact = nearcell.exact_search(way(base), way(queries), 3)[1]
        assert np.array_equal(exact, built("Flat", base).search(queries, 3)[1]), name


def built_from(spec, x):
    index = nearcell.Index(spec, D)
    index.train(x)
    index.add(x)
    return index


@pytest.mark.parametrize(
    "dtype", [np.int8, np.int16, np.int32, np.int64, np.uint16, np.uint32, np.uint64]
)
def test_33_ids_of_any_integer_type(dtype):
    x = uniform(10, 4, 82)
    ids = np.arange(20, 40, 2).astype(dtype)
    for way in (
        lambda a: a,
        list,
        tuple,
        lambda a: a.tolist(),
        lambda a: np.repeat(a, 2)[::2],
        lambda a: a.astype(a.dtype.newbyteorder()),
        Foreign,
    ):
        index = nearcell.Index("Flat", 4)
        index.add(x, way(ids))
        assert index.ids().tolist() == list(range(20, 40, 2))
        assert np.array_equal(index.reconstruct(way(ids)), x)
        index.update(way(ids[:2]), x[2:4])
        assert index.remove(way(ids[:3])) == 3
    index = nearcell.Index("Flat", 4)
    index.add(x, range(5, 15))
    assert index.ids().tolist() == list(range(5, 15))


def test_33_why_dlpack_refuses():
    class Refusing(Foreign):
        def __dlpack__(self, **_):
            raise BufferError("a gradient is wanted")

    with pytest.raises(TypeError, match=r"x cannot be .* DLPack: a gradient is wanted") as caught:
        nearcell.Index("Flat", D).add(Refusing(uniform(10, D, 87)))
    assert isinstance(caught.value.__cause__, BufferError)


def test_33_one_dimension_says_what_to_do():
    index = built("Flat", uniform(10, 4, 83))
    query = uniform(1, 4, 84)[0]
    for x in (query, query.tolist()):
        with pytest.raises(ValueError, match=r"queries has shape \(4,\).*x\[None, :\]"):
            index.search(x, 3)
    with pytest.raises(ValueError, match=r"x has shape \(1, 2, 4\)"):
        index.add(np.zeros((1, 2, 4), np.float32))
    assert index.search(query[None, :], 3)[1].shape == (1, 3)


def test_33_no_hidden_copy():
    """Rows in the engine's types are used where they lie: 2 GB of zeros cost no memory."""
    rows = 2_000_000
    x = np.zeros((rows, 1024), np.uint8)  # pages that nobody has touched

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    before = resident()
    index = nearcell.Index("Flat", 1024)
    with pytest.raises(ValueError, match="ids"):
        index.add(x, ids=[1, 2, 3])  # refused after the array was taken in
    assert resident() - before < 100 * 2**20


def test_33_the_same_queries_from_many_threads():
    from concurrent.futures import ThreadPoolExecutor

    base, queries = uniform(2000, D, 85), uniform(50, D, 86)
    index = built("IVF16,SQ8", base)
    wanted = index.search(queries, 10, probes=4)
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(index.search, queries, 10, probes=4, threads=1) for _ in range(40)]
    for job in jobs:
        assert np.array_equal(job.result()[1], wanted[1])
