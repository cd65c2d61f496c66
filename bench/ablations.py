"""Which techniques give more recall for each byte or each vector visited: counts, never times.

Truth is exact; figures at a recall are interpolated along a sweep. "visited": the mean number of
vectors whose codes a query reads.

Usage: ablations.py [--data DIR] [--only NUMBER...] [--json FILE]; DIR as ../shared/data
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from subprocess import getoutput
from textwrap import fill
from typing import Any

import nearcell
import numpy as np
from datasets import distances, exact_metric, read
from numpy.typing import NDArray

Array = NDArray[Any]
K, QUERIES, RECALLS = 10, 2000, (0.95, 0.99)
at_recalls = partial(np.interp, RECALLS, right=np.nan)  # values where a recall reaches RECALLS
SETS = {"photo-sift-200k": 512, "text-minilm-60k": 256, "fashion-mnist": 256}  # cells
PQ_LIKE_RABITQ = {128: 32, 384: 64, 784: 112}  # dimension: the PQ of RaBitQ's bytes, or nearly


@dataclass(eq=False)
class Set:
    """Rows have length one where the metric is cosine, so that squared distances order them too."""

    name: str
    metric: str
    base: Array
    queries: Array
    truth: Array
    kth: Array  # squared distance of the k-th true neighbour


@dataclass
class Cells:
    """A k-means, each row's cell, and the cells of each query."""

    centroids: Array
    home: Array
    near: Array  # by distance: queries x cells
    place: Array  # of each cell in near
    far: Array  # squared distances, in the order of near


