"""nearcell extract and images, as a user drives them: pictures in, features or neighbours out."""

from __future__ import annotations

import base64
import json
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
from html.parser import HTMLParser
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
    UNSUPPORTED,
    USAGE,
    pytestmark,
    read_bin,
)

__all__ = ["pytestmark"]
COUNT = 20
SHARED = ROOT.parent / "shared" / "data"
TRAINED = SHARED / "effnet-lite0" / "model.safetensors"
needs_shared = pytest.mark.skipif(not TRAINED.exists(), reason=f"{TRAINED} is not there")


def run(*words: object, code: int = OK, **options: Any) -> subprocess.CompletedProcess[str]:
    """As test_cli's, but names of pictures may be any bytes."""
    done = subprocess.run(
        [str(CLI), *map(str, words)],
        check=False,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=120,
        **options,
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
    assert report["names"] == str(tmp_path / "feats.npy.names.txt")
    features = np.load(out)
    assert features.shape == (COUNT, 1280) and features.dtype == np.float32
    assert names_of(tmp_path / "feats.npy.names.txt") == [
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
    assert names_of(tmp_path / "feats.npy.names.txt")[0] == os.fsencode(data.path(7))


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


def test_files_of_one_stem_have_names_of_their_own(data: Data, tmp_path: Path) -> None:
    extract(data, data.pictures / "0[0-4].bmp", "-o", tmp_path / "x.npy")
    extract(data, data.pictures / "1*.bmp", "-o", tmp_path / "x.fbin")
    images(data, data.pictures, "--pca", 2, "--save-index", tmp_path / "x")
    images(data, data.pictures, "--pca", 3, "--save-index", tmp_path / "x.nc")
    for name, numbers in (("x.npy", range(5)), ("x.fbin", range(10, 20)), ("x.nc", range(COUNT))):
        assert names_of(tmp_path / f"{name}.names.txt") == [
            os.fsencode(data.path(number)) for number in numbers
        ]
    for name, components in (("x", 2), ("x.nc", 3)):
        assert run_json("info", tmp_path / f"{name}.pca.nc")["components"] == components


def test_verify_counts_the_names_of_vectors(data: Data, tmp_path: Path) -> None:
    out, names = tmp_path / "x.npy", tmp_path / "x.npy.names.txt"
    extract(data, data.pictures, "-o", out)
    assert run_json("verify", out)["files"][0]["message"].endswith("20 x 1280, names of all")
    whole = names.read_bytes()
    names.write_bytes(whole[:-1])  # an editor's
    run("verify", out)
    for text, count in ((whole + b"more\n", 21), (whole[: whole.index(b"\n") + 1], 1), (b"", 0)):
        names.write_bytes(text)
        message = run_json("verify", out, code=CORRUPT)["files"][0]["message"]
        assert f"x.npy has 20 rows, but {names} has {count} names" in message
        assert "extract again" in message
    names.unlink()
    assert run_json("verify", out)["files"][0]["message"].endswith("20 x 1280")
    names.mkdir()
    assert "cannot read" in run("verify", out, code=IO).stdout
    long = tmp_path / f"{'x' * 250}.npy"  # its names would have too long a name
    shutil.copy(out, long)
    run("verify", long)


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
    (folder / "remarks.txt").write_text("none")
    report = extract(data, folder, "-o", out)
    assert (report["pictures"], report["rows"], report["other_files"]) == (4, 2, 1)
    assert [Path(one["picture"]).name for one in report["skipped"]] == ["a.bmp", "c.png"]
    assert all(one["picture"] in one["reason"] for one in report["skipped"])
    assert [Path(os.fsdecode(name)).name for name in names_of(tmp_path / "x.npy.names.txt")] == [
        "b.bmp",
        "d.bmp",
    ]
    assert len(np.load(out)) == 2
    words = ["extract", folder, "--weights", data.weights, "-o", tmp_path / "y.npy"]
    done = run(*words)
    assert "a.bmp" in done.stderr and "c.png" in done.stderr and "b.bmp" not in done.stderr
    assert not run(*words, "--quiet").stderr
    (tmp_path / "y.npy").unlink()
    (tmp_path / "y.npy.names.txt").unlink()
    assert "a.bmp" in run(*words, "--strict", code=CORRUPT).stderr
    done = run("extract", folder / "a.bmp", *words[2:], code=CORRUPT)
    assert "none of 1 pictures could be read" in done.stderr
    assert files_in(tmp_path) == ["p", "x.npy", "x.npy.names.txt"]


def test_odd_names(data: Data, tmp_path: Path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    odd = [b" two  spaces .bmp", b"<b>&amp;'\".bmp", b"caf\xe9.bmp", "ö→.bmp".encode()]
    for name in odd:
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(bmp(pattern(1)))
    report = extract(data, folder, "-o", tmp_path / "x.npy")
    assert report["rows"] == len(odd)
    found = names_of(tmp_path / "x.npy.names.txt")
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
    assert files_in(tmp_path) == ["p", "x.npy", "x.npy.names.txt"]


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


def test_a_disk_that_is_full_leaves_nothing_behind(data: Data, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    words = ["extract", data.pictures, "--weights", data.weights, "-o", tmp_path / "x.npy"]
    assert "cannot write" in run(*words, code=IO, preexec_fn=limit).stderr
    assert files_in(tmp_path) == []


def test_weights_are_looked_for(data: Data, tmp_path: Path) -> None:
    words = ["extract", data.path(0), "-o", tmp_path / "x.npy"]
    env = {**os.environ, "NEARCELL_WEIGHTS": str(tmp_path)}
    done = run(*words, code=NOT_FOUND, env=env)
    assert str(tmp_path / "efficientnet-lite0.safetensors") in done.stderr
    # Random weights are not those that are known by that name.
    shutil.copy(data.weights, tmp_path / "efficientnet-lite0.safetensors")
    assert "SHA-256" in run(*words, code=CORRUPT, env=env).stderr
    assert files_in(tmp_path) == ["efficientnet-lite0.safetensors"]
    if TRAINED.exists():
        shutil.copy(TRAINED, tmp_path / "efficientnet-lite0.safetensors")
        run(*words, env=env)
    # They are an input, too.
    before = (tmp_path / "efficientnet-lite0.safetensors").read_bytes()
    page = ["images", data.pictures, "--html", tmp_path / "efficientnet-lite0.safetensors"]
    assert "one file" in run(*page, code=BAD_INPUT, env=env).stderr
    assert before == (tmp_path / "efficientnet-lite0.safetensors").read_bytes()


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
    assert [os.fsdecode(name) for name in names_of(tmp_path / "x.npy.names.txt")] == names


# -- images ---------------------------------------------------------------------------------------


def images(data: Data, *words: object, code: int = OK) -> dict[str, Any]:
    return run_json("images", *words, "--weights", data.weights, code=code)


def cosines(features: np.ndarray) -> np.ndarray:
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    return unit @ unit.T


def found(report: dict[str, Any]) -> list[list[int]]:
    return [[one["id"] for one in asked["neighbors"]] for asked in report["neighbors"]]


def test_pictures_of_the_collection_find_others(data: Data, tmp_path: Path) -> None:
    extract(data, data.pictures, "-o", tmp_path / "x.npy")
    scores = cosines(np.load(tmp_path / "x.npy").astype(float))
    report = images(data, data.pictures, "--sample", 3, "-n", 5)
    assert (report["pictures"], report["rows"], report["queries"]) == (COUNT, COUNT, 3)
    assert (report["spec"], report["metric"]) == ("Flat", "cosine")
    rows = [0, COUNT // 3, 2 * COUNT // 3]
    np.fill_diagonal(scores, -2)
    assert [one["query"] for one in report["neighbors"]] == [str(data.path(row)) for row in rows]
    assert found(report) == np.argsort(-scores[rows], axis=1)[:, :5].tolist()
    for row, asked in zip(rows, report["neighbors"], strict=True):
        for one in asked["neighbors"]:
            assert one["picture"] == str(data.path(one["id"]))
            assert one["score"] == pytest.approx(scores[row, one["id"]], abs=1e-5)
    few = images(data, data.path(0), data.path(1), "-n", 5)
    assert found(few) == [[1], [0]]
    text = run("images", data.pictures, "--weights", data.weights, "-n", 2).stdout
    assert "query" in text and str(data.path(0)) in text


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--metric", "l2"],
        ["--metric", "l1"],
        ["-k", "IVF4,SQ8", "--probes", 4],
        ["--pca", 8, "-k", "IVF4,PQ4x4fs,RFlat", "--probes", 4],
    ],
    ids=lambda words: " ".join(map(str, words)) or "defaults",
)
def test_a_picture_of_the_collection_finds_itself(data: Data, words: list[object]) -> None:
    asked = ["--query", data.path(7), "--query", data.pictures / "1[23].bmp"]
    report = images(data, *asked, data.pictures, *words, "-n", 4)
    assert [ids[0] for ids in found(report)] == [7, 12, 13]
    assert report["queries"] == 3 and report["skipped_queries"] == []
    assert all(len(set(ids)) == 4 for ids in found(report))


class Page(HTMLParser):
    """What a contact sheet shows, and everything that it refers to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.titles: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = {name: value or "" for name, value in attrs}
        assert not {"href", "srcset", "style", "onload", "onerror"} & set(values)
        if "src" in values:
            self.sources.append(values["src"])
        if "title" in values:
            self.titles.append(values["title"])

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_no_other_file(data: Data, tmp_path: Path) -> None:
    folder, out = tmp_path / "p", tmp_path / "out.html"
    folder.mkdir()
    odd = [b"<script>&'\".bmp", b"caf\xe9 1.bmp", "ö→.bmp".encode(), b"tab\t.bmp", b"plain.bmp"]
    for number, name in enumerate(odd):
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(bmp(pattern(number)))
    (folder / "<b>.png").write_bytes(b"")
    report = images(data, folder, "--html", out, "-n", 3)
    assert report["html"] == str(out) and len(report["skipped"]) == 1
    source = out.read_text(encoding="utf-8")
    assert "http" not in source and "url(" not in source and "@import" not in source
    assert "color-scheme: light dark" in source and "prefers-color-scheme: dark" in source
    page = Page(out)
    assert not {"script", "link", "iframe", "b>"} & set(page.tags)
    assert page.tags.count("img") == len(odd) * 4 == len(page.sources)
    for source in page.sources:
        kind, _, content = source.partition(",")
        assert kind == "data:image/jpeg;base64"
        picture = base64.b64decode(content, validate=True)
        assert picture.startswith(b"\xff\xd8") and picture.endswith(b"\xff\xd9")
    assert str(folder / "<script>&'\".bmp") in page.titles
    assert str(folder / "ö→.bmp") in page.titles
    assert str(folder / "caf\ufffd 1.bmp") in page.titles
    assert str(folder / "tab\ufffd.bmp") in page.titles
    assert "among 5 pictures" in page.text and "1 picture could not be read" in page.text
    assert "<b>.png: is empty" in page.text and "Flat" in page.text
    for asked in report["neighbors"]:
        for one in asked["neighbors"]:
            assert f"{one['score']:.3f}" in page.text


def test_the_sheet_as_a_picture(data: Data, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    images(data, data.pictures, "--png", out, "--sample", 2, "-n", 5)
    small = out.read_bytes()
    assert small.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", small[16:24])
    assert width > 6 * 192 and height > 2 * 192
    images(data, data.pictures, "--png", out, "--sample", 2, "-n", 5, "--threads", 1)
    assert out.read_bytes() == small
    # What was written is a picture that can be read.
    assert extract(data, out, "-o", tmp_path / "x.npy")["rows"] == 1
    images(data, data.pictures, "--png", out, "--sample", 2, "-n", 15)
    wide, high = struct.unpack(">II", out.read_bytes()[16:24])
    assert wide > width and high > height  # two lines a query


def test_the_index_is_kept_with_names_and_pca(data: Data, tmp_path: Path) -> None:
    index = tmp_path / "x.nc"
    words = [data.pictures, "--pca", 6, "-k", "IVF2,Flat", "--probes", 2, "-n", 3]
    report = images(data, *words, "--save-index", index, "--query", data.path(4))
    assert files_in(tmp_path) == ["x.nc", "x.nc.names.txt", "x.nc.pca.nc"]
    assert (report["pca_file"], report["names"]) == (
        str(tmp_path / "x.nc.pca.nc"),
        str(tmp_path / "x.nc.names.txt"),
    )
    assert 0 < report["variance_kept"] < 1
    extract(data, data.path(4), "-o", tmp_path / "q.npy")
    run("reduce", tmp_path / "q.npy", "--apply", tmp_path / "x.nc.pca.nc", "-o", tmp_path / "r.npy")
    found_words = ["-n", 3, "--probes", 2, "-o", tmp_path / "found.ibin"]
    run("search", index, tmp_path / "r.npy", *found_words)
    ids = read_bin(tmp_path / "found.ibin", "<i4")[0]
    names = names_of(tmp_path / "x.nc.names.txt")
    assert [names[i].decode() for i in ids] == [
        one["picture"] for one in report["neighbors"][0]["neighbors"]
    ]
    assert run_json("info", index)["rows"] == COUNT
    assert run_json("verify", index)["files"][0]["message"].endswith("vectors, names of all")
    with (tmp_path / "x.nc.names.txt").open("ab") as file:
        file.write(b"more\n")
    message = run_json("verify", index, code=CORRUPT)["files"][0]["message"]
    assert f"x.nc has {COUNT} vectors, but" in message and f"has {COUNT + 1} names" in message
    # What another index leaves there is its own, or nothing.
    images(data, data.pictures, "--save-index", index)
    assert not (tmp_path / "x.nc.pca.nc").exists()
    (tmp_path / "x.nc.pca.nc").write_text("not a PCA")
    images(data, data.pictures, "--save-index", index)
    assert (tmp_path / "x.nc.pca.nc").read_text() == "not a PCA"


def test_a_pca_that_cannot_be_written_changes_nothing(data: Data, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, 90_000))

    index = tmp_path / "x.nc"
    words = ["images", data.pictures, "--weights", data.weights, "--save-index", index, "--pca"]
    run(*words, 3)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(before[tmp_path / "x.nc.pca.nc"]) < 90_000 and len(before[index]) < 90_000
    assert "x.nc.pca.nc: cannot write" in run(*words, 19, code=IO, preexec_fn=limit).stderr
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_images_refuses(data: Data, tmp_path: Path) -> None:
    out = ["--html", tmp_path / "x.html", "--png", tmp_path / "x.png"]
    broken = tmp_path / "broken.bmp"
    broken.write_bytes(b"")

    def message(*words: object, code: int = BAD_INPUT) -> str:
        report = images(data, data.pictures, *words, *out, code=code)
        return str(report["error"]["message"])

    for limit in (0, COUNT):
        text = message("--pca", limit)
        assert f"--pca {limit}" in text and f"1 to {COUNT - 1}" in text and "fewer" in text
    text = message("-k", "IVF64,Flat")
    assert "-k IVF64,Flat" in text and "64" in text and f"are {COUNT}" in text and "Flat" in text
    assert "256" in message("-k", "PQ16")
    assert "XY" in message("-k", "XY")
    assert "-n 0" in message("-n", 0)
    assert "--sample 0" in message("--sample", 0)
    assert "sheet" in message("-n", 10_000)
    listed = tmp_path / "many.txt"
    listed.write_text(f"{data.path(0)}\n" * 900)
    assert "--png" in message("--query", listed)
    message("-k", "PCA4,Flat", "--metric", "l1", code=UNSUPPORTED)
    assert "none of 1" in message("--query", broken, code=CORRUPT)
    assert "broken.bmp" in message("--query", data.path(0), "--query", broken, "--strict", code=5)
    message("--query", "nowhere.bmp", code=NOT_FOUND)
    message("--save-index", tmp_path / "none" / "x.nc", code=IO)
    words = ["images", data.pictures, "--weights", data.weights]
    run(*words, "--query", data.path(0), "--sample", 3, code=USAGE)
    run(*words, "--metric", "hamming", code=USAGE)
    same = ["images", data.pictures, "--weights", data.weights, "--json"]
    same += ["--html", tmp_path / "x.png", "--png", tmp_path / "x.png"]
    assert "one file" in run(*same, code=BAD_INPUT).stdout
    same = ["images", data.pictures, "--weights", data.weights, "--json"]
    same += ["--png", tmp_path / "x.nc.names.txt", "--save-index", tmp_path / "x.nc"]
    assert "one file" in run(*same, code=BAD_INPUT).stdout
    assert files_in(tmp_path) == ["broken.bmp", "many.txt"]

    report = images(data, data.pictures, "--query", data.path(0), "--query", broken)
    assert report["queries"] == 1 and report["skipped"] == []
    assert report["skipped_queries"][0]["picture"] == str(broken)


def test_interrupted_images_leave_nothing_behind(data: Data, tmp_path: Path) -> None:
    listed = tmp_path / "many.txt"
    listed.write_text(f"{data.path(0)}\n" * 20_000)  # minutes of work
    words = ["images", listed, "--weights", data.weights, "--html", tmp_path / "x.html"]
    child = subprocess.Popen([str(CLI), *map(str, words)], stderr=subprocess.PIPE)
    status = Path(f"/proc/{child.pid}/status")

    def catches_interrupts() -> bool:
        mask = int(re.search(r"^SigCgt:\s*(\w+)", status.read_text(), re.MULTILINE)[1], 16)
        return bool(mask >> (signal.SIGINT - 1) & 1)

    while child.poll() is None and not catches_interrupts():
        os.sched_yield()
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == CANCELLED and b"nothing was written" in stderr
    assert files_in(tmp_path) == ["many.txt"]


@needs_shared
def test_photographs_find_their_like(tmp_path: Path) -> None:
    words = [SHARED / "images", "--weights", TRAINED, "--html", tmp_path / "x.html"]
    report = run_json("images", *words, "--query", SHARED / "images" / "flower-*.jpg", "-n", 2)
    assert len(report["skipped"]) == 3
    near = [
        [Path(one["picture"]).stem for one in asked["neighbors"]] for asked in report["neighbors"]
    ]
    assert near == [["flower-macro", "flower-sklearn"], ["flower-sklearn", "flower-macro"]]
    assert "http" not in (tmp_path / "x.html").read_text()


def test_bench_network_measures_every_layer(data: Data) -> None:
    words = ["bench", "network", "--weights", data.weights]
    report = run_json(*words, "--rounds", 2)
    shares = [layer["share"] for layer in report["layers"]]
    assert len(shares) == 50 and min(shares) > 0 and shares == sorted(shares, reverse=True)
    assert report["gflop_a_picture"] == pytest.approx(0.768, abs=1e-3)
    assert {layer["bound_by"] for layer in report["layers"]} <= {"fma", "memory"}
    assert "reached" in run(*words, "--rounds", 1, "--layers", 3).stdout
    run(*words, "--rounds", 0, code=BAD_INPUT)


def test_outputs_that_are_pictures_and_pictures_given_twice(tmp_path: Path) -> None:
    weights, folder = tmp_path / "w.safetensors", tmp_path / "pics"
    write_random_weights(weights)
    folder.mkdir()
    for name in ("a.png", "b.bmp"):
        (folder / name).write_bytes(bmp(pattern(1)))
    words = ["--weights", weights, "--quiet"]
    before = {path: path.read_bytes() for path in (weights, *folder.iterdir())}
    for outputs in (
        ["images", folder, "--png", folder / "a.png"],
        ["images", folder / "b.bmp", "--query", folder / "a.png", "--png", folder / "a.png"],
        ["images", folder, "--save-index", weights],
    ):
        assert "one file" in run(*outputs, *words, code=BAD_INPUT).stderr
    assert before == {path: path.read_bytes() for path in before}
    out = tmp_path / "f.npy"
    run("extract", folder / "b.bmp", folder / "b.bmp", *words, "-o", out)
    features = np.load(out)
    assert len(features) == 2 and (features[0] == features[1]).all()
