"""--device and `nearcell devices`, as far as a machine with or without a GPU shows them alike.

What a device is asked for: tests/cli/device_command_test.cpp.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from test_cli import BAD_INPUT, BUILD, NOT_FOUND, USAGE, pytestmark, run, run_json, write_bin

__all__ = ["pytestmark"]
NO_DEVICE = 7


def test_devices_are_listed_or_why_there_are_none() -> None:
    report = run_json("devices")
    assert (report["devices"] == []) == ("why" in report)
    text = run("devices").stdout
    for device in report["devices"]:
        assert device["description"].startswith(device["name"])
        assert device["description"] in text
        assert 0 <= device["free_bytes"] <= device["memory_bytes"]
    if not report["devices"]:
        assert text == f"no GPU: {report['why']}\n"
        assert "cpu" in report["why"]


def test_a_device_that_is_not_there(tmp_path: Path) -> None:
    base, out = tmp_path / "base.fbin", tmp_path / "x.nc"
    write_bin(base, np.zeros((100, 4), np.float32))
    words = ["build", base, "-k", "Flat", "-o", out]
    error = run_json(*words, "--device", "cuda:4096", code=NO_DEVICE)["error"]
    assert error["code"] == "NoDevice" and "cuda:4096" in error["message"]
    assert "cpu" in error["message"]
    assert "cuda:N" in run(*words, "--device", "gpu", code=BAD_INPUT).stderr
    assert not out.exists()
    assert run_json(*words, "--device", "cpu")["device"] == "cpu"
    search = ["search", out, base, "-o", tmp_path / "out.ibin"]
    assert "GPU" in run(*search, "--device-memory", "1GiB", code=BAD_INPUT).stderr
    run(*search, "--device-memory", "some", code=USAGE)
    run("truth", base, tmp_path / "none.fbin", "-o", tmp_path / "t.ibin", code=NOT_FOUND)
    extract = ["extract", tmp_path / "none.png", "-o", tmp_path / "x.npy"]
    for command in (search, ["truth", base, base, "-o", tmp_path / "t.ibin"], extract):
        run(*command, "--device", "cuda:4096", code=NO_DEVICE)
    assert not (tmp_path / "out.ibin").exists() and not (tmp_path / "t.ibin").exists()


EMULATED = BUILD / "tests" / "gpu" / "nearcell_emulated"


def run_there(*words: object) -> str:
    """The command on a machine whose GPU is the emulation (tests/gpu/emulated_command.cpp)."""
    done = subprocess.run([EMULATED, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not EMULATED.is_file(), reason=f"no emulated GPU: {EMULATED} is not built")
def test_on_an_emulated_gpu_files_are_those_of_the_cpu(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    base, queries = tmp_path / "base.fbin", tmp_path / "queries.fbin"
    write_bin(base, random.normal(size=(3000, 16)).astype(np.float32))
    write_bin(queries, random.normal(size=(60, 16)).astype(np.float32))
    assert "emulation" in run_there("devices")
    for spec in ("Flat", "IVF16,SQ8", "IVF16,PQ8,RFlat"):
        files = []
        for place, command in (("cuda:0", run_there), ("cpu", run)):
            index, out = tmp_path / f"{place[:4]}.nc", tmp_path / f"{place[:4]}.ibin"
            command("build", base, "-k", spec, "-o", index, "--device", place)
            command("search", index, queries, "--probes", 4, "-o", out, "--device", place)
            files.append((index.read_bytes(), out.read_bytes()))
            out.unlink()
        assert files[0] == files[1], spec
    truth = []
    for place, command in (("cuda:0", run_there), ("cpu", run)):
        out = tmp_path / f"{place[:4]}-truth.ibin"
        command("truth", base, queries, "-o", out, "--device", place)
        truth.append(out.read_bytes())
    assert truth[0] == truth[1]
