"""Run by test_devices.py: searches of arrays that lie on a GPU, whose memory is the host's.

fake_nearcell is the extension module with such a device (fake_device.cpp); it may not be in one
process with the module proper.
"""

from __future__ import annotations

import functools
import gc
import re

import fake_nearcell as nearcell
import numpy as np
from gpu_arrays import OnGpu, read_back

D, K = 8, 3
QUERIES = (np.arange(5 * D).reshape(5, D) % 100).astype(np.float32)
IDS = np.arange(5)[:, None] + 100 * np.arange(K)
SCORES = QUERIES[:, :1] + np.arange(K)


def raises(kind, call, *parts):
    try:
        call()
    except kind as error:
        for part in parts:
            assert part in str(error), str(error)
    else:
        raise AssertionError(f"no {kind}")


def made(device="cuda:0", **options):
    index = nearcell.Index("IVF4,Flat", D)
    x = np.random.default_rng(1).random((300, D), np.float32)
    index.train(x)
    index.add(x)
    assert index.to(device, **options) is index and index.device == device
    return index


def case_results_stay_there():
    index, queries = made(memory_bytes=1234, rerank_on_host=True), OnGpu(QUERIES)
    scores, ids = index.search(queries, K, probes=2, filter=range(50))
    np.testing.assert_array_equal(read_back(scores), SCORES)
    np.testing.assert_array_equal(read_back(ids), IDS)
    assert queries.streams == [1]  # the legacy default stream, in DLPack's numbers
    seen = nearcell.last_search()
    assert seen["on_device"] and seen["stream"] == 0 and seen["filtered"]
    assert (seen["rows"], seen["k"], seen["probes"], seen["type"]) == (5, K, 2, "float32")
    assert (seen["memory_bytes"], seen["rerank_on_host"]) == (1234, True)
    assert seen["allocated"] == 2 and seen["released"] == 0
    kept = scores.__dlpack__()
    del scores, ids
    gc.collect()
    assert nearcell.last_search()["released"] == 1
    del kept
    gc.collect()
    assert nearcell.last_search()["released"] == 2
    scores, ids, stats = index.search(queries, K, stats=True)
    assert stats["plan"] == "fake"
    np.testing.assert_array_equal(read_back(stats["counts"]), np.full(5, K))
    scores, ids = index.search(OnGpu(QUERIES[:0]), K)
    assert read_back(scores).shape == read_back(ids).shape == (0, K)


def case_streams():
    class Torch:
        cuda_stream = 4096

    class Cupy:
        ptr = 4097

    class Core:
        def __cuda_stream__(self):
            return (0, 4098)

    class OldCore:
        __cuda_stream__ = (0, 4099)

    class Default:
        cuda_stream = 0

    index = made()
    expected = [(None, 0), (0, 0), (1, 0), (2, 2), (np.int64(77), 77), (2**63, 2**63)]
    expected += [(Torch(), 4096), (Cupy(), 4097), (Core(), 4098), (OldCore(), 4099), (Default(), 0)]
    for stream, address in expected:
        queries = OnGpu(QUERIES)
        index.search(queries, K, stream=stream)
        assert nearcell.last_search()["stream"] == address, stream
        assert queries.streams == [address or 1]
    for stream in ("1", True, -1, 2**64, 1.0, object()):
        search = functools.partial(index.search, OnGpu(QUERIES), K, stream=stream)
        raises(TypeError, search, "stream = ")


