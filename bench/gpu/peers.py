"""cuVS and Faiss on the data that device_bench left: the same searches, timed the same way.

  peers.py FOLDER cuvs faiss [--seconds N] [--json FILE]     times these
  peers.py --list                                            says which can be imported here

Each search is timed as a whole, cuVS's between arrays on the device, of which those for results are
there before, with one Resources object for all, until the device is done; Faiss's between arrays of
the host. The median of five after one to warm up (of three, if they take seconds), of small batches
of fifty, each of other queries. What fails is said, and the others go on. Data of more dimensions,
in folders within FOLDER, are for cuVS's IVF-Flat, CAGRA and brute force. Exit status: 1 if
something failed or was left out.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

NEIGHBOURS = 10
LISTS = 16384
PROBES = (8, 32, 64, 128)
SMALL = (100, 1)  # batches, beside that of all queries
CALLS, SMALL_CALLS = 5, 50  # of a large and of a small batch
LEAST_CALLS, LONG = 3, 3.0  # of which no more follow once they have taken so many seconds
DEGREES = ((32, 64), (64, 128))  # CAGRA's graph and the one that it is cut from


def can_import(name: str) -> bool:
    try:
        if name == "cuvs":
            importlib.import_module("cuvs.neighbors.ivf_flat")
            importlib.import_module("torch")
            return True
        faiss = importlib.import_module("faiss")
        return bool(hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus() > 0)
    except Exception as error:  # whatever an import of a foreign library may throw
        print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
        return False


def read_matrix(path: Path, kind: str) -> Any:
    import numpy as np

    rows, columns = np.fromfile(path, np.uint32, 2)
    return np.fromfile(path, kind, offset=8).reshape(rows, columns)


class Peers:
    """The data, and where results go."""

    def __init__(self, folder: Path, end: float, out: TextIO | None, is_wide: bool) -> None:
        self.end, self.json, self.is_wide = end, out, is_wide
        self.complete = True
        self.base = read_matrix(folder / "base.fbin", "float32")
        self.queries = read_matrix(folder / "queries.fbin", "float32")
        self.truth = read_matrix(folder / "truth.ibin", "int32")
        # About as many as device_bench has cells: a power of two.
        self.lists = min(LISTS, 1 << max(0, (len(self.base) // 244).bit_length() - 1))

    def write(self, what: str, **values: Any) -> None:
        line = json.dumps({"what": what, "dim": self.base.shape[1], **values})
        print(line, flush=True)
        if self.json:
            self.json.write(line + "\n")
            self.json.flush()

    def recall(self, ids: Any) -> float:
        hits = (ids[:, :, None] == self.truth[: len(ids), None, :]).any(2)
        return float(hits.mean())

    def time_search(
        self,
        name: str,
        batch: int,
        search: Callable[[slice, Any], Any],
        ids_of: Callable[[Any], Any],
        sync: Callable[[], None],
    ) -> None:
        """search(which, found): of some queries, into what a search of as many has given, or None.

        ids_of(found) gives ids as a host array once `sync` was called.
        """
        found = search(slice(0, batch), None)
        sync()
        recall = self.recall(ids_of(found))  # before others of its queries are answered there
        times = []
        for call in range(CALLS if batch == len(self.queries) else SMALL_CALLS):
            first = call * batch % (len(self.queries) - batch + 1)
            sync()
            start = time.perf_counter()
            search(slice(first, first + batch), found)
            sync()
            times.append(time.perf_counter() - start)
            if call + 1 >= LEAST_CALLS and sum(times) > LONG:
                break
        times.sort()
        median = times[len(times) // 2]
        self.write(
            "peer",
            index=name,
            batch=batch,
            recall=round(recall, 5),
            queries_per_second=batch / median,
            ms=1e3 * median,
            least_ms=1e3 * times[0],
            most_ms=1e3 * times[-1],
        )

    def attempt(self, name: str, work: Callable[[], Iterator[None]]) -> None:
        """Runs a generator until the time is up, or it fails."""
        try:
            if time.monotonic() > self.end:
                self.complete = False
                self.write("peer left out", index=name)
                return
            for _ in work():
                if time.monotonic() > self.end:
                    self.complete = False
                    self.write("peer left out", index=f"the rest of {name}")
                    return
        except Exception as error:  # a foreign library's
            self.fail(name, error)

    def fail(self, name: str, error: Exception) -> None:
        self.complete = False
        self.write("peer failed", index=name, error=f"{type(error).__name__}: {error}"[:500])


def pool_memory() -> str:
    """Lets cuVS take memory from a pool, where there is rmm; says what it takes it from."""
    try:
        rmm = importlib.import_module("rmm")
        rmm.reinitialize(pool_allocator=True, initial_pool_size=1 << 30)
    except Exception as error:  # whatever an import of a foreign library may throw
        return f"its default ({type(error).__name__}: {error})"
    return "an rmm pool"


def run_cuvs(peers: Peers) -> None:
    import cuvs
    import torch
    from cuvs.common import Resources
    from cuvs.neighbors import brute_force, cagra, ivf_flat, ivf_pq

    version = str(getattr(cuvs, "__version__", "?"))
    peers.write("peer version", index="cuvs", version=version, memory=pool_memory())
    resources = Resources()
    base = torch.from_numpy(peers.base).cuda()
    queries = torch.from_numpy(peers.queries).cuda()
    sync = torch.cuda.synchronize
    batches = (len(queries), *(b for b in SMALL if b < len(queries)))

    def host(found: Any) -> Any:
        return found[1].copy_to_host()

    def outputs(found: Any) -> dict[str, Any]:
        known = {} if found is None else {"distances": found[0], "neighbors": found[1]}
        return known | {"resources": resources}

    def built(name: str, build: Callable[[], Any]) -> Any:
        sync()
        start = time.perf_counter()
        index = build()
        sync()
        peers.write("peer build", index=name, seconds=time.perf_counter() - start)
        return index

    def swept(
        name: str,
        build: Callable[[], Any],
        search: Callable[[Any, Any, int, dict[str, Any]], Any],
        values: tuple[int, ...],
        asked: Any,
    ) -> Iterator[None]:
        index = built(name, build)
        for value in values:
            for batch in batches if value == 32 else batches[:1]:

                def some(which: slice, found: Any, value: int = value) -> Any:
                    return search(index, asked[which], value, outputs(found))

                peers.time_search(f"{name}, {value}", batch, some, host, sync)
                yield

    def flat() -> Iterator[None]:
        index = built("cuvs brute force", lambda: brute_force.build(base))

        def some(which: slice, found: Any) -> Any:
            return brute_force.search(index, queries[which], NEIGHBOURS, **outputs(found))

        for batch in batches:
            peers.time_search("cuvs brute force", batch, some, host, sync)
            yield

    half, half_queries = base.half(), queries.half()
    fraction = min(1.0, 64 * peers.lists / len(base))
    flat_params = ivf_flat.IndexParams(n_lists=peers.lists, kmeans_trainset_fraction=fraction)

    def ivf() -> Iterator[None]:
        def search(index: Any, asked: Any, probes: int, more: dict[str, Any]) -> Any:
            options = ivf_flat.SearchParams(n_probes=probes)
            return ivf_flat.search(options, index, asked, NEIGHBOURS, **more)

        yield from swept(
            "cuvs IVF-Flat fp16, probes",
            lambda: ivf_flat.build(flat_params, half),
            search,
            PROBES,
            half_queries,
        )

    def product() -> Iterator[None]:
        params = ivf_pq.IndexParams(
            n_lists=peers.lists,
            kmeans_trainset_fraction=fraction,
            pq_dim=base.shape[1] // 2,
            pq_bits=8,
        )

        def search(index: Any, asked: Any, probes: int, more: dict[str, Any]) -> Any:
            import numpy as np

            options = ivf_pq.SearchParams(n_probes=probes, lut_dtype=np.float16)
            return ivf_pq.search(options, index, asked, NEIGHBOURS, **more)

        yield from swept(
            "cuvs IVF-PQ 8 bits, probes",
            lambda: ivf_pq.build(params, base),
            search,
            PROBES,
            queries,
        )

    def graph(degree: int, intermediate: int) -> Iterator[None]:
        params = cagra.IndexParams(graph_degree=degree, intermediate_graph_degree=intermediate)

        def search(index: Any, asked: Any, itopk: int, more: dict[str, Any]) -> Any:
            options = cagra.SearchParams(itopk_size=itopk)
            return cagra.search(options, index, asked, NEIGHBOURS, **more)

        yield from swept(
            f"cuvs CAGRA{degree} fp16, itopk",
            lambda: cagra.build(params, half),
            search,
            (16, 32, 64, 128),
            half_queries,
        )

    peers.attempt("cuvs brute force", flat)
    peers.attempt("cuvs IVF-Flat", ivf)
    for degree, intermediate in DEGREES:
        peers.attempt(
            f"cuvs CAGRA{degree}",
            lambda d=degree, i=intermediate: graph(d, i),  # type: ignore[misc]
        )
    if not peers.is_wide:
        peers.attempt("cuvs IVF-PQ", product)


def run_faiss(peers: Peers) -> None:
    if peers.is_wide:
        return
    import faiss

    peers.write("peer version", index="faiss", version=faiss.__version__)
    resources = faiss.StandardGpuResources()
    queries, dim = peers.queries, peers.base.shape[1]
    training = peers.base[:: max(1, len(peers.base) // (64 * peers.lists))]
    batches = (len(queries), *(b for b in SMALL if b < len(queries)))

    def swept(name: str, make: Callable[[], Any], values: tuple[int, ...]) -> Iterator[None]:
        start = time.perf_counter()
        index = make()
        index.train(training)
        index.add(peers.base)
        peers.write("peer build", index=name, seconds=time.perf_counter() - start)
        for value in values:
            if value:
                index.nprobe = value
            for batch in batches if value in (0, 32) else batches[:1]:

                def search(which: slice, found: Any) -> Any:
                    out = {} if found is None else {"D": found[0], "I": found[1]}
                    return index.search(queries[which], NEIGHBOURS, **out)

                # Host arrays in and out: the search waits for the device by itself.
                said = f"{name}, {value}" if value else name
                peers.time_search(said, batch, search, lambda found: found[1], lambda: None)
                yield

    def flat() -> Iterator[None]:
        yield from swept("faiss Flat", lambda: faiss.GpuIndexFlatL2(resources, dim), (0,))

    def ivf() -> Iterator[None]:
        yield from swept(
            "faiss IVFFlat, probes",
            lambda: faiss.GpuIndexIVFFlat(resources, dim, peers.lists, faiss.METRIC_L2),
            PROBES,
        )

    peers.attempt("faiss Flat", flat)
    peers.attempt("faiss IVFFlat", ivf)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("peers", nargs="*", help="cuvs, faiss")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--seconds", type=float, default=90)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.list:
        print(*(name for name in ("cuvs", "faiss") if can_import(name)))
        return 0
    if arguments.folder is None:
        parser.error("a folder is needed")
    end = time.monotonic() + arguments.seconds
    out = arguments.json.open("w") if arguments.json else None
    wider = sorted(
        (f for f in arguments.folder.iterdir() if f.name.isdigit()), key=lambda f: int(f.name)
    )
    runs = {"cuvs": run_cuvs, "faiss": run_faiss}
    for name in arguments.peers:
        if name not in runs:
            parser.error(f"{name}: cuvs and faiss are known")
    folders = [f for f in (arguments.folder, *wider) if (f / "truth.ibin").exists()]
    complete = True
    for name in arguments.peers:  # one after the other: the last is what has no time
        for folder in folders:
            peers = Peers(folder, end, out, is_wide=folder != arguments.folder)
            try:
                runs[name](peers)
            except Exception as error:  # before its first index
                peers.fail(name, error)
            complete = complete and peers.complete
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
