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
LIBRARY = ["core", "kernels", "cpu", "gpu", "quantize", "pca", "storage", "extract", "ivf", "index"]
FOLDERS = [*LIBRARY, "cli", "python", "bench", "tests", "examples", "tools"]

# Test: (why it covers these files, which: of its own folder, or FOLDER/FILE).
TESTED_ELSEWHERE: dict[str, tuple[str, list[str]]] = {
    "tests/gpu/simt/barriers_test.cpp": (
        "threads and blocks that meet, and in which order they run",
        ["gpu/simt/emulator", "gpu/simt/fiber", "gpu/simt/launch", "gpu/simt/scheduler"],
    ),
    "tests/gpu/simt/planted_faults_test.cpp": (
        "what is found, and what is said of it",
        [
            "gpu/simt/access_check",
            "gpu/simt/instrumented_access",
            "gpu/simt/report",
            "gpu/simt/shared_memory",
        ],
    ),
    "tests/gpu/simt/streams_test.cpp": ("the host's side", ["gpu/simt/device_memory"]),
    "tests/kernels/device_test.cpp": ("how it says that there is none", ["no_devices"]),
    "tests/kernels/kernel_test.cpp": (
        "every operation of ops.def on every instruction set, against the reference",
        [
            "reference",
            "cpu/isa_select",
            "cpu/kernels_assign",
            "cpu/kernels_conv",
            "cpu/kernels_decode",
            "cpu/kernels_int16",
            "cpu/kernels_int8",
            "cpu/kernels_lookup",
            "cpu/kernels_pair",
            "cpu/kernels_peak",
            "cpu/kernels_rotate",
            "cpu/kernels_row",
            "cpu/kernels_scan",
            "cpu/kernels_select",
        ],
    ),
    "tests/kernels/backend_test.cpp": (
        "the Backend interface, with the implementation there is",
        [
            "float_blocks",
            "cpu/assign_rows",
            "cpu/cpu_backend",
            "cpu/move_to_means",
            "cpu/nearest_rows",
        ],
    ),
    "tests/kernels/refine_cells_test.cpp": ("an operation of Backend", ["cpu/refine_cells"]),
    "tests/kernels/coded_queries_test.cpp": ("queries of two operations", ["cpu/coded_queries"]),
    "tests/kernels/rerank_test.cpp": ("an operation of Backend", ["cpu/rerank"]),
    "tests/kernels/scan_cells_test.cpp": ("an operation of Backend", ["cpu/scan_cells"]),
    "tests/extract/network_test.cpp": (
        "layers with their weights and loops, against double precision",
        ["pack_convolution", "cpu/convolve"],
    ),
    "tests/ivf/cell_index_test.cpp": (
        "CellIndex's operations and their parts, against a model that scans everything",
        ["add", "cell", "id_map", "transform"],
    ),
    "tests/index/factory_test.cpp": ("the words of index strings", ["spec_parts"]),
    "tests/pca/pca_test.cpp": ("a Pca comes from its Fitter", ["fitter"]),
    "tests/quantize/kmeans_test.cpp": (
        "steps of k-means, with every method of it",
        ["empty_clusters", "lloyd", "training_rows"],
    ),
    "tests/storage/container_test.cpp": ("a container's checksums", ["checksum"]),
    "tests/storage/io_hdf5_test.cpp": ("the library's session, by its users", ["hdf5_session"]),
    "tests/storage/vector_file_test.cpp": (
        "how every format reads its file",
        ["input_file", "io_raw", "row_file"],
    ),
}


def count_lines(root: Path) -> dict[str, int]:
    lines = {}
    for folder in FOLDERS:
        for suffix in ("h", "cpp", "cuh", "cu", "py"):
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


def mirrored_test(root: Path, path: Path) -> str | None:
    """tests/FOLDER/FILE_test.cpp, or that of the first words of FILE, if there is one."""
    words = path.stem.split("_")
    for count in range(len(words), 0, -1):
        test = f"tests/{path.parent}/{'_'.join(words[:count])}_test.cpp"
        if (root / test).is_file():
            return test
    return None


def check_mirrored(
    root: Path, names: list[str], elsewhere: dict[str, tuple[str, list[str]]]
) -> list[str]:
    problems = [
        f"TESTED_ELSEWHERE names {test}, which does not exist"
        for test in elsewhere
        if not (root / test).is_file()
    ]
    listed = {
        f"{stem}.cpp" if "/" in stem else f"{test.split('/')[1]}/{stem}.cpp"
        for test, (_, stems) in elsewhere.items()
        for stem in stems
    }
    problems += [
        f"TESTED_ELSEWHERE names {name}, which does not exist"
        for name in sorted(listed.difference(names))
    ]
    for name in names:
        path = Path(name)
        if path.suffix != ".cpp" or path.parts[0] not in LIBRARY:
            continue
        test = mirrored_test(root, path)
        if name in listed and test:
            problems.append(f"{name} has {test}: take it off TESTED_ELSEWHERE")
        elif name not in listed and not test:
            problems.append(f"{name} has no tests/{path.with_suffix('')}_test.cpp")
    return problems


def check_tree(root: Path, elsewhere: dict[str, tuple[str, list[str]]] | None = None) -> list[str]:
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