@contextmanager
def progress(what: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    if time.monotonic() - start > 2:
        print(f"{what}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


def text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:{'.3f' if abs(value) < 20 else ',.0f'}}".replace("nan", "-")
    return f"{value:,}" if isinstance(value, int) else str(value)


def report(title: str, note: str, columns: str, rows: list[list[Any]], verdict: str) -> Any:
    """Prints what an ablation found; the same for --json. columns: a|b@, @: at RECALLS."""
    each = [(n, RECALLS if "@" in n else ("",)) for n in columns.split("|")]
    names = [name.replace("@", f" {recall}") for name, recalls in each for recall in recalls]
    lines = [names] + [[text(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    words = [isinstance(value, str) for value in rows[0]]
    print(f"\n{title}\n{fill(note, 100)}\n")
    for line in lines:
        parts = zip(line, widths, words, strict=True)
        print("  ".join(v.ljust(w) if left else v.rjust(w) for v, w, left in parts).rstrip())
    print("\n" + fill(f"Verdict: {verdict}", 100), flush=True)
    return {"title": title, "columns": names, "rows": rows, "verdict": verdict}


def judged(values: dict[str, list[float]], limit: float, sign: int = -1, style: str = ".2f") -> str:
    """Kept: what is in the mean below the limit, or above it with sign 1; each with its range."""
    kept = {name for name, v in values.items() if sign * (np.mean(v) - limit) > 0}
    ranges = {n: f"{n} {min(v):{style}} to {max(v):{style}}" for n, v in values.items()}
    sides = [", ".join(ranges[n] for n in ranges if (n in kept) == side) for side in (True, False)]
    return f"kept: {sides[0] or 'none'}; left out: {sides[1] or 'none'}"


def slices(count: int, size: int = 4096) -> Iterator[slice]:
    return (slice(first, first + size) for first in range(0, count, size))


def squared(a: Array, b: Array) -> Array:
    sums = np.einsum("ij,ij->i", a, a)[:, None] + np.einsum("ij,ij->i", b, b)
    return np.maximum(sums - 2 * (a @ b.T), 0)


def load(folder: Path, name: str) -> Set:
    with progress(f"{name}: read, exact search"):
        path = name if name == "fashion-mnist" else str(folder / f"{name}.npz")
        metric = "cosine" if name.startswith("text") else "l2"
        all_base, all_queries = read(path)[:2]
        base, queries = np.array(all_base, "f4"), np.array(all_queries[:QUERIES], "f4")
        for x in (base, queries) if metric == "cosine" else ():
            x /= np.linalg.norm(x, axis=1, keepdims=True)
        truth = nearcell.exact_search(base, queries, K, *exact_metric(metric), threads=1)[1]
        kth = distances(base, queries, truth, metric).max(axis=1)
    print(f"{name}: {len(base):,} x {base.shape[1]}, {metric}", flush=True)
    return Set(name, metric, base, queries, truth, kth)


@cache
def split(data: Set, count: int, method: str = "auto", iterations: int = 25) -> Cells:
    with progress(f"{data.name}: {count} cells, {method}"):
        means = nearcell.KMeans(
            count, data.metric, seed=1, method=method, iterations=iterations
        ).fit(data.base, threads=1)
        home = means.predict(data.base, threads=1)
        far = squared(data.queries, means.centroids)
        near = np.argsort(far, axis=1)
        place, far = np.argsort(near, axis=1), np.sort(far, axis=1)
        return Cells(means.centroids, home, near, place, far)


def met(cells: Cells, homes: Array) -> Array:
    """Vectors visited by each query with 1, 2, ... probes; homes: rows x cells of each."""
    sizes = np.bincount(homes.ravel(), minlength=cells.near.shape[1])
    return np.cumsum(sizes[cells.near], axis=1)


def sweep(data: Set, cells: Cells, homes: Array, stops: Any = None) -> tuple[Any, Any]:
    """Recall and visited vectors when each query stops after so many cells; all after 1, 2, ..."""
    first = cells.place[np.arange(QUERIES)[:, None, None], homes[data.truth]].min(axis=2)
    stops = stops or [np.full((QUERIES, 1), n + 1) for n in range(cells.near.shape[1])]
    seen = met(cells, homes)
    visited = [np.take_along_axis(seen, stop - 1, axis=1).mean() for stop in stops]
    return [(first < stop).mean() for stop in stops], visited


def second_cells(data: Set, cells: Cells, weight: float) -> Array:
    """The next cell c of least |x - c|^2 + weight <x - c, r>^2 / |r|^2, r = x - home (Sun 2023)."""
    chosen = np.empty_like(cells.home)
    for part in slices(len(data.base)):
        x, home = data.base[part], cells.home[part]
        r = x - cells.centroids[home]
        r /= np.maximum(np.linalg.norm(r, axis=1, keepdims=True), 1e-20)
        along = np.einsum("ij,ij->i", x, r)[:, None] - r @ cells.centroids.T
        loss = squared(x, cells.centroids) + weight * along**2
        loss[np.arange(len(x)), home] = np.inf
        chosen[part] = loss.argmin(axis=1)
    return chosen


def spilling(sets: list[Set]) -> Any:
    rows: list[list[Any]] = []
    ratios: dict[str, list[float]] = defaultdict(list)
    for data, count in ((data, SETS[data.name] * times) for data in sets for times in (1, 2, 4)):
        cells = split(data, count)
        one = at_recalls(*sweep(data, cells, cells.home[:, None]))
        for name, weight in (("one", None), ("second", 0.0), ("SOAR", 1.0)):
            homes = cells.home[:, None]
            if weight is not None:
                with progress(f"{data.name}: {name} of {count} cells"):
                    homes = np.stack([cells.home, second_cells(data, cells, weight)], axis=1)
            visited = at_recalls(*sweep(data, cells, homes))
            figures = np.concatenate([visited, visited / one, visited + count]).tolist()
            rows.append([data.name, count, name, homes.shape[1], *figures])
            if weight is not None:
                ratios[f"{name} on {data.name}"] += figures[2:4]
    return report(
        "1. Each vector in two cells (spilled assignment) against one",
        "second: also in the second nearest; SOAR: in the one of least loss, lambda 1. A vector met"
        " twice counts twice. copies: codes of a vector. of one: visited, by those of one cell each"
        " with as many centroids. scored: visited and centroids.",
        "set|cells|cells each|copies|visited@|of one@|scored@",
        rows,
        f"{judged(ratios, 0.8)} (of one; twice the codes, so kept below 0.8 in the mean).",
    )


def kth_of_first(data: Set, cells: Cells) -> Array:
    """Distance of the k-th nearest in the first cell, or in the first cells that hold k."""
    enough = (met(cells, cells.home) >= K).argmax(axis=1) + 1
    found = np.empty(QUERIES)
    for i, q in enumerate(data.queries):
        rows = data.base[cells.place[i, cells.home] < enough[i]]
        found[i] = np.partition(((rows - q) ** 2).sum(axis=1), K - 1)[K - 1]
    return np.sqrt(found)


def stopping(sets: list[Set]) -> Any:
    rows: list[list[Any]] = []
    ratios: dict[str, list[float]] = defaultdict(list)
    for data, count in ((data, SETS[data.name] * times) for data in sets for times in (1, 2)):
        cells = split(data, count)
        fixed = at_recalls(*sweep(data, cells, cells.home[:, None]))
        rows.append([data.name, count, "fixed", *fixed.tolist(), 1.0, 1.0, *[float("nan")] * 2])
        residual = data.base - cells.centroids[cells.home]
        s = np.sqrt(np.einsum("ij,ij", residual, residual) / len(residual))
        d_0 = cells.far[:, 0]
        scaled = kth_of_first(data, cells) * s**1.5 / d_0**0.25
        for rule, f in (("constant", np.ones_like(d_0)), ("ratio", d_0), ("scaled", scaled)):
            gap = (cells.far - d_0[:, None]) / f[:, None]
            steps = np.geomspace(gap.max() / 1000, gap.max(), 150)
            stops = [(gap <= t).sum(axis=1)[:, None] for t in steps]
            recall, visited = sweep(data, cells, cells.home[:, None], stops)
            at, t = at_recalls(recall, visited), at_recalls(recall, steps)
            figures = np.concatenate([at, at / fixed, t]).tolist()
            rows.append([data.name, count, rule, *figures])
            ratios[f"{rule} on {data.name}"] += figures[2:4]
    return report(
        "2. Stop rules against a fixed number of cells",
        "A query leaves out cells of D_i - D_0 > t f. D: squared distances from centroids, nearest"
        " first; f: 1 (constant), D_0 (ratio) or kd s^1.5 / D_0^0.25 (scaled); kd: distance of the"
        " k-th best of the first cell, s: root mean square distance of vectors from centroids.",
        "set|cells|rule|visited@|of fixed@|t@",
        rows,
        f"{judged(ratios, 0.95)} (of fixed; no byte more, so kept below 0.95 in the mean).",
    )


def comparisons(dim: int) -> dict[str, list[tuple[str, str]]]:
    """Pairs of as many bytes, or nearly: codes of about dim / 8, / 4, / 2 and dim bytes."""
    b8, b4, b2, ivf, pca = dim // 8, dim // 4, dim // 2, "IVF512,", f"PCA{dim // 2},IVF512,"
    short = f"PCA{b2}," * (dim > 512)  # OPQ of 784 dimensions would train for minutes
    pq = {m: f"{ivf}PQ{m}" for m in (b8, b4, b2, dim, PQ_LIKE_RABITQ[dim])}
    return {
        "residuals in PQ of 8 bits": [(pq[m], f"{pq[m]}nr") for m in (b8, b4)],
        "residuals in PQ of 4 bits": [(f"{pq[m]}x4", f"{pq[m]}x4fs") for m in (b4, b2, dim)],
        "residuals in SQ8": [(f"{ivf}SQ8", f"{ivf}SQ8nr")],
        "PQ of 8 bits for 4": [(pq[m], f"{pq[2 * m]}x4") for m in (b8, b4, b2)],
        "RaBitQ for PQ": [(f"{ivf}RaBitQ", pq[PQ_LIKE_RABITQ[dim]])],
        "I8 for SQ8": [(f"{ivf}I8", f"{ivf}SQ8")],
        "OPQ": [(f"{short}OPQ{b8},{ivf}PQ{b8}", f"{short}{ivf}PQ{b8}")],
        "PCA before PQ": [(f"{pca}PQ{b8}", pq[b8])],
        "PCA, SQ8 for SQ4": [(f"{pca}SQ8", f"{pq[dim]}x4")],
        "PCA, RaBitQ4 for RaBitQ2": [(f"{pca}RaBitQ4", f"{ivf}RaBitQ2")],
    }


def codes(sets: list[Set]) -> Any:
    rows: list[list[Any]] = []
    gains: dict[str, list[float]] = defaultdict(list)
    for data in sets:
        pairs = comparisons(data.base.shape[1])
        specs = ["IVF512,Flat", "IVF512,RaBitQ4", "RaBitQ", "RaBitQ4"]
        specs += [spec for some in pairs.values() for pair in some for spec in pair]
        found: dict[str, list[Any]] = {}
        for spec in dict.fromkeys(specs):
            with progress(f"{data.name}: {spec}"):
                index = nearcell.Index(spec, data.base.shape[1], metric=data.metric, seed=1)
                index.train(data.base, threads=1)
                index.add(data.base, threads=1)
                ids = index.search(data.queries, K, probes=64 if "IVF" in spec else 1, threads=1)[1]
            far = distances(data.base, data.queries, ids, data.metric)
            recall = float((far <= data.kth[:, None] * (1 + 1e-6)).mean())
            found[spec] = [data.name, spec, round(index.stats()["bytes_per_vector"]), recall]
        for name, specs_of in pairs.items():
            gains[name] += [found[a][3] - found[b][3] for a, b in specs_of]
        top = 0.0
        for row in sorted(found.values(), key=lambda row: (row[2], -row[3])):
            rows.append([*row, "*" if row[3] > top else ""])
            top = max(top, row[3])
    return report(
        "3. Codes without re-ranking, all vectors of 64 of 512 cells",
        "bytes: 8 are the id. PQ..nr, PQ..x4fs, SQ8nr: codes of vectors, not residuals. RaBitQ"
        " without IVF: all vectors, residuals from the mean. Flat: the most that these cells allow."
        " PQ<d>x4 is SQ4 with trained levels. best: no code of as few bytes has more recall.",
        "set|index|bytes|recall|best",
        rows,
        judged(gains, 0.01, 1, "+.3f") + " (recall at equal bytes, or nearly; kept from +0.01).",
    )


def descend(books: Array, rows: Array, residual: Array, codes: Array, eta: float) -> Array:
    """Rows decoded from codes of least |e|^2 + (eta - 1) <e, x>^2, by descent from those given."""
    codes, everyone, every_book = codes.copy(), np.arange(len(rows)), np.arange(len(books))
    along = np.einsum("ij,ij->i", residual - books[every_book, codes].reshape(rows.shape), rows)
    for _ in range(8):
        for m, book in enumerate(books):
            x, r = rows[:, 2 * m : 2 * m + 2], residual[:, 2 * m : 2 * m + 2]
            own = np.einsum("ij,ij->i", r, x)[:, None] - x @ book.T  # <e, x> here, of each word
            rest = along - own[everyone, codes[:, m]]
            loss = squared(r, book) + (eta - 1) * (rest[:, None] + own) ** 2
            codes[:, m] = loss.argmin(axis=1)
            along = rest + own[everyone, codes[:, m]]
    return books[every_book, codes].reshape(rows.shape)


def anisotropic(sets: list[Set]) -> Any:
    data = next(s for s in sets if s.metric == "cosine")
    depths, dim, cells = (10, 20, 40, 100), data.base.shape[1], split(data, 256)
    residual = data.base - cells.centroids[cells.home]
    with progress("codebooks"):
        pairs = np.ascontiguousarray(residual.reshape(-1, dim // 2, 2).transpose(1, 0, 2))
        means = [nearcell.KMeans(16, max_points_per_cluster=1000).fit(p, threads=1) for p in pairs]
        books = np.stack([m.centroids for m in means])
        plain = np.stack([m.predict(p, threads=1) for m, p in zip(means, pairs, strict=True)], 1)

    def measured(made: Array) -> list[float]:
        error = residual - made
        found = np.zeros(len(depths))
        for part in slices(len(data.queries), 200):
            score = data.queries[part] @ (data.base - error).T
            score[cells.place[part][:, cells.home] >= 32] = -np.inf
            for own in np.take_along_axis(score, data.truth[part], axis=1).T:
                better = (score > own[:, None]).sum(axis=1)
                found += [(np.isfinite(own) & (better < depth)).sum() for depth in depths]
        sums = [(error**2).sum(axis=1), np.einsum("ij,ij->i", error, data.base) ** 2]
        return [*(1000 * float(n.mean()) for n in sums), *(found / data.truth.size).tolist()]

    rows: list[list[Any]] = [["floats", float("nan"), 4 * dim, *measured(residual)]]
    etas = {f"T = {t}": (dim - 1) * t**2 / (1 - t**2) for t in (0.1, 0.2, 0.3)}
    for name, eta in ({"nearest words": 1.0} | etas).items():
        with progress(f"codes: {name}"):
            made = descend(books, data.base, residual, plain, eta)
        rows.append([name, eta, dim // 4, *measured(made)])
    gains = {row[0]: [row[i] - rows[1][i] for i in (5, 6, 7)] for row in rows[2:]}
    return report(
        f"4. Anisotropic loss for inner products (Guo et al. 2020), {data.name}",
        "Product codes of 4 bits for 2 dimensions, of residuals from 256 cells, 32 probed; books"
        " by k-means, codes by least loss. Recall of the true 10 within the best 10, ... by codes."
        " error: mean square of the error; along x: of its part along the vector; both times 1000.",
        "codes|eta|bytes|error|along x|" + "|".join(f"in {depth}" for depth in depths),
        rows,
        judged(gains, 0.01, 1, "+.3f") + " (recall within 10, 20, 40; kept from +0.01).",
    )


def pruning(sets: list[Set], count: int = 400, width: int = 16, lanes: int = 16) -> Any:
    rows: list[list[Any]] = []
    shares: dict[str, list[float]] = defaultdict(list)
    for data in sets:
        cells = split(data, SETS[data.name])
        recall, _ = sweep(data, cells, cells.home[:, None])
        probes = 1 + int(np.searchsorted(recall, RECALLS[0]))
        # Cell by cell; each filled up with its last row to whole blocks of codes.
        members = (np.flatnonzero(cells.home == cell) for cell in np.unique(cells.home))
        slots = np.concatenate([np.pad(m, (0, -len(m) % lanes), mode="edge") for m in members])
        real = np.concatenate([[True], slots[1:] != slots[:-1]])
        probed = cells.place[:count, cells.home[slots]] < probes
        own, dim = [data.base, data.queries], data.base.shape[1]
        pca = nearcell.Pca(dim).fit(data.base, threads=1)
        axes = {"own": own, "PCA": [pca.transform(x, threads=1) for x in own]}
        bounds = {"true": data.kth, "first cell": kth_of_first(data, cells) ** 2}
        for axis, what in ((axis, what) for axis in axes for what in bounds):
            x, queries = axes[axis][0][slots], axes[axis][1]
            limit = (bounds[what][:, None] * (1 + 1e-5)).astype(np.float32)
            means = []
            with progress(f"{data.name}: {axis} axes, {what} bound"):
                for part in slices(count, 20):
                    sums = np.zeros((20, len(x)), np.float32)
                    blocks = np.ones(sums.shape, np.int16)
                    for i in range(0, dim - width, width):
                        sums += squared(queries[part, i : i + width], x[:, i : i + width])
                        blocks += sums <= limit[part]
                    near, most = probed[part], blocks.reshape(20, -1, lanes).max(axis=2)
                    read_of = (blocks[:, real], blocks[near & real], most[near[:, ::lanes]])
                    means.append([numbers.mean() for numbers in read_of])
            share = (np.mean(means, axis=0) * width / dim).tolist()
            rows.append([data.name, axis, what, dim, probes, *share])
            shares[f"{axis} on {data.name}"].append(share[2])
    return report(
        "5. Partial distances: the share of a vector that an exact scan reads",
        f"In blocks of {width} dimensions, until the sum exceeds a bound: the distance of the true"
        f" k-th (the best case) or of the k-th of the first cell; {count} queries. probed: in the"
        f" cells of recall {RECALLS[0]} only; together: until the sums of all {lanes} vectors of a"
        " block of codes exceed it. Codes of bytes read the same share, but for rounding.",
        "set|axes|bound|dimensions|probes|all cells|probed|together",
        rows,
        f"{judged(shares, 0.5)} (together, both bounds; no neighbour is lost; kept below 0.5).",
    )


def clustering(sets: list[Set]) -> Any:
    rows: list[list[Any]] = []
    ratios: dict[str, list[float]] = defaultdict(list)
    for data, count in ((data, count) for data in sets for count in (256, 512, 1024, 2048)):
        one = np.ones(2)
        for method, turns in (("lloyd", 20), ("lloyd", 10), ("hierarchical", 10)):
            name = f"{method}, {turns} iterations"
            cells = split(data, count, method, turns)
            visited = at_recalls(*sweep(data, cells, cells.home[:, None]))
            one = visited if turns == 20 else one
            sizes = np.bincount(cells.home, minlength=count)
            uneven = float(count * (sizes**2).sum() / sizes.sum() ** 2)
            rows.append([data.name, count, name, uneven, *visited.tolist(), *(visited / one)])
            if turns < 20:
                side = "below 1,024" if count < 1024 else "from 1,024"
                ratios[f"{method} {side} cells"] += (visited / one).tolist()
    return report(
        "6. k-means of the cells",
        "uneven: sum of squares of the cells' sizes, by that of equal ones. of one: visited, by"
        " those of Lloyd's with 20 iterations. Hierarchical: groups first, each split on its own,"
        " then two iterations of all.",
        "set|cells|method|uneven|visited@|of one@",
        rows,
        f"{judged(ratios, 1.02)} (of one; both take less time, so kept below 1.02 in the mean).",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(f"""Techniques measured by counts: recall for each byte or each vector visited.
Command: {" ".join(sys.argv)}
Machine: {getoutput("lscpu | sed -n 's/^Model name: *//p'")}, {nearcell.info()["isa"]}; one thread.
Commit: {getoutput("git rev-parse --short HEAD")}. {QUERIES} queries of each set, recall@{K}.""")
    sets = [load(options.data, name) for name in SETS]
    ablations = [spilling, stopping, codes, anisotropic, pruning, clustering]
    found = [ablations[number - 1](sets) for number in options.only]
    if options.json:
        options.json.write_text(json.dumps(found, indent=1).replace("NaN", "null") + "\n")


if __name__ == "__main__":
    main()
