"""ScaNN: cells, asymmetric hashing (AH) and re-ordering.

Its own rules of thumb: two dimensions a block; brute force below 20,000 vectors, hashing without
cells below 100,000, about as many cells as the square root of the vectors beyond. Cells are tried
for all. ann-benchmarks uses the anisotropic threshold 0.2 for products and none for distances,
with four dimensions a block too; here distances are tried with and without.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scann.scann_ops.py import scann_builder, scann_ops_pybind

from peers.engine import FEW_ROWS, Floats, Setting, Sweep, Task, depths

REORDER = {
    "fp32": scann_builder.ReorderType.FLOAT32,
    "bf16": scann_builder.ReorderType.BFLOAT16,
    "int8": scann_builder.ReorderType.INT8,
}


class ScannIndex:
    def __init__(self, searcher: Any) -> None:
        self.searcher = searcher
        self.leaves, self.depth = -1, -1

    def use(self, setting: Setting) -> None:
        self.leaves = setting.get("leaves", -1)
        self.depth = setting.get("reorder", -1)

    def search(self, queries: Floats, k: int) -> Any:
        return self.searcher.search_batched(queries, k, self.depth, self.leaves)[0]

    def search_one(self, query: Floats, k: int) -> Any:
        return self.searcher.search(query[0], k, self.depth, self.leaves)[0]

    def save(self, path: Path) -> None:
        self.searcher.serialize(str(path), relative_path=True)


class ScannEngine:
    package = "scann"

    def specs(self, task: Task) -> list[str]:
        root = round(task.rows**0.5)
        result = [
            f"tree={c},AH2,aq=0.2,reorder=fp32" for c in (root // 2, root, 2 * root, 4 * root)
        ]
        result += [f"tree={root},AH2,aq=0.2,reorder={kind}" for kind in ("bf16", "int8")]
        if task.metric == "l2":
            result += [f"tree={c},AH{d},reorder=fp32" for c, d in ((root, 2), (4 * root, 4))]
        else:  # SOAR, which stores a vector in two cells, needs the product
            result += [f"tree={c},SOAR,AH2,aq=0.2,reorder=fp32" for c in (root, 2 * root)]
        if task.rows < 100_000:
            result.append("AH2,aq=0.2,reorder=fp32")
        if task.rows < 20_000:
            result.append("brute force")
        return result

    def sweep(self, spec: str, task: Task) -> Sweep:
        depth = "reorder"
        if spec == "brute force":
            return Sweep("final", 1, 1)
        if not spec.startswith("tree"):
            return Sweep(depth, task.k, min(64 * task.k, task.rows))
        outer = [{depth: value} for value in depths(task.k, task.rows)]
        return Sweep("leaves", 1, leaves(spec), outer)

    def build(self, spec: str, base: Floats, task: Task) -> ScannIndex:
        measure = "squared_l2" if task.metric == "l2" else "dot_product"
        builder = scann_ops_pybind.builder(base, task.k, measure)
        builder.set_n_training_threads(task.threads)
        if spec.startswith("tree"):
            builder.tree(
                leaves(spec),
                max(1, leaves(spec) // 20),
                training_sample_size=min(len(base), 250_000),
                # Only then do centroids stay of length one, as vectors of length one want.
                spherical=task.metric == "cosine",
                **({"soar_lambda": 1.5, "overretrieve_factor": 2.0} if "SOAR" in spec else {}),
            )
        if spec == "brute force":
            builder.score_brute_force()
        else:
            width = 4 if ",AH4" in spec else 2
            aq = {"anisotropic_quantization_threshold": 0.2} if "aq=0.2" in spec else {}
            builder.score_ah(width, training_sample_size=min(len(base), 100_000), **aq)
            builder.reorder(10 * task.k, quantize=REORDER[spec.rsplit("=", 1)[1]])
        return ScannIndex(self.held_to(builder.build(), task))

    def load(self, spec: str, path: Path, base: Floats, task: Task) -> ScannIndex:
        # Paths in the saved index are relative to it, so that a cached one may be moved.
        return ScannIndex(self.held_to(scann_ops_pybind.load_searcher(str(path)), task))

    def held_to(self, searcher: Any, task: Task) -> Any:
        searcher.set_num_threads(task.threads)
        return searcher

    def smallest(self, base: Floats, task: Task) -> ScannIndex:
        return self.build("brute force", base[:FEW_ROWS], task)


def leaves(spec: str) -> int:
    return int(spec.split(",")[0].split("=")[1])
