"""The package itself: types, progress, interruption, threads, and what info() says."""

import copy
import os
import pickle
import re
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import nearcell
import numpy as np
import pytest
from support import ROOT, built, uniform


def test_info_and_version():
    info = nearcell.info()
    cmake = (ROOT / "CMakeLists.txt").read_text()
    assert re.search(r"project\(nearcell VERSION ([0-9.]+)", cmake)[1] == nearcell.__version__
    assert info["version"] == nearcell.__version__
    assert info["isa"] in ("base", "avx2", "avx512", "avx512vnni", "amx", "neon")
    assert info["isa"] in info["backend"] and info["threads"] >= 1
    assert set(nearcell.__all__) <= set(dir(nearcell))


def test_how_an_index_looks():
    index = nearcell.Index("IVF8,Flat", 4, metric="cosine")
    assert (index.dim, index.metric, index.spec, index.is_trained) == (
        4,
        "cosine",
        "IVF8,Flat",
        False,
    )
    assert "IVF8,Flat" in repr(index) and "not trained" in repr(index)
    assert nearcell.Index.__module__ == "nearcell" and not bool(index)
    x = uniform(100, 4, 1)
    report = index.train(x)
    assert report.rows_given == 100 and "100" in repr(report)
    assert index.add(x).tolist() == list(range(100))
    assert len(index) == 100 and 99 in index and 100 not in index
    assert "100 vectors" in repr(index)
    stats = index.stats()
    assert stats["size"] == 100 and stats["cells"] == 8 and stats["code_bytes"] == 16
    assert index.centroids.shape == (8, 4)
    did = index.search(x, 3, stats=True)[2]
    for names, of in ((stats, nearcell.Index.stats), (did, nearcell.Index.search)):
        assert all(re.search(rf"\b{name}\b", of.__doc__) for name in names), of.__doc__


def test_which_defaults_a_default_changes():
    index = built("IVF8,SQ8,RFlat", uniform(100, 4, 1))
    index.default_rerank = 20
    assert index.default_probes == 3
    index.default_probes = 5
    assert (index.default_probes, index.default_rerank, index.default_cutoff) == (5, 20, np.inf)


def test_progress_is_told():
    calls = []
    nearcell.KMeans(20, iterations=7).fit(uniform(2000, 8, 2), progress=lambda *a: calls.append(a))
    assert len(calls) >= 2
    for phase, done, total in calls:
        assert isinstance(phase, str) and phase
        assert 0 <= done <= total


def test_false_cancels_and_leaves_the_object():
    index = nearcell.Index("IVF16,PQ8", 32)
    with pytest.raises(nearcell.Cancelled, match="cancel"):
        index.train(uniform(3000, 32, 3), progress=lambda *a: False)
    assert not index.is_trained and len(index) == 0
    stored = built("IVF16,PQ8", uniform(3000, 32, 3))
    before = stored.to_bytes()
    with pytest.raises(nearcell.Cancelled, match="cancel"):
        stored.add(uniform(3000, 32, 4), progress=lambda *a: False)
    assert stored.to_bytes() == before


@pytest.mark.parametrize("answer", [np.False_, 0])
def test_what_is_false_cancels(answer):
    index = built("IVF16,PQ8", uniform(3000, 32, 3))
    with pytest.raises(nearcell.Cancelled):
        index.search(uniform(50, 32, 4), 3, progress=lambda *a: answer)
    for goes_on in (None, True, np.True_, 7):
        index.search(uniform(50, 32, 4), 3, progress=lambda *a, goes_on=goes_on: goes_on)
    with pytest.raises(ValueError, match="ambiguous"):
        index.search(uniform(50, 32, 4), 3, progress=lambda *a: np.zeros(2))


def test_exceptions_of_the_callback_pass_through():
    class MineError(Exception):
        pass

    def stop(phase, done, total):
        raise MineError(phase)

    index = nearcell.Index("IVF16,PQ8", 32)
    with pytest.raises(MineError):
        index.train(uniform(3000, 32, 3), progress=stop)
    assert not index.is_trained
    with pytest.raises(MineError):
        nearcell.KMeans(9).fit(uniform(3000, 32, 3), progress=stop)


def test_a_callback_cannot_use_the_busy_index():
    index = nearcell.Index("IVF16,PQ8", 32)
    with pytest.raises(RuntimeError, match="progress callback"):
        index.train(uniform(3000, 32, 3), progress=lambda *a: len(index))
    index.train(uniform(3000, 32, 3))
    assert index.is_trained
    pca = nearcell.Pca(2)
    with pytest.raises(RuntimeError, match="progress callback"):
        pca.partial_fit(uniform(3000, 8, 3), progress=lambda *a: pca.transform(uniform(1, 8, 3)))


def test_a_pca_is_cancelled_whole():
    x, calls = uniform(5000, 8, 3), []
    pca = nearcell.Pca(2).fit(x, progress=lambda *a: calls.append(a))
    assert calls[-1] == ("pca", 5000, 5000) and len(calls) > 4
    before = pca.components_.tobytes()
    for call in (pca.fit, pca.partial_fit):
        with pytest.raises(nearcell.Cancelled):
            call(x[::-1], progress=lambda _, done, total: done < 3000)
        assert pca.components_.tobytes() == before and pca.rows_seen == 5000


