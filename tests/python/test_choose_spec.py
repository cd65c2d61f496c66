"""choose_spec: the string it gives serves queries that were not used; errors, progress, budget."""

import nearcell
import numpy as np
import pytest
from support import built, recall

NO_TIME = 1e-9


def clustered(count, seed, dim=24):
    centers = 2 * np.random.default_rng(9).standard_normal((80, dim))
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((count, dim))
    return (centers[rng.integers(80, size=count)] + noise).astype(np.float32)


BASE = clustered(12000, 1)


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine", "l1"])
def test_the_choice_serves_other_queries(metric):
    choice = nearcell.choose_spec(BASE, metric, recall=0.9)
    assert choice.reached and choice.sample_rows == 10800
    tuning, others = clustered(1000, 2), clustered(1000, 3)
    index = built(choice.spec, BASE, metric)
    index.tune(tuning, nearcell.exact_search(BASE, tuning, 10, metric)[1], recall=0.9)
    truth = nearcell.exact_search(BASE, others, 10, metric)[1]
    assert recall(index.search(others, 10)[1], truth, 10) >= 0.9


def test_what_it_says():
    choice = nearcell.choose_spec(BASE, recall=0.9, seconds=NO_TIME, queries=clustered(400, 2))
    first, *rest = choice.tried
    assert choice.spec == first.spec and choice.reached and first.reached
    assert choice.sample_rows == len(BASE)
    assert first.not_tried == "" and 0.85 < first.recall <= 1
    assert first.queries_per_second > 0 and first.build_seconds > 0
    assert first.bytes_per_vector == built(first.spec, BASE).stats()["bytes_per_vector"]
    assert rest and all("no time" in trial.not_tried and not trial.reached for trial in rest)
    assert first.spec in repr(choice) and "recall=" in repr(first)
    assert "no time" in repr(rest[0])
    assert type(choice).__module__ == type(first).__module__ == "nearcell"


def test_bytes_are_read_where_they_lie():
    base = np.clip(20 * BASE + 128, 0, 255).astype(np.uint8)
    choice = nearcell.choose_spec(base, recall=0.9, seconds=NO_TIME, max_bytes=40)
    assert all(trial.not_tried or trial.bytes_per_vector <= 40 for trial in choice.tried)
    assert any("too many bytes" in trial.not_tried for trial in choice.tried)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"recall": 1.5}, "recall = 1.5"),
        ({"k": 0}, "k = 0"),
        ({"seconds": 0}, "seconds = 0"),
        ({"max_bytes": -1}, "max_bytes = -1"),
        ({"max_bytes": 3}, "max_bytes = 3"),
        ({"metric": "euclid"}, "metric = 'euclid'"),
        ({"queries": BASE[:1]}, "queries has 1 rows"),
        ({"queries": BASE[:50, :5]}, "queries"),
        ({"queries": np.full((50, 24), np.nan, np.float32)}, "queries"),
        ({"base": BASE[:7]}, "base has 7 rows"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        nearcell.choose_spec(**{"base": BASE, **arguments})


def test_progress_and_cancelling():
    calls = []

    def note(phase, done, total):
        calls.append((phase, done, total))
        return len(calls) < 30

    with pytest.raises(nearcell.Cancelled, match="cancel"):
        nearcell.choose_spec(BASE, progress=note)
    assert len(calls) == 30
    assert all(phase == "choose spec" and 0 <= done <= total == 60 for phase, done, total in calls)
    with pytest.raises(ZeroDivisionError):
        nearcell.choose_spec(BASE, progress=lambda *a: 1 / 0)
