"""Long searches that are stopped: by a kill, by Ctrl-C, by an error; and what goes on from there.

The judge is a search that nothing stopped: the outputs are the same, byte for byte.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from test_cli import (
    BAD_INPUT,
    CANCELLED,
    CLI,
    CORRUPT,
    DIM,
    IO,
    clustered,
    pytestmark,
    run,
    run_json,
    write_bin,
)

__all__ = ["pytestmark"]
ROWS, QUERIES = 2000, 40_000
SLOWLY = ["--batch", 1, "--sync-seconds", 0]


class Files(NamedTuple):
    index: Path
    queries: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("search")
    base, queries = clustered(ROWS, QUERIES)
    write_bin(folder / "base.fbin", base)
    write_bin(folder / "q.u8bin", queries.astype(np.uint8))
    run("build", folder / "base.fbin", "-k", "IVF16,SQ8", "-o", folder / "x.nc")
    return Files(folder / "x.nc", folder / "q.u8bin")


def words(files: Files, folder: Path, *names: str) -> list[object]:
    """ids.SUFFIX, and scores.SUFFIX where that is wanted."""
    outputs = ["-o", folder / names[0]]
    if len(names) > 1:
        outputs += ["--scores", folder / names[1]]
    return ["search", files.index, files.queries, "-n", 5, "--probes", 4, *outputs]


def whole(files: Files, folder: Path, *names: str) -> list[bytes]:
    """What a search writes that nothing stops."""
    apart = folder / "whole"
    apart.mkdir()
    run(*words(files, apart, *names))
    assert sorted(file.name for file in apart.iterdir()) == sorted(set(names))
    return [(apart / name).read_bytes() for name in names]


def queries_done(journal: Path) -> int:
    return int(json.loads(journal.read_text())["done"]["queries"])


def stop(journal: Path, command: list[object], with_signal: int, after: int = 0) -> Any:
    """Runs the command until its journal says that more queries are done, then sends the signal."""
    child = subprocess.Popen(
        [str(CLI), *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        until = time.monotonic() + 60
        while not journal.exists() or queries_done(journal) <= after:
            assert child.poll() is None, child.communicate()
            assert time.monotonic() < until
        child.send_signal(with_signal)
        child.output = child.communicate(timeout=60)
        return child
    finally:
        child.kill()


@pytest.mark.parametrize(
    "names",
    [("out.ibin", "out.fbin"), ("out.npy", "scores.npy"), ("out.ivecs",), ("o.hdf5", "o.hdf5")],
)
def test_a_killed_search_goes_on(files: Files, tmp_path: Path, names: tuple[str, ...]) -> None:
    command = words(files, tmp_path, *names)
    staged = "o.hdf5.neighbors" if names[0] == "o.hdf5" else names[0]
    journal = tmp_path / f"{staged}.job"
    done = 0
    for _ in range(2):
        child = stop(journal, [*command, *SLOWLY], signal.SIGKILL, done)
        assert child.returncode == -signal.SIGKILL
        assert queries_done(journal) > done and (tmp_path / f"{staged}.part").exists()
        done = queries_done(journal)
        assert not (tmp_path / names[0]).exists()
    assert done < QUERIES
    end = run(*command, "--json")
    report = json.loads(end.stdout)
    assert report["resumed_from"] == done and f"going on after {done:,} of 40,000" in end.stderr
    assert (report["queries"], report["missing"]) == (QUERIES, 0)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(set(names))
    if names[0] == "o.hdf5":
        h5py = pytest.importorskip("h5py", reason="h5py is not installed")
        whole(files, tmp_path, *names)
        with h5py.File(tmp_path / names[0]) as a, h5py.File(tmp_path / "whole" / names[0]) as b:
            assert sorted(a) == sorted(b) == ["distances", "neighbors"]
            for name in a:
                np.testing.assert_array_equal(a[name][:], b[name][:])
        return
    found = [(tmp_path / name).read_bytes() for name in names]
    assert found == whole(files, tmp_path, *names)
    assert run_json(*command)["resumed_from"] == 0  # finished: the same again is a new search
    again = run_json(*command, *SLOWLY[:1], 7000, "--threads", 1)
    for name in ("probes", "rerank", "missing", "scanned_per_query", "reranked_per_query"):
        assert again[name] == report[name]


def test_an_interrupted_search_says_that_it_goes_on(files: Files, tmp_path: Path) -> None:
    out, journal = tmp_path / "out.ibin", tmp_path / "out.ibin.job"
    out.write_bytes(b"precious")
    command = words(files, tmp_path, "out.ibin", "out.fbin")
    child = stop(journal, [*command, *SLOWLY, "--json"], signal.SIGINT)
    assert child.returncode == CANCELLED
    stdout, stderr = child.output
    (line,) = stderr.splitlines()
    assert re.search(r"interrupted; [\d,]+ of 40,000 queries are done and kept; .*--restart", line)
    assert json.loads(stdout)["error"]["code"] == "Cancelled"
    assert json.loads(stdout)["error"]["message"] in line
    assert f"{queries_done(journal):,} of" in line  # what was searched is kept, too
    assert out.read_bytes() == b"precious"
    report = run_json(*command, "--batch", 5000)
    assert report["resumed_from"] > 0 and report["queries"] == QUERIES
    assert [out.read_bytes(), (tmp_path / "out.fbin").read_bytes()] == whole(
        files, tmp_path, "out.ibin", "out.fbin"
    )


def test_interrupted_in_its_first_batch_it_leaves_nothing(tmp_path: Path) -> None:
    write_bin(tmp_path / "b.fbin", np.random.default_rng(1).random((60_000, 96), np.float32))
    run("build", tmp_path / "b.fbin", "-k", "Flat", "-o", tmp_path / "x.nc")
    before = sorted(tmp_path.iterdir())
    command = ["search", tmp_path / "x.nc", tmp_path / "b.fbin", "-o", tmp_path / "out.ibin"]
    child = subprocess.Popen(
        [str(CLI), *map(str, command), "--threads", "1"], stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 60
    while not (tmp_path / "out.ibin.job").exists():
        assert child.poll() is None and time.monotonic() < until
    child.send_signal(signal.SIGINT)
    assert "nothing was written" in child.communicate(timeout=60)[1]
    assert child.returncode == CANCELLED
    assert sorted(tmp_path.iterdir()) == before


def test_another_search_is_refused(files: Files, tmp_path: Path) -> None:
    journal = tmp_path / "out.ibin.job"
    command = words(files, tmp_path, "out.ibin", "out.fbin")
    stop(journal, [*command, *SLOWLY], signal.SIGKILL)
    left = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    for other, name in (
        (["-n", 6], "-n is 5, and now it is 6"),
        (["--probes", 5], "--probes is 4, and now it is 5"),
        (["--rerank", 50], "--rerank"),
        (["--margin", 1.5], "--margin"),
        (["--cutoff", 0.7], "--cutoff"),
        (["--filter-range", "0:9"], "--filter-range is none, and now it is 0:9"),
        (["--scores", tmp_path / "other.fbin"], "--scores"),
    ):
        without = list(command)
        if other[0] in without:
            at = without.index(other[0])
            del without[at : at + 2]
        message = run(*without, *other, code=BAD_INPUT).stderr
        assert name in message and "--restart" in message and str(journal) in message
    copy = tmp_path / "moved.u8bin"
    copy.write_bytes(files.queries.read_bytes())
    message = run(*command[:2], copy, *command[3:], code=BAD_INPUT).stderr
    assert "query file" in message and "q.u8bin" in message and "moved.u8bin" in message
    copy.unlink()
    index = tmp_path / "x.nc"
    index.write_bytes(files.index.read_bytes())
    assert "index is" in run(*command[:1], index, *command[2:], code=BAD_INPUT).stderr
    index.unlink()
    stat = files.index.stat()
    os.utime(files.index, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert "modified" not in (text := run(*command, code=BAD_INPUT).stderr) and "index is" in text
    os.utime(files.index, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == left

    assert run_json(*command, "--restart")["resumed_from"] == 0
    assert [(tmp_path / name).read_bytes() for name in ("out.ibin", "out.fbin")] == whole(
        files, tmp_path, "out.ibin", "out.fbin"
    )


def test_one_process_at_a_time(files: Files, tmp_path: Path) -> None:
    command = words(files, tmp_path, "out.ibin")
    child = subprocess.Popen([str(CLI), *map(str, [*command, *SLOWLY])], stdout=subprocess.PIPE)
    try:
        while not (tmp_path / "out.ibin.job").exists():
            assert child.poll() is None
        for more in ([], ["--restart"]):
            assert "another process" in run(*command, *more, code=IO).stderr
        assert child.poll() is None, "the first ended before the second began"
    finally:
        child.kill()
        child.communicate()
    run(*command)
    assert [(tmp_path / "out.ibin").read_bytes()] == whole(files, tmp_path, "out.ibin")


def test_stopped_between_its_two_outputs(files: Files, tmp_path: Path) -> None:
    journal = tmp_path / "out.ibin.job"
    command = words(files, tmp_path, "out.ibin", "out.fbin")
    stop(journal, [*command, *SLOWLY], signal.SIGKILL)
    ids, scores = whole(files, tmp_path, "out.ibin", "out.fbin")
    state = json.loads(journal.read_text())
    state["done"]["queries"] = QUERIES
    journal.write_text(json.dumps(state))
    (part,) = tmp_path.glob("out.fbin.*.part")
    part.unlink()
    (tmp_path / "out.fbin").write_bytes(scores)
    (tmp_path / "out.ibin.part").write_bytes(ids)
    assert run_json(*command)["resumed_from"] == QUERIES
    assert (tmp_path / "out.ibin").read_bytes() == ids
    assert (tmp_path / "out.fbin").read_bytes() == scores
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"out.ibin", "out.fbin", "whole"}


def test_what_is_left_may_be_damaged(files: Files, tmp_path: Path) -> None:
    journal, part = tmp_path / "out.ibin.job", tmp_path / "out.ibin.part"
    command = words(files, tmp_path, "out.ibin")
    part.write_bytes(b"somebody's")
    message = run(*command, code=BAD_INPUT).stderr
    assert str(part) in message and "--restart" in message
    assert part.read_bytes() == b"somebody's" and not journal.exists()
    for text in ("", "{", "[]", "{}", '{"search": {}, "done": {"queries": -1}}', "\0" * 100):
        journal.write_text(text)
        run(*command, code=CORRUPT if not text.startswith('{"search"') else BAD_INPUT)
    journal.unlink()
    part.unlink()
    stop(journal, [*command, *SLOWLY], signal.SIGKILL)
    part.write_bytes(part.read_bytes()[:20])
    message = run(*command, code=CORRUPT).stderr
    assert "20 bytes" in message and "begin anew with --restart" in message
    good = journal.read_text()
    state = json.loads(good)
    state["done"]["queries"] = QUERIES + 1
    journal.write_text(json.dumps(state))
    assert "40001" in run(*command, code=CORRUPT).stderr
    run(*command, "--restart")
    assert [(tmp_path / "out.ibin").read_bytes()] == whole(files, tmp_path, "out.ibin")


def test_a_bad_query_late_in_the_file(files: Files, tmp_path: Path) -> None:
    (queries,) = clustered(30)
    queries[25, 3] = np.nan
    np.save(tmp_path / "q.npy", queries)
    before = sorted(tmp_path.iterdir())
    command = ["search", files.index, tmp_path / "q.npy", "-o", tmp_path / "out.ibin"]
    run(*command, code=BAD_INPUT)
    assert sorted(tmp_path.iterdir()) == before
    message = run(*command, "--batch", 10, code=BAD_INPUT).stderr
    assert "20 of 30 queries are done and kept" in message.splitlines()[0]
    assert "for the files as they were" in message.splitlines()[0]
    assert f"{tmp_path / 'q.npy'}[25, 3] is NaN" in message
    assert (tmp_path / "out.ibin.job").exists() and not (tmp_path / "out.ibin").exists()
    np.save(tmp_path / "q.npy", np.nan_to_num(queries))
    assert "query file" in run(*command, code=BAD_INPUT).stderr
    run(*command, "--restart")
    assert not (tmp_path / "out.ibin.job").exists()


@pytest.mark.parametrize("change", ["replaced", "cut off", "written to", "removed"])
def test_the_query_file_changes_meanwhile(files: Files, tmp_path: Path, change: str) -> None:
    mine, other = tmp_path / "q.u8bin", tmp_path / "other.u8bin"
    mine.write_bytes(files.queries.read_bytes())
    other.write_bytes(files.queries.read_bytes())
    command = ["search", files.index, mine, "-o", tmp_path / "out.ibin"]
    child = subprocess.Popen(
        [str(CLI), *map(str, [*command, *SLOWLY])], stderr=subprocess.PIPE, text=True
    )
    journal = tmp_path / "out.ibin.job"
    until = time.monotonic() + 60
    while not journal.exists() or queries_done(journal) == 0:
        assert child.poll() is None and time.monotonic() < until
    if change == "replaced":
        other.replace(mine)
    elif change == "cut off":
        os.truncate(mine, 8 + DIM * QUERIES // 2)
    elif change == "written to":
        with open(mine, "r+b") as file:
            file.write(other.read_bytes()[:8])
    else:
        mine.unlink()
    message = child.communicate(timeout=60)[1]
    assert child.returncode == CORRUPT
    assert f"{mine}: changed while it was read" in message
    assert 0 < queries_done(journal) < QUERIES and not (tmp_path / "out.ibin").exists()
    other.write_bytes(files.queries.read_bytes())
    other.replace(mine)
    assert "query file" in run(*command, code=BAD_INPUT).stderr
    run(*command, "--restart")


def test_no_queries(files: Files, tmp_path: Path) -> None:
    np.save(tmp_path / "q.npy", np.zeros((0, DIM), np.float32))
    command = ["search", files.index, tmp_path / "q.npy"]
    assert run_json(*command, "-o", tmp_path / "out.npy", "-n", 5)["queries"] == 0
    assert np.load(tmp_path / "out.npy").shape == (0, 5)
    run(*command, "-o", tmp_path / "out.ivecs", code=BAD_INPUT)
    run(*command, "-o", tmp_path / "out.npy", "--cutoff=-1", code=BAD_INPUT)
    assert {file.name for file in tmp_path.iterdir()} == {"q.npy", "out.npy"}


def test_ids_and_scores_are_two_files(files: Files, tmp_path: Path) -> None:
    message = run(*words(files, tmp_path, "out.npy", "out.npy"), code=BAD_INPUT).stderr
    assert "one file, for two things" in message


def test_two_searches_may_have_one_file_of_scores(files: Files, tmp_path: Path) -> None:
    ids, scores = whole(files, tmp_path, "a.ibin", "s.fbin")
    first = words(files, tmp_path, "a.ibin", "s.fbin")
    stop(tmp_path / "a.ibin.job", [*first, *SLOWLY], signal.SIGKILL)
    second = [*words(files, tmp_path, "b.ibin", "s.fbin"), "--filter-range", "500:"]
    stop(tmp_path / "b.ibin.job", [*second, *SLOWLY], signal.SIGKILL)
    assert run_json(*first)["resumed_from"] > 0
    assert (tmp_path / "a.ibin").read_bytes() == ids
    assert (tmp_path / "s.fbin").read_bytes() == scores
    assert run_json(*second)["resumed_from"] > 0
    assert (tmp_path / "s.fbin").read_bytes() != scores
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"a.ibin", "b.ibin", "s.fbin", "whole"}


def test_hdf5_outputs_are_written_again(files: Files, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    out = tmp_path / "o.hdf5"
    command = words(files, tmp_path, "o.hdf5", "o.hdf5")
    stop(tmp_path / "o.hdf5.neighbors.job", [*command, *SLOWLY], signal.SIGKILL)
    state = (tmp_path / "o.hdf5.neighbors.job").read_text()
    run(*command)

    def found() -> tuple[np.ndarray, np.ndarray]:
        with h5py.File(out) as file:
            assert sorted(file) == ["distances", "neighbors"]
            return file["neighbors"][:], file["distances"][:]

    ids, scores = found()
    for more in ([], ["--restart"], ["--filter-range", "500:"], []):
        run(*command, *more)
        assert (found()[0].min() >= 500) == (more[:1] == ["--filter-range"])
    # A kill came after the ids were copied, and before what they were copied from was removed.
    report = json.loads(state)
    report["done"]["queries"] = QUERIES
    (tmp_path / "o.hdf5.neighbors.job").write_text(json.dumps(report))
    np.save(tmp_path / "ids.npy", ids)
    (tmp_path / "ids.npy").rename(tmp_path / "o.hdf5.neighbors.part")
    assert run_json(*command)["resumed_from"] == QUERIES
    for a, b in zip(found(), (ids, scores), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [file.name for file in tmp_path.iterdir()] == ["o.hdf5"]


def test_a_search_goes_on_in_a_file_with_other_sets(files: Files, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    out = tmp_path / "o.hdf5"
    with h5py.File(out, "w") as file:
        file["train"] = [[1.0]]
    command = words(files, tmp_path, "o.hdf5", "o.hdf5")
    stop(tmp_path / "o.hdf5.neighbors.job", [*command, *SLOWLY], signal.SIGKILL)
    state = json.loads((tmp_path / "o.hdf5.neighbors.job").read_text())
    run(*command)
    # A kill came after the scores were put in place, and before the ids were.
    with h5py.File(out, "r+") as file:
        ids, scores = file["neighbors"][:], file["distances"][:]
        del file["neighbors"]
    state["done"]["queries"] = QUERIES
    (tmp_path / "o.hdf5.neighbors.job").write_text(json.dumps(state))
    np.save(tmp_path / "ids.npy", ids)
    (tmp_path / "ids.npy").rename(tmp_path / "o.hdf5.neighbors.part")
    assert run_json(*command)["resumed_from"] == QUERIES
    with h5py.File(out) as file:
        assert sorted(file) == ["distances", "neighbors", "train"]
        np.testing.assert_array_equal(file["neighbors"], ids)
        np.testing.assert_array_equal(file["distances"], scores)


def test_sets_written_together_are_of_one_time(files: Files, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    out = tmp_path / "o.hdf5"
    command = words(files, tmp_path, "o.hdf5", "o.hdf5")
    sizes = []
    for _ in range(4):
        run(*command)
        sizes.append(out.stat().st_size)
    assert len(set(sizes)) == 1
    # The scores come first, and take the ids of an earlier time away.
    with h5py.File(out, "r+") as file:
        del file["distances"]
    run(*command)
    with h5py.File(out) as file:
        assert len(file["neighbors"]) == len(file["distances"]) == QUERIES


def test_a_search_goes_on_in_a_folder_of_another_name(files: Files, tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    command = words(files, before, "ids.ibin", "scores.fbin")
    stop(before / "ids.ibin.job", [*command, *SLOWLY], signal.SIGKILL)
    before.rename(after)
    journal = after / "ids.ibin.job"
    journal.write_text(journal.read_text().replace(str(before), str(after)))
    run(*words(files, after, "ids.ibin", "scores.fbin"))
    assert sorted(file.name for file in after.iterdir()) == ["ids.ibin", "scores.fbin"]


def test_outputs_that_cannot_be_are_refused_before_the_search(files: Files, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(tmp_path / "full.hdf5", "w") as file:
        file["neighbors"], file["train"] = [[1]], [[1.0]]
    (tmp_path / "text.hdf5").write_text("this is not HDF5")
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    missing = tmp_path / "missing"
    for name, code, text in (
        ("full.hdf5", BAD_INPUT, "'neighbors' beside others"),
        ("text.hdf5", CORRUPT, "remove it first"),
        ("new.hdf5:", BAD_INPUT, "names no data set"),
        ("new.hdf5:a/b", BAD_INPUT, "leave the '/' out"),
        ("new.fbin", BAD_INPUT, "cannot hold ids"),
    ):
        for command in (["search"], ["truth"]):
            assert text in run(*command, missing, missing, "-o", tmp_path / name, code=code).stderr
    for command in (["search"], ["truth"]):
        message = run(
            *[*command, missing, missing, "-o", tmp_path / "new.npy"],
            *["--scores", tmp_path / "new.u8bin"],
            code=BAD_INPUT,
        ).stderr
        assert "u8bin holds uint8 values, not float32" in message
    words = ["reduce", missing, "--pca", 3, "-o", tmp_path / "new.u8bin", "--save"]
    assert "u8bin holds" in run(*words, tmp_path / "p.nc", code=BAD_INPUT).stderr
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
