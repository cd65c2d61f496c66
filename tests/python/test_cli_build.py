"""nearcell build --tune-recall, as a user drives it: with and without a spec, queries, truth.

What is measured on held-out rows must hold for other queries. No speed is asked for.
"""

from __future__ import annotations

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
    DIM,
    NOT_FOUND,
    USAGE,
    clustered,
    nearest,
    pytestmark,
    read_bin,
    recall,
    run,
    run_json,
    write_bin,
)

__all__ = ["pytestmark"]
ROWS, QUERIES = 12000, 300
NO_TIME = ["--tune-seconds", 1e-9]


class Files(NamedTuple):
    base: Path
    queries: Path  # not of base
    truth: np.ndarray
    folder: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("build")
    base, queries = clustered(ROWS, QUERIES)
    write_bin(folder / "base.fbin", base)
    write_bin(folder / "queries.fbin", queries)
    truth, _ = nearest(base, queries, 10)
    write_bin(folder / "truth.ibin", truth.astype(np.int32))
    return Files(folder / "base.fbin", folder / "queries.fbin", truth, folder)


def recall_of(index: Path, files: Files) -> float:
    out = index.with_suffix(".ibin")
    run("search", index, files.queries, "-n", 10, "-o", out)
    return recall(read_bin(out, "<i4"), files.truth, 10)


def assert_ids_are_row_numbers(index: Path, files: Files) -> None:
    """Whatever was held out is back under its own number."""
    out = index.with_suffix(".ibin")
    run("search", index, files.base, "-n", 1, "-o", out)
    assert (read_bin(out, "<i4")[:, 0] == np.arange(ROWS)).mean() > 0.999  # some may be doubles


def chosen(report: dict[str, Any]) -> dict[str, Any]:
    (candidate,) = (c for c in report["candidates"] if c["spec"] == report["spec"])
    return dict(candidate)


def test_chooses_a_spec_by_rows_of_the_base(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "x.nc"
    report = run_json("build", files.base, "--tune-recall", 0.9, "-o", path)
    assert report["reached"] and chosen(report)["reached"] and chosen(report)["recall"] > 0.85
    assert all(c["not_tried"] is None for c in report["candidates"])
    assert (report["rows"], report["held_out_queries"]) == (ROWS, ROWS // 10)
    assert report["rows_tried_on"] == report["train_rows"] == ROWS - ROWS // 10
    info = run_json("info", path)
    assert (info["spec"], info["default_probes"]) == (report["spec"], report["probes"])
    assert recall_of(path, files) >= 0.9
    assert_ids_are_row_numbers(path, files)


def test_chooses_by_the_queries_given(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "x.nc"
    words = ["build", files.base, "--tune-recall", 0.9, "--queries", files.queries, "-o", path]
    report = run_json(*words, *NO_TIME)
    assert report["spec"] == report["candidates"][0]["spec"]
    assert all("no time" in c["not_tried"] for c in report["candidates"][1:])
    assert report["rows_tried_on"] == ROWS and report["held_out_queries"] == 0
    # All of the queries tuned it.
    assert recall_of(path, files) == pytest.approx(report["recall"]) and report["recall"] >= 0.9
    small = run_json(*words, *NO_TIME, "--max-bytes", 40)
    assert small["bytes_per_vector"] <= 40


def test_tunes_a_given_spec_by_rows_of_the_base(files: Files, tmp_path: Path) -> None:
    path, again = tmp_path / "x.nc", tmp_path / "again.nc"
    words = ["build", files.base, "-k", "IVF100,SQ8", "--tune-recall", 0.9, "-o"]
    report = run_json(*words, path)
    assert report["reached"] and report["rows"] == ROWS and "candidates" not in report
    assert recall_of(path, files) >= 0.9
    assert_ids_are_row_numbers(path, files)
    run(*words, again)
    assert path.read_bytes() == again.read_bytes()


def test_truth_is_computed(files: Files, tmp_path: Path) -> None:
    words = ["build", files.base, "-k", "IVF100,SQ8", "--tune-recall", 0.9]
    words += ["--queries", files.queries, "-o", tmp_path / "x.nc"]
    reports = [run_json(*words), run_json(*words, "--truth", files.folder / "truth.ibin")]
    for name in ("probes", "recall", "rows"):
        assert reports[0][name] == reports[1][name]


def test_the_table_for_people(files: Files, tmp_path: Path) -> None:
    words = ["build", files.base, "--tune-recall", 0.9, "-o", tmp_path / "x.nc", *NO_TIME]
    lines = run(*words).stdout.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("candidate"))
    assert "recall@10" in lines[start] and lines[start + 1].endswith("chosen")
    assert "no time" in lines[start + 2]


def test_says_when_nothing_reaches(tmp_path: Path) -> None:
    base, out = tmp_path / "base.fbin", tmp_path / "x.nc"
    write_bin(base, np.random.default_rng(3).random((2000, DIM), np.float32))
    words = ["build", base, "--tune-recall", 1, "--max-bytes", 36, "-o", out]
    report = run_json(*words, *NO_TIME)
    assert not report["reached"] and not chosen(report)["reached"] and out.exists()
    assert any("--tune-seconds" in warning for warning in report["warnings"])


def test_refuses(files: Files, tmp_path: Path) -> None:
    out = tmp_path / "x.nc"
    words = ["build", files.base, "-o", out]
    tune = ["--tune-recall", 0.9]
    assert "--tune-recall" in run(*words, code=USAGE).stderr
    run(*words, "-k", "Flat", "--queries", files.queries, code=USAGE)
    run(*words, *tune, "--truth", files.folder / "truth.ibin", code=USAGE)
    run(*words, *tune, "-k", "Flat", "--max-bytes", 40, code=USAGE)
    run(*words, *tune, "-k", "Flat", "--tune-seconds", 4, code=USAGE)
    run(*words, *tune, "--queries", tmp_path / "none.fbin", code=NOT_FOUND)
    assert "recall" in run(*words, "--tune-recall", 1.5, code=BAD_INPUT).stderr
    assert "max_bytes" in run(*words, *tune, "--max-bytes", 1, code=BAD_INPUT).stderr
    assert "seconds" in run(*words, *tune, "--tune-seconds", 0, code=BAD_INPUT).stderr
    write_bin(tmp_path / "few.fbin", np.zeros((5, DIM), np.float32))
    few = ["build", tmp_path / "few.fbin", "-k", "Flat", *tune, "-o", out]
    assert "5 rows" in run(*few, code=BAD_INPUT).stderr
    assert not out.exists()


def test_interrupt_keeps_the_old_index(tmp_path: Path) -> None:
    write_bin(tmp_path / "b.fbin", np.random.default_rng(1).random((100_000, 96), np.float32))
    out = tmp_path / "x.nc"
    out.write_bytes(b"precious")
    words = [CLI, "build", tmp_path / "b.fbin", "--tune-recall", 0.99, "-o", out, "--threads", 1]
    child = subprocess.Popen([*map(str, words)], stderr=subprocess.PIPE)
    time.sleep(1.5)
    assert child.poll() is None, "the build ended before it could be interrupted"
    child.send_signal(signal.SIGINT)
    assert b"interrupted" in child.communicate(timeout=60)[1]
    assert child.returncode == CANCELLED
    assert out.read_bytes() == b"precious"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["b.fbin", "x.nc"]
