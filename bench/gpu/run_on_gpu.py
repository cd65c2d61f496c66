"""Tests and times nearcell on the GPU of this machine, in a few minutes; needs python3 alone.

  bench/gpu/run --binaries build/gpu-pack --out FOLDER     programs that bench/gpu/pack made
  bench/gpu/run                                            builds them here, by nvcc

In this order, each with a limit, until the time is up:
  parity     a device finds what the CPU finds: cuda_parity
  sanitizers compute-sanitizer over cuda_parity with tiny shapes, where there is one; side by side
             with each other and with parity
  bench      what searches cost: device_bench
  kernels    the time of each kernel and the share of the device's limits it reached: Nsight Compute
             over device_bench --profile, where there is ncu
  peers      cuVS and Faiss on the same data, where python3 can import them: peers.py
Everything goes into FOLDER/gpu-MODEL.txt (bench/results), also when a step fails or runs over its
limit. Exit status: 0 all is well, 1 a step failed or was not finished, 77 there is no GPU.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
LIMITS = {"parity": 150, "sanitizers": 110, "bench": 200, "kernels": 60, "peers": 230}  # seconds
SANITIZERS = ("memcheck", "racecheck", "initcheck", "synccheck")
# Every code by every metric would take racecheck minutes.
RACES = "*Filters:*RangeSearch:*Changes:*OnTheDevice:*OnTheHost:*EveryMetric:*Cpus*-*EveryCode*"
SKIPPED = 77
METRICS = {  # of Nsight Compute, few enough for one run of a kernel; per cent: of the peak
    "us": "gpu__time_duration.sum",
    "DRAM %": "dram__throughput.avg.pct_of_peak_sustained_elapsed",
    "issue %": "sm__inst_issued.avg.pct_of_peak_sustained_elapsed",
}
PROFILED = "SQfp16nr"  # the index, where none is named
LAST_KERNEL = "write_answers"  # of a search of an index
CLOCKS = "clocks.sm,clocks.mem,power.draw,temperature.gpu"


class Run:
    """The steps so far: what each said, and how it ended."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.rows: list[str] = []
        self.logs: list[str] = []
        self.failed = self.no_gpu = False

    def left(self) -> float:
        return self.end - time.monotonic()

    def note(self, name: str, text: str) -> None:
        self.rows.append(f"{name:<24} {text}")
        print(self.rows[-1], flush=True)

    def step(self, name: str, command: Sequence[str | Path], limit: float) -> str:
        """Runs a command within its limit and what time is left; returns what it printed."""
        limit = min(limit, self.left())
        if limit < 2:
            self.note(name, "left out: the time is up")
            self.failed = True
            return ""
        start = time.monotonic()
        with tempfile.TemporaryFile() as out:
            try:
                status = status_of(command, out, limit)
                said = f"status {status}"
            except subprocess.TimeoutExpired:
                status, said = 124, f"stopped after {limit:.0f} s"
            except OSError as error:
                status, said = 127, str(error)
            out.seek(0)
            text = out.read().decode(errors="replace")
        if status == SKIPPED:
            self.no_gpu = True
        elif status != 0:
            self.failed = True
        verdict = "ok" if status == 0 else "skipped" if status == SKIPPED else f"FAILED, {said}"
        self.note(name, f"{verdict}, {time.monotonic() - start:.1f} s")
        self.logs.append(
            f"---- {name}: {' '.join(map(without_folder, command))}\n{text.rstrip()}\n"
        )
        return text


def status_of(command: Sequence[str | Path], out: IO[bytes], limit: float) -> int:
    """Runs a command. What it started ends with it: tools start the programs that they look at."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
    ) as process:
        try:
            return process.wait(limit)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def without_folder(part: str | Path) -> str:
    """Of a path that is absolute, which is of this machine alone, the name."""
    return Path(part).name if Path(part).is_absolute() else str(part)


def output_of(command: Sequence[str], limit: float = 20) -> str:
    """What a small command prints, or why it does not."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}"
    return (done.stdout + done.stderr).strip()


def build(run: Run) -> Path:
    """Builds the two programs, by the CUDA compiler of this machine; not within the time limit."""
    folder = ROOT / "build" / "gpu"
    commit = output_of(["git", "-C", str(ROOT), "describe", "--always", "--dirty"])
    start = time.monotonic()
    options = ["-DCMAKE_BUILD_TYPE=Release", "-DNEARCELL_CUDA=on", "-DNEARCELL_CLI=OFF"]
    options.append(f"-DNEARCELL_COMMIT={commit}")
    capability = output_of(["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"])
    architecture = capability.split("\n")[0].strip().replace(".", "")
    if architecture.isdigit():  # this GPU's alone; all others' take minutes
        options.append(f"-DNEARCELL_CUDA_ARCHITECTURES={architecture}")
    subprocess.run(["cmake", "-S", ROOT, "-B", folder, "-G", "Ninja", *options], check=True)
    targets = ["cuda_parity", "cuda_bench"]
    subprocess.run(["cmake", "--build", folder, "--target", *targets], check=True)
    run.end += time.monotonic() - start
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    for program in ("tests/gpu/cuda_parity", "bench/gpu/device_bench"):
        shutil.copy2(folder / program, programs)
    return programs


