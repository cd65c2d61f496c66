"""nearcell bench, driven as a user drives it: what it measured adds up. No speed is asked for."""

from __future__ import annotations

import pytest
from test_cli import BAD_INPUT, USAGE, pytestmark, run, run_json

__all__ = ["pytestmark"]


def test_bench_kernels_reports_a_roofline() -> None:
    report = run_json("bench", "kernels", "--op", "l2_f32,scan_bits,scan_int8", "--dim", 32)
    isas = run_json("info")["instruction_sets"]
    assert report["instruction_sets"] == isas and report["compiler"] and report["cpu"]
    assert report["stored_in"] == "l2" and report["threads"] == 1
    assert [ceiling["instruction_set"] for ceiling in report["ceilings"]] == isas
    for ceiling in report["ceilings"]:
        assert (
            ceiling["fma_gops"] > 0.1
            and ceiling["lookup_gops"] > 0.1
            and ceiling["product_gops"] > 0.1
        )
        assert ceiling["memory_gbps"] > 0.1
    rows = report["kernels"]
    expected = [(op, isa) for isa in isas for op in ("l2_f32", "scan_bits", "scan_int8")]
    assert [(row["operation"], row["instruction_set"]) for row in rows] == expected
    for row in rows:
        assert row["dim"] == 32
        assert 0 < row["ns_low"] <= row["ns_per_pair"] <= row["ns_high"]
        rate = row["operations_per_pair"] / row["ns_per_pair"]
        assert row["gops"] == pytest.approx(rate, rel=1e-6)
        assert row["gbps"] == pytest.approx(row["bytes_per_pair"] / row["ns_per_pair"], rel=1e-6)
        assert row["fraction"] == pytest.approx(row["gops"] / row["bound_gops"], rel=1e-6)
        # At most 1, but on a busy machine either measurement may be of a slow moment.
        assert 0 < row["fraction"] < 3
        assert row["bound_by"] in (row["peak"], "l2")
    assert {row["peak"] for row in rows} == {"sub_fma", "lookup", "product"}


def test_bench_kernels_chooses() -> None:
    isa = run_json("info")["instruction_sets"][0]
    words = ["bench", "kernels", "--isa", isa, "--dim", "16,24", "--op"]
    rows = run_json(*words, "*l2_float16")["kernels"]
    assert [(row["operation"], row["dim"]) for row in rows] == [
        ("row_l2_float16", 16),
        ("row_l2_float16", 24),
    ]
    assert "scan_bits" in run(*words, "nonsense", code=BAD_INPUT).stderr
    lines = run(*words, "rotate").stdout.splitlines()
    assert any(line.startswith("rotate_f32") and line.endswith("%") for line in lines)
    run("bench", code=USAGE)
    run("bench", "kernels", "--isa", "mmx", code=USAGE)
    run("bench", "kernels", "--dim", 0, code=USAGE)