def case_types_and_strides():
    index = made()
    for dtype in ("float32", "float16", "int8", "uint8"):
        scores, _ = index.search(OnGpu(QUERIES.astype(dtype)), K)
        np.testing.assert_array_equal(read_back(scores), SCORES)
        assert nearcell.last_search()["type"] == dtype
    upper = (QUERIES.view(np.uint32) >> 16).astype(np.uint16)
    scores, _ = index.search(OnGpu(upper, code=4), K)
    np.testing.assert_array_equal(read_back(scores), SCORES)
    assert nearcell.last_search()["type"] == "bfloat16"
    wide = np.zeros((5, D + 3), np.float32)
    wide[:, :D] = QUERIES
    for old in (False, True):
        scores, _ = index.search(OnGpu(wide[:, :D], old=old), K)
        np.testing.assert_array_equal(read_back(scores), SCORES)
        assert nearcell.last_search()["stride"] == D + 3
    frozen = QUERIES.copy()
    frozen.flags.writeable = False
    np.testing.assert_array_equal(read_back(index.search(OnGpu(frozen), K)[0]), SCORES)

    def search(x):
        return lambda: index.search(OnGpu(x), K)

    raises(TypeError, search(QUERIES.astype(np.float64)), "queries", "float64", "float32")
    raises(ValueError, search(QUERIES[0]), "queries", "(8,)", "2-d")
    for odd in (np.asfortranarray(QUERIES), QUERIES[::-1], np.repeat(QUERIES, 2, 1)[:, ::2]):
        raises(ValueError, search(odd), "queries", "contiguous")
    raises(ValueError, search(QUERIES[:, :5]), "5", "8")
    raises(ValueError, lambda: index.search(OnGpu(QUERIES), 0), "k = 0")


def case_out():
    index = made()
    scores, ids = np.zeros((5, K), np.float32), np.zeros((5, K), np.int64)
    out = (OnGpu(scores), OnGpu(ids))
    allocated = nearcell.last_search()["allocated"]
    found = index.search(OnGpu(QUERIES), K, out=out, stream=7)
    assert found[0] is out[0] and found[1] is out[1]
    np.testing.assert_array_equal(scores, SCORES)
    np.testing.assert_array_equal(ids, IDS)
    assert out[0].streams == out[1].streams == [7]
    assert nearcell.last_search()["allocated"] == allocated

    def search(*arrays):
        return lambda: index.search(OnGpu(QUERIES), K, out=arrays)

    raises(TypeError, search(out[1], out[0]), "out[0]", "int64", "float32")
    raises(ValueError, search(OnGpu(scores[:4]), out[1]), "out[0]", "(4, 3)", "(5, 3)")
    raises(ValueError, search(out[0], OnGpu(np.zeros((5, 2 * K), np.int64)[:, ::2])), "out[1]")
    raises(TypeError, search(scores, out[1]), "out[0]", "host memory", "cuda:0")
    raises(TypeError, search(OnGpu(scores, 1), out[1]), "cuda:1", "cuda:0")
    raises(TypeError, search(out[0]), "pair")
    raises(TypeError, lambda: index.search(OnGpu(QUERIES), K, out=5), "pair")
    frozen = scores.copy()
    frozen.flags.writeable = False
    raises(TypeError, search(OnGpu(frozen), out[1]), "out[0]", "read-only")
    raises(TypeError, lambda: index.search(QUERIES, K, out=out), "queries on a GPU")


def case_host_arrays_and_other_devices():
    index = made("cuda:0")
    scores, ids = index.search(QUERIES, K)
    assert isinstance(scores, np.ndarray) and not nearcell.last_search()["on_device"]
    np.testing.assert_array_equal(scores, SCORES)
    np.testing.assert_array_equal(ids, IDS)
    raises(TypeError, lambda: index.search(OnGpu(QUERIES, 1), K), "cuda:1", "cuda:0")
    raises(TypeError, lambda: index.add(OnGpu(QUERIES)), ".cpu()")
    assert index.to("cpu").device == "cpu"
    raises(TypeError, lambda: index.search(OnGpu(QUERIES), K), 'index.to("cuda:0")', ".cpu()")
    raises(nearcell.NoDevice, lambda: index.to("cuda:1"), "cuda:1", "cpu")
    assert index.device == "cpu"


def case_the_rest():
    (device,) = nearcell.devices()
    assert device == {
        "name": "cuda:0",
        "description": "cuda:0 fake",
        "memory_bytes": 2000,
        "free_bytes": 1000,
    }
    here = nearcell.exact_search(QUERIES, QUERIES[:2], 3)
    before = nearcell.last_search()["exact_searches"]
    there = nearcell.exact_search(QUERIES, QUERIES[:2], 3, device="cuda")
    assert nearcell.last_search()["exact_searches"] == before + 1
    for a, b in zip(here, there):
        np.testing.assert_array_equal(a, b)
    copy = nearcell.Index.from_bytes(made().to_bytes())
    assert copy.device == "cpu"


if __name__ == "__main__":
    for name, case in list(globals().items()):
        if re.match("case_", name):
            case()
            print(name.removeprefix("case_"))
