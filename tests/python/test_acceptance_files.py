"""Saved indexes and vector files: acceptance case 28, and what a damaged file must do."""

import errno
import os
import pickle
import resource
import subprocess
import sys
import textwrap

import h5py
import nearcell
import numpy as np
import pytest
from support import KINDS, KINDS_AND_METRICS, built, manifold, uniform


def same(a, b):
    return np.array_equal(a[1], b[1]) and a[0].tobytes() == b[0].tobytes()


@pytest.mark.parametrize(("spec", "metric"), KINDS_AND_METRICS)
def test_28_saved_and_opened(spec, metric, tmp_path):
    train, base, queries = manifold(32, 1200, 500, 20)
    index = built(spec, base, metric, train=train)
    index.remove([3, 4])
    first, second = tmp_path / "first.nc", tmp_path / "second.nc"
    index.save(first)
    wanted = index.search(queries, 10, probes=5)
    ways = {
        "read": nearcell.Index.open(first),
        "mmap": nearcell.Index.open(str(first), mmap=True),
        "bytes": nearcell.Index.from_bytes(index.to_bytes()),
        "pickle": pickle.loads(pickle.dumps(index)),
    }
    for name, other in ways.items():
        assert same(wanted, other.search(queries, 10, probes=5)), name
        assert (other.spec, other.dim, other.metric) == (index.spec, index.dim, index.metric)
        assert len(other) == 498 and other.is_trained
        other.save(second)
        assert first.read_bytes() == second.read_bytes() == index.to_bytes(), name
    mapped = ways["mmap"]
    mapped.add(base[3:5], [3, 4])  # the first change copies what was mapped
    mapped.remove([0])
    assert len(mapped) == 499 and same(
        wanted, nearcell.Index.open(first).search(queries, 10, probes=5)
    )
    assert sorted(os.listdir(tmp_path)) == ["first.nc", "second.nc"]


def test_28_empty_indexes_are_kept_and_untrained_ones_refused():
    train, base, _ = manifold(32, 1200, 500, 20)
    index = nearcell.Index("IVF4,PQ8", 32, "ip", seed=7)
    with pytest.raises(RuntimeError, match=r"save\(\).*train\(\)"):
        index.to_bytes()
    index.train(train)
    again = nearcell.Index.from_bytes(index.to_bytes())
    assert again.is_trained and len(again) == 0
    index.add(base)
    again.add(base)
    assert index.to_bytes() == again.to_bytes()


MUTANTS = """
    import resource, sys
    import numpy as np
    import nearcell
    data = open(sys.argv[1], "rb").read()
    count, rng = int(sys.argv[2]), np.random.default_rng(int(sys.argv[3]))
    nearcell.Index.from_bytes(data)
    fields = [0, 1, 255, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**64 - 1]
    accepted = wrong = 0
    for number in range(count):
        mutant, kind = bytearray(data), number % 5
        if kind == 0:
            mutant[rng.integers(len(data))] ^= 1 << rng.integers(8)
        elif kind == 1:
            at = 8 * rng.integers(len(data) // 8)
            mutant[at : at + 8] = int(fields[rng.integers(len(fields))]).to_bytes(8, "little")
        elif kind == 2:
            mutant[rng.integers(256)] ^= 255
        elif kind == 3:
            del mutant[rng.integers(len(data)) :]
        else:
            a, b = sorted(rng.integers(len(data), size=2))
            mutant = mutant[:a] + mutant[b:] if a < b else mutant + b"x"
        if bytes(mutant) == data:
            continue
        try:
            nearcell.Index.from_bytes(bytes(mutant))
            accepted += 1
        except nearcell.CorruptFileError as error:
            wrong += len(str(error)) < 10
    print("accepted", accepted, "without a message", wrong)
"""


@pytest.mark.parametrize("spec", KINDS)
def test_28_damaged_files_are_refused(spec, tmp_path):
    train, base, _ = manifold(32, 1200, 500, 20)
    path = tmp_path / "x.nc"
    built(spec, base[:100], train=train).save(path)
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MUTANTS), str(path), "2000", "1"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.split() == "accepted 0 without a message 0".split()


