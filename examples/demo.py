"""Fashion-MNIST end to end: exact truth, an IVF-PQ index with re-ranking, a table and a picture.

Reads the four idx files of Debian's dataset-fashion-mnist. Usage: demo.py [--data DIR] [--out PNG]
"""

from __future__ import annotations

import argparse
import gzip
import struct
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import nearcell
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
DATA = Path("/usr/share/datasets/fashion-mnist")
SPEC = "IVF256,PQ56x4fs,RFlat"
PROBES, RERANK = 16, 400
K = 100


def read_idx(path: Path) -> Bytes:
    """A gzipped idx file of bytes, as one row a picture or one number a label."""
    with gzip.open(path) as file:
        data = file.read()
    dimensions = data[3]
    shape = struct.unpack(f">{dimensions}I", data[4 : 4 + 4 * dimensions])
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions)
    return values.reshape(shape[0], -1) if dimensions > 1 else values


def recall(found: NDArray[np.int64], truth: NDArray[np.int64], k: int) -> float:
    """The share of the k true neighbours that are among the k found."""
    hits = sum(np.isin(f[:k], t[:k]).sum() for f, t in zip(found, truth, strict=True))
    return float(hits) / (k * len(truth))


def write_png(path: Path, pixels: Bytes) -> None:
    """An RGB picture; a filter byte of 0 starts each row."""
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)
    rows[:, 1:] = pixels.reshape(height, -1)

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows.tobytes(), 6))
        + chunk(b"IEND", b"")
    )


def draw(queries: Bytes, base: Bytes, ids: NDArray[np.int64], same: NDArray[np.bool_]) -> Bytes:
    """A row a query: its picture, then its neighbours, framed green where the label is the same."""
    scale, frame = 2, 2
    side = 28 * scale + 2 * frame
    canvas = np.full((side * len(queries), side * (1 + ids.shape[1]) + side // 2, 3), 255, np.uint8)

    def place(row: int, left: int, picture: Bytes, colour: Sequence[int]) -> None:
        top = row * side
        canvas[top + 1 : top + side - 1, left + 1 : left + side - 1] = colour
        large = np.kron(255 - picture.reshape(28, 28), np.ones((scale, scale), np.uint8))
        inner = slice(top + frame, top + side - frame), slice(left + frame, left + side - frame)
        canvas[inner] = large[:, :, None]

    for row, query in enumerate(queries):
        place(row, 0, query, (40, 40, 40))
        for rank, identity in enumerate(ids[row]):
            colour = (30, 150, 60) if same[row, rank] else (200, 40, 40)
            place(row, side // 2 + side * (1 + rank), base[identity], colour)
    return canvas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--out", type=Path, default=Path("demo.png"))
    options = parser.parse_args()
    start = time.perf_counter()

    def step(text: str) -> None:
        print(f"[{time.perf_counter() - start:5.1f} s] {text}", flush=True)

    about = nearcell.info()
    step(f"nearcell {about['version']} on {about['backend']}, {about['threads']} threads")
    base = read_idx(options.data / "train-images-idx3-ubyte.gz")
    queries = read_idx(options.data / "t10k-images-idx3-ubyte.gz")
    base_labels = read_idx(options.data / "train-labels-idx1-ubyte.gz")
    query_labels = read_idx(options.data / "t10k-labels-idx1-ubyte.gz")
    step(f"read Fashion-MNIST: {len(base):,} x {base.shape[1]} pixels, {len(queries):,} queries")

    clock = time.perf_counter()
    _, truth = nearcell.exact_search(base, queries, K)
    exact_seconds = time.perf_counter() - clock
    step(f"exact truth: the {K} nearest of every query")

    clock = time.perf_counter()
    index = nearcell.Index(SPEC, base.shape[1])
    index.train(base)
    index.add(base)
    build_seconds = time.perf_counter() - clock
    step(f"built {index.spec}")

    clock = time.perf_counter()
    _, found = index.search(queries, K, probes=PROBES, rerank=RERANK)
    search_seconds = time.perf_counter() - clock
    step(f"searched all queries in one batch: {PROBES} probes, {RERANK} candidates re-ranked")

    shown = np.concatenate([np.flatnonzero(query_labels == label)[:1] for label in range(10)])
    near = found[shown, :10]
    same = base_labels[near] == query_labels[shown, None]
    write_png(options.out, draw(queries[shown], base, near, same))
    step(f"wrote {options.out}: a query a row with its ten neighbours, green frame: same label")

    stats = index.stats()
    print(f"\n{'':30}{'recall@1':>10}{'@10':>8}{'@100':>8}", end="")
    print(f"{'queries/s':>12}{'bytes/vector':>14}{'build s':>9}")
    for name, ids, seconds, size, build in (
        ("exact search (uint8 rows)", truth, exact_seconds, float(base.shape[1]), 0.0),
        (index.spec, found, search_seconds, stats["bytes_per_vector"], build_seconds),
    ):
        scores = [recall(ids, truth, k) for k in (1, 10, 100)]
        print(
            f"{name:30}{scores[0]:10.4f}{scores[1]:8.4f}{scores[2]:8.4f}"
            f"{len(queries) / seconds:12,.0f}{size:14,.0f}{build:9.1f}"
        )


if __name__ == "__main__":
    main()
