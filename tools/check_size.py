"""Checks that files stay small and that library code has its mirrored test.

The median C++ or Python file has at most 200 lines, the longest at most 800. FOLDER/FILE.cpp of the
library is tested by tests/FOLDER/FILE_test.cpp; FILE_PART.cpp may be tested there too; any other is
listed in TESTED_ELSEWHERE with where and why.
Usage: check_size.py [ROOT]; prints what is wrong; exit status 1 when anything is.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

MEDIAN_LINES = 200
MAX_LINES = 800
LIBRARY = ["core", "kernels", "cpu", "quantize", "pca", "storage", "ivf", "index"]
FOLDERS = [*LIBRARY, "cli", "python", "bench", "tests", "examples", "tools"]

# Source file: (the test that covers it, why it is not the mirrored one).
TESTED_ELSEWHERE: dict[str, tuple[str, str]] = {}


def count_lines(root: Path) -> dict[str, int]:
    lines = {}
    for folder in FOLDERS:
        for suffix in ("h", "cpp", "py"):
            for path in sorted((root / folder).rglob(f"*.{suffix}")):
                lines[str(path.relative_to(root))] = len(path.read_text().splitlines())
    return lines


def check_lengths(lines: dict[str, int]) -> list[str]:
    problems = [
        f"{name}: {count} lines, at most {MAX_LINES}"
        for name, count in lines.items()
        if count > MAX_LINES
    ]
    if lines and (median := statistics.median(lines.values())) > MEDIAN_LINES:
        problems.append(f"the median file has {median:g} lines, at most {MEDIAN_LINES}")
    return problems


def check_mirrored(
    root: Path, names: list[str], elsewhere: dict[str, tuple[str, str]]
) -> list[str]:
    problems = []
    for name in names:
        path = Path(name)
        if path.suffix != ".cpp" or path.parts[0] not in LIBRARY:
            continue
        words = path.stem.split("_")
        stems = ["_".join(words[:count]) for count in range(len(words), 0, -1)]
        mirrored = [f"tests/{path.parent}/{stem}_test.cpp" for stem in stems]
        found = [test for test in mirrored if (root / test).is_file()]
        if name in elsewhere and found:
            problems.append(f"{name} has {found[0]}: take it off TESTED_ELSEWHERE")
        elif name not in elsewhere and not found:
            problems.append(f"{name} has no {mirrored[0]}")
    for name, (test, _) in elsewhere.items():
        for listed in (name, test):
            if not (root / listed).is_file():
                problems.append(f"TESTED_ELSEWHERE names {listed}, which does not exist")
    return problems


def check_tree(root: Path, elsewhere: dict[str, tuple[str, str]] | None = None) -> list[str]:
    lines = count_lines(root)
    listed = TESTED_ELSEWHERE if elsewhere is None else elsewhere
    return check_lengths(lines) + check_mirrored(root, list(lines), listed)


def main() -> int:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve()
    problems = check_tree(root)
    lines = count_lines(root)
    for problem in problems:
        print(problem)
    longest = max(lines, key=lines.__getitem__)
    print(
        f"{len(lines)} files, median {statistics.median(lines.values()):g} lines, "
        f"longest {longest} with {lines[longest]}"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
