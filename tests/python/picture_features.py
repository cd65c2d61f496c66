"""Pictures of Fashion-MNIST as files, and their features; use the fixture fashion_features."""

from __future__ import annotations

import gzip
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import nearcell
import numpy as np
from PIL import Image
from support import FASHION, fashion

BASE, QUERIES = 9_900, 100


@dataclass
class Features:
    """Rows of `base`, then of queries; pictures are rows of bytes. Features have length one."""

    paths: list[str]
    pictures: np.ndarray
    labels: np.ndarray
    features: np.ndarray
    seconds: dict[str, float]  # of each step

    @property
    def base(self) -> np.ndarray:
        return self.features[:BASE]

    @property
    def queries(self) -> np.ndarray:
        return self.features[BASE:]


def room() -> Path | None:
    """Memory, if there is enough of it: some disks take long to delete thousands of files."""
    memory = Path("/dev/shm")
    enough = memory.is_dir() and shutil.disk_usage(memory).free > 16_384 * (BASE + QUERIES)
    return memory if enough else None


def read_labels(name: str) -> np.ndarray:
    return np.frombuffer(gzip.decompress((FASHION / name).read_bytes()), np.uint8, offset=8)


def extract_fashion(weights: Path, folder: Path) -> Features:
    base, queries = fashion(BASE, QUERIES)
    base_labels = read_labels("train-labels-idx1-ubyte.gz")[:BASE]
    query_labels = read_labels("t10k-labels-idx1-ubyte.gz")[:QUERIES]
    pictures = np.concatenate([base, queries])
    start = time.perf_counter()
    paths = [str(folder / f"{number:05}.png") for number in range(len(pictures))]
    for path, pixels in zip(paths, pictures):
        Image.fromarray(pixels.reshape(28, 28)).save(path)
    written = time.perf_counter()
    features, names, skipped = nearcell.extract(folder, weights=weights, normalize=True)
    seconds = {"write pictures": written - start, "extract": time.perf_counter() - written}
    assert names == paths and not skipped
    labels = np.concatenate([base_labels, query_labels])
    return Features(paths, pictures, labels, features, seconds)
