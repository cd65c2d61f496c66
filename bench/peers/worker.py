"""A process an engine: libraries that crash one another when loaded together are kept apart, one
that dies takes nothing with it, and CPU time is that of one engine alone.

Only one of the processes works at a time, and all are held to the same processors.
"""

from __future__ import annotations

import gc
import importlib
import importlib.metadata
import json
import multiprocessing
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from peers import ENGINES
from peers.engine import Floats, Index, Setting, Sweep, Task

CALLS = 400  # of the smallest index, to see what a call costs


def resident(which: str) -> int:
    """Bytes of this process in memory: VmRSS, now, or VmHWM, the most since it was reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(which)).split()[1])


class Worker:
    """Lives in the engine's process; its public methods are what Remote.call can name."""

    def __init__(self, name: str, folder: Path, task: Task) -> None:
        module, kind = ENGINES[name]
        self.engine = getattr(importlib.import_module(module), kind)()
        self.task = task
        # Mapped: all processes share the pages of one copy.
        self.base = np.asarray(np.load(folder / "base.npy", mmap_mode="r"))
        names = ("tune", "tune_batch", "held_out", "batch")
        self.queries = {name: np.load(folder / f"{name}.npy") for name in names}
        self.rows = {name: split(self.queries[name]) for name in ("tune", "held_out")}
        self.indexes: dict[str, Index] = {}
        # What other processes take from the processor does not count; threads must not add up.
        self.clock = time.process_time if task.threads == 1 else time.perf_counter

    def version(self) -> str:
        package = self.engine.package
        return importlib.metadata.version(package) if package else ""

    def specs(self, templates: Sequence[str] | None = None) -> list[str]:
        if templates:
            self.engine.templates = tuple(templates)
        return list(self.engine.specs(self.task))

    def sweep(self, spec: str) -> Sweep:
        return self.engine.sweep(spec, self.task)  # type: ignore[no-any-return]

    def build(self, spec: str, path: Path) -> dict[str, Any]:
        """Builds and saves; what is searched later is loaded from there, for every engine."""
        self.base.max()  # read: its pages are no part of what building takes
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
        before = resident("VmRSS")
        cpu, wall = time.process_time(), time.perf_counter()
        index = self.engine.build(spec, self.base, self.task)
        about = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
        about["peak"] = resident("VmHWM") - before
        partly = path.with_name(path.name + ".part")
        shutil.rmtree(partly, ignore_errors=True)
        partly.mkdir(parents=True)
        index.save(partly)
        size = sum(file.stat().st_size for file in partly.rglob("*") if file.is_file())
        about["bytes"] = size / self.task.rows
        (partly / "built.json").write_text(json.dumps(about))
        partly.replace(path)
        return about

    def load(self, spec: str, path: Path) -> None:
        if spec not in self.indexes:
            self.indexes[spec] = self.engine.load(spec, path, self.base, self.task)

    def drop(self, keep: Sequence[str] = ()) -> None:
        self.indexes = {spec: index for spec, index in self.indexes.items() if spec in keep}
        gc.collect()

    def search(self, spec: str, which: str, setting: Setting) -> tuple[float, Any]:
        """Seconds of one batch call, and its ids."""
        index, queries = self.indexes[spec], self.queries[which]
        index.use(setting)
        start = self.clock()
        ids = index.search(queries, self.task.k)
        seconds = self.clock() - start
        return seconds, np.asarray(ids)

    def singles(
        self, spec: str, which: str, first: int, count: int, setting: Setting
    ) -> tuple[list[int], float]:
        """Nanoseconds of each of `count` calls with one query, and CPU seconds of all."""
        index, k = self.indexes[spec], self.task.k
        index.use(setting)
        return time_singles(index, self.rows[which][first : first + count], k)

    def call_cost(self) -> float | None:
        """Seconds of a call that has next to nothing to search, the median."""
        index = self.engine.smallest(self.base, self.task)
        if index is None:
            return None
        times, _ = time_singles(index, self.rows["tune"][:CALLS], self.task.k)
        return float(np.median(times)) / 1e9


def split(queries: Floats) -> list[Floats]:
    return [queries[i : i + 1] for i in range(len(queries))]


def time_singles(index: Index, rows: Sequence[Floats], k: int) -> tuple[list[int], float]:
    times = []
    cpu = time.process_time()
    for row in rows:
        start = time.perf_counter_ns()
        index.search_one(row, k)
        times.append(time.perf_counter_ns() - start)
    return times, time.process_time() - cpu


def serve(connection: Any, name: str, folder: Path, task: Task, processors: set[int]) -> None:
    """The process: answers calls until the other end closes."""
    os.sched_setaffinity(0, processors)
    # What libraries print would be in the midst of the table.
    log = os.open(log_file(folder, name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    worker = None
    while True:
        try:
            method, arguments = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            worker = worker or Worker(name, folder, task)
            connection.send((True, getattr(worker, method)(*arguments)))
        except Exception as error:
            connection.send((False, f"{type(error).__name__}: {error}"[:300]))


def log_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.log"


class EngineError(Exception):
    """The engine refused, died or took too long; `fatal`: its process is gone."""

    def __init__(self, message: str, fatal: bool) -> None:
        super().__init__(message)
        self.fatal = fatal


class Remote:
    """The other end of an engine's process; starts it, and starts it anew after it died."""

    def __init__(self, name: str, folder: Path, task: Task, processors: set[int]) -> None:
        self.arguments = (name, folder, task, processors)
        self.process: Any = None

    def call(self, method: str, *arguments: Any, limit: float | None = None) -> Any:
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.connection, other = context.Pipe()
            self.process = context.Process(target=serve, args=(other, *self.arguments), daemon=True)
            self.process.start()
            other.close()
        self.connection.send((method, arguments))
        try:
            if not self.connection.poll(limit):
                self.stop()
                raise EngineError(f"{method} took more than {limit:.0f} seconds", True)
            good, result = self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            status = self.process.exitcode
            self.process = None
            said = log_file(self.arguments[1], self.arguments[0]).read_text().strip()[-200:]
            raise EngineError(
                f"its process ended with status {status} in {method}; last words: {said!r}", True
            ) from None
        if not good:
            raise EngineError(result, False)
        return result

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None
