"""Checks every #include: it goes down the layers, and third parties stay in their folder.

Our own headers are included as <nearcell/FOLDER/FILE.h>; a quoted include is for a private file of
the same folder. A header that is neither ours, nor C++'s, nor listed below is a violation: a new
dependency gets its line here and its paragraph in docs/dependencies.md.
Usage: check_layers.py [ROOT]; prints the violations; exit status 1 when there are any.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

# A folder may include itself and what is named here.
LOWER = {
    "core": [],
    "kernels": ["core"],
    "cpu": ["kernels", "core"],
    "gpu": ["gpu/simt", "kernels", "core"],
    "gpu/simt": ["core"],  # kernels and their host code meet the device only through it
    "quantize": ["kernels", "core"],
    "pca": ["kernels", "core"],
    "storage": ["kernels", "core"],
    "extract": ["pca", "storage", "kernels", "core"],
    "ivf": ["quantize", "pca", "storage", "kernels", "core"],
    "index": ["ivf", "quantize", "pca", "storage", "kernels", "core"],
}
LIBRARY = ["index", "ivf", "extract", "quantize", "pca", "storage", "kernels", "core"]
LOWER |= {folder: LIBRARY for folder in ("python", "examples")}
# The tests and `nearcell bench` also look at every instruction set's kernels; tests at GPUs', too,
# and they run the command.
LOWER |= {"cli": [*LIBRARY, "cpu"], "tests": [*LIBRARY, "cli", "cpu", "gpu", "gpu/simt"]}
LOWER |= {"bench": [*LIBRARY, "gpu", "gpu/simt"]}

# Third parties and the folders they may be included in. The tests of a folder may use what it may.
THIRD_PARTY = {
    r"xsimd/": ["cpu"],
    r"cuda_\w+\.h": ["gpu"],
    r"(imm|x86|arm_neon|arm_sve)\w*\.h": ["cpu", "tests"],  # tests: as an oracle
    r"Eigen/": ["pca", "quantize"],
    r"hdf5\.h|H5\w+\.h": ["storage"],
    r"xxhash\.h": ["storage"],
    r"omp\.h": ["core"],
    r"CLI/": ["cli"],
    r"nlohmann/": ["cli", "extract"],
    r"stb/": ["extract"],  # image.cpp, image_write.cpp
    r"(jpeglib|jerror)\.h": ["extract"],  # jpeg.cpp
    r"openssl/": ["extract"],  # known_weights.cpp
    r"nanobind/|Python\.h": ["python"],
    r"(gtest|gmock)/": ["tests"],
}
# The operating system: files are storage's, terminals and child processes the command's, processors
# and memory core's, the features of processors cpu's; any way in may ask what it was started with.
# Tests may ask it for anything.
SYSTEM = {
    r"(sys/(stat|types|file|statvfs)|dirent)\.h": ["storage", "tests"],
    r"fcntl\.h": ["cli", "storage", "tests"],  # cli: the streams it was started with
    r"dlfcn\.h": ["gpu"],  # CUDA's libraries, where there are any
    r"sys/mman\.h": ["core", "gpu", "storage", "tests"],
    r"ucontext\.h": ["gpu"],
    r"unistd\.h": ["cpu", "gpu", "storage", "cli", "python", "tests"],
    r"fnmatch\.h": ["cli", "extract"],
    r"(sched|pthread)\.h": ["core", "tests"],
    r"(cpuid|sys/syscall)\.h": ["cpu"],
    r"(sys/(ioctl|wait|resource|types)|signal|spawn|termios)\.h": ["cli", "tests"],
    r"sys/\w+\.h": ["tests"],
    r"sanitizer/\w+\.h": ["gpu", "tests"],  # the compiler's
}
STANDARD = re.compile(r"[a-z_0-9]+|(std\w+|string|math|float|limits|errno|assert|time)\.h")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


def allowed_folders(header: str) -> list[str]:
    """Where a header from outside may be included; empty when it is not listed."""
    found = [
        folder
        for pattern, folders in (THIRD_PARTY | SYSTEM).items()
        for folder in folders
        if re.match(pattern, header)
    ]
    return list(dict.fromkeys(found))


def layer(parts: tuple[str, ...]) -> str:
    """The folder of LOWER that a path belongs to."""
    return "/".join(parts[:2]) if "/".join(parts[:2]) in LOWER else parts[0]


def check_include(root: Path, path: Path, quote: str, header: str) -> str | None:
    """What is wrong with one #include, or None."""
    parts = path.relative_to(root).parts
    folder = parts[0]
    mirrored = parts[1] if folder == "tests" and len(parts) > 2 else folder
    if quote == '"':
        target = (path.parent / header).resolve()
        if not target.is_file() and not (root / "tests" / header).is_file():
            return f'"{header}" does not exist beside it'
        if target.is_file() and target.relative_to(root.resolve()).parts[0] != folder:
            return f'"{header}" is of another folder: write <nearcell/FOLDER/FILE.h>'
        return None
    if header.startswith("nearcell/"):
        ours = header.removeprefix("nearcell/")
        below, above = layer(Path(ours).parts), layer(parts)
        if not (root / ours).is_file():
            return f"<{header}> does not exist"
        if below != above and below not in LOWER[above]:
            return f"<{header}>: {above} may include {', '.join(LOWER[above]) or 'nothing'}"
        return None
    folders = allowed_folders(header)
    if folders:
        if folder in folders or mirrored in folders:
            return None
        return f"<{header}> is for {', '.join(folders)} only"
    if STANDARD.fullmatch(header):
        return None
    if folder == "tests" and (root / "tests" / header).is_file():
        return None
    return f"<{header}> is a dependency tools/check_layers.py does not know"


def sources(root: Path) -> list[Path]:
    found = []
    for folder in sorted(LOWER):
        for suffix in ("h", "cpp", "def", "cuh", "cu"):
            found += sorted((root / folder).rglob(f"*.{suffix}"))
    return list(dict.fromkeys(found))


def find_cycle(graph: dict[str, list[str]]) -> list[str]:
    """A chain of headers that comes back to its start, or an empty list."""
    done: set[str] = set()

    def visit(node: str, trail: list[str]) -> list[str]:
        if node in trail:
            return [*trail[trail.index(node) :], node]
        if node in done:
            return []
        for target in graph.get(node, []):
            if cycle := visit(target, [*trail, node]):
                return cycle
        done.add(node)
        return []

    for start in graph:
        if cycle := visit(start, []):
            return cycle
    return []


def check_tree(root: Path) -> list[str]:
    violations = []
    graph: dict[str, list[str]] = {}
    for path in sources(root):
        text = path.read_text()
        name = str(path.relative_to(root))
        for match in INCLUDE.finditer(text):
            quote, header = match.groups()
            line = text.count("\n", 0, match.start(1)) + 1
            if problem := check_include(root, path, quote, header):
                violations.append(f"{name}:{line}: {problem}")
            if header.startswith("nearcell/"):
                graph.setdefault(name, []).append(header.removeprefix("nearcell/"))
    if cycle := find_cycle(graph):
        violations.append("headers include each other: " + " > ".join(cycle))
    return violations


def main() -> int:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve()
    violations = check_tree(root)
    print("\n".join(violations) or f"{len(sources(root))} files, no violation")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
