"""What ptxas gave each kernel: registers, spilled bytes, shared memory, for every architecture.

Reads the .ptxas files that cmake/cuda.cmake leaves in a build and prints a table. --check compares
it with the one that is kept: any difference is an error, for the table shall be true; so is a
kernel that spills or has its arrays in memory (stack bytes). --write keeps the new one, whose
growth the commit has to explain.

Usage: ptxas_table.py BUILD [--check | --write] [--table gpu/ptxas.txt]
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ENTRY = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\d+)'")
SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")


@dataclass(frozen=True)
class Figures:
    registers: int
    stack: int  # bytes, spills among them
    shared: int  # bytes, static

    def text(self) -> str:
        return f"{self.registers}/{self.stack}/{self.shared}"


Table = dict[str, dict[int, Figures]]


def read_log(text: str, table: Table) -> None:
    """Adds the kernels of one log; a kernel's lines follow each other."""
    entry: tuple[str, int] | None = None
    stack = 0
    for line in text.splitlines():
        if found := ENTRY.search(line):
            entry, stack = (found[1], int(found[2])), 0
        elif found := SPILLS.search(line):
            stack = max(int(found[1]), int(found[2]), int(found[3]))
        elif (found := USED.search(line)) and entry:
            shared = SHARED.search(line)
            figures = Figures(int(found[1]), stack, int(shared[1]) if shared else 0)
            table.setdefault(entry[0], {})[entry[1]] = figures
            entry = None


def short_names(names: list[str]) -> dict[str, str]:
    """Kernels by their names in C++, without what all share and without parameters."""
    run = subprocess.run(
        ["c++filt"], input="\n".join(names), capture_output=True, text=True, check=True
    )
    short = {}
    for name, plain in zip(names, run.stdout.splitlines(), strict=True):
        plain = plain.replace("(anonymous namespace)::", "").removeprefix("void ")
        depth, end = 0, len(plain)
        for at, letter in enumerate(plain):
            depth += (letter == "<") - (letter == ">")
            if letter == "(" and depth == 0:
                end = at
                break
        short[name] = plain[:end].replace("nearcell::", "").replace("gpu::", "")
    return short


def as_text(table: Table) -> str:
    """One line a kernel, one column an architecture."""
    names = short_names(sorted(table))
    architectures = sorted({arch for figures in table.values() for arch in figures})
    head = ["registers/stack bytes/shared bytes", *(f"sm_{arch}" for arch in architectures)]
    rows = [head]
    for kernel in sorted(table, key=lambda name: names[name]):
        figures = table[kernel]
        cells = (figures[a].text() if a in figures else "-" for a in architectures)
        rows.append([names[kernel], *cells])
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "".join(line.rstrip() + "\n" for line in lines)


def differences(kept: str, found: str) -> list[str]:
    """Lines that are not the same, from what is kept to what is found."""
    before, after = set(kept.splitlines()), set(found.splitlines())
    gone = [f"- {line}" for line in kept.splitlines() if line not in after]
    return gone + [f"+ {line}" for line in found.splitlines() if line not in before]


def with_stack(table: Table) -> list[str]:
    """The mangled names of kernels that have any, and where."""
    return [
        f"{kernel} on sm_{arch}: {figures.stack} bytes of stack"
        for kernel, columns in sorted(table.items())
        for arch, figures in sorted(columns.items())
        if figures.stack
    ]


def source_exists(log: Path) -> bool:
    """By the list of dependencies that nvcc left beside the log, where it did."""
    listed = log.with_name(log.name.removesuffix(".ptxas") + ".o.d")
    if not listed.exists():
        return True
    files = listed.read_text().replace("\\\n", " ").split(":", 1)[1].split()
    return all(Path(file).exists() for file in files[:1])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("build", type=Path)
    parser.add_argument("--table", type=Path, default=Path("gpu/ptxas.txt"))
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true")
    what.add_argument("--write", action="store_true")
    options = parser.parse_args()
    # A log whose object was made from a source that is gone is an old one.
    logs = sorted(log for log in options.build.rglob("*.ptxas") if source_exists(log))
    if not logs:
        print(f"{options.build}: no .ptxas files: was it configured with a CUDA compiler?")
        return 1
    table: Table = {}
    for log in logs:
        read_log(log.read_text(), table)
    text = as_text(table)
    if options.write:
        options.table.write_text(text)
    if not options.check:
        print(text, end="")
        return 0
    changed = differences(options.table.read_text() if options.table.exists() else "", text)
    spilled = with_stack(table)
    for line in changed + spilled:
        print(line)
    print(f"{len(table)} kernels, {len(changed)} lines differ from {options.table}")
    if changed:
        print(f"  tools/ptxas_table.py {options.build} --write, and say why in the commit")
    return 1 if changed or spilled else 0


if __name__ == "__main__":
    sys.exit(main())