def test_28_a_damaged_file_names_itself(tmp_path):
    path = tmp_path / "x.nc"
    built("Flat", uniform(100, 8, 70)).save(path)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    for mmap in (False, True):
        with pytest.raises(nearcell.CorruptFileError, match=r"x\.nc"):
            nearcell.Index.open(path, mmap=mmap)
    assert issubclass(nearcell.CorruptFileError, OSError)


def test_28_a_full_disk_keeps_the_old_file(tmp_path):
    """RLIMIT_FSIZE stands in for a disk that is full."""
    path = tmp_path / "x.nc"
    built("Flat", uniform(50, 8, 71)).save(path)
    before = path.read_bytes()
    script = """
        import resource, signal, sys
        import numpy as np, nearcell
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        index = nearcell.Index("Flat", 64)
        index.add(np.ones((20000, 64), np.float32))
        resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
        try:
            index.save(sys.argv[1])
        except OSError as error:
            print("refused", len(index), error)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert run.stdout.startswith("refused 20000"), run.stderr[-2000:]
    assert "x.nc" in run.stdout
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["x.nc"]


def test_28_file_errors_are_like_those_of_python(tmp_path):
    index = built("Flat", uniform(5, 4, 72))
    missing, below = tmp_path / os.fsdecode(b"nothing-\xff.nc"), tmp_path / "missing" / "x.nc"
    for call, path in (
        (lambda: nearcell.Index.open(missing), missing),
        (lambda: nearcell.read(tmp_path / "a.fvecs"), tmp_path / "a.fvecs"),
        (lambda: nearcell.Network("resnet18", missing), missing),
        (lambda: nearcell.extract(tmp_path / "pictures"), tmp_path / "pictures"),
        (lambda: index.save(below), below),
        (lambda: nearcell.write(below, uniform(5, 4, 72), "fvecs"), below),
    ):
        with pytest.raises(FileNotFoundError) as caught:
            call()
        error = caught.value
        assert (error.errno, error.filename) == (errno.ENOENT, str(path))
        assert error.strerror and str(tmp_path) not in error.strerror
        assert str(error) == f"[Errno 2] {error.strerror}: {str(path)!r}"
    assert "create the directory first" in error.strerror
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        index.save(tmp_path / "file" / "x.nc")
    with pytest.raises(OSError, match="File name too long") as caught:
        nearcell.Index.open(tmp_path / ("x" * 300))
    assert caught.value.errno == errno.ENAMETOOLONG


def test_28_paths_that_cannot_be(tmp_path):
    index = built("Flat", uniform(5, 4, 72))
    with pytest.raises(FileNotFoundError, match="nothing.nc"):
        nearcell.Index.open(tmp_path / "nothing.nc")
    with pytest.raises(OSError, match="missing"):
        index.save(tmp_path / "missing" / "x.nc")
    with pytest.raises(OSError, match=tmp_path.name):
        nearcell.Index.open(tmp_path)
    with pytest.raises(OSError, match=tmp_path.name):
        index.save(tmp_path)
    (tmp_path / "empty.nc").write_bytes(b"")
    with pytest.raises(nearcell.CorruptFileError, match=r"empty\.nc"):
        nearcell.Index.open(tmp_path / "empty.nc")
    with pytest.raises(nearcell.CorruptFileError):
        nearcell.Index.from_bytes(b"not an index")


VECTOR_FILES = [
    ("x.fvecs", np.float32),
    ("x.bvecs", np.uint8),
    ("x.fbin", np.float32),
    ("x.u8bin", np.uint8),
    ("x.i8bin", np.int8),
    ("x.npy", np.float32),
    ("x.npy", np.float16),
    ("x.npy", np.int8),
    ("x.npy", np.uint8),
    ("x.hdf5", np.float32),
]


@pytest.mark.parametrize(("name", "dtype"), VECTOR_FILES)
def test_vector_files_round_trip(name, dtype, tmp_path):
    x = (uniform(40, 12, 73) * 100).astype(dtype)
    nearcell.write(tmp_path / name, x)
    back = nearcell.read(tmp_path / name)
    assert back.dtype == dtype and np.array_equal(back, x)
    part = nearcell.read(tmp_path / name, first_row=5, max_rows=7)
    assert np.array_equal(part, x[5:12])


@pytest.mark.parametrize("name", ["x.ivecs", "x.ibin", "x.npy"])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_id_files_round_trip(name, dtype, tmp_path):
    ids = np.random.default_rng(74).integers(0, 10**6, (20, 10)).astype(dtype)
    nearcell.write(tmp_path / name, ids)
    back = nearcell.read(tmp_path / name)
    assert back.dtype == np.int64 and np.array_equal(back, ids)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "float16", "float32"])
@pytest.mark.parametrize(
    "way",
    [
        lambda x: x[:, ::2],
        lambda x: x[::-1],
        lambda x: x[:, ::-1],
        np.asfortranarray,
        lambda x: x[::2],
    ],
    ids=["columns apart", "rows reversed", "columns reversed", "Fortran", "rows apart"],
)
def test_17_the_type_is_kept_in_every_layout(tmp_path, dtype, way):
    x = way(np.arange(24).reshape(4, 6).astype(dtype))
    nearcell.write(tmp_path / "x.raw", x)
    assert (tmp_path / "x.raw").read_bytes() == x.tobytes()
    nearcell.write(tmp_path / "x.npy", x)
    back = np.load(tmp_path / "x.npy")
    assert back.dtype == x.dtype and np.array_equal(back, x)
    if dtype == "uint8":
        nearcell.write(tmp_path / "x.u8bin", x)
        assert np.array_equal(nearcell.read(tmp_path / "x.u8bin"), x)


def test_vector_files_of_others(tmp_path):
    x = uniform(30, 6, 75)
    np.save(tmp_path / "x.npy", x)
    assert np.array_equal(nearcell.read(tmp_path / "x.npy"), x)
    nearcell.write(tmp_path / "y.npy", x)
    assert np.array_equal(np.load(tmp_path / "y.npy"), x)
    x.tofile(tmp_path / "x.raw")
    assert np.array_equal(nearcell.read(tmp_path / "x.raw", raw_cols=6), x)
    with h5py.File(tmp_path / "x.hdf5", "w") as file:
        file["train"], file["test"] = x, x[:4]
        file["neighbors"] = np.arange(12, dtype=np.int32).reshape(4, 3)
    assert np.array_equal(nearcell.read(tmp_path / "x.hdf5"), x)
    assert np.array_equal(nearcell.read(f"{tmp_path}/x.hdf5:test"), x[:4])
    neighbours = nearcell.read(f"{tmp_path}/x.hdf5:neighbors")
    assert np.array_equal(neighbours, np.arange(12).reshape(4, 3))
    rows = np.hstack([np.full((30, 1), 6, np.int32).view(np.float32), x])
    rows.tofile(tmp_path / "x.fvecs")
    assert np.array_equal(nearcell.read(tmp_path / "x.fvecs"), x)


def test_vector_files_that_lie(tmp_path):
    x = uniform(30, 6, 76)
    nearcell.write(tmp_path / "x.fbin", x)
    data = (tmp_path / "x.fbin").read_bytes()
    (tmp_path / "short.fbin").write_bytes(data[:-1])
    (tmp_path / "huge.fbin").write_bytes(b"\xff" * 8 + data[8:])
    for name in ("short.fbin", "huge.fbin"):
        with pytest.raises(nearcell.CorruptFileError, match=name):
            nearcell.read(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="nothing"):
        nearcell.read(tmp_path / "nothing.npy")
    with pytest.raises(ValueError, match="fvecs"):
        nearcell.read(tmp_path / "x.fbin", format="parquet")
    with pytest.raises(ValueError, match="jpeg"):
        nearcell.write(tmp_path / "x.jpeg", x)
    with pytest.raises(ValueError, match="u8bin"):
        nearcell.write(tmp_path / "x.u8bin", x)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 8 * 2**20
