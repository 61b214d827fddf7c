"""Many units -> tasks of about the same work, large ones first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

#: What a unit costs beside its bytes, in bytes: opening, naming, writing down.
_EACH: Final = 64 << 10
#: A task holds no more than this, nor more units: what a lost worker has done of it is done again.
_MOST_BYTES, _MOST_UNITS = 64 << 20, 256
#: A task is worth sending from this on.
_LEAST_BYTES: Final = 4 << 20
#: Tasks for each worker, at least, so that the last ones end at about the same time.
_EACH_WORKER: Final = 8


def into_tasks(sizes: Sequence[int], workers: int) -> list[range]:
    """Consecutive units in tasks of about the same cost each, in the order of their costs, highest first.

    Args:
        sizes: The bytes of each unit.
        workers: How many will do them.

    Returns:
        The places of each task's units.
    """
    costs = sum(map(_cost, sizes))
    limit = min(_MOST_BYTES, max(_LEAST_BYTES, costs // (workers * _EACH_WORKER)))
    tasks = sorted(_grouped(sizes, limit), key=lambda task: task[0], reverse=True)
    return [places for _, places in tasks]


def _grouped(sizes: Sequence[int], limit: int) -> Iterator[tuple[int, range]]:
    """Tasks with their costs."""
    start = cost = 0
    for place, size in enumerate(sizes):
        own = _cost(size)
        if place > start and (cost + own > limit or place - start >= _MOST_UNITS):
            yield cost, range(start, place)
            start, cost = place, 0
        cost += own
    if start < len(sizes):
        yield cost, range(start, len(sizes))


def _cost(size: int) -> int:
    return max(0, size) + _EACH
