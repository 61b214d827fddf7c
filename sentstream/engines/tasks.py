"""Group many units of work into tasks of about the same cost, largest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

#: Fixed cost of a unit, in bytes: open, rename, record.
_EACH: Final = 64 << 10
#: Maximum bytes and units per task: if a worker is lost, its whole task is repeated.
_MOST_BYTES, _MOST_UNITS = 64 << 20, 256
#: Smaller tasks are not worth sending.
_LEAST_BYTES: Final = 4 << 20
#: Target number of tasks per worker, so that the last ones end at about the same time.
_EACH_WORKER: Final = 8


def into_tasks(sizes: Sequence[int], workers: int) -> list[range]:
    """Group consecutive units into tasks of about the same cost, sorted by cost, highest first.

    Args:
        sizes: The size of each unit in bytes.
        workers: Number of workers.

    Returns:
        The indices of each task's units.
    """
    costs = sum(map(_cost, sizes))
    limit = min(_MOST_BYTES, max(_LEAST_BYTES, costs // (workers * _EACH_WORKER)))
    tasks = sorted(_grouped(sizes, limit), key=lambda task: task[0], reverse=True)
    return [indices for _, indices in tasks]


def _grouped(sizes: Sequence[int], limit: int) -> Iterator[tuple[int, range]]:
    """The tasks with their costs."""
    start = cost = 0
    for index, size in enumerate(sizes):
        own = _cost(size)
        if index > start and (cost + own > limit or index - start >= _MOST_UNITS):
            yield cost, range(start, index)
            start, cost = index, 0
        cost += own
    if start < len(sizes):
        yield cost, range(start, len(sizes))


def _cost(size: int) -> int:
    return max(0, size) + _EACH
