"""Pictures by example: how often the neighbours of a picture show what it shows.

Labelled pictures of Fashion-MNIST, drawn at random, become features of EfficientNet-Lite0; queries
are pictures of its test half. A file of such features with labels (--crops) is ranked, too.
Features have length one. All rows but the last rank the whole base, by squared distance:

  P@1     how often the nearest has the query's label
  10-NN   how often the most frequent label of the ten nearest is the query's (of labels equally
          frequent that of the nearer one)
  mAP     mean over the queries of the average precision: the mean, over all pictures of the base
          with the query's label, of the precision of the ranking down to that picture
  of 10   how many of the ten nearest by the unreduced features are among the ten found
  bytes   of a vector, without its id and what all share

Usage: retrieval.py [--base N] [--queries N] [--seed N] [--weights FILE] [--crops FILE.npz]
       [--threads N] [--json FILE] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import shlex
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nearcell
import numpy as np
from datasets import FASHION, fashion_labels, read
from numpy.typing import NDArray
from peers.report import about_machine, say
from PIL import Image

Ids = NDArray[np.int64]
VOTES = 10
COMPONENTS = 64
CODES = ("PQ16", "PQ8")
INDEX = "PCA64,IVF64,PQ16,Refine(SQ8)"  # re-ranks with eight bits of each of all dimensions
PROBES, RERANK = 16, 100
START = time.perf_counter()


@dataclass
class Labelled:
    """Pixels, a row a picture, are None where there are features only."""

    name: str
    labels: tuple[NDArray[Any], NDArray[Any]]  # of the base and of the queries
    features: tuple[Any, Any]
    pixels: tuple[Any, Any] | None


def step(text: str) -> None:
    say(f"[{time.perf_counter() - START:6.1f} s] {text}")


def extracted(pictures: Any, options: argparse.Namespace) -> Any:
    """Features of grey pictures, which the extractor reads from PNG files."""
    told = 0

    def progress(phase: str, done: float, total: float) -> None:
        nonlocal told
        if (tenth := int(10 * done / max(total, 1))) > told:
            told = tenth
            step(f"{phase}: {done:,.0f} of {total:,.0f}")

    with tempfile.TemporaryDirectory() as folder:
        paths = [f"{folder}/{number:05}.png" for number in range(len(pictures))]
        for path, pixels in zip(paths, pictures, strict=True):
            Image.fromarray(pixels.reshape(28, 28)).save(path)
        return nearcell.extract(
            paths,
            weights=options.weights,
            normalize=True,
            strict=True,
            threads=options.threads,
            progress=progress,
        )[0]


def fashion(options: argparse.Namespace) -> Labelled:
    pixels, labels = read("fashion-mnist")[:2], fashion_labels()
    random = np.random.default_rng(options.seed)
    drawn = [
        random.choice(len(rows), min(count, len(rows)), replace=False)
        for rows, count in zip(pixels, (options.base, options.queries), strict=True)
    ]
    base, queries = (rows[numbers] for rows, numbers in zip(pixels, drawn, strict=True))
    step(f"features of {len(base):,} pictures and {len(queries):,} queries")
    features = extracted(base, options), extracted(queries, options)
    kinds = labels[0][drawn[0]], labels[1][drawn[1]]
    return Labelled("fashion-mnist", kinds, features, (base, queries))


def crops(path: Path) -> Labelled:
    with np.load(path) as file:
        labels = file["base_labels"], file["query_labels"]
        features = file["base"], file["query"]
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in features]
    return Labelled(path.stem, labels, (unit[0], unit[1]), None)


def measures(ids: Ids, labels: tuple[Any, Any], truth: Ids) -> dict[str, Any]:
    """mAP is of whole rankings only."""
    base, queries = labels
    same = (ids >= 0) & (base[np.maximum(ids, 0)] == queries[:, None])
    precision = np.cumsum(same, axis=1) / np.arange(1, ids.shape[1] + 1)
    there = (base[None, :] == queries[:, None]).sum(axis=1)
    if not there.all():
        raise SystemExit("a query's label is not in the base: draw more pictures")
    right = 0
    for near, kind in zip(ids[:, :VOTES], queries, strict=True):
        ballots = [int(base[i]) for i in near if i >= 0]
        right += max(ballots, key=ballots.count) == kind  # the first of the most frequent
    shared = [len(set(a) & set(b)) for a, b in zip(ids[:, :10], truth[:, :10], strict=True)]
    whole = ids.shape[1] == len(base)
    return {
        "precision_at_1": float(same[:, 0].mean()),
        "knn": right / len(queries),
        "map": float(((precision * same).sum(axis=1) / there).mean()) if whole else None,
        "of_10": float(np.mean(shared)),
    }


def built(spec: str, base: Any, options: argparse.Namespace) -> nearcell.Index:
    index = nearcell.Index(spec, base.shape[1], seed=options.seed)
    index.train(base, threads=options.threads)
    index.add(base, threads=options.threads)
    return index


def ranked(data: Labelled, options: argparse.Namespace) -> list[dict[str, Any]]:
    count, rows = len(data.labels[0]), []

    def add(name: str, size: float, ids: Ids, truth: Ids) -> None:
        rows.append({"row": name, "bytes": size, **measures(ids, data.labels, truth)})
        step(f"{data.name}: {name}")

    def exact(base: Any, queries: Any) -> Ids:
        return nearcell.exact_search(base, queries, count, threads=options.threads)[1]

    base, queries = data.features
    truth = exact(base, queries)
    if data.pixels is not None:
        pixels = data.pixels[0]
        add("raw pixels", pixels[0].nbytes, exact(*data.pixels), truth)
    add("CNN features", base[0].nbytes, truth, truth)
    pca = nearcell.Pca(COMPONENTS).fit(base, threads=options.threads)
    small = [pca.transform(x, threads=options.threads) for x in (base, queries)]
    add(f"CNN + PCA {COMPONENTS}", small[0][0].nbytes, exact(*small), truth)
    for code in CODES:
        index = built(code, small[0], options)
        ids = index.search(small[1], count, threads=options.threads)[1]
        add(f"CNN + PCA {COMPONENTS} + {code}", index.stats()["code_bytes"], ids, truth)
    index = built(INDEX, base, options)
    found = index.search(queries, VOTES, PROBES, RERANK, threads=options.threads)
    stats = index.stats()
    add(INDEX, stats["code_bytes"] + stats["rerank_bytes"], found[1], truth)
    return rows


def table(name: str, report: dict[str, Any]) -> str:
    lines = [
        f"\n{name}: {report['base']:,} pictures, {report['queries']:,} queries, "
        f"{report['labels']} labels",
        f"{'':30}{'bytes':>7}{'P@1':>8}{'10-NN':>8}{'mAP':>8}{'of 10':>7}",
    ]
    lines += [
        f"{row['row']:30}{row['bytes']:7,.0f}{row['precision_at_1']:8.3f}{row['knn']:8.3f}"
        + (f"{'-':>8}" if row["map"] is None else f"{row['map']:8.3f}")
        + f"{row['of_10']:7.2f}"
        for row in report["rows"]
    ]
    if not report["pixels"]:
        lines.append("raw pixels: left out, the file holds features only")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--base", type=int, default=10_000, help="pictures to search")
    add("--queries", type=int, default=1_000)
    add("--seed", type=int, default=1)
    add("--weights", type=Path, help="of efficientnet-lite0; without: where the library looks")
    add("--crops", type=Path, default=Path("../shared/data/cnn-effnet.npz"))
    add("--threads", type=int, default=1)
    add("--json", type=Path, help="write all values here")
    add("--out", type=Path, help="write the report here, too")
    options = parser.parse_args()
    about = about_machine(options)
    lines = [
        __doc__.split("\n\nUsage")[0],
        f"\nCommand: {shlex.join(['bench/retrieval.py', *about['command'][1:]])}",
        f"Machine: {about['cpu']}, {options.threads} thread{'s' * (options.threads > 1)}; "
        f"nearcell {about['commit']} {about['nearcell']['backend']}",
    ]
    sets = []
    if FASHION.is_dir():
        sets.append(fashion(options))
    else:
        lines.append(f"\nfashion-mnist: left out, {FASHION} is missing")
    if options.crops.is_file():
        sets.append(crops(options.crops))
    else:
        lines.append(f"\n{options.crops.stem}: left out, {options.crops} is missing")
    found = {}
    for data in sets:
        found[data.name] = {
            "base": len(data.labels[0]),
            "queries": len(data.labels[1]),
            "labels": len(np.unique(data.labels[0])),
            "pixels": data.pixels is not None,
            "rows": ranked(data, options),
        }
        lines.append(table(data.name, found[data.name]))
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")
    if options.json:
        report = {"about": about, "seed": options.seed, "sets": found}
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