@contextmanager
def clocks_into(path: Path) -> Iterator[None]:
    """Samples the GPU's clocks meanwhile, where there is nvidia-smi."""
    if not shutil.which("nvidia-smi"):
        yield
        return
    with path.open("wb") as out:
        command = [
            "nvidia-smi",
            f"--query-gpu={CLOCKS}",
            "--format=csv,noheader,nounits",
            "-l",
            "1",
        ]
        sampler = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            sampler.terminate()
            sampler.wait()


def clocks_text(path: Path) -> str:
    if not path.exists():
        return "clocks: no nvidia-smi"
    columns = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            columns.append([float(cell) for cell in line.split(",")])
        except ValueError:
            continue  # "[N/A]"
    if not columns:
        return "clocks: nvidia-smi gave none"
    texts = []
    for name, values in zip(CLOCKS.split(","), zip(*columns, strict=True), strict=True):
        ordered = sorted(values)
        middle = ordered[len(ordered) // 2]
        texts.append(f"{name} {ordered[0]:g} / {middle:g} / {ordered[-1]:g}")
    return f"while timing, least / median / most of {len(columns)} samples: " + ", ".join(texts)


def read_lines(path: Path) -> list[dict[str, object]]:
    if not path.exists():
        return []
    lines = []
    for line in path.read_text(errors="replace").splitlines():
        with suppress(json.JSONDecodeError):  # the last one, of a program that was stopped
            lines.append(json.loads(line))
    return lines


def table(lines: list[dict[str, object]]) -> str:
    """The lines of each kind as a table of its own."""
    texts = []
    for what in dict.fromkeys(str(line["what"]) for line in lines):
        rows = [line for line in lines if line["what"] == what]
        names = list(dict.fromkeys(name for row in rows for name in row if name != "what"))
        if len(rows) == 1 and len(names) > 8:
            texts.append("\n".join([what] + [f"  {name:<22} {rows[0][name]}" for name in names]))
            continue
        cells = [[what, *names]] + [["", *(shown(row.get(name)) for name in names)] for row in rows]
        widths = [max(len(row[i]) for row in cells) for i in range(len(names) + 1)]
        texts.append(
            "\n".join(
                "  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in cells
            )
        )
    return "\n\n".join(texts)


def shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    return "" if value is None else str(value)


def profile(run: Run, arguments: argparse.Namespace, programs: Path, data: Path) -> None:
    """What each kernel takes, search by search."""
    if (tool := shutil.which("ncu")) is None:
        run.note("kernels", "not run: there is no ncu here")
        return
    log = data / "kernels.csv"
    command: list[str | Path] = [tool, "--profile-from-start", "off", "--clock-control", "none"]
    command += ["--metrics", ",".join(METRICS.values()), "--csv", "--page", "raw"]
    command += ["--print-units", "base", "--log-file", log, programs / "device_bench"]
    command += ["--size", arguments.size, "--profile", "yes"]
    command += ["--spec", arguments.spec or PROFILED]
    run.step("kernels", command, LIMITS["kernels"])
    rows = kernel_rows(log)
    what = "kernels, searches one after the other; those of the widest vectors at the end"
    run.logs.append(f"{what}\n{table(rows)}\n")


def kernel_rows(path: Path) -> list[dict[str, object]]:
    """For each search and kernel: how often, how long, and the shares, weighed by time."""
    if not path.exists():
        return []
    lines = [line for line in path.read_text(errors="replace").splitlines() if line[:1] == '"']
    sums: dict[tuple[int, str], list[float]] = {}
    search = 0
    for row in csv.DictReader(lines):
        try:
            values = [float((row[metric] or "").replace(",", "")) for metric in METRICS.values()]
        except (KeyError, ValueError):
            continue  # the units, a kernel that was not measured, or half a line
        name = row["Kernel Name"].split("(")[0].replace("nearcell::gpu::", "")
        total = sums.setdefault((search, name), [0.0] * (len(values) + 1))
        total[0] += 1
        total[1] += values[0] / 1e3
        for i, share in enumerate(values[1:], 2):
            total[i] += share * values[0] / 1e3
        if name.endswith(LAST_KERNEL):
            search += 1
    rows: list[dict[str, object]] = []
    for (number, name), total in sums.items():
        shares = [round(share / max(total[1], 1e-9), 1) for share in total[2:]]
        row_of: dict[str, object] = {"what": f"search {number}", "kernel": name}
        row_of |= {"launches": int(total[0]), "us": round(total[1], 1)}
        rows.append(row_of | dict(zip(list(METRICS)[1:], shares, strict=True)))
    return rows


def sanitizer() -> str | None:
    return shutil.which("compute-sanitizer") or next(
        (str(p) for p in Path("/usr/local").glob("cuda*/bin/compute-sanitizer")), None
    )


def check(run: Run, arguments: argparse.Namespace, parity: Path) -> None:
    """Parity and sanitizers, all at once: nothing is timed."""
    steps: list[tuple[str, list[str | Path], float]] = []
    if "parity" in arguments.only:
        size = "tiny" if arguments.size == "tiny" else "full"
        steps.append(("parity", [parity, "--size", size], LIMITS["parity"]))
    if "sanitizers" in arguments.only:
        if (tool := sanitizer()) is None:
            run.note("sanitizers", "not run: there is no compute-sanitizer here")
        for name in SANITIZERS if tool else ():
            command: list[str | Path] = [tool or "", "--tool", name, "--error-exitcode", "9"]
            command += [parity, "--size", "tiny"]
            if name == "racecheck":
                command.append(f"--gtest_filter={RACES}")
            steps.append((f"sanitizer {name}", command, LIMITS["sanitizers"]))
    with ThreadPoolExecutor(max(1, len(steps))) as pool:
        list(pool.map(lambda step: run.step(*step), steps))


def peers_here() -> list[str]:
    """Which of the peers python3 can import, as peers.py says."""
    command = [sys.executable, HERE / "peers.py", "--list"]
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60).stdout.split()
    except subprocess.TimeoutExpired:
        return []