@pytest.mark.parametrize(
    "call",
    [
        "KMeans(1000, iterations=2000, max_points_per_cluster=None).fit(x, threads=1)",
        "Pca(2).fit(np.zeros((400000, 2048), np.uint8), threads=1)",  # pages that nobody touches
    ],
)
def test_control_c_stops_training(call):
    script = """
        import os, signal, threading, time
        import numpy as np, nearcell
        x = np.random.default_rng(0).random((100000, 128), dtype=np.float32)
        # A shell's background job ignores the signal, and Python would then too.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        start = time.perf_counter()
        try:
            nearcell.CALL
            print("finished")
        except KeyboardInterrupt:
            print("interrupted", time.perf_counter() - start < 30)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script).replace("CALL", call)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        timeout=200,
    )
    assert run.stdout.split() == ["interrupted", "True"], run.stderr


def test_the_gil_is_released():
    base = uniform(40000, 64, 5)
    index = built("Flat", base)
    ticks, stop = [], threading.Event()

    def tick():
        while not stop.wait(0.001):
            ticks.append(1)

    thread = threading.Thread(target=tick)
    thread.start()
    index.search(base[:1500], 10, threads=1)
    stop.set()
    thread.join()
    assert len(ticks) >= 10


def test_searching_while_adding():
    base = uniform(4000, 16, 6)
    index = nearcell.Index("IVF8,Flat", 16)
    index.train(base)
    index.add(base[:500])
    failures = []

    def look():
        try:
            while len(index) < 4000:
                scores, ids = index.search(base[:20], 5, probes=8, threads=1)
                assert (ids[:, 0] == np.arange(20)).all() and (scores[:, 0] == 0).all()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for start in range(500, 4000, 100):
        index.add(base[start : start + 100], threads=1)
    for thread in threads:
        thread.join()
    assert not failures and len(index) == 4000


def test_pickle():
    x = uniform(300, 8, 7)
    index = built("IVF4,SQ8", x)
    again = pickle.loads(pickle.dumps(index))
    assert again.to_bytes() == index.to_bytes()


class Named(nearcell.Index):
    """At the top of a module, as pickle wants it."""

    names: list


def test_copies_of_a_subclass_keep_its_attributes():
    index = Named("IVF4,Flat", 8)
    index.train(uniform(300, 8, 7))
    index.names = [["first"]]
    for again in (copy.copy(index), copy.deepcopy(index), pickle.loads(pickle.dumps(index))):
        assert type(again) is Named and again.names == [["first"]]
        assert again.to_bytes() == index.to_bytes()
    assert copy.copy(index).names is index.names
    assert copy.deepcopy(index).names[0] is not index.names[0]
    index.names = index  # a circle
    again = pickle.loads(pickle.dumps(index))
    assert again.names is again


def test_results_outlive_the_index():
    x = uniform(300, 8, 8)
    index = built("Flat", x)
    scores, ids = index.search(x[:5], 3)
    copies = scores.copy(), ids.copy()
    del index
    assert np.array_equal(scores, copies[0]) and np.array_equal(ids, copies[1])
    assert scores.flags.writeable and scores.flags.c_contiguous


TYPED = """
    import numpy as np
    import nearcell
    from numpy.typing import NDArray

    x = np.zeros((300, 8), np.float32)
    index = nearcell.Index("IVF4,Flat", dim=8, metric="ip")
    report: nearcell.TrainReport = index.train(x, progress=lambda phase, done, total: None)
    index.add(x, ids=range(300))
    scores: NDArray[np.float32]
    ids: NDArray[np.int64]
    scores, ids = index.search(x, 3, probes=2, filter={1, 2})
    scores, ids, stats = index.search(x, 3, filter=~nearcell.IdFilter.range(0, 5), stats=True)
    found = index.search(x, 3, out=(scores, ids)) + index.search(x, 3, stream=1, out=(scores, ids))
    offsets, scores, ids = index.range_search(x, 0.5, filter=range(9))
    count: int = index.remove([1, 2]) + len(index)
    best: float = index.tune(x, ids.reshape(1, -1)).chosen.recall
    labels: NDArray[np.int64] = nearcell.KMeans(3).fit(x).predict(x)
    ratio: NDArray[np.float32] = nearcell.Pca(3).fit(x).explained_variance_ratio_
    choice: nearcell.SpecChoice = nearcell.choose_spec(x, seconds=1, max_bytes=40)
    trials: list[nearcell.SpecTrial] = choice.tried
    words: str = nearcell.Index.open("x.nc", mmap=True).spec
    layers = [{"name": "a", "kind": "max_pool", "kernel": 3}]
    shape: tuple[int, int, int] = nearcell.Network(layers, "w", input_shape=(5, 5, 1)).output_shape
"""
WRONG = """
    import nearcell
    nearcell.Index("Flat", dim=8, metric="euclid")
    nearcell.Index("Flat", dim=8).search([[1.0]], 3, nprobe=3)
    nearcell.Index("Flat", dim=8).add(ids=[3])
"""


def mypy(*arguments):
    pytest.importorskip("mypy", reason="mypy is not installed")
    package = Path(nearcell.__file__).parent
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--config-file=",
            "--no-incremental",
            *arguments,
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "MYPYPATH": str(package.parent)},
        cwd=package.parent if "site-packages" not in str(package) else None,
    )


def test_the_package_is_typed(tmp_path):
    (tmp_path / "typed.py").write_text(textwrap.dedent(TYPED))
    run = mypy(str(tmp_path / "typed.py"), str(ROOT / "examples" / "demo.py"))
    assert run.returncode == 0, run.stdout
    package = mypy("-p", "nearcell")
    assert package.returncode == 0, package.stdout
    (tmp_path / "wrong.py").write_text(textwrap.dedent(WRONG))
    run = mypy(str(tmp_path / "wrong.py"))
    assert all(f"wrong.py:{line}: error" in run.stdout for line in (3, 4, 5)), run.stdout
