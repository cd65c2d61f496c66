"""What vs_peers.py prints, and what it says of the machine."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import nearcell
import numpy as np

Rows = list[dict[str, Any]]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def about_machine(options: Any) -> dict[str, Any]:
    def git(*words: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    processor = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    pairs = [line.split(":", 1) for line in processor.splitlines() if ":" in line]
    fields = {name.strip(): value.strip() for name, value in pairs}
    flags = fields.get("flags", "").split()
    return {
        "commit": git("rev-parse", "HEAD")[:12] + ("+" if git("status", "--porcelain") else ""),
        "nearcell": nearcell.info(),
        "module": str(Path(nearcell.__file__).parent),
        "cpu": fields.get("model name", platform.machine()),
        "flags": [flag for flag in flags if flag.startswith(("avx", "fma", "amx"))],
        "python": platform.python_version(),
        "numpy": np.__version__,
        "threads": options.threads,
        "command": sys.argv,
        "versions": {},
    }


def words(setting: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in setting.items())


def megabytes(built: dict[str, Any]) -> str:
    """The most memory that building took, next to the base; of older caches it is not known."""
    return f"{built['peak'] / 1e6:,.0f}" if "peak" in built else "-"


def show_choices(choices: Rows, built: Rows) -> None:
    """What every index could do on the tuning queries: queries a second per target.

    Marked are those of which not all settings were tried.
    """
    targets = sorted({choice["target"] for choice in choices})
    print("\nEvery index, batches of the tuning queries: queries/s at the recall")
    print(
        f"{'engine':11}{'index':42}{'bytes':>7}{'build s':>9}{'peak MB':>9}"
        + "".join(f"{target:>11g}" for target in targets)
    )
    for index in built:
        rates = ""
        for target in targets:
            found = [
                1 / c["seconds"]
                for c in choices
                if (c["engine"], c["spec"], c["target"]) == (index["engine"], index["spec"], target)
            ]
            rates += f"{found[0]:11,.0f}" if found else f"{'-':>11}"
        print(
            f"{index['engine']:11}{index['spec']:42}{index['bytes']:7.0f}{index['cpu']:9.1f}"
            f"{megabytes(index):>9}{rates}{'' if index.get('complete', True) else '  time was up'}"
        )


def ratio(row: dict[str, Any]) -> str:
    if "ratio" not in row or row["engine"] == "nearcell":
        return ""
    median, lowest, highest = row["ratio"]
    return f"{median:.2f} ({lowest:.2f} to {highest:.2f})"


def show_batches(rows: Rows) -> None:
    print("\nBatches of held-out queries; ratio: how many times faster nearcell is, per round")
    print(
        f"{'at':5} {'engine':11}{'index':42}{'setting':42}{'recall':>7}{'queries/s':>11}"
        f"  {'ratio':23}{'bytes':>7}{'build s':>9}"
    )
    for row in rows:
        print(
            f"{row['target']:<5g} {row['engine']:11}{row['spec']:42}{words(row['setting']):42}"
            f"{row['recall']:7.4f}{row['queries_per_second']:11,.0f}  {ratio(row):23}"
            f"{row['build']['bytes']:7.0f}{row['build']['cpu']:9.1f}"
        )


def show_singles(result: dict[str, Any]) -> None:
    print(f"\n{result['queries']} held-out queries, one a call; latency in microseconds")
    print(
        f"{'at':5} {'engine':11}{'index':42}{'setting':42}{'recall':>7}{'p50':>9}{'p99':>9}"
        f"{'of it a call':>14}{'queries/s':>11}  {'ratio':23}"
    )
    for row in result["rows"]:
        call = result["call_seconds"][row["engine"]]
        print(
            f"{row['target']:<5g} {row['engine']:11}{row['spec']:42}{words(row['setting']):42}"
            f"{row['recall']:7.4f}{row['p50_us']:9.1f}{row['p99_us']:9.1f}"
            f"{f'{call * 1e6:.1f}' if call is not None else '-':>14}"
            f"{row['queries_per_second']:11,.0f}  {ratio(row)}"
        )
