"""nearcell extract, as a user drives it: pictures in, features and names out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import nearcell
import numpy as np
import pytest
from picture_case import bmp, pattern, write_random_weights
from support import ROOT
from test_cli import (
    BAD_INPUT,
    CANCELLED,
    CLI,
    CORRUPT,
    IO,
    NOT_FOUND,
    OK,
    USAGE,
    pytestmark,
    read_bin,
)

__all__ = ["pytestmark"]
COUNT = 20
SHARED = ROOT.parent / "shared" / "data"
TRAINED = SHARED / "effnet-lite0" / "model.safetensors"
needs_shared = pytest.mark.skipif(not TRAINED.exists(), reason=f"{TRAINED} is not there")


def run(*words: object, code: int = OK) -> subprocess.CompletedProcess[str]:
    """As test_cli's, but names of pictures may be any bytes."""
    done = subprocess.run(
        [str(CLI), *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=120,
    )
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def run_json(*words: object, code: int = OK) -> dict[str, Any]:
    result = json.loads(run(*words, "--json", code=code).stdout)
    assert isinstance(result, dict)
    return result


class Data(NamedTuple):
    folder: Path
    pictures: Path  # 00.bmp to 19.bmp
    weights: Path

    def path(self, number: int) -> Path:
        return self.pictures / f"{number:02d}.bmp"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    folder = tmp_path_factory.mktemp("images")
    made = Data(folder, folder / "pictures", folder / "random.safetensors")
    made.pictures.mkdir()
    for number in range(COUNT):
        made.path(number).write_bytes(bmp(pattern(number)))
    write_random_weights(made.weights)
    return made


def extract(data: Data, *words: object, code: int = OK) -> dict[str, Any]:
    return run_json("extract", *words, "--weights", data.weights, code=code)


def names_of(path: Path) -> list[bytes]:
    text = path.read_bytes()
    assert text.endswith(b"\n")
    return text[:-1].split(b"\n")


def files_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


# -- extract --------------------------------------------------------------------------------------


def test_names_are_in_the_order_of_the_rows(data: Data, tmp_path: Path) -> None:
    out = tmp_path / "feats.npy"
    report = extract(data, data.pictures, "-o", out)
    assert (report["pictures"], report["rows"], report["skipped"]) == (COUNT, COUNT, [])
    assert (report["dim"], report["layer"]) == (1280, "pool")
    assert report["names"] == str(tmp_path / "feats.names.txt")
    features = np.load(out)
    assert features.shape == (COUNT, 1280) and features.dtype == np.float32
    assert names_of(tmp_path / "feats.names.txt") == [
        os.fsencode(data.path(number)) for number in range(COUNT)
    ]
    same, names, _ = nearcell.extract(data.pictures, weights=data.weights)
    assert names == [str(data.path(number)) for number in range(COUNT)]
    np.testing.assert_array_equal(features, same)

    order = [7, 3, 11]
    listed = tmp_path / "some.txt"
    listed.write_text("".join(f"{data.path(number)}\n" for number in order))
    extract(data, listed, data.path(5), data.pictures / "1[12].bmp", "-o", out)
    np.testing.assert_array_equal(np.load(out), features[[7, 3, 11, 5, 11, 12]])
    assert names_of(tmp_path / "feats.names.txt")[0] == os.fsencode(data.path(7))


def test_formats_hold_the_same(data: Data, tmp_path: Path) -> None:
    few = data.pictures / "0*.bmp"
    extract(data, few, "-o", tmp_path / "x.npy")
    features = np.load(tmp_path / "x.npy")
    extract(data, few, "-o", tmp_path / "x.fbin", "--threads", 1)
    np.testing.assert_array_equal(read_bin(tmp_path / "x.fbin", "<f4"), features)
    extract(data, few, "-o", tmp_path / "x.fvecs", "--normalize")
    run("convert", tmp_path / "x.fvecs", tmp_path / "unit.npy")
    unit = np.load(tmp_path / "unit.npy")
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-5)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, features / norms, atol=1e-6)
    before = files_in(tmp_path)
    for name in ("y.hdf5", "y.u8bin", "y.txt", "y"):
        extract(data, few, "-o", tmp_path / name, code=BAD_INPUT)
    extract(data, few, "-o", tmp_path / "none" / "y.npy", code=IO)
    assert files_in(tmp_path) == before


