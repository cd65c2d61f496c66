"""The tools that keep the house in order find what is planted for them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import check_layers  # noqa: E402 (tools/ is on the path from here on)
import check_size  # noqa: E402
import ptxas_table  # noqa: E402
import tally  # noqa: E402


def plant(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


GOOD_TREE = {
    "core/a.h": "#include <vector>\n",
    "kernels/b.h": "#include <nearcell/core/a.h>\n",
    "storage/c.cpp": "#include <xxhash.h>\n#include <fcntl.h>\n",
    "cpu/d.cpp": "#include <nearcell/kernels/b.h>\n#include <immintrin.h>\n",
    "gpu/simt/e.cuh": "#include <nearcell/core/a.h>\n#include <cuda_fp16.h>\n",
    "gpu/f.cu": "#include <nearcell/gpu/simt/e.cuh>\n#include <nearcell/kernels/b.h>\n",
    "tests/core/a_test.cpp": '#include <gtest/gtest.h>\n#include "near.h"\n',
    "tests/core/near.h": "",
}


def test_layers_accepts_a_good_tree(tmp_path: Path) -> None:
    plant(tmp_path, GOOD_TREE)
    assert check_layers.check_tree(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("core/x.h", "#include <nearcell/kernels/b.h>", "core may include nothing"),
        ("ivf/x.cpp", "#include <nearcell/cpu/d.cpp>", "ivf may include"),
        ("gpu/simt/x.h", "#include <nearcell/kernels/b.h>", "gpu/simt may include core"),
        ("cpu/x.cpp", "#include <nearcell/gpu/simt/e.cuh>", "cpu may include"),
        ("cpu/x.cpp", "#include <cuda_runtime.h>", "gpu only"),
        ("core/x.h", "#include <nearcell/core/gone.h>", "does not exist"),
        ("core/x.h", '#include "../kernels/b.h"', "another folder"),
        ("index/x.cpp", "#include <Eigen/Dense>", "pca, quantize only"),
        ("core/x.cpp", "  #  include <xxhash.h>", "storage only"),
        ("ivf/x.cpp", "#include <sys/mman.h>", "storage, tests only"),
        ("quantize/x.cpp", "#include <immintrin.h>", "cpu, tests only"),
        ("core/x.cpp", "#include <boost/any.hpp>", "does not know"),
        ("core/x.h", "#include <nearcell/core/x.h>", "include each other"),
    ],
)
def test_layers_finds_a_planted_violation(
    tmp_path: Path, name: str, line: str, message: str
) -> None:
    plant(tmp_path, {**GOOD_TREE, name: f"// banner\n{line}\n"})
    violations = check_layers.check_tree(tmp_path)
    assert len(violations) == 1
    assert message in violations[0]


def test_size_finds_a_long_file(tmp_path: Path) -> None:
    plant(tmp_path, {"core/a.h": "\n" * 801, "core/b.h": "\n", "core/c.h": "\n"})
    assert check_size.check_tree(tmp_path, {}) == ["core/a.h: 801 lines, at most 800"]


def test_size_finds_a_long_median(tmp_path: Path) -> None:
    plant(tmp_path, {"core/a.h": "\n" * 201})
    assert check_size.check_tree(tmp_path, {}) == ["the median file has 201 lines, at most 200"]


def test_size_finds_missing_and_needless_listings(tmp_path: Path) -> None:
    plant(tmp_path, {"pca/a.cpp": "", "pca/b.cpp": "", "pca/b_part.cpp": ""})
    plant(tmp_path, {"tests/pca/b_test.cpp": ""})
    assert check_size.check_tree(tmp_path, {}) == ["pca/a.cpp has no tests/pca/a_test.cpp"]
    listed = {"tests/pca/b_test.cpp": ("one test for both", ["a"])}
    assert check_size.check_tree(tmp_path, listed) == []
    listed = {"tests/pca/b_test.cpp": ("stale", ["a", "b", "gone"]), "tests/x/y_test.cpp": ("", [])}
    assert len(check_size.check_tree(tmp_path, listed)) == 3


def run_check_symbols(build: Path, source: str) -> subprocess.CompletedProcess[str]:
    objects = build / "CMakeFiles" / "nearcell_base.dir" / "cpu"
    objects.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["g++", "-x", "c++", "-c", "-o", objects / "kernels_x.cpp.o", "-"],
        input=source,
        text=True,
        check=True,
    )
    return subprocess.run(
        [ROOT / "tools" / "check_symbols.sh", build], capture_output=True, text=True
    )


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_symbols_finds_weak_and_second_globals(tmp_path: Path) -> None:
    one = "namespace { int hidden() { return 1; } } int table() { return hidden(); }\n"
    weak = "inline int shared() { return 2; } int (*use())() { return shared; }\n"
    assert run_check_symbols(tmp_path, one).returncode == 0
    found = run_check_symbols(tmp_path, weak)
    assert found.returncode == 1 and "1 weak" in found.stdout and "shared()" in found.stdout
    found = run_check_symbols(tmp_path, one + "int second() { return 2; }\n")
    assert found.returncode == 1 and "2 global" in found.stdout


def test_symbols_wants_objects(tmp_path: Path) -> None:
    command = [ROOT / "tools" / "check_symbols.sh", tmp_path]
    assert subprocess.run(command, capture_output=True).returncode == 1


GTEST = """<testsuites><testsuite name="A">
<testcase name="good" status="run" result="completed" classname="A"/>
<testcase name="off" status="notrun" result="suppressed" classname="A"/>
<testcase name="skip" status="run" classname="A"><skipped message="a.cpp:6&#x0A;no AVX"/></testcase>
{}</testsuite></testsuites>"""
BAD_CASE = '<testcase name="bad" status="run" classname="A"><failure message="1 != 2"/></testcase>'
CTEST = """<testsuite><testcase name="core" status="{}"/>{}</testsuite>"""
SKIPPED = """<testcase name="neon" status="notrun"><skipped message="SKIP_RETURN_CODE=77"/>
<system-out>skipped: no qemu</system-out></testcase>"""


@pytest.mark.parametrize(
    ("gtest", "status", "line"),
    [
        (GTEST.format(""), "run", "1 passed, 0 failed, 1 skipped"),
        (GTEST.format(BAD_CASE), "fail", "1 passed, 1 failed, 1 skipped"),
        (GTEST.format(""), "fail", "1 passed, 1 failed, 1 skipped"),  # died after its tests
        (None, "fail", "0 passed, 1 failed, 0 skipped"),  # crashed
        ("<testsuites><testsu", "fail", "0 passed, 1 failed, 0 skipped"),  # while writing
        (None, "notrun", "0 passed, 1 failed, 0 skipped"),  # never built
        (None, "run", "1 passed, 0 failed, 0 skipped"),  # a script, not GoogleTest
    ],
)
def test_tally_counts_programs(tmp_path: Path, gtest: str | None, status: str, line: str) -> None:
    junit = tmp_path / "ctest.xml"
    junit.write_text(CTEST.format(status, ""))
    if gtest is not None:
        (tmp_path / "test_core.xml").write_text(gtest)
    counted = tally.read_ctest(junit, tmp_path)
    assert counted.line() == line
    assert all(skip == "A.skip: no AVX" for skip in counted.skips)


def test_tally_gives_the_reason_of_a_skipped_script(tmp_path: Path) -> None:
    (tmp_path / "ctest.xml").write_text(CTEST.format("run", SKIPPED))
    counted = tally.read_ctest(tmp_path / "ctest.xml", tmp_path)
    assert counted.line() == "1 passed, 0 failed, 1 skipped"
    assert counted.skips == ["neon: no qemu"]


def test_tally_counts_reports_that_never_came(tmp_path: Path) -> None:
    assert tally.read_ctest(tmp_path / "none.xml", tmp_path).failed == 1
    assert tally.read_pytest(tmp_path / "none.xml", -11).failed == 1
    (tmp_path / "pytest.xml").write_text(GTEST.format(""))
    assert tally.read_pytest(tmp_path / "pytest.xml", 0).failed == 0
    assert tally.read_pytest(tmp_path / "pytest.xml", 2).failed == 1


PTXAS_LOG = """\
ptxas info    : Compiling entry function '_ZN8nearcell3gpu4scanILi3EEEvPf' for 'sm_90'
ptxas info    : Function properties for _ZN8nearcell3gpu4scanILi3EEEvPf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 168 registers, used 1 barriers, 1072 bytes smem
ptxas info    : Compiling entry function '_ZN8nearcell3gpu4scanILi3EEEvPf' for 'sm_75'
    8 bytes stack frame, 12 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 40 registers, used 0 barriers
