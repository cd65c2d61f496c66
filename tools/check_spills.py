#!/usr/bin/env python3
"""Fails when a hot loop of the scan kernels keeps vectors on the stack.

A tile's accumulators must stay in registers for the whole loop over the dimensions (cpu/tile.h).
The hot loops are the innermost loops of the scan and peak functions with multiply-adds (L2, inner
product) or absolute values (L1) in them, those where an eighth or more are products of integers,
and those of the look-ups, where a sixth or more are byte shuffles; an instruction there with a
vector register and a stack address is a spill. L1 on AVX2 needs one register more than there are:
its one spill is let pass.
Usage: check_spills.py BUILD_DIR
"""

import re
import subprocess
import sys
from pathlib import Path

FUNCTION = re.compile(r"^[0-9a-f]+ <(.*)>:$")
INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\s+(\S+)\s*(.*)$")
ARITHMETIC = re.compile(r"vfn?m(add|sub)|vand[np]")
PRODUCTS = re.compile(r"vpmaddubsw|vpdpbusd|tdpbsud")  # of bytes
HALF_PRODUCTS = re.compile(r"vpmaddwd|vpdpwssd|tdpb[su]{2}d")
STACK = re.compile(r"\(%r[sb]p")


def functions(text: str) -> dict[str, list[tuple[int, str, str]]]:
    found: dict[str, list[tuple[int, str, str]]] = {}
    name = ""
    for line in text.splitlines():
        if match := FUNCTION.match(line):
            name = match[1]
            found[name] = []
        elif name and (match := INSTRUCTION.match(line)):
            found[name].append((int(match[1], 16), match[2], match[3]))
    return found


def innermost_loops(code: list[tuple[int, str, str]]) -> list[tuple[int, int]]:
    loops = []
    for address, op, operands in code:
        if op.startswith("j") and (target := re.match(r"([0-9a-f]+) <", operands)):
            if int(target[1], 16) <= address:
                loops.append((int(target[1], 16), address))

    def inside(a: tuple[int, int], b: tuple[int, int]) -> bool:
        return a != b and b[0] <= a[0] and a[1] <= b[1]

    return [loop for loop in loops if not any(inside(other, loop) for other in loops)]


def is_hot(source: str, body: list[tuple[int, str, str]]) -> bool:
    if source == "kernels_lookup":
        return 6 * sum(op == "vpshufb" for _, op, _ in body) >= len(body)
    products = HALF_PRODUCTS if source == "kernels_int16" else PRODUCTS
    if 8 * sum(bool(products.match(op)) for _, op, _ in body) >= len(body):
        return True
    if source in ("kernels_int8", "kernels_int16"):  # the rest is done once a tile or a query
        return False
    return any(ARITHMETIC.match(op) for _, op, _ in body)


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    hot_loops = spills = 0
    for isa in ("avx2", "avx512", "avx512vnni", "amx"):
        for source in (
            "kernels_scan",
            "kernels_conv",
            "kernels_int8",
            "kernels_int16",
            "kernels_lookup",
            "kernels_peak",
        ):
            path = Path(sys.argv[1]) / f"CMakeFiles/nearcell_{isa}.dir/cpu/{source}.cpp.o"
            if not path.exists():
                continue
            text = subprocess.run(
                ["objdump", "-d", "--no-show-raw-insn", str(path)],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            for name, code in functions(text).items():
                for first, last in innermost_loops(code):
                    body = [c for c in code if first <= c[0] <= last]
                    if not is_hot(source, body):
                        continue
                    hot_loops += 1
                    bad = [c for c in body if STACK.search(c[2]) and re.search(r"%[xyz]mm", c[2])]
                    allowed = 2 if isa == "avx2" and "TileKeyE2" in name else 0
                    if len(bad) <= allowed:
                        continue
                    spills += len(bad)
                    for address, op, operands in bad:
                        print(f"{isa}: {name} at {address:x}: {op} {operands}")
    print(f"{hot_loops} hot loops, {spills} vector accesses to the stack")
    return 0 if hot_loops > 0 and spills == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
