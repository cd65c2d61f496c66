"""Adds up what test programs reported: GoogleTest's and pytest's XML, CTest's JUnit file.

A program that ended badly without reporting a failure (it crashed, hung, or was never built) counts
as one failed test, so that nothing is lost by dying early.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path


def first_line(text: str) -> str:
    """The first line that says something: GoogleTest puts one with file and line number before."""
    lines = [line for line in text.strip().splitlines() if not re.fullmatch(r"\S+:\d+", line)]
    return lines[0].strip() if lines else ""


@dataclass
class Tally:
    """Counts, the names of failures with a first line of why, and the reasons of skips."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list[str] = field(default_factory=list)
    skips: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.failures += other.failures
        self.skips += other.skips

    def fail(self, name: str, why: str) -> None:
        self.failed += 1
        self.failures.append(f"{name}: {first_line(why) or 'failed'}")

    def skip(self, name: str, why: str) -> None:
        self.skipped += 1
        self.skips.append(f"{name}: {first_line(why) or 'gave no reason'}")

    def line(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def read_cases(path: Path) -> Tally | None:
    """The test cases of one GoogleTest or pytest file; None when it is missing or broken."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError):
        return None
    tally = Tally()
    for case in root.iter("testcase"):
        name = f"{case.get('classname', '')}.{case.get('name', '')}"
        problems = [*case.findall("failure"), *case.findall("error")]
        skip = case.find("skipped")
        if problems:
            tally.fail(name, problems[0].get("message") or problems[0].text or "")
        elif skip is not None:
            tally.skip(name, skip.get("message") or skip.text or "")
        elif case.get("status") != "notrun":
            tally.passed += 1
    return tally


def read_ctest(junit: Path, gtest_dir: Path) -> Tally:
    """CTest's results; where gtest_dir/test_NAME.xml exists, test NAME counts case by case."""
    tally = Tally()
    try:
        cases = list(ElementTree.parse(junit).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError) as error:
        tally.fail("ctest", f"left no report: {error}")
        return tally
    if not cases:
        tally.fail("ctest", "found no tests")
    for case in cases:
        name = case.get("name", "")
        good = case.get("status") == "run"
        inner = read_cases(gtest_dir / f"test_{name}.xml")
        if inner is not None:
            tally.add(inner)
            if not good and not inner.failed:
                tally.fail(name, "its program ended badly after its tests")
        elif good:
            tally.passed += 1
        elif case.get("status") in ("notrun", "disabled"):
            mark = case.find("skipped")
            if mark is not None and mark.get("message", "").startswith("SKIP_RETURN_CODE"):
                tally.skip(name, case.findtext("system-out", "").removeprefix("skipped: "))
            else:
                tally.fail(name, "was not run: its program was not built")
        else:
            problem = case.find("failure")
            why = problem.get("message") if problem is not None else ""
            tally.fail(name, f"ended badly without a report ({why or 'crashed'})")
    return tally


def read_pytest(junit: Path, status: int) -> Tally:
    """pytest's results; its exit status is 0 (passed) or 1 (failures) when it ended in order."""
    tally = read_cases(junit)
    if tally is None:
        tally = Tally()
        tally.fail("pytest", f"ended with status {status} without a report")
    elif status != 0 and not tally.failed:
        tally.fail("pytest", f"ended with status {status} though no test failed")
    return tally
