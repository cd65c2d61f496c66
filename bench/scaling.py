"""How search and building grow: with vectors, cells, batch, k, dimension and threads.

Two kinds of index, batches of both and single queries of one. Each panel sweeps one thing; where
probes are tuned, they are the fewest with which recall@10 of 500 queries, which are not timed,
reaches .95. Repetitions go through all cases of a process in turns, one way and back. Times are
CPU time of one thread on one processor; only the panel of threads has its clock on the wall.
Each timed build is a process of its own; other builds use all processors and give the same index.

Writes scaling.svg and scaling.txt. Needs matplotlib, as in requirements.txt. A full run takes some
ten minutes on two processors; ten million vectors take hours, 16 GB of memory and 8 of $TMPDIR.

Usage: scaling.py [--data FILE.npz] [--largest N] [--only PANEL...] [--quick] [--out FOLDER]
       [--json FILE] [--draw FILE]
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import os
import shlex
import tempfile
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import nearcell
import numpy as np
from datasets import SPARE, Data, Floats, Half, distances, read
from peers.report import about_machine, say

SPECS = {"SQ8nr": "IVF{},SQ8nr", "RaBitQ": "IVF{},RaBitQ,Refine(SQ8)"}
TARGET, K, TUNING, BATCH, THREADS_BATCH = 0.95, 10, 500, 5_000, 20_000
FIXED_PROBES = {"k": 32, "dim": 16}  # other panels tune theirs
DIM, LATENT, CLUSTERS, CHUNK, SEED = 96, 24, 10_000, 65_536, 1
TRAINING_ROWS = 1_000_000  # of more, the first so many train: matters to ten millions only
BUILD_SECONDS = 30  # no further repetition of a build after so many
OF_QUERIES = 1 << 30  # chunks of a synthetic set from this number on are queries
SIZES: dict[str, Any] = {  # and those of --quick
    "n": ([t * 10**i for i in (4, 5, 6) for t in (1, 3)] + [10**7], [3_000, 10_000]),
    "cells": ([2**i for i in range(6, 14)], [16, 64, 256]),
    "batch": (sorted(3**t * 10**i for i in range(6) for t in (0, 1))[:11], [1, 10, 100, 1000]),
    "k": ([1, 3, 10, 30, 100, 300, 1000], [1, 10, 100]),
    "dim": ([2**i for i in range(1, 13)], [2, 16, 128]),
    "at": (100_000, 10_000),  # vectors where not swept; half as many where the dimension is
    "rounds": (5, 3),
}
CPU = "microseconds a query\n(CPU time of the threads)"
PANELS = {  # title, x axis, y axis; "build" comes first, because "n" searches what it built
    "build": ("Building with one thread", "vectors, n/200 cells", "seconds (CPU time)"),
    "memory": ("Memory of building", "vectors, n/200 cells", "peak beyond the data, MB"),
    "n": ("Vectors, synthetic", "vectors, n/200 cells", CPU),
    "real": ("Vectors, real", "vectors of {data}, n/200 cells", CPU),
    "cells": ("Cells", "cells of {at:,} vectors", CPU),
    "batch": ("Batch", "queries a call; {at:,} vectors", CPU),
    "k": ("Neighbours", "k; {at:,} vectors, {probes} probes", CPU),
    "dim": ("Dimension", "dimensions; {at:,} vectors, {probes} probes", CPU),
    "threads": ("Threads", "threads; {at:,} vectors", "microseconds a query\n(wall time)"),
    "speedup": ("Speedup", "threads; {at:,} vectors", "times faster than with one thread"),
}


@dataclass
class Point:
    """A place on a curve. Values: microseconds a query, seconds, megabytes or a ratio."""

    panel: str
    series: str
    x: int
    cells: int
    probes: int = 0
    recall: float = math.nan
    values: list[float] = field(default_factory=list)

    def spread(self) -> tuple[float, float, float]:
        return float(np.median(self.values)), min(self.values), max(self.values)


def clustered(first: int, rows: int, dim: int) -> Iterator[Floats]:
    """Rows in chunks, of clusters in few dimensions; chunk i is the same however many are made."""
    fixed = np.random.default_rng(SEED)
    centres = fixed.standard_normal((CLUSTERS, LATENT), np.float32)
    width = fixed.uniform(0.3, 1.2, CLUSTERS).astype(np.float32)
    share = np.cumsum(1 / np.arange(1, CLUSTERS + 1) ** 0.7)
    into = fixed.standard_normal((LATENT, dim), np.float32)
    into *= np.linspace(1, 0.3, LATENT, dtype=np.float32)[:, None]
    for number, start in enumerate(range(0, rows, CHUNK)):
        random = np.random.default_rng([SEED, first + number])
        which = np.searchsorted(share, random.random(CHUNK) * share[-1])
        latent = random.standard_normal((CHUNK, LATENT), np.float32)
        latent = (latent * width[which, None] + centres[which])[: rows - start]
        noise = random.standard_normal((len(latent), dim), np.float32)
        yield latent @ into + np.float32(0.1) * noise


@dataclass(frozen=True)
class Source:
    """Two files of raw floats, and what was built of them."""

    folder: Path
    dim: int

    def write(self, base: Iterator[Floats], queries: Iterator[Floats]) -> None:
        self.folder.mkdir(parents=True)
        for name, chunks in ("base", base), ("query", queries):
            with (self.folder / name).open("wb") as file:
                for chunk in chunks:
                    chunk.tofile(file)

    def make(self, rows: int, queries: int) -> None:
        self.write(clustered(0, rows, self.dim), clustered(OF_QUERIES, queries, self.dim))

    def rows(self, name: str) -> Any:
        return np.memmap(self.folder / name, np.float32, "r").reshape(-1, self.dim)


def make_real(name: str, folder: Path) -> tuple[Source, int]:
    """The data set in random order, because subsets are its first rows."""
    base, queries = (np.asarray(part, np.float32) for part in read(name)[:2])
    source = Source(folder, base.shape[1])
    base = base[np.random.default_rng(SEED).permutation(len(base))]
    source.write(iter([base]), iter([queries]))
    return source, len(base)


def built(series: str, cells: int, base: Floats, threads: int | None = None) -> nearcell.Index:
    index = nearcell.Index(SPECS[series].format(cells), base.shape[1], metric="l2", seed=SEED)
    index.train(base[:TRAINING_ROWS], threads=threads)
    index.add(base, threads=threads)
    return index


def index_of(source: Source, series: str, n: int, cells: int) -> nearcell.Index:
    """Of the first n vectors; kept in a file for the panels that come after."""
    path = source.folder / f"{series}-{n}-{cells}"
    if not path.exists():
        built(series, cells, source.rows("base")[:n]).save(path)
    return nearcell.Index.open(path)


def cells_for(n: int) -> int:
    return int(2 ** round(math.log2(n / 200)))


def with_truth(base: Floats, queries: Floats, counts: list[int]) -> dict[int, Data]:
    """For each k, the data that counts recall@k."""
    ids = nearcell.exact_search(base, queries, max(counts) + SPARE)[1]
    far = np.sort(distances(base, queries, ids, "l2"), axis=1)
    halves = {k: Half(queries, far[:, k - 1]) for k in counts}
    return {k: Data("", "l2", k, base, h, h, "exact_search") for k, h in halves.items()}


def recall(index: nearcell.Index, data: Data, probes: int) -> float:
    return data.recall(data.tune, index.search(data.tune.queries, data.k, probes=probes)[1])


def tuned(index: nearcell.Index, data: Data, cells: int) -> int:
    """The fewest probes that reach the target; all cells if none do."""
    counts = range(1, cells + 1)
    return min(cells, 1 + bisect_left(counts, TARGET, key=lambda p: recall(index, data, p)))


def run(point: Point, index: nearcell.Index, queries: Floats, size: int) -> float:
    """Microseconds a query, `size` of them a call."""
    k = point.x if point.panel == "k" else K
    threads = point.x if point.panel == "threads" else 1
    clock = time.perf_counter if point.panel == "threads" else time.process_time
    calls = [queries[start : start + size] for start in range(0, len(queries), size)]
    begin = clock()
    for call in calls:
        index.search(call, k, probes=point.probes, threads=threads)
    return (clock() - begin) / len(queries) * 1e6


def sweep(source: Source, panel: str, xs: list[int], n: int, rounds: int) -> list[Point]:
    """These places of a panel, in one process: tunes, then times them in turns."""
    cases: list[Callable[[], float]] = []
    points: list[Point] = []
    if panel == "dim":
        source.make(n, TUNING + BATCH)
    base, queries = source.rows("base")[:n], source.rows("query")
    truth = with_truth(base, queries[:TUNING], xs if panel == "k" else [K])
    cells = xs[0] if panel == "cells" else cells_for(n)
    for series in SPECS:
        index = index_of(source, series, n, cells)
        probes = FIXED_PROBES.get(panel) or tuned(index, truth[K], cells)
        for x in xs:
            reached = recall(index, truth[x if panel == "k" else K], probes)
            size = {"threads": THREADS_BATCH, "batch": x}.get(panel, BATCH)
            ways = [("", max(size, 1000 // size * size), size)]
            if series == "RaBitQ" and panel not in ("threads", "batch"):
                ways.append((", one by one", TUNING, 1))
            for way, count, size in ways:
                points.append(Point(panel, f"{series}{way}", x, cells, probes, reached))
                some = queries[TUNING + np.arange(count) % (len(queries) - TUNING)]
                cases.append(functools.partial(run, points[-1], index, some, size))
    if panel != "threads":
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    _ = [case() for case in cases]  # the first search is slower than others
    for number in range(rounds):
        for which in range(len(cases))[:: 1 if number % 2 == 0 else -1]:
            points[which].values.append(cases[which]())
    return points


def build(source: Source, series: str, n: int) -> tuple[float, float]:
    """Seconds with one thread, and by how many megabytes the peak of memory exceeds the data."""

    def peak() -> int:  # ru_maxrss would begin with that of the process that started this one
        return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024

    libraries = peak()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    base = np.fromfile(source.folder / "base", np.float32, n * source.dim).reshape(n, source.dim)
    begin = time.process_time()
    index = built(series, cells_for(n), base, threads=1)
    seconds, above = time.process_time() - begin, peak() - libraries - base.nbytes
    index.save(source.folder / f"{series}-{n}-{cells_for(n)}")  # for panel "n"
    return seconds, above / 1e6


def builds(source: Source, n: int, rounds: int) -> list[Point]:
    points = [Point(p, s, n, cells_for(n)) for p in ("build", "memory") for s in SPECS]
    begin = time.perf_counter()
    while len(points[0].values) < rounds and time.perf_counter() - begin < BUILD_SECONDS:
        for which, series in enumerate(SPECS):
            seconds, megabytes = in_child(build, source, series, n)
            points[which].values.append(seconds)
            points[which + len(SPECS)].values.append(megabytes)
    return points


def in_child(work: Callable[..., Any], *given: Any) -> Any:
    """In a fresh process, so that points do not disturb each other."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *given).result()