"""


def run_ptxas_table(tmp_path: Path, *options: str) -> tuple[int, str]:
    command = [sys.executable, ROOT / "tools" / "ptxas_table.py", tmp_path, *options]
    run = subprocess.run(
        [*command, "--table", tmp_path / "kept.txt"], capture_output=True, text=True
    )
    return run.returncode, run.stdout


def test_ptxas_table_tells_of_changes_and_spills(tmp_path: Path) -> None:
    log = tmp_path / "x.cu.ptxas"
    log.write_text(PTXAS_LOG)
    assert run_ptxas_table(tmp_path, "--write")[0] == 0
    kept = (tmp_path / "kept.txt").read_text().splitlines()
    assert kept[1].split() == ["scan<3>", "40/12/0", "168/0/1072"]
    status, said = run_ptxas_table(tmp_path, "--check")
    assert status == 1
    assert "on sm_75: 12 bytes of stack" in said
    log.write_text(PTXAS_LOG.replace("8 bytes stack frame, 12", "0 bytes stack frame, 0"))
    assert "+ scan<3>" in run_ptxas_table(tmp_path, "--check")[1]
    log.write_text(log.read_text().replace("4 bytes spill loads", "0 bytes spill loads"))
    assert run_ptxas_table(tmp_path, "--write")[0] == 0
    assert run_ptxas_table(tmp_path, "--check") == (
        0,
        f"1 kernels, 0 lines differ from {tmp_path / 'kept.txt'}\n",
    )
    log.unlink()
    assert run_ptxas_table(tmp_path, "--check")[0] == 1


def test_ptxas_table_names_kernels_shortly() -> None:
    names = ["_ZN8nearcell3gpu11select_bestENS0_9SelectJobE"]
    assert ptxas_table.short_names(names) == {names[0]: "select_best"}
