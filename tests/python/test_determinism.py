"""The same bits for any number of threads, from run to run, and on AVX2 and AVX-512."""

import hashlib
import os
import subprocess
import sys

import nearcell
import numpy as np
import pytest
from support import KINDS, built, manifold

SPECS = KINDS


def answers(spec, metric, threads):
    """Everything that building and searching gives, hashed."""
    train, base, queries = manifold(32, 3000, 4000, 300)
    index = nearcell.Index(spec, 32, metric)
    index.train(train, threads=threads)
    index.add(base[:3000], threads=threads)
    index.add(base[3000:], threads=threads)
    parts = {"file": index.to_bytes()}
    for nq in (1, 7, 300):
        scores, ids = index.search(queries[:nq], 10, probes=4, threads=threads)
        parts[f"search {nq}"] = scores.tobytes() + ids.tobytes()
    radius = float(np.median(index.search(queries, 20, probes=4, threads=threads)[0][:, -1]))
    found = index.range_search(queries, radius, probes=4, threads=threads)
    parts["range"] = b"".join(part.tobytes() for part in found)
    return {name: hashlib.sha256(value).hexdigest() for name, value in parts.items()}


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("spec", SPECS)
def test_any_number_of_threads(spec, metric):
    one = answers(spec, metric, 1)
    for threads in (2, 4):
        assert answers(spec, metric, threads) == one


def isas():
    flags = open("/proc/cpuinfo").read()
    known = {"avx2": "avx2", "avx512": "avx512bw", "avx512vnni": "avx512_vnni", "amx": "amx_int8"}
    found = [isa for isa, flag in known.items() if flag in flags]
    # The system may withhold AMX from a process. Then another one is chosen, as by NEARCELL_ISA.
    return [isa for isa in found if isa != "amx" or nearcell.info()["isa"] == "amx"]


def run_with(isa, *arguments):
    run = subprocess.run(
        [sys.executable, __file__, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "NEARCELL_ISA": isa, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return run.stdout.splitlines()


def test_every_instruction_set():
    if len(isas()) < 2:
        pytest.skip(f"this machine has only {isas()}: nothing to compare")
    results = {isa: run_with(isa) for isa in isas()}
    first = results.pop("avx2")
    assert first[0].startswith("isa avx2") and len(first) > len(SPECS)
    for isa, lines in results.items():
        assert lines[0] == f"isa {isa}"
        different = [(a, b) for a, b in zip(first[1:], lines[1:], strict=True) if a != b]
        assert not different, (isa, [a.split("=")[0] for a, _ in different])


def test_an_instruction_set_that_is_not_there():
    script = "import nearcell; nearcell.info()"
    run = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "NEARCELL_ISA": "sse9", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert run.returncode != 0
    assert "NotImplementedError" in run.stderr and "sse9" in run.stderr and "avx2" in run.stderr


def test_seeds_matter():
    train, base, _ = manifold(32, 3000, 4000, 300)
    first, again = (built("IVF16,PQ8", base, train=train, seed=5) for _ in range(2))
    other = built("IVF16,PQ8", base, train=train, seed=6)
    assert first.to_bytes() == again.to_bytes() != other.to_bytes()


if __name__ == "__main__":
    print("isa", nearcell.info()["isa"])
    for spec in SPECS:
        for metric in ("l2", "ip"):
            for name, value in answers(spec, metric, 2).items():
                print(f"{spec} {metric} {name}={value}")