def measure(options: argparse.Namespace, sizes: dict[str, Any], folder: Path) -> list[Point]:
    points: list[Point] = []
    start, rounds, at = time.perf_counter(), sizes["rounds"], sizes["at"]
    counts = [n for n in sizes["n"] if n <= options.largest]
    cores = len(os.sched_getaffinity(0))
    threads = sorted({*(2**i for i in range(cores.bit_length())), cores})
    sizes |= {"build": counts, "n": counts, "real": [], "threads": threads}
    real = synthetic = Source(folder / "synthetic", DIM)
    rows = max([at, *(counts if {"n", "build"} & set(options.only) else [])])
    in_child(synthetic.make, rows, TUNING + max(THREADS_BATCH, *sizes["batch"]))
    if options.data and "real" in options.only:
        real, most = in_child(make_real, options.data, folder / "real")
        sizes["real"] = sorted({min(n, most) for n in counts})
    for panel in (panel for panel in PANELS if panel in options.only):
        together = panel in ("batch", "k", "threads")  # one index and one process
        for xs in [sizes[panel]] if together else [[x] for x in sizes[panel]]:
            n = {"build": xs[0], "n": xs[0], "real": xs[0], "dim": at // 2}.get(panel, at)
            sources = {"real": real, "dim": Source(folder / f"{xs[0]}", xs[0])}
            given = sources.get(panel, synthetic), panel, xs, n, rounds
            found = in_child(sweep, *given) if panel != "build" else builds(synthetic, n, rounds)
            for p in found if panel == "threads" else []:  # round by round
                one = next(o for o in found if (o.series, o.x) == (p.series, 1))
                ratios = [a / b for a, b in zip(one.values, p.values, strict=True)]
                points.append(replace(p, panel="speedup", values=ratios))
            points += found
            values = "; ".join(f"{p.x:,} {p.series} {p.spread()[0]:.4g}" for p in found[-4:])
            say(f"[{time.perf_counter() - start:4.0f} s] {panel} {values}")
    return points


def heading(about: dict[str, Any]) -> list[str]:
    return f"""nearcell: how search and building grow.

Command: {shlex.join(about["command"])}
Machine: {about["cpu"]}, processors: {len(os.sched_getaffinity(0))}; \
nearcell {about["commit"]} {about["nearcell"]["backend"]}

Synthetic vectors, except in "Vectors, real": {CLUSTERS:,} Gaussian clusters of many sizes and
widths in {LATENT} latent dimensions, mapped to {DIM} where not swept, and a little noise. Indexes:
{" and ".join(SPECS.values())}, margin 1; cells: the power of two
nearest to n/200, batches: {BATCH:,} queries (threads: {THREADS_BATCH:,}), where they are not swept.
Least and most of the repetitions. Exponent: e of x^e, from the row above.

""".splitlines()


def curves(points: list[Point], panel: str) -> dict[str, list[Point]]:
    found = [point for point in points if point.panel == panel]
    return {p.series: [q for q in found if q.series == p.series] for p in found}


def titles(report: dict[str, Any], panel: str) -> list[str]:
    at, probes = report["at"] // (2 if panel == "dim" else 1), FIXED_PROBES.get(panel)
    return [text.format(data=report["data"], at=at, probes=probes) for text in PANELS[panel]]


def table(report: dict[str, Any], points: list[Point]) -> str:
    lines = list(report["text"])
    lines += [f"{'x':>10} {'index':20}{'median':>10}{'least':>10}{'most':>10}{'exponent':>9}"]
    lines[-1] += f"{'times':>6}{'cells':>7}{'probes':>7}{'recall':>8}"
    for panel in (panel for panel in PANELS if curves(points, panel)):
        title, across, up = titles(report, panel)
        lines += ["", f"{title}: {' '.join(up.split())}; x: {across}"]
        for name, curve in curves(points, panel).items():
            for before, point in zip([curve[0], *curve], curve, strict=False):
                values = "".join(f"{value:10.4g}" for value in point.spread())
                rise, run = point.spread()[0] / before.spread()[0], math.log(point.x / before.x)
                exponent = f"{math.log(max(rise, 1e-9)) / run:.2f}" if run else ""
                searched = f"{point.probes:7}{point.recall:8.4f}" if point.probes else ""
                lines += [f"{point.x:10,} {name:20}{values}{exponent:>9}{len(point.values):6}"]
                lines[-1] += f"{point.cells:7}{searched}"
    return "\n".join(lines) + "\n"


def draw(report: dict[str, Any], points: list[Point], path: Path) -> None:
    import matplotlib  # here, because processes that measure do without it
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    def short(x: float) -> str:
        return f"{x:g}" if x < 10_000 else f"{x / 1e3:g} k" if x < 1e6 else f"{x / 1e6:g} M"

    present = [panel for panel in PANELS if curves(points, panel)]
    present.sort(key=lambda panel: panel in ("build", "memory"))
    wide, high = min(3, len(present)), math.ceil(len(present) / 3)
    matplotlib.rcParams.update({"font.size": 9, "svg.hashsalt": "nearcell"})
    figure = Figure((max(4.1 * wide, 7), 3.1 * high + 0.7), layout="constrained")
    grid = figure.subplots(high, wide, squeeze=False)
    for axes in grid.flat[len(present) :]:
        axes.set_axis_off()
    legend: dict[str, Any] = {}
    for panel, axes in zip(present, grid.flat, strict=False):
        title, across, up = titles(report, panel)
        recalls = [p.recall for p in points if p.panel == panel and p.probes]
        if recalls and panel not in ("threads", "speedup"):
            title += f": recall {min(recalls):.3f} to {max(recalls):.3f}"
        axes.set_title(title, loc="left", fontsize=9, fontweight="bold")
        axes.set(xlabel=across, ylabel=up, xscale="log", yscale="log", ymargin=0.12)
        for name, curve in curves(points, panel).items():
            middle, least, most = np.array([point.spread() for point in curve]).T
            xs = np.array([point.x for point in curve])
            style = {"color": "#0072b2" if name.startswith("SQ8") else "#d55e00", "capsize": 2}
            style |= {"mfc": "white", "ls": "--"} if name.endswith("one by one") else {}
            bars = [middle - least, most - middle]
            legend[name] = axes.errorbar(xs, middle, bars, marker="o", ms=4, lw=1.4, **style)
        few = axes.get_ylim()[1] < 8 * axes.get_ylim()[0]
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7) if few else (1, 2, 5)))
        grey = {"color": "#888888", "zorder": 1, "scaley": False}  # limits are those of the values
        slope = 1 if panel == "speedup" else middle[-1] / xs[-1]
        if panel not in ("cells", "batch", "threads"):
            legend["in proportion"] = axes.plot(xs, xs * slope, ":", **grey)[0]
        if panel == "memory":
            legend["the data"] = axes.plot(xs, xs * DIM * 4e-6, "--", **grey)[0]
        axes.yaxis.set_major_formatter(lambda y, _: short(y))
        ticks = xs[:: math.ceil(len(xs) / 7)]
        axes.set_xticks(ticks, map(short, ticks))
        axes.minorticks_off()
        axes.grid(color="#e4e4e4", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(legend.values(), legend, loc="outside upper center", ncols=5, frameon=False)
    figure.supxlabel(report["text"][3], fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    choices = [panel for panel in PANELS if panel not in ("memory", "speedup")]
    add("--data", help="a file with base and query: the panel real")
    add("--largest", type=int, default=1_000_000, help="vectors; at most 10,000,000")
    add("--only", nargs="+", choices=choices, default=choices, metavar="PANEL")
    add("--quick", action="store_true", help="small sizes, to try the script")
    add("--out", type=Path, default=Path(__file__).parent / "results")
    add("--json", type=Path, help="write all values here")
    add("--draw", type=Path, help="measure nothing: draw what --json wrote")
    options = parser.parse_args()
    if options.draw:
        report = json.loads(options.draw.read_text())
    else:
        sizes = {name: pair[options.quick] for name, pair in SIZES.items()}
        report = {"about": about_machine(argparse.Namespace(threads=1)), "at": sizes["at"]}
        report |= {"text": heading(report["about"]), "data": Path(options.data or "").name}
        with tempfile.TemporaryDirectory() as folder:
            report["points"] = [asdict(p) for p in measure(options, sizes, Path(folder))]
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
    points = [Point(**point) for point in report["points"]]
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "scaling.txt").write_text(table(report, points))
    draw(report, points, options.out / "scaling.svg")


if __name__ == "__main__":
    main()
