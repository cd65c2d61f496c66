"""The nearcell command where it is misused or refused: numbers that are none, outputs that are
inputs, streams that are closed, systems that give no more."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from test_cli import BAD_INPUT, CLI, IO, USAGE, clustered, pytestmark, read_bin, run, run_json

__all__ = ["pytestmark"]
ROWS, QUERIES = 300, 20


class Files(NamedTuple):
    base: Path
    queries: Path
    index: Path  # type: ignore[assignment]


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path / "b.npy", tmp_path / "q.npy", tmp_path / "x.nc")
    for path, values in zip(made[:2], clustered(ROWS, QUERIES), strict=True):
        np.save(path, values)
    run("build", made.base, "-k", "IVF4,Flat", "-o", made.index)
    return made


def shell(line: str, *words: object) -> subprocess.CompletedProcess[str]:
    """`line` has "$@" for the command."""
    return subprocess.run(
        ["sh", "-c", line, "sh", str(CLI), *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


# -- the command line -----------------------------------------------------------------------------


def test_numbers_that_are_none(files: Files, tmp_path: Path) -> None:
    out = tmp_path / "o.ibin"
    search = ["search", files.index, files.queries, "-o", out]
    build = ["build", files.base, "-k", "Flat", "-o", tmp_path / "y.nc"]
    beyond = 2**64
    for words, option, value in (
        (search, "-n", "-1"),
        (search, "--probes", "-1"),
        (search, "--rerank", beyond),
        (search, "--batch", " -1"),
        (search, "--sync-seconds", "nan"),
        (search, "--margin", "NaN"),
        (search, "--device-memory", "-1b"),
        (["truth", files.base, files.queries, "-o", out], "-n", "-1"),
        (["convert", files.base, tmp_path / "c.fbin"], "--limit", "-5"),
        (["reduce", files.base, "-o", tmp_path / "r.npy"], "--pca", "-1"),
        (build, "--train-rows", "-1"),
        (build, "--seed", "-1"),
        (["images", tmp_path], "--sample", "-1"),
        (["bench", "network"], "--rounds", "-1"),
        (["bench", "kernels"], "--dim", "8,-1"),
    ):
        done = run(*words, option, value, code=USAGE)
        assert done.stderr.count("\n") == 1 and str(value).split(",")[-1] in done.stderr
    assert run(*search, "--threads", "-1", code=USAGE).stderr.count("0 to 2147483647") == 1
    run(*search, "--device-memory", 0, "--probes", "0x2", "--sync-seconds", 1e9)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.npy", "o.ibin", "q.npy", "x.nc"]


def test_more_neighbours_than_memory_holds(files: Files, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    for words in (["search", files.index], ["truth", files.base]):
        rest = [files.queries, "-o", tmp_path / "o.ibin", "-n", 2**62]
        error = run_json(*words, *rest, code=IO)["error"]
        assert error["code"] == "OutOfMemory"
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "words", [["search", "x.nc"], ["--nothing"], ["search", "--nothing", "--threads", "-1"], []]
)
def test_usage_errors_are_one_line_and_json(words: list[str]) -> None:
    done = run(*words, code=USAGE)
    assert done.stdout == "" and done.stderr.count("\n") == 1 and "--help" in done.stderr
    done = run(*words, "--json", code=USAGE)
    error = json.loads(done.stdout)["error"]
    assert (error["code"], error["exit_code"]) == ("Usage", USAGE)
    assert done.stderr == f"nearcell: {error['message']}\n"


# -- files ----------------------------------------------------------------------------------------


def test_outputs_that_are_inputs(files: Files, tmp_path: Path) -> None:
    base, queries, index = files
    os.symlink(tmp_path, tmp_path / "here")
    os.link(base, tmp_path / "linked.npy")
    same, pca = tmp_path / "here" / "b.npy", tmp_path / "p.nc"
    run("reduce", base, "--pca", 3, "-o", tmp_path / "r.npy", "--save", pca)
    gt = tmp_path / "gt.npy"
    run("truth", base, queries, "-n", 10, "-o", gt)
    before = {path: path.read_bytes() for path in (base, queries, index, pca, gt)}
    for words in (
        ["search", index, queries, "-o", queries],
        ["search", index, queries, "-o", tmp_path / "o.npy", "--scores", queries],
        ["truth", base, queries, "-o", same],
        ["build", base, "-k", "Flat", "-o", same],
        ["build", base, "-k", "Flat", "--tune-recall", 0.5, "--queries", queries, "-o", queries],
        ["convert", base, same],
        ["reduce", base, "--pca", 2, "-o", same],
        ["reduce", base, "--pca", 2, "-o", tmp_path / "w.npy", "--save", base],
        ["reduce", base, "--pca", 2, "-o", tmp_path / "w.npy", "--save", tmp_path / "w.npy"],
        ["reduce", base, "--apply", pca, "-o", f"{base}"],
        ["truth", base, queries, "-o", tmp_path / "linked.npy"],
    ):
        assert "one file" in run(*words, code=BAD_INPUT).stderr
    assert before == {path: path.read_bytes() for path in before}
    assert not (tmp_path / "w.npy").exists() and not (tmp_path / "o.npy").exists()


def test_data_sets_of_one_file_are_several(files: Files, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    path = tmp_path / "all.hdf5"
    run("convert", files.base, path)
    run("convert", files.queries, f"{path}:test")
    run("truth", path, path, "-n", 5, "-o", path, "--scores", path)
    with h5py.File(path) as file:
        assert sorted(file) == ["distances", "neighbors", "test", "train"]
    for words in (["build", path, "-k", "Flat", "-o", path], ["convert", path, f"{path}:train"]):
        assert "one file" in run(*words, code=BAD_INPUT).stderr


def test_scores_of_missing_neighbours_are_whole(files: Files, tmp_path: Path) -> None:
    ids, scores = tmp_path / "o.ibin", tmp_path / "o.fbin"
    words = [files.base, files.queries, "-n", ROWS + 2, "-o", ids, "--scores", scores]
    most = np.finfo(np.float32).max
    for metric, filler in (("l2", most), ("ip", -most), ("cosine", -most), ("l1", most)):
        report = run_json("truth", *words, "--metric", metric)
        assert report["missing"] == 2 * QUERIES
        assert (read_bin(scores, "<f4")[:, ROWS:] == filler).all()
        run("verify", ids, scores)
    values = np.zeros((2000, 3), np.float32)
    values[1500, 2] = np.inf
    for kind in (np.float32, np.float16):
        np.save(tmp_path / "bad.npy", values.astype(kind))
        assert "[1500, 2]" in run("verify", tmp_path / "bad.npy", code=BAD_INPUT).stdout


def test_convert_refuses_to_round_whole_numbers(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    for values in (
        np.array([[1.0, 2.0], [3.0, 16777217.0]]),
        np.array([[1, 2], [3, 16777217]]),
        np.array([[1, 2], [3, 2**53 + 1]]),
    ):
        np.save(path, values)
        done = run("convert", path, tmp_path / "y.fbin", code=BAD_INPUT)
        assert f"{int(values[1, 1])} at row 1, column 1" in done.stderr
    fine = np.array([[0.1, -16777216.0, 2.0**24 + 2], [1e300 * 0, 1e30, 2.0**53]])
    np.save(path, fine)
    run("convert", path, tmp_path / "y.fbin")
    np.testing.assert_array_equal(read_bin(tmp_path / "y.fbin", "<f4"), fine.astype(np.float32))


# -- the system -----------------------------------------------------------------------------------


def test_closed_streams_are_no_outputs(tmp_path: Path) -> None:
    np.save(tmp_path / "b.npy", clustered(ROWS)[0])
    words = ["build", tmp_path / "b.npy", "-k", "IVF8,PQ1", "--tune-recall", 1]
    good, bad = tmp_path / "good.nc", tmp_path / "bad.nc"
    assert "warning" in run(*words, "-o", good).stderr
    for closed in ("<&-", "2>&-", "<&- 2>&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-"):
        done = shell(f'"$@" {closed}', *words, "-o", bad)
        assert done.returncode == (IO if ">&- " in f" {closed} ".replace("2>&-", "") else 0)
        assert run_json("verify", bad)["ok"] and bad.stat().st_size == good.stat().st_size
        bad.unlink()


def test_full_disk_behind_standard_output(files: Files) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    for count in (1, 300):
        done = shell('"$@" > /dev/full', "verify", "--json", *[files.index] * count)
        assert done.returncode == IO and "standard output" in done.stderr


def test_read_only_folder_says_so(files: Files, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    folder = tmp_path / "ro"
    folder.mkdir(mode=0o555)
    done = run("truth", files.base, files.queries, "-o", folder / "o.ibin", code=IO)
    assert "Permission denied" in done.stderr
