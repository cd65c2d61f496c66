"""Finds, for several recalls at once, the fastest setting of an index that reaches each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from peers.engine import Setting, Sweep

STALE = 2  # outer settings in a row that improve nothing, after which dearer ones are not tried


@dataclass(frozen=True)
class Point:
    """A setting as measured on the tuning queries."""

    setting: Setting
    recall: float
    seconds: float


class TimeUp(Exception):
    """The time for this sweep is spent."""


def tune(
    measure: Callable[[Setting], tuple[float, float]],
    sweep: Sweep,
    targets: Sequence[float],
    seconds: float,
) -> tuple[dict[float, Point], list[Point], bool]:
    """The fastest point per target, all points measured, and whether there was time for all.

    `measure` gives (recall, seconds). Both are taken to grow with the inner number: it is doubled
    until the target is met, or until nothing can come of it, and then found by bisection.
    """
    best: dict[float, Point] = {}
    tried: list[Point] = []
    deadline = time.monotonic() + seconds
    found_at: dict[float, int] = {}
    stale = 0
    try:
        for outer in sweep.outer:
            known: dict[int, Point] = {}

            def look(value: int, outer: Setting = outer, known: dict[int, Point] = known) -> Point:
                if value not in known:
                    # The first doubling is always made: an index without any point says nothing.
                    if time.monotonic() > deadline and best:
                        raise TimeUp
                    setting = {**outer, sweep.inner: value}
                    known[value] = Point(setting, *measure(setting))
                    tried.append(known[value])
                return known[value]

            improved = False
            for target in sorted(targets):
                limit = best[target].seconds if target in best else float("inf")
                value = least(look, known, sweep, target, limit, found_at.get(target, sweep.low))
                if value is None:
                    continue
                found_at[target] = value
                if known[value].seconds < limit:
                    best[target] = known[value]
                    improved = True
            stale = 0 if improved else stale + 1
            if best and stale >= STALE:
                break
    except TimeUp:
        return best, tried, False
    return best, tried, True


def least(
    look: Callable[[int], Point],
    known: dict[int, Point],
    sweep: Sweep,
    target: float,
    limit: float,
    start: int,
) -> int | None:
    """The smallest inner number that reaches the target, within 5 %; None: given up.

    Given up where a number that fails takes as long as the best so far (`limit`), and where a
    doubling gains so little that many more would be needed.
    """
    while True:
        low = max((v for v in known if known[v].recall < target), default=None)
        high = min(
            (v for v in known if known[v].recall >= target and (low is None or v > low)),
            default=None,
        )
        if high is not None:
            break
        if low is None:
            look(min(sweep.high, max(sweep.low, start // 2)))
            continue
        if low == sweep.high or known[low].seconds >= limit:
            return None
        point = look(min(sweep.high, 2 * low))
        gain = point.recall - known[low].recall
        if gain < 0.1 * point.recall and target - point.recall > 4 * gain:
            return None
    low = sweep.low - 1 if low is None else low
    while high - low > max(1, high // 20):
        middle = (low + high) // 2
        point = look(middle)
        if point.recall >= target:
            high = middle
        else:
            low = middle
            if point.seconds >= limit:
                return None
    return high
