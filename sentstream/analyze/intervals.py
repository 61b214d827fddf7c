"""95 % confidence intervals in closed form, for shares, means and differences."""

from __future__ import annotations

import math
from typing import TypeAlias

Interval: TypeAlias = tuple[float, float]

#: The standard normal's 97.5th percentile.
Z95 = 1.959963984540054


def wilson(successes: int, trials: int) -> Interval:
    """The score interval of a share (Wilson 1927); also valid for few trials and shares near 0 or 1."""
    if trials <= 0 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} of {trials} is not a proportion")
    share, square = successes / trials, Z95**2
    middle = (share + square / (2 * trials)) / (1 + square / trials)
    spread = math.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    half = Z95 * spread / (1 + square / trials)
    # Exact at the ends, where rounding could exclude the share itself.
    low = 0.0 if successes == 0 else middle - half
    return low, 1.0 if successes == trials else middle + half


def mean_interval(count: int, total: float, squares: float, low: float, high: float) -> Interval:
    """The interval of a mean (Student 1908), limited to the range of the values.

    Args:
        count: Number of values.
        total: Their sum.
        squares: The sum of their squares.
        low: Minimum of the range. For fewer than two values, the interval is the whole range.
        high: Maximum of the range.
    """
    if count < 2:
        return low, high
    mean = total / count
    variance = max(0.0, (squares - count * mean**2) / (count - 1))
    half = student(count - 1) * math.sqrt(variance / count)
    return max(low, mean - half), min(high, mean + half)


def student(freedom: int) -> float:
    """The 97.5th percentile of Student's t-distribution, within 0.01 (Cornish-Fisher expansion).

    >>> [round(student(freedom), 2) for freedom in (1, 4, 10, 1000)]
    [12.71, 2.77, 2.23, 1.96]
    """
    if freedom <= 3:
        return (12.706, 4.303, 3.182)[freedom - 1]
    z, n = Z95, freedom
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / n + second / n**2 + third / n**3


def difference_interval(first: tuple[int, int], second: tuple[int, int]) -> Interval:
    """The interval of the second share minus the first, for unpaired rows (Newcombe 1998, method 10).

    Args:
        first: Successes and trials.
        second: Successes and trials.
    """
    (a, m), (b, n) = first, second
    (low_a, high_a), (low_b, high_b) = wilson(a, m), wilson(b, n)
    share_a, share_b = a / m, b / n
    difference = share_b - share_a
    return (
        difference - math.hypot(share_b - low_b, high_a - share_a),
        difference + math.hypot(high_b - share_b, share_a - low_a),
    )


def paired_interval(gained: int, lost: int, rows: int) -> Interval:
    """The interval of the difference between two shares of the same rows (Wald, for paired rows).

    Args:
        gained: Number of rows that are successes only in the second.
        lost: Number of rows that are successes only in the first.
        rows: Number of rows.
    """
    difference = (gained - lost) / rows
    half = Z95 * math.sqrt(max(0.0, gained + lost - (gained - lost) ** 2 / rows)) / rows
    return difference - half, difference + half
