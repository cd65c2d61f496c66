"""The nearcell command, driven as a user drives it: files in, files, text and exit codes out.

The program is the one that the environment variable NEARCELL_CLI names, else cli/nearcell in the
build folder that NEARCELL_BUILD names, else in build/.
"""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import struct
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("NEARCELL_BUILD", ROOT / "build"))
CLI = Path(os.environ.get("NEARCELL_CLI", BUILD / "cli" / "nearcell"))

pytestmark = pytest.mark.skipif(
    not CLI.exists(), reason=f"{CLI} is not built (NEARCELL_CLI names another)"
)

OK, USAGE, BAD_INPUT, NOT_FOUND, CORRUPT, IO, UNSUPPORTED, CANCELLED = 0, 2, 3, 4, 5, 6, 8, 9
ROWS, QUERIES, DIM = 4000, 50, 16


def run(*words: object, code: int = OK, **options: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(CLI), *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def run_json(*words: object, code: int = OK) -> dict[str, Any]:
    done = run(*words, "--json", code=code)
    result = json.loads(done.stdout)
    assert isinstance(result, dict)
    return result


def write_bin(path: Path, values: np.ndarray) -> None:
    with open(path, "wb") as file:
        file.write(struct.pack("<II", *values.shape))
        file.write(np.ascontiguousarray(values).tobytes())


def read_bin(path: Path, dtype: str) -> np.ndarray:
    raw = path.read_bytes()
    rows, cols = struct.unpack("<II", raw[:8])
    values = np.frombuffer(raw[8:], dtype)
    assert values.size == rows * cols
    return values.reshape(rows, cols)


def write_vecs(path: Path, values: np.ndarray) -> None:
    with open(path, "wb") as file:
        file.writelines(struct.pack("<i", len(row)) + row.tobytes() for row in values)


def nearest(base: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances in float64; ties go to the smaller id."""
    square = ((queries[:, None, :].astype(float) - base[None, :, :]) ** 2).sum(axis=2)
    ids = np.argsort(square, axis=1, kind="stable")[:, :k]
    return ids, np.take_along_axis(square, ids, axis=1)


class Data(NamedTuple):
    folder: Path
    base: np.ndarray
    queries: np.ndarray
    truth: np.ndarray  # QUERIES x 100
    scores: np.ndarray

    def path(self, name: str) -> Path:
        return self.folder / name


def clustered(*counts: int) -> list[np.ndarray]:
    """Rows of small whole numbers around the same centres: distances are exact in float32."""
    rng = np.random.default_rng(7)
    centers = rng.integers(0, 200, (40, DIM))

    def sample(count: int) -> np.ndarray:
        noise = rng.integers(0, 50, (count, DIM))
        return (centers[rng.integers(0, 40, count)] + noise).astype(np.float32)

    return [sample(count) for count in counts]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("cli")
    base, queries = clustered(ROWS, QUERIES)
    truth, scores = nearest(base, queries, 100)
    write_bin(folder / "base.fbin", base)
    write_bin(folder / "queries.fbin", queries)
    write_bin(folder / "truth.ibin", truth.astype(np.int32))
    write_bin(folder / "narrow.fbin", queries[:, :7])
    return Data(folder, base, queries, truth, scores)


@pytest.fixture(scope="module")
def index(data: Data) -> Path:
    """An IVF index with a re-rank store; tests that change it copy it."""
    path = data.path("x.nc")
    run("build", data.path("base.fbin"), "-k", "IVF32,SQ8,RFlat", "-o", path)
    return path


def recall(found: np.ndarray, truth: np.ndarray, k: int) -> float:
    hits = sum(len(set(f[:k]) & set(t[:k])) for f, t in zip(found, truth, strict=True))
    return hits / (len(truth) * k)


# -- info -----------------------------------------------------------------------------------------


def test_info_names_machine_and_choice() -> None:
    info = run_json("info")
    assert re.fullmatch(r"\d+\.\d+\.\d+", info["version"])
    assert info["instruction_set"] in info["instruction_sets"]
    assert info["executor"] in ("openmp", "std")
    assert info["threads"] >= 1
    assert run_json("info", "--threads", 1)["threads"] == 1


def test_instruction_set_can_be_forced() -> None:
    for name in run_json("info")["instruction_sets"]:
        done = run("info", "--json", env={**os.environ, "NEARCELL_ISA": name})
        assert json.loads(done.stdout)["instruction_set"] == name
    done = run("info", code=UNSUPPORTED, env={**os.environ, "NEARCELL_ISA": "mmx"})
    assert "mmx" in done.stderr


def test_info_of_vector_file(data: Data) -> None:
    info = run_json("info", data.path("base.fbin"))
    assert (info["format"], info["element"]) == ("fbin", "float32")
    assert (info["rows"], info["cols"]) == (ROWS, DIM)


def test_info_of_index(data: Data, index: Path) -> None:
    info = run_json("info", index)
    assert info["kind"] == "index" and info["checksums"] == "ok"
    assert (info["rows"], info["dim"], info["cells"]) == (ROWS, DIM, 32)
    assert info["bytes"] == index.stat().st_size
    assert sum(section["bytes"] for section in info["sections"]) < info["bytes"]


def test_info_for_people_is_aligned(index: Path) -> None:
    lines = run("info", index).stdout.splitlines()
    facts = lines[: lines.index("")]
    assert all(line[:2].strip() for line in facts)
    starts = {re.match(r"\S+( \S+)*  +", line).end() for line in facts}  # type: ignore[union-attr]
    assert len(starts) == 1


# -- convert --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.fvecs", "x.npy", "x.hdf5", "x.raw"])
def test_convert_and_back(data: Data, tmp_path: Path, name: str) -> None:
    report = run_json("convert", data.path("base.fbin"), tmp_path / name)
    assert (report["rows"], report["cols"]) == (ROWS, DIM)
    raw = ["--raw-cols", DIM] if name == "x.raw" else []
    run("convert", tmp_path / name, tmp_path / "back.fbin", *raw)
    assert (tmp_path / "back.fbin").read_bytes() == data.path("base.fbin").read_bytes()


def test_convert_writes_what_numpy_reads(data: Data, tmp_path: Path) -> None:
    run("convert", data.path("base.fbin"), tmp_path / "x.npy", "--limit", 10)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), data.base[:10])
    run("convert", data.path("base.fbin"), tmp_path / "h.npy", "--type", "float16")
    half = np.load(tmp_path / "h.npy")
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, data.base.astype(np.float16))


def test_convert_whole_numbers_to_bytes(data: Data, tmp_path: Path) -> None:
    run("convert", data.path("base.fbin"), tmp_path / "x.u8bin")
    np.testing.assert_array_equal(read_bin(tmp_path / "x.u8bin", "u1"), data.base)


def test_convert_refuses_to_lose_fractions(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([[1, 2], [3, 4.5]], np.float32))
    for name in ("x.u8bin", "x.i8bin", "x.ivecs"):
        done = run("convert", tmp_path / "x.npy", tmp_path / name, code=BAD_INPUT)
        assert "4.5" in done.stderr and "row 1, column 1" in done.stderr
        assert not (tmp_path / name).exists()


def test_convert_ids(data: Data, tmp_path: Path) -> None:
    run("convert", data.path("truth.ibin"), tmp_path / "t.ivecs")
    run("convert", tmp_path / "t.ivecs", tmp_path / "t.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "t.npy"), data.truth)
    run("convert", tmp_path / "t.npy", tmp_path / "t.fbin")
    np.testing.assert_array_equal(read_bin(tmp_path / "t.fbin", "<f4"), data.truth)


def test_convert_by_named_formats(data: Data, tmp_path: Path) -> None:
    run("convert", data.path("base.fbin"), tmp_path / "x.dat", "--to", "fvecs")
    expected = tmp_path / "expected.fvecs"
    write_vecs(expected, data.base)
    assert (tmp_path / "x.dat").read_bytes() == expected.read_bytes()
    run("convert", data.path("base.fbin"), tmp_path / "x.abc", code=BAD_INPUT)
    run("convert", data.path("base.fbin"), tmp_path / "x.npy", "--to", "abc", code=BAD_INPUT)
    wrong = ["--to", "fvecs", "--type", "uint8"]
    run("convert", data.path("base.fbin"), tmp_path / "x.dat", *wrong, code=BAD_INPUT)


# -- truth ----------------------------------------------------------------------------------------


def test_truth_is_numpys(data: Data, tmp_path: Path) -> None:
    ids, scores = tmp_path / "t.ibin", tmp_path / "t.fbin"
    words = ["truth", data.path("base.fbin"), data.path("queries.fbin"), "-n", 100]
    report = run_json(*words, "-o", ids, "--scores", scores)
    assert (report["queries"], report["k"], report["base_rows"]) == (QUERIES, 100, ROWS)
    np.testing.assert_array_equal(read_bin(ids, "<i4"), data.truth)
    np.testing.assert_allclose(read_bin(scores, "<f4"), data.scores, rtol=1e-6)


def test_truth_of_every_metric(data: Data, tmp_path: Path) -> None:
    base, queries = data.base.astype(float), data.queries.astype(float)
    dots = queries @ base.T
    norms = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(base, axis=1)
    expected = {
        "ip": np.sort(dots, axis=1)[:, ::-1],
        "cosine": np.sort(dots / norms, axis=1)[:, ::-1],
        "l1": np.sort(np.abs(queries[:, None] - base[None]).sum(axis=2), axis=1),
    }
    for metric, scores in expected.items():
        words = ["truth", data.path("base.fbin"), data.path("queries.fbin"), "-n", 10]
        files = ["-o", tmp_path / "t.ibin", "--scores", tmp_path / "t.fbin"]
        run(*words, *files, "--metric", metric)
        np.testing.assert_allclose(read_bin(tmp_path / "t.fbin", "<f4"), scores[:, :10], rtol=1e-5)


def test_truth_pads_with_minus_one(data: Data, tmp_path: Path) -> None:
    run("convert", data.path("base.fbin"), tmp_path / "few.fbin", "--limit", 3)
    out = tmp_path / "t.ibin"
    run("truth", tmp_path / "few.fbin", data.path("queries.fbin"), "-n", 5, "-o", out)
    ids = read_bin(out, "<i4")
    assert (ids[:, 3:] == -1).all() and (np.sort(ids[:, :3], axis=1) == [0, 1, 2]).all()


# -- reduce ---------------------------------------------------------------------------------------


def test_reduce_is_numpys_pca(data: Data, tmp_path: Path) -> None:
    out, saved = tmp_path / "r.npy", tmp_path / "pca.nc"
    report = run_json("reduce", data.path("base.fbin"), "--pca", 5, "-o", out, "--save", saved)
    reduced = np.load(out)
    centered = data.base.astype(float) - data.base.astype(float).mean(axis=0)
    values, vectors = np.linalg.eigh(centered.T @ centered)
    expected = centered @ vectors[:, ::-1][:, :5]
    np.testing.assert_allclose(np.abs(reduced), np.abs(expected), atol=2e-2)
    share = values[::-1][:5].sum() / values.sum()
    assert report["variance_kept"] == pytest.approx(share, rel=1e-4)

    again = tmp_path / "again.npy"
    run("reduce", data.path("base.fbin"), "--apply", saved, "-o", again)
    np.testing.assert_array_equal(np.load(again), reduced)
    info = run_json("info", saved)
    assert (info["kind"], info["dim"], info["components"]) == ("pca", DIM, 5)


def test_reduce_whitens(data: Data, tmp_path: Path) -> None:
    out = tmp_path / "w.npy"
    run("reduce", data.path("base.fbin"), "--pca", 6, "--whiten", "-o", out)
    np.testing.assert_allclose(np.cov(np.load(out).T), np.eye(6), atol=2e-2)


def test_reduce_refuses(data: Data, index: Path, tmp_path: Path) -> None:
    base, out = data.path("base.fbin"), tmp_path / "r.npy"
    assert str(DIM) in run("reduce", base, "--pca", 17, "-o", out, code=BAD_INPUT).stderr
    run("reduce", base, "--pca", 0, "-o", out, code=BAD_INPUT)
    run("reduce", base, "-o", out, code=USAGE)
    run("reduce", base, "--pca", 3, "--apply", "x.nc", "-o", out, code=USAGE)
    assert "index" in run("reduce", base, "--apply", index, "-o", out, code=BAD_INPUT).stderr
    saved = tmp_path / "pca.nc"
    run("reduce", base, "--pca", 3, "-o", out, "--save", saved)
    narrow = data.path("narrow.fbin")
    assert "7" in run("reduce", narrow, "--apply", saved, "-o", out, code=BAD_INPUT).stderr


# -- build and search -----------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["ibin", "ivecs", "npy"])
def test_exact_search_is_numpys(data: Data, tmp_path: Path, suffix: str) -> None:
    flat, out = tmp_path / "flat.nc", tmp_path / f"out.{suffix}"
    report = run_json("build", data.path("base.fbin"), "-k", "Flat", "-o", flat)
    assert (report["rows"], report["dim"], report["spec"]) == (ROWS, DIM, "Flat")
    run("search", flat, data.path("queries.fbin"), "-n", 100, "-o", out)
    run("convert", out, tmp_path / "plain.ibin")
    np.testing.assert_array_equal(read_bin(tmp_path / "plain.ibin", "<i4"), data.truth)


def test_search_is_the_same_in_batches_and_mapped(data: Data, index: Path, tmp_path: Path) -> None:
    def search(name: str, *words: object) -> bytes:
        files = ["-o", tmp_path / f"{name}.ibin", "--scores", tmp_path / f"{name}.fbin"]
        run("search", index, data.path("queries.fbin"), "--probes", 8, *files, *words)
        return (tmp_path / f"{name}.ibin").read_bytes() + (tmp_path / f"{name}.fbin").read_bytes()

    whole = search("whole")
    assert search("batches", "--batch", 7) == whole
    assert search("mapped", "--mmap") == whole
    assert search("serial", "--threads", 1) == whole


def test_search_reports_recall_that_numpy_confirms(data: Data, index: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.ibin"
    words = ["search", index, data.path("queries.fbin"), "-n", 10, "-o", out]
    report = run_json(*words, "--probes", 32, "--rerank", 100)
    assert (report["queries"], report["probes"], report["missing"]) == (QUERIES, 32, 0)
    assert recall(read_bin(out, "<i4"), data.truth, 10) >= 0.99
    assert report["queries_per_second"] > 0
    assert report["scanned_per_query"] == ROWS
    cut = run_json(*words, "--probes", 32, "--rerank", 100, "--cutoff", 0.3)
    assert cut["scanned_per_query"] < 0.9 * ROWS
    wide = run_json(*words, "--probes", 32, "--rerank", 100, "--cutoff", 1e6)
    assert wide["scanned_per_query"] == ROWS
    assert "cutoff = -1" in run(*words, "--cutoff=-1", code=BAD_INPUT).stderr


def test_filter_and_padding(data: Data, index: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.ibin"
    words = ["search", index, data.path("queries.fbin"), "--probes", 32, "-o", out]
    run(*words, "-n", 10, "--filter-range", "1000:2000", "--rerank", 200)
    found = read_bin(out, "<i4")
    assert ((found >= 1000) & (found < 2000)).all()
    expected = nearest(data.base[1000:2000], data.queries, 10)[0] + 1000
    assert recall(found, expected, 10) >= 0.99

    report = run_json(*words, "-n", 10, "--filter-range", f"{ROWS - 4}:")
    found = read_bin(out, "<i4")
    assert (found[:, 4:] == -1).all() and (found[:, :4] >= ROWS - 4).all()
    assert report["missing"] == 6 * QUERIES
    for text in ("5", "a:b", "9:5", "-3:5"):
        assert text in run(*words, f"--filter-range={text}", code=BAD_INPUT).stderr


def test_build_is_repeatable(data: Data, index: Path, tmp_path: Path) -> None:
    again, other = tmp_path / "again.nc", tmp_path / "other.nc"
    words = ["build", data.path("base.fbin"), "-k", "IVF32,SQ8,RFlat"]
    run(*words, "-o", again, "--threads", 1)
    assert again.read_bytes() == index.read_bytes()
    run(*words, "-o", other, "--seed", 99)
    assert other.read_bytes() != index.read_bytes()


def test_build_on_a_sample(data: Data, tmp_path: Path) -> None:
    words = ["build", data.path("base.fbin"), "-k", "IVF8,Flat", "-o", tmp_path / "x.nc"]
    report = run_json(*words, "--train-rows", 500)
    assert (report["train_rows"], report["rows"]) == (500, ROWS)


def test_build_with_tuning(data: Data, tmp_path: Path) -> None:
    path = tmp_path / "x.nc"
    words = ["build", data.path("base.fbin"), "-k", "IVF32,SQ8,RFlat", "-o", path]
    truth = ["--queries", data.path("queries.fbin"), "--truth", data.path("truth.ibin")]
    report = run_json(*words, "--tune-recall", 0.9, *truth)
    assert report["reached"] and report["recall"] >= 0.9
    info = run_json("info", path)
    assert info["default_probes"] == report["probes"]
    run(*words, "--tune-recall", 1.5, *truth, code=BAD_INPUT)


@pytest.mark.parametrize("spec", ["PCA8,IVF16,PQ4", "OPQ4_8,IVF16,PQ4x4fs,RFlat", "IVF16,RaBitQ4"])
def test_other_specs(data: Data, tmp_path: Path, spec: str) -> None:
    path, out = tmp_path / "x.nc", tmp_path / "out.ibin"
    report = run_json("build", data.path("base.fbin"), "-k", spec, "-o", path)
    assert report["rows"] == ROWS
    run("verify", path)
    run("search", path, data.path("queries.fbin"), "-n", 10, "--probes", 16, "-o", out)
    assert recall(read_bin(out, "<i4"), data.truth, 10) > 0.1


# -- eval and tune --------------------------------------------------------------------------------


def test_eval_counts_what_numpy_counts(data: Data, index: Path, tmp_path: Path) -> None:
    truth = ["--queries", data.path("queries.fbin"), "--truth", data.path("truth.ibin")]
    report = run_json("eval", index, *truth, "-n", 100, "--probes", 2, "--rerank", 100)
    (point,) = report["points"]
    out = tmp_path / "out.ibin"
    words = ["search", index, data.path("queries.fbin"), "-o", out, "-n", 100]
    run(*words, "--probes", 2, "--rerank", 100)
    found = read_bin(out, "<i4")
    for k in (1, 10, 100):
        assert point[f"recall@{k}"] == pytest.approx(recall(found, data.truth, k), abs=1e-9)


def test_sweep_ends_at_the_best_recall(data: Data, index: Path, tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"
    truth = ["--queries", data.path("queries.fbin"), "--truth", data.path("truth.ibin")]
    report = run_json("eval", index, *truth, "--sweep", "--plot", plot)
    points = report["points"]
    assert max(point["recall@10"] for point in points) >= 0.99
    assert any(point["pareto"] for point in points)
    assert points[0]["probes"] == 1
    assert plot.read_text().rstrip().endswith("</svg>")
    assert plot.read_text().count("<circle") == len(points)
    table = run("eval", index, *truth, "--sweep").stdout
    assert "recall@10" in table and "*" in table


def test_png_needs_a_converter(data: Data, index: Path, tmp_path: Path) -> None:
    truth = ["--queries", data.path("queries.fbin"), "--truth", data.path("truth.ibin")]
    words = ["eval", index, *truth, "--plot", tmp_path / "plot.png"]
    bare = {**os.environ, "PATH": str(tmp_path)}
    assert "librsvg2-bin" in run(*words, code=UNSUPPORTED, env=bare).stderr
    stub = tmp_path / "rsvg-convert"
    stub.write_text('#!/bin/sh\nprintf \'made of %s\' "$4" > "$3"\n')
    stub.chmod(0o755)
    run(*words, env={**os.environ, "PATH": str(tmp_path)})
    assert (tmp_path / "plot.png").read_text().endswith("plot.svg")
    run("eval", index, *truth, "--plot", tmp_path / "plot.gif", code=BAD_INPUT)


def test_tune_keeps_what_it_found(data: Data, index: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.nc"
    path.write_bytes(index.read_bytes())
    truth = ["--queries", data.path("queries.fbin"), "--truth", data.path("truth.ibin")]
    report = run_json("tune", path, *truth, "--recall", 0.8)
    assert report["reached"] and report["recall"] >= 0.8
    info = run_json("info", path)
    assert info["default_probes"] == report["probes"]
    (point,) = run_json("eval", path, *truth)["points"]
    assert point["probes"] == report["probes"]
    assert point["recall@10"] == pytest.approx(report["recall"], abs=1e-9)


def test_tune_says_when_nothing_reaches(data: Data, tmp_path: Path) -> None:
    path = tmp_path / "x.nc"
    run("build", data.path("base.fbin"), "-k", "IVF8,PQ1", "-o", path)
    truth = ["--queries", data.path("queries.fbin"), "--truth", data.path("truth.ibin")]
    report = run_json("tune", path, *truth, "--recall", 1.0)
    assert report["reached"] is False and report["warnings"]
    assert "RFlat" in run("tune", path, *truth, "--recall", 1.0).stderr


# -- verify ---------------------------------------------------------------------------------------


def test_verify_finds_every_flipped_byte_tried(data: Data, index: Path, tmp_path: Path) -> None:
    assert run_json("verify", index, data.path("base.fbin"))["ok"] is True
    whole = index.read_bytes()
    rng = np.random.default_rng(3)
    bad = tmp_path / "bad.nc"
    places = run_json("info", index)["sections"]
    used = 64 + sum(section["bytes"] for section in places)
    assert used > 1000
    for position in [0, 9, 70, *rng.integers(0, len(whole), 40)]:
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        bad.write_bytes(damaged)
        run("verify", bad, code=CORRUPT)
    bad.write_bytes(whole[:-1])
    run("verify", bad, code=CORRUPT)


def test_verify_checks_all_and_fails_with_the_first(
    data: Data, index: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.fbin"
    bad.write_bytes(data.path("base.fbin").read_bytes()[:-4])
    report = run_json("verify", index, bad, tmp_path / "none.nc", code=CORRUPT)
    assert [file["state"] for file in report["files"]] == ["ok", "Corrupt", "NotFound"]
    assert report["ok"] is False


def test_paths_cannot_speak_to_the_terminal(index: Path, tmp_path: Path) -> None:
    name, shown = "é\x1b[31m\n\x9b\u202e.nc", r"é\x1b[31m\x0a\xc2\x9b\xe2\x80\xae.nc"
    path = tmp_path / name
    path.write_bytes(index.read_bytes())
    done = run("verify", path, tmp_path / name / "none", code=NOT_FOUND)
    assert shown in done.stdout and name not in done.stdout
    done = run("info", path)
    assert name not in done.stdout
    done = run("info", tmp_path / ("none" + name), code=NOT_FOUND)
    assert shown in done.stderr and name not in done.stderr
    done = run("info", "--x\x1b[31m", code=USAGE)
    assert r"--x\x1b[31m" in done.stderr and "\x1b" not in done.stderr
    assert run_json("verify", path)["files"][0]["path"] == str(path)


def test_info_describes_damage(index: Path, tmp_path: Path) -> None:
    damaged = bytearray(index.read_bytes())
    damaged[len(damaged) * 3 // 4] ^= 1
    bad = tmp_path / "bad.nc"
    bad.write_bytes(damaged)
    report = run_json("info", bad, code=CORRUPT)
    assert report["kind"] == "index" and report["sections"] and report["damage"]


# -- HDF5 -----------------------------------------------------------------------------------------


def test_hdf5_from_build_to_eval(data: Data, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    path = tmp_path / "base.hdf5"
    with h5py.File(path, "w") as file:
        file["train"], file["test"] = data.base, data.queries
        file["neighbors"] = data.truth.astype(np.int32)
        file["distances"] = np.sqrt(data.scores)
    sets = run_json("info", path)["data_sets"]
    assert sets["train"]["rows"] == ROWS and sets["neighbors"]["cols"] == 100
    index, out = tmp_path / "x.nc", tmp_path / "out.ibin"
    assert run_json("build", path, "-k", "Flat", "-o", index)["rows"] == ROWS
    for queries in (path, f"{path}:test"):
        run("search", index, queries, "-n", 10, "-o", out)
        np.testing.assert_array_equal(read_bin(out, "<i4"), data.truth[:, :10])
    (point,) = run_json("eval", index, "--queries", path, "--truth", path)["points"]
    assert point["recall@10"] == 1.0
    report = run_json("tune", index, "--queries", path, "--truth", path, "--recall", 0.9)
    assert report["reached"]
    run("truth", path, path, "-n", 10, "-o", out)
    np.testing.assert_array_equal(read_bin(out, "<i4"), data.truth[:, :10])
    run("search", index, path, "-n", 10, "-o", tmp_path / "found.hdf5")
    with h5py.File(tmp_path / "found.hdf5") as file:
        np.testing.assert_array_equal(file["neighbors"][:], data.truth[:, :10])
    run("search", index, f"{path}:none", "-n", 10, "-o", out, code=NOT_FOUND)


# -- errors ---------------------------------------------------------------------------------------


def test_usage_errors(data: Data, tmp_path: Path) -> None:
    base, out = data.path("base.fbin"), tmp_path / "x.nc"
    run(code=USAGE)
    run("nonsense", code=USAGE)
    run("build", base, code=USAGE)
    run("build", base, "-k", "Flat", "-o", out, "--metric", "hamming", code=USAGE)
    run("build", base, "-k", "Flat", "-o", out, "--threads", "-1", code=USAGE)
    run("search", "x.nc", "q.fbin", "-n", "many", "-o", "out.ibin", code=USAGE)
    assert run("--help").stdout.count("Exit codes") == 1
    assert run("--version").stdout.startswith("nearcell ")


def test_missing_files(data: Data, index: Path, tmp_path: Path) -> None:
    none, out = tmp_path / "none.fbin", tmp_path / "out.ibin"
    queries = data.path("queries.fbin")
    error = run_json("build", none, "-k", "Flat", "-o", tmp_path / "x.nc", code=NOT_FOUND)["error"]
    assert error["code"] == "NotFound" and error["exit_code"] == NOT_FOUND
    assert "none.fbin" in error["message"]
    run("search", tmp_path / "none.nc", queries, "-o", out, code=NOT_FOUND)
    run("search", index, none, "-o", out, code=NOT_FOUND)
    run("truth", none, queries, "-o", out, code=NOT_FOUND)
    run("info", none, code=NOT_FOUND)
    run("verify", none, code=NOT_FOUND)
    run("convert", none, tmp_path / "x.npy", code=NOT_FOUND)
    run("reduce", none, "--pca", 2, "-o", tmp_path / "x.npy", code=NOT_FOUND)
    files = ["--queries", queries, "--truth", none]
    run("eval", index, *files, code=NOT_FOUND)
    run("tune", index, *files, "--recall", 0.9, code=NOT_FOUND)
    assert not out.exists()


def test_corrupt_files(data: Data, index: Path, tmp_path: Path) -> None:
    bad, out = tmp_path / "bad.nc", tmp_path / "out.ibin"
    damaged = bytearray(index.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    bad.write_bytes(damaged)
    done = run("search", bad, data.path("queries.fbin"), "-o", out, code=CORRUPT)
    assert len(done.stderr.splitlines()) == 1
    bad.write_bytes(b"not one of ours" * 100)
    run("search", bad, data.path("queries.fbin"), "-o", out, code=CORRUPT)
    short = tmp_path / "short.fbin"
    short.write_bytes(data.path("base.fbin").read_bytes()[:1000])
    run("build", short, "-k", "Flat", "-o", tmp_path / "x.nc", code=CORRUPT)
    assert not out.exists() and not (tmp_path / "x.nc").exists()


def test_files_of_another_kind(data: Data, index: Path, tmp_path: Path) -> None:
    base, pca, raw = data.path("base.fbin"), tmp_path / "p.nc", tmp_path / "b.raw"
    run("reduce", base, "--pca", 3, "-o", tmp_path / "r.npy", "--save", pca)
    for words, path in (
        (["search", pca, base, "-o", tmp_path / "o.npy"], pca),
        (["reduce", base, "--apply", index, "-o", tmp_path / "o.npy"], index),
    ):
        message = run(*words, code=BAD_INPUT).stderr
        assert str(path) in message and "kind" in message
    raw.write_bytes(bytes(64))
    message = run("convert", raw, tmp_path / "o.npy", code=BAD_INPUT).stderr
    assert "--raw-cols" in message and str(raw) in message


def test_bad_specs(data: Data, tmp_path: Path) -> None:
    for spec, token in (("IVF32,Flatt", "Flatt"), ("Quux", "Quux"), ("", "")):
        words = ["build", data.path("base.fbin"), "-k", spec, "-o", tmp_path / "x.nc"]
        assert token in run(*words, code=BAD_INPUT).stderr
    assert not (tmp_path / "x.nc").exists()


def test_wrong_dimension(data: Data, index: Path, tmp_path: Path) -> None:
    narrow, out = data.path("narrow.fbin"), tmp_path / "out.ibin"
    files = ["--queries", narrow, "--truth", data.path("truth.ibin")]
    for words in (
        ["search", index, narrow, "-o", out],
        ["truth", data.path("base.fbin"), narrow, "-o", out],
        ["eval", index, *files],
        ["tune", index, *files, "--recall", 0.9],
    ):
        message = run(*words, code=BAD_INPUT).stderr
        assert "7" in message and "16" in message
    assert not out.exists()


def test_no_neighbours_wanted(data: Data, index: Path, tmp_path: Path) -> None:
    queries, out = data.path("queries.fbin"), tmp_path / "out.ibin"
    files = ["--queries", queries, "--truth", data.path("truth.ibin")]
    for words in (
        ["search", index, queries, "-o", out],
        ["truth", data.path("base.fbin"), queries, "-o", out],
        ["eval", index, *files],
        ["tune", index, *files, "--recall", 0.9],
    ):
        assert re.search(r"\b0\b", run(*words, "-n", 0, code=BAD_INPUT).stderr)
    assert not out.exists()


def test_truth_that_does_not_fit(data: Data, index: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.ibin"
    write_bin(short, data.truth[:10].astype(np.int32))
    words = ["eval", index, "--queries", data.path("queries.fbin"), "--truth"]
    assert "10 rows" in run(*words, short, code=BAD_INPUT).stderr
    assert "100" in run(*words, data.path("truth.ibin"), "-n", 101, code=BAD_INPUT).stderr


def test_non_finite_values(data: Data, index: Path, tmp_path: Path) -> None:
    bad = data.queries.copy()
    bad[3, 5] = np.nan
    path, out = tmp_path / "nan.fbin", tmp_path / "out.ibin"
    write_bin(path, bad)
    base, x = data.path("base.fbin"), tmp_path / "x.nc"
    files = ["--queries", path, "--truth", data.path("truth.ibin")]
    for words in (
        ["search", index, path, "-o", out],
        ["truth", base, path, "-o", out],
        ["truth", path, data.path("queries.fbin"), "-o", out],
        ["build", path, "-k", "Flat", "-o", x],
        ["build", base, "-k", "Flat", "-o", x, "--tune-recall", 0.5, "--queries", path],
        ["reduce", path, "--pca", 2, "-o", tmp_path / "x.npy"],
        ["eval", index, *files],
        ["tune", index, *files, "--recall", 0.9],
        ["verify", path],
    ):
        done = run(*words, code=BAD_INPUT)
        assert f"{path}[3, 5]" in done.stdout + done.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == ["nan.fbin"]


def test_outputs_that_cannot_be_written(data: Data, index: Path, tmp_path: Path) -> None:
    base, queries = data.path("base.fbin"), data.path("queries.fbin")
    nowhere = tmp_path / "nowhere"
    run("build", base, "-k", "Flat", "-o", nowhere / "x.nc", code=IO)
    run("build", base, "-k", "Flat", "-o", tmp_path, code=IO)
    run("search", index, queries, "-o", nowhere / "out.ibin", code=IO)
    run("search", index, queries, "-o", tmp_path / "out.txt", code=BAD_INPUT)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_keeps_the_old_file(data: Data, tmp_path: Path) -> None:
    out = tmp_path / "x.nc"
    out.write_bytes(b"precious")
    command = f"ulimit -f 20; exec '{CLI}' build '{data.path('base.fbin')}' -k Flat -o '{out}'"
    done = subprocess.run(
        ["sh", "-c", command], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == IO, done.stderr
    assert out.read_bytes() == b"precious"
    assert [file.name for file in tmp_path.iterdir()] == ["x.nc"]


# -- output conventions ---------------------------------------------------------------------------


def test_quiet_prints_nothing(data: Data, index: Path, tmp_path: Path) -> None:
    truth = ["--queries", data.path("queries.fbin"), "--truth", data.path("truth.ibin")]
    for words in (
        ["info"],
        ["info", index],
        ["convert", data.path("base.fbin"), tmp_path / "x.npy"],
        ["search", index, data.path("queries.fbin"), "-o", tmp_path / "o.ibin"],
        ["eval", index, *truth],
        ["verify", index],
        ["bench", "kernels", "--op", "ip_f32", "--dim", 8],
    ):
        done = run(*words, "--quiet")
        assert done.stdout == "" and done.stderr == ""


def test_no_bar_without_a_terminal(data: Data, tmp_path: Path) -> None:
    done = run("build", data.path("base.fbin"), "-k", "IVF64,PQ8", "-o", tmp_path / "x.nc")
    assert done.stderr == ""


def test_bar_and_interrupt_on_a_terminal(tmp_path: Path) -> None:
    """A scan of minutes: the bar appears, Ctrl-C ends it, nothing is left behind."""
    rng = np.random.default_rng(1)
    write_bin(tmp_path / "b.fbin", rng.random((120_000, 128), np.float32))
    write_bin(tmp_path / "q.fbin", rng.random((100_000, 128), np.float32))
    words = [CLI, "truth", tmp_path / "b.fbin", tmp_path / "q.fbin", "-o", tmp_path / "out.ibin"]
    main, terminal = pty.openpty()
    child = subprocess.Popen(
        [*map(str, words), "--threads", "1"],
        stdout=subprocess.PIPE,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(terminal)
    seen = b""
    limit = time.monotonic() + 60
    os.set_blocking(main, False)
    while b"left" not in seen and time.monotonic() < limit and child.poll() is None:
        time.sleep(0.1)
        try:
            seen += os.read(main, 65536)
        except BlockingIOError:
            continue
    child.send_signal(signal.SIGINT)
    try:
        code = child.wait(timeout=60)
    finally:
        child.kill()
    os.close(main)
    assert re.search(rb"\[[#.]+\] +\d+%.*/s.*left", seen), seen
    assert code == CANCELLED
    assert sorted(file.name for file in tmp_path.iterdir()) == ["b.fbin", "q.fbin"]


def test_interrupt_keeps_the_old_index(data: Data, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    write_bin(tmp_path / "b.fbin", rng.random((100_000, 96), np.float32))
    out = tmp_path / "x.nc"
    out.write_bytes(b"precious")
    words = ["build", tmp_path / "b.fbin", "-k", "IVF2048,PQ48", "-o", out, "--threads", "1"]
    child = subprocess.Popen(
        [str(CLI), *map(str, words), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    time.sleep(1.5)
    assert child.poll() is None, "the build ended before it could be interrupted"
    child.send_signal(signal.SIGINT)
    stdout, _ = child.communicate(timeout=60)
    assert child.returncode == CANCELLED
    assert json.loads(stdout)["error"]["code"] == "Cancelled"
    assert out.read_bytes() == b"precious"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["b.fbin", "x.nc"]
