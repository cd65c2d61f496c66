"""Everything `./run test` does once the packages are installed: builds, tests, adds up.

One line a step; a failing step prints the end of its log and the next ones go on. The very last
line is "N passed, N failed, N skipped"; the exit status is 1 when anything failed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from tally import Tally, read_ctest, read_pytest

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "test"
FUZZ = ROOT / "build" / "fuzz"
LOG = ROOT / "build" / "log"
REPORT = ROOT / "build" / "report"
NVCC = ROOT / "build" / "cuda" / "nvidia" / "cu13" / "bin" / "nvcc"
SKIPPED = 77  # the exit status of a test program that says why it tested nothing
JOBS = str(len(os.sched_getaffinity(0)))


def step(name: str, command: Sequence[str | Path], minutes: float = 30, **env: str | Path) -> int:
    """Runs a command quietly and says how it ended; returns its exit status."""
    LOG.mkdir(parents=True, exist_ok=True)
    log = LOG / ("".join(c if c.isalnum() else "_" for c in name) + ".log")
    start = time.monotonic()
    with log.open("wb") as out:
        try:
            status = subprocess.run(
                [str(part) for part in command],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=minutes * 60,
                env=os.environ | {key: str(value) for key, value in env.items()},
            ).returncode
        except subprocess.TimeoutExpired:
            status = 124
            out.write(f"\nstopped after {minutes:g} minutes\n".encode())
        except OSError as error:
            status = 127
            out.write(f"{error}\n".encode())
    took = time.monotonic() - start
    if status == 0:
        print(f"{name:<40} ok, {took:.0f} s", flush=True)
    else:
        print(f"{name:<40} FAILED with status {status}; the end of {log.relative_to(ROOT)}:")
        lines = log.read_text(errors="replace").splitlines()[-60:]
        print("\n".join("    " + line for line in lines), flush=True)
    return status


def check(tally: Tally, name: str, command: Sequence[str | Path], minutes: float = 30) -> bool:
    """A step that counts as one test."""
    status = step(name, command, minutes)
    if status == 0:
        tally.passed += 1
    else:
        tally.fail(name, f"status {status}")
    return status == 0


def test_cpp(tally: Tally) -> None:
    module = ["-DNEARCELL_PYTHON=ON", f"-DPython_EXECUTABLE={sys.executable}"]
    if NVCC.exists():  # not the one that an earlier configuration may have found
        module.append(f"-DNEARCELL_NVCC={NVCC}")
    if check(tally, "configure build/test", ["cmake", "--preset", "test", *module]):
        # -k 0: what can be built is built, and tested, even when a part cannot.
        check(tally, "build build/test", ["cmake", "--build", BUILD, "--", "-k", "0"])
        gtest = REPORT / "gtest"
        junit = REPORT / "ctest.xml"
        where: list[str | Path] = ["--test-dir", BUILD, "--output-junit", junit]
        command = ["ctest", *where, "-j", JOBS, "--timeout", "900", "--output-on-failure"]
        step("C++ tests", command, GTEST_OUTPUT=f"xml:{gtest}/")
        tally.add(read_ctest(junit, gtest))


def test_fuzz(tally: Tally) -> None:
    """Each fuzz target on the inputs of a fixed seed, under sanitizers."""
    make: list[str | Path] = ["cmake", "-G", "Ninja", "-S", "tests/fuzz", "-B", FUZZ]
    if check(tally, "configure build/fuzz", make):
        check(tally, "build build/fuzz", ["cmake", "--build", FUZZ, "--", "-k", "0"])
        junit = REPORT / "fuzz.xml"
        where: list[str | Path] = ["--test-dir", FUZZ, "--output-junit", junit]
        command = ["ctest", *where, "-j", JOBS, "--timeout", "900", "--output-on-failure"]
        step("fuzz targets", command)
        tally.add(read_ctest(junit, REPORT / "gtest"))


def test_cuda(tally: Tally) -> None:
    if not NVCC.exists():
        tally.skip("CUDA sources", "no CUDA compiler in build/cuda, ./run gpu-toolkit gets one")
        return
    targets = ["cuda_link_check", "cuda_parity"]
    command: list[str | Path] = ["cmake", "--build", BUILD, "--target", *targets]
    if check(tally, "compile for every kind of GPU", command):
        command = [sys.executable, "tools/ptxas_table.py", BUILD, "--check"]
        check(tally, "registers of the kernels", command)
        check(tally, "GPUs are found, or it says why", [BUILD / "tests/gpu/cuda_link_check"])
        parity = BUILD / "tests/gpu/cuda_parity"
        if subprocess.run([parity], capture_output=True).returncode == SKIPPED:
            tally.skip("a GPU finds what the CPU finds", "no GPU is here, or no driver")
        else:
            check(tally, "a GPU finds what the CPU finds", [parity, "--size", "full"])


def test_tools(tally: Tally) -> None:
    check(tally, "includes go down the layers", [sys.executable, "tools/check_layers.py"])
    check(tally, "one symbol a kernel object", ["tools/check_symbols.sh", BUILD])
    check(tally, "no spills in hot loops", [sys.executable, "tools/check_spills.py", BUILD])
    check(tally, "file sizes, mirrored tests", [sys.executable, "tools/check_size.py"])
    check(tally, "formatting", ["tools/format.sh", "--check"])


def test_python(tally: Tally) -> None:
    junit = REPORT / "pytest.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "tests/python", f"--junitxml={junit}"]
    # Faiss brings an OpenMP of its own: the threads of the one that idles shall not spin.
    status = step("Python tests", command, 50, NEARCELL_BUILD=BUILD, OMP_WAIT_POLICY="passive")
    tally.add(read_pytest(junit, status))


def main() -> int:
    shutil.rmtree(REPORT, ignore_errors=True)
    (REPORT / "gtest").mkdir(parents=True)
    tally = Tally()
    test_cpp(tally)
    test_fuzz(tally)
    test_cuda(tally)
    test_tools(tally)
    test_python(tally)
    for reason, count in Counter(skip.split(": ", 1)[1] for skip in tally.skips).items():
        first = next(skip.split(": ")[0] for skip in tally.skips if skip.endswith(reason))
        print(f"skipped {first}{f' and {count - 1} more' if count > 1 else ''}: {reason}")
    for failure in tally.failures:
        print(f"failed {failure}")
    print(tally.line(), flush=True)
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
