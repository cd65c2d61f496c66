"""Scalable Vector Search: Vamana graphs of floats, of half floats and, on Intel's, of LVQ codes.

On another's processor the library ends the process when it is asked for LVQ.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import svs

from peers.engine import Floats, Setting, Sweep, Task

LVQ = {"LVQ8": (8, 0), "LVQ4x8": (4, 8), "LVQ4x4": (4, 4)}
FEW_ROWS = 64  # a graph of fewer is none


class SvsIndex:
    def __init__(self, index: Any, task: Task) -> None:
        self.index = index
        self.k = task.k

    def use(self, setting: Setting) -> None:
        parameters = self.index.search_parameters
        window = setting["window"]
        # A window smaller than k is allowed as long as the buffer holds k.
        capacity = max(self.k, round(window * setting.get("capacity", 1.0)))
        parameters.buffer_config = svs.SearchBufferConfig(window, capacity)
        parameters.search_buffer_visited_set = setting["visited_set"]
        self.index.search_parameters = parameters

    def search(self, queries: Floats, k: int) -> Any:
        return self.index.search(queries, k)[0]

    def search_one(self, query: Floats, k: int) -> Any:
        return self.index.search(query, k)[0]

    def save(self, path: Path) -> None:
        self.index.save(*(str(path / part) for part in ("config", "graph", "data")))


class SvsEngine:
    package = "scalable-vs"

    def specs(self, task: Task) -> list[str]:
        degrees = (32, 64, 128) if task.rows >= 500_000 else (32, 64)
        kinds = ["fp32", "fp16"]
        if "GenuineIntel" in Path("/proc/cpuinfo").read_text():
            kinds += list(LVQ)
        return [f"Vamana,R={degree},{kind}" for kind in kinds for degree in degrees]

    def sweep(self, spec: str, task: Task) -> Sweep:
        outer: list[Setting] = [{"visited_set": False}, {"visited_set": True}]
        if "LVQ4" in spec:  # more candidates are kept for the second level of the codes
            outer.append({"visited_set": False, "capacity": 1.5})
        return Sweep("window", max(1, task.k // 2), min(2000, task.rows), outer)

    def distance(self, task: Task) -> Any:
        return svs.DistanceType.L2 if task.metric == "l2" else svs.DistanceType.MIP

    def build(self, spec: str, base: Floats, task: Task) -> SvsIndex:
        _, degree, kind = spec.split(",")
        parameters = svs.VamanaBuildParameters(
            alpha=1.2 if task.metric == "l2" else 0.95,
            graph_max_degree=int(degree[2:]),
            window_size=200,
        )
        if kind not in LVQ:
            data = base if kind == "fp32" else base.astype(np.float16)
            return SvsIndex(self.vamana(parameters, data, task), task)
        # Codes are made from a file only.
        with tempfile.TemporaryDirectory() as folder:
            file = f"{folder}/base.fvecs"
            svs.write_vecs(base, file)
            loader = svs.VectorDataLoader(file, svs.DataType.float32, dims=task.dim)
            data = svs.LVQLoader(loader, *LVQ[kind])
            return SvsIndex(self.vamana(parameters, data, task), task)

    def vamana(self, parameters: Any, data: Any, task: Task) -> Any:
        return svs.Vamana.build(parameters, data, self.distance(task), num_threads=task.threads)

    def load(self, spec: str, path: Path, base: Floats, task: Task) -> SvsIndex:
        kind = spec.split(",")[2]
        element = svs.DataType.float16 if kind == "fp16" else svs.DataType.float32
        data: Any = svs.VectorDataLoader(str(path / "data"), element, dims=task.dim)
        if kind in LVQ:
            data = svs.LVQLoader(data, *LVQ[kind]).reload_from(str(path / "data"))
        index = svs.Vamana(
            str(path / "config"),
            svs.GraphLoader(str(path / "graph")),
            data,
            self.distance(task),
            query_type=svs.DataType.float32,
            num_threads=task.threads,
        )
        return SvsIndex(index, task)

    def smallest(self, base: Floats, task: Task) -> SvsIndex:
        index = self.build("Vamana,R=32,fp32", base[:FEW_ROWS], task)
        index.use({"window": 10, "visited_set": False})
        return index
