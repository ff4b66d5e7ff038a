"""Figures of repeated runs."""

import statistics
from collections.abc import Sequence


def spread(values: Sequence[float], digits: int = 2) -> dict[str, float | int]:
    """Return count, least, median, 95th percentile and most."""
    ordered = sorted(values)
    return {
        "n": len(ordered),
        "min": round(ordered[0], digits),
        "median": round(statistics.median(ordered), digits),
        "p95": round(p95(ordered), digits),
        "max": round(ordered[-1], digits),
    }


def p95(ordered: Sequence[float]) -> float:
    """Return the 95th percentile by nearest rank: the least of which 95 % are no more."""
    # Rounded up in whole numbers: 0.95 as a float could make it a rank more.
    return ordered[(len(ordered) * 95 + 99) // 100 - 1]