def data_folder() -> Path:
    """In memory where there is room for all data, ten gigabytes."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 16 << 30
    return Path(tempfile.mkdtemp(prefix="nearcell-", dir=memory if roomy else None))


def bench(run: Run, arguments: argparse.Namespace, programs: Path, data: Path) -> None:
    peers = peers_here() if "peers" in arguments.only else []
    results = data / "bench.jsonl"
    limit = min(LIMITS["bench"], run.left())
    if "bench" in arguments.only:
        command: list[str | Path] = [programs / "device_bench", "--size", arguments.size]
        command += ["--seconds", f"{0.9 * limit:.0f}", "--json", results]
        if peers:
            command += ["--write", data]
        if arguments.spec:
            command += ["--spec", arguments.spec]
        with clocks_into(data / "clocks.csv"):
            run.step("bench", command, limit)
        run.logs.append(clocks_text(data / "clocks.csv") + "\n")
    if "kernels" in arguments.only and not run.no_gpu:
        profile(run, arguments, programs, data)
    if "peers" in arguments.only:
        if not peers:
            run.note(
                "peers", f"not run: {sys.executable} can import neither cuvs nor a faiss with GPUs"
            )
        elif not (data / "truth.ibin").exists():
            run.note("peers", "not run: the benchmark left no data")
        else:
            seconds = min(LIMITS["peers"], run.left())
            command = [sys.executable, HERE / "peers.py", data, *peers]
            command += ["--seconds", f"{0.9 * seconds:.0f}", "--json", data / "peers.jsonl"]
            run.step("peers", command, seconds)


def report(run: Run, out: Path, data: Path) -> Path:
    lines = read_lines(data / "bench.jsonl") + read_lines(data / "peers.jsonl")
    model = next((str(line["model"]) for line in lines if line["what"] == "device"), "")
    if not model and shutil.which("nvidia-smi"):
        model = output_of(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"])
    slug = "-".join("".join(c if c.isalnum() else " " for c in model[:40]).split())
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"gpu-{slug or 'unknown'}.txt"
    parts = [
        f"bench/gpu/run {' '.join(map(without_folder, sys.argv[1:]))}",
        time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()) + f", {platform.platform()}, "
        f"{os.cpu_count()} CPUs, Python {platform.python_version()}",
        "\n".join(run.rows),
        table(lines),
        "JSON lines\n" + "\n".join(json.dumps(line) for line in lines),
        *run.logs,
        "---- nvidia-smi\n" + output_of(["nvidia-smi"]),
    ]
    path.write_text("\n\n".join(parts) + "\n")
    return path


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binaries", type=Path, help="folder with cuda_parity and device_bench")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--size", default="full", choices=("tiny", "medium", "full"))
    parser.add_argument(
        "--spec", help="of the parts beyond exact search only those with this in their name"
    )
    parser.add_argument("--seconds", type=float, default=460, help="that all steps may take")
    parser.add_argument("--only", nargs="+", choices=list(LIMITS), default=list(LIMITS))
    arguments = parser.parse_args()
    run = Run(arguments.seconds)
    programs = arguments.binaries or build(run)
    data = data_folder()
    try:
        check(run, arguments, programs / "cuda_parity")
        if not run.no_gpu:
            bench(run, arguments, programs, data)
        if run.no_gpu:
            print(run.logs[-1])
            return SKIPPED
        print(f"written: {report(run, arguments.out, data)}")
    finally:
        shutil.rmtree(data, ignore_errors=True)
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
