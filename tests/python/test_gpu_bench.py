"""bench/gpu without a GPU: what becomes of tools that are stopped, and of what peers answer."""

import importlib.util
import json
import os
import subprocess
import tempfile
import time
from types import ModuleType

import numpy as np
import pytest
from support import ROOT


def load(name: str) -> ModuleType:
    """A module of bench/gpu, under a name of its own: bench/ has a package called peers, too."""
    spec = importlib.util.spec_from_file_location(f"gpu_{name}", ROOT / f"bench/gpu/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_table_that_was_cut_off_leaves_the_rest(tmp_path):
    """Nsight Compute and the benchmark are stopped wherever they are when their time is up."""
    run = load("run_on_gpu")
    header = ['"ID"', '"Kernel Name"', *(f'"{metric}"' for metric in run.METRICS.values())]
    row = ['"0"', '"nearcell::gpu::scan(int)"', '"2,500"', '"50"', '"25"']
    path = tmp_path / "kernels.csv"
    path.write_text("\n".join(["==PROF==", ",".join(header), ",".join(row), ",".join(row[:3])]))
    assert run.kernel_rows(path) == [
        {"what": "search 0", "kernel": "scan", "launches": 1, "us": 2.5}
        | {"DRAM %": 50.0, "issue %": 25.0}
    ]
    path.write_text('{"what": "pca"}\nnoise\n{"what": "ass')
    assert run.read_lines(path) == [{"what": "pca"}]


def test_what_a_stopped_command_started_ends_with_it():
    status_of = load("run_on_gpu").status_of
    with tempfile.TemporaryFile() as out:
        assert status_of(["bash", "-c", "exit 3"], out, 20) == 3
        with pytest.raises(subprocess.TimeoutExpired):
            status_of(["bash", "-c", "sleep 60 & echo $!; wait"], out, 1)
        out.seek(0)
        child = int(out.read())
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        with open(f"/proc/{child}/stat") as stat:  # nobody may have waited for it
            if stat.read().split()[2] == "Z":
                return
        time.sleep(0.05)
    pytest.fail("it lives on")


def test_recall_of_results_that_are_written_again(tmp_path):
    """Faiss fills the same arrays for each batch of queries."""
    rng = np.random.default_rng(1)
    for name, values in {
        "base.fbin": rng.standard_normal((300, 4)).astype(np.float32),
        "queries.fbin": rng.standard_normal((200, 4)).astype(np.float32),
        "truth.ibin": np.arange(2000, dtype=np.int32).reshape(200, 10),
    }.items():
        with open(tmp_path / name, "wb") as file:
            np.array(values.shape, np.uint32).tofile(file)
            values.tofile(file)
    with open(tmp_path / "lines", "w") as out:
        peers = load("peers").Peers(tmp_path, time.monotonic() + 60, out, is_wide=False)

        def search(which, found):
            ids = np.zeros((which.stop - which.start, 10), np.int32) if found is None else found
            ids[:] = peers.truth[which]
            return ids

        for batch in (200, 100, 1):
            peers.time_search("one that finds all", batch, search, lambda ids: ids, lambda: None)
    lines = [json.loads(line) for line in (tmp_path / "lines").read_text().splitlines()]
    assert [line["recall"] for line in lines] == [1, 1, 1]
