"""Pages keep their word: every code block runs, in the order of the page, in one folder a page.

So a block may use the files of an earlier one, as a reader's would.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("NEARCELL_BUILD", ROOT / "build" / "test"))
README = (ROOT / "README.md").read_text()
RUNNABLE = ["README.md", "docs/pictures.md"]
BLOCKS = [
    (page, number, *block)
    for page in RUNNABLE
    for number, block in enumerate(
        re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    )
]
PAGES = ["README.md", "SECURITY.md", *(str(p.relative_to(ROOT)) for p in ROOT.glob("docs/*.md"))]

needs_build = pytest.mark.skipif(
    not (BUILD / "libnearcell.a").is_file(), reason=f"no library in {BUILD}: ./run test builds it"
)


def run(command: list[str | Path], folder: Path, **env: str) -> str:
    env["PATH"] = f"{BUILD / 'cli'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=os.environ | env, timeout=1200
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def run_shell(text: str, work: Path) -> None:
    """A block that names ./run or .venv is for the project's folder, any other for the user's."""
    lines = [line for line in text.splitlines() if not line.startswith("./run test")]  # is running
    in_project = any(line.startswith(("./run", ".venv/")) for line in lines)
    environment = {
        "NEARCELL_BUILD": str(BUILD),  # ./run demo: with what was built for the tests
        "NEARCELL_WEIGHTS": str(work / "weights"),  # not those of who runs the tests
        # pip install: with the packages that are here, and not into the tests' own environment.
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_NO_DEPS": "1",
        "PIP_TARGET": str(work / "site-packages"),
    }
    script = "set -eu\n" + "\n".join(lines)
    run(["bash", "-c", script], ROOT if in_project else work, **environment)


def run_cpp(text: str, work: Path) -> None:
    prefix = work / "prefix"
    run(["cmake", "--install", BUILD, "--prefix", prefix], work)
    (work / "app.cpp").write_text(text)
    pc = next(prefix.rglob("nearcell.pc")).parent
    flags = shlex.split(
        run(
            ["pkg-config", "--cflags", "--libs", "--static", "nearcell"],
            work,
            PKG_CONFIG_PATH=str(pc),
        )
    )
    run(["g++", "-std=c++20", "-Wall", "-Wextra", "-O1", "app.cpp", "-o", "app", *flags], work)
    run([work / "app"], work)


@pytest.fixture(scope="module")
def works(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {page: tmp_path_factory.mktemp(Path(page).stem) for page in RUNNABLE}


@needs_build
@pytest.mark.parametrize(
    "page, number, language, text", BLOCKS, ids=[f"{b[0]}-{b[1]}" for b in BLOCKS]
)
def test_block(page: str, number: int, language: str, text: str, works: dict[str, Path]) -> None:
    work = works[page]
    if language == "python":
        run([sys.executable, "-c", text], work, NEARCELL_WEIGHTS=str(work / "weights"))
    elif language == "sh":
        run_shell(text, work)
    elif language == "cpp":
        run_cpp(text, work)
    else:
        pytest.fail(f"a code block in {language or 'no language'}: nothing here can run it")


def test_shape() -> None:
    lines = README.splitlines()
    assert len(lines) <= 150
    assert {"./run demo", "./run test"} <= {line.split("  ")[0] for line in lines[:8]}
    assert {block[2] for block in BLOCKS if block[0] == "README.md"} == {"sh", "python", "cpp"}


@pytest.mark.parametrize("page", PAGES)
def test_names_existing_files(page: str) -> None:
    """Links, and paths in backquotes that begin with a folder of ours, lead somewhere."""
    text = (ROOT / page).read_text()
    folders = "|".join(p.name for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith("."))
    links = re.findall(r"\]\((?!http)([^)#]+)", text)
    targets = [(ROOT / page).parent / link for link in links]
    for path in re.findall(rf"`((?:{folders})/[\w./*-]*)`", text):
        if not path.startswith("build/"):
            pattern = re.sub("NAME|FOLDER|FILE", "*", path.rstrip("/"))
            targets += list(ROOT.glob(pattern)) or [ROOT / path]
    missing = [str(target) for target in targets if not target.exists()]
    assert not missing