def test_noise_reduction_and_layer_change_features(data: Data, tmp_path: Path) -> None:
    one, out = data.path(3), tmp_path / "x.npy"
    extract(data, one, "-o", out)
    plain = np.load(out)
    extract(data, one, "-o", out, "--denoise", "median")
    median = np.load(out)
    extract(data, one, "-o", out, "--denoise", "gaussian", "--sigma", 2)
    blurred = np.load(out)
    assert (plain != median).any() and (plain != blurred).any() and (median != blurred).any()
    assert extract(data, one, "-o", out, "--tap", "stem")["dim"] == 112 * 112 * 32
    for words in (
        ["--sigma", 2],
        ["--denoise", "median", "--sigma", 2],
        ["--denoise", "gaussian", "--sigma", 0],
        ["--tap", "nowhere"],
    ):
        extract(data, one, "-o", out, *words, code=BAD_INPUT)
    for words in (["--denoise", "sharpen"], ["-m", "alexnet"]):
        run("extract", one, "--weights", data.weights, "-o", out, *words, code=USAGE)
    extract(data, "nowhere", "-o", out, code=NOT_FOUND)
    run("extract", one, "--weights", "nowhere", "-o", out, code=NOT_FOUND)
    run("extract", one, "--weights", one, "-o", out, code=CORRUPT)
    run("extract", one, "-m", "resnet18", "--weights", data.weights, "-o", out, code=NOT_FOUND)


def test_broken_pictures_are_named_and_counted(data: Data, tmp_path: Path) -> None:
    folder, out = tmp_path / "p", tmp_path / "x.npy"
    folder.mkdir()
    whole = bmp(pattern(0))
    for name, content in {
        "a.bmp": b"",
        "b.bmp": whole,
        "c.png": whole[:99],
        "d.bmp": whole,
    }.items():
        (folder / name).write_bytes(content)
    report = extract(data, folder, "-o", out)
    assert (report["pictures"], report["rows"]) == (4, 2)
    assert [Path(one["picture"]).name for one in report["skipped"]] == ["a.bmp", "c.png"]
    assert all(one["picture"] in one["reason"] for one in report["skipped"])
    assert [Path(os.fsdecode(name)).name for name in names_of(tmp_path / "x.names.txt")] == [
        "b.bmp",
        "d.bmp",
    ]
    assert len(np.load(out)) == 2
    words = ["extract", folder, "--weights", data.weights, "-o", tmp_path / "y.npy"]
    done = run(*words)
    assert "a.bmp" in done.stderr and "c.png" in done.stderr and "b.bmp" not in done.stderr
    assert not run(*words, "--quiet").stderr
    (tmp_path / "y.npy").unlink()
    (tmp_path / "y.names.txt").unlink()
    assert "a.bmp" in run(*words, "--strict", code=CORRUPT).stderr
    done = run("extract", folder / "a.bmp", *words[2:], code=CORRUPT)
    assert "none of 1 pictures could be read" in done.stderr
    assert files_in(tmp_path) == ["p", "x.names.txt", "x.npy"]


def test_odd_names(data: Data, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    odd = [b" two  spaces .bmp", b"<b>&amp;'\".bmp", b"caf\xe9.bmp", "ö→.bmp".encode()]
    for name in odd:
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(bmp(pattern(1)))
    report = extract(data, folder, "-o", tmp_path / "x.npy")
    assert report["rows"] == len(odd)
    found = names_of(tmp_path / "x.names.txt")
    assert found == sorted(os.path.join(os.fsencode(folder), name) for name in odd)
    with open(os.path.join(os.fsencode(folder), b"caf\xe9.bmp"), "wb"):
        pass
    report = extract(data, folder, "-o", tmp_path / "x.npy")
    assert "caf\ufffd.bmp" in report["skipped"][0]["picture"]
    (folder / "two\nlines.bmp").write_bytes(bmp(pattern(1)))
    done = run(
        "extract", folder, "--weights", data.weights, "-o", tmp_path / "y.npy", code=BAD_INPUT
    )
    assert "two?lines.bmp" in done.stderr and "line break" in done.stderr
    assert files_in(tmp_path) == ["p", "x.names.txt", "x.npy"]


def test_interrupt_leaves_nothing_behind(data: Data, tmp_path: Path) -> None:
    listed = tmp_path / "many.txt"
    listed.write_text(f"{data.path(0)}\n" * 100_000)  # minutes of work
    words = ["extract", listed, "--weights", data.weights, "-o", tmp_path / "x.npy", "--json"]
    child = subprocess.Popen([str(CLI), *map(str, words)], stdout=subprocess.PIPE)
    while len(files_in(tmp_path)) == 1 and child.poll() is None:
        os.sched_yield()
    child.send_signal(signal.SIGINT)
    stdout, _ = child.communicate(timeout=60)
    assert child.returncode == CANCELLED
    assert json.loads(stdout)["error"]["code"] == "Cancelled"
    assert files_in(tmp_path) == ["many.txt"]


@needs_shared
def test_photographs(tmp_path: Path) -> None:
    out = tmp_path / "x.npy"
    report = run_json("extract", SHARED / "images", "--weights", TRAINED, "-o", out)
    assert [Path(one["picture"]).name for one in report["skipped"]] == [
        "broken-empty.jpg",
        "broken-magic.png",
        "broken-truncated.jpg",
    ]
    features, names, _ = nearcell.extract(SHARED / "images", weights=TRAINED)
    np.testing.assert_array_equal(np.load(out), features)
    assert [os.fsdecode(name) for name in names_of(tmp_path / "x.names.txt")] == names
