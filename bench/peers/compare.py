"""The order of things in vs_peers.py: data, engines, their indexes, the choice, the races."""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from datasets import BATCH, TUNING_QUERIES, Data, load

from peers.engine import Setting, Task
from peers.race import one_by_one, race
from peers.report import about_machine, say, show_batches, show_choices, show_singles
from peers.sweep import Point, tune
from peers.worker import EngineError, Remote

SINGLES_TO_CHOOSE = 200
SETTINGS_FOR_SINGLES = 4  # the fastest in batches that may be the fastest one by one


def build(
    name: str, spec: str, engine: Remote, folder: Path, cache: Path, options: argparse.Namespace
) -> tuple[Path, dict[str, Any]]:
    """The folder of the index, and what building it took. nearcell's is always built anew."""
    file = spec.replace("/", "_")
    kept, fresh = cache / name / engine.call("version") / file, folder / "indexes" / name / file
    if name != "nearcell" and (kept / "built.json").exists():
        say(f"{name}: {spec} from the cache")
        return kept, {**json.loads((kept / "built.json").read_text()), "cached": True}
    say(f"{name}: building {spec}")
    built = engine.call("build", spec, fresh, limit=options.build_seconds)
    if name != "nearcell" and built["cpu"] > options.cache_above:
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(kept, ignore_errors=True)
        shutil.move(fresh, kept)
        fresh = kept
    return fresh, {**built, "cached": False}


def choose(
    name: str,
    spec: str,
    engine: Remote,
    data: Data,
    path: Path,
    took: dict[str, Any],
    options: argparse.Namespace,
) -> list[dict[str, Any]]:
    """Per target that this index reaches: its fastest setting, and how fast that is."""
    engine.call("load", spec, path)

    def measure(setting: Setting) -> tuple[float, float]:
        seconds, ids = engine.call("search", spec, "tune", setting)
        return data.recall(data.tune, ids), seconds

    sweep = engine.call("sweep", spec)
    measure({**sweep.outer[0], sweep.inner: sweep.low})  # the first search is slower than others
    best, tried, complete = tune(measure, sweep, options.recall, options.sweep_seconds)
    took["points"] = [(dict(p.setting), p.recall, p.seconds) for p in tried]
    took["complete"] = complete
    chosen: list[dict[str, Any]] = []
    for target, point in best.items():
        times = [engine.call("search", spec, "tune_batch", point.setting)[0] for _ in range(2)]
        seconds = min(times) / max(BATCH, len(data.tune.queries))
        row = {"target": target, "setting": dict(point.setting), "tuning_recall": point.recall}
        row |= {"engine": name, "spec": spec, "seconds": seconds, "complete": complete}
        if options.one_by_one:
            count = min(SINGLES_TO_CHOOSE, len(data.tune.queries))
            row |= fastest_single(spec, engine, target, tried, count)
        chosen.append(row)
    reached = (
        ", ".join(f"{r['target']:g}: {1 / r['seconds']:,.0f}/s" for r in chosen) or "no target"
    )
    say(f"    {len(tried)} settings{'' if complete else ', time was up'}; {reached}")
    engine.call("drop")
    return chosen


def fastest_single(
    spec: str, engine: Remote, target: float, tried: list[Point], count: int
) -> dict[str, Any]:
    """The setting that answers single queries fastest, of those that are fast in batches."""
    enough = sorted((p for p in tried if p.recall >= target), key=lambda point: point.seconds)
    times = []
    for point in enough[:SETTINGS_FOR_SINGLES]:
        nanoseconds, _ = engine.call("singles", spec, "tune", 0, count, point.setting)
        times.append((float(np.median(nanoseconds)) / 1e9, point.setting))
    seconds, setting = min(times, key=lambda one: one[0])
    return {"single_seconds": seconds, "single_setting": dict(setting)}


def compare(options: argparse.Namespace, processors: set[int]) -> None:
    """All of it: build, choose, race, print."""
    data = load(options.data, options.metric, options.rows, options.k, options.threads)
    rows, dim = data.base.shape
    task = Task(rows, dim, data.metric, data.k, options.threads)
    digest = hashlib.blake2b(data.base.tobytes(), digest_size=6).hexdigest()
    cache = options.cache.expanduser() / f"{data.name}-{rows}x{dim}-{data.metric}-{digest}"
    cache.mkdir(parents=True, exist_ok=True)
    about = about_machine(options)
    print(
        f"{data.name}: {rows} x {dim}, {data.metric}, k = {data.k}, truth from {data.truth_from};"
        f" {len(data.tune.queries)} queries to tune on, {len(data.held_out.queries)} held out,"
        f" batches of {len(data.held_out.repeated(BATCH))}, repeated where those are fewer"
    )
    clock = "CPU time of one thread" if options.threads == 1 else f"{options.threads} threads"
    print(f"nearcell {about['commit']} {about['nearcell']['backend']}; {about['cpu']}; {clock}")
    choices: list[dict[str, Any]] = []
    built: dict[tuple[str, str], tuple[Path, dict[str, Any]]] = {}
    left_out: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory(dir=cache.parent) as name_of_folder:
        folder = Path(name_of_folder)
        np.save(folder / "base.npy", data.base)
        # Speed depends on the length of a batch: the last word on an index is by the length raced.
        for which, half, count in (
            ("tune", data.tune, TUNING_QUERIES),
            ("tune_batch", data.tune, BATCH),
            ("held_out", data.held_out, 0),
            ("batch", data.held_out, BATCH),
        ):
            np.save(folder / f"{which}.npy", half.repeated(count))
        engines: dict[str, Remote] = {}
        for name in options.engines:
            engine = Remote(name, folder, task, processors)
            try:
                about["versions"][name] = engine.call("version") or about["commit"]
                specs = engine.call("specs", options.nearcell if name == "nearcell" else None)
            except EngineError as error:
                left_out.append({"engine": name, "spec": "", "why": str(error)})
                print(f"left out: {name}: {error}", flush=True)
                continue
            engines[name] = engine
            for spec in specs:
                if not any(fnmatch.fnmatch(f"{name}/{spec}", p) for p in options.specs):
                    continue
                try:
                    built[name, spec] = build(name, spec, engine, folder, cache, options)
                    choices += choose(name, spec, engine, data, *built[name, spec], options)
                except EngineError as error:
                    left_out.append({"engine": name, "spec": spec, "why": str(error)})
                    print(f"left out: {name} {spec}: {error}", flush=True)
        print("; ".join(f"{name} {v}" for name, v in about["versions"].items()), flush=True)
        report: dict[str, Any] = {"about": about, "left_out": left_out, "choices": choices}
        report["task"] = {**vars(task), "data": data.name, "truth_from": data.truth_from}
        report["built"] = [{"engine": n, "spec": s, **took} for (n, s), (_, took) in built.items()]
        show_choices(choices, report["built"])
        report["batches"] = race(engines, choices, built, data, options.rounds)
        show_batches(report["batches"])
        if options.one_by_one:
            report["one_by_one"] = one_by_one(engines, choices, built, data)
            show_singles(report["one_by_one"])
        for engine in engines.values():
            engine.stop()
    report["finished"] = time.strftime("%Y-%m-%d %H:%M:%S %z")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
