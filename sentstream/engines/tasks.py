"""Many units -> tasks of about the same work, large ones first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Protocol, TypeVar

#: What a unit costs beside its bytes, in bytes: opening, naming, writing down.
_EACH: Final = 64 << 10
#: A task holds no more than this, nor more units: what a lost worker has done of it is done again.
_MOST_BYTES, _MOST_UNITS = 64 << 20, 256
#: A task is worth sending from this on.
_LEAST_BYTES: Final = 4 << 20
#: Tasks for each worker, at least, so that the last ones end at about the same time.
_EACH_WORKER: Final = 8


class Sized(Protocol):
    """Something that has a size in bytes."""

    @property
    def size(self) -> int: ...


Item = TypeVar("Item", bound=Sized)


def into_tasks(units: Sequence[Item], workers: int) -> list[list[Item]]:
    """Consecutive units in tasks of about the same cost each, in the order of their costs, highest first.

    Args:
        units: What is to be done.
        workers: How many will do it.
    """
    costs = sum(max(0, unit.size) + _EACH for unit in units)
    limit = min(_MOST_BYTES, max(_LEAST_BYTES, costs // (workers * _EACH_WORKER)))
    tasks = list(_grouped(units, limit))
    tasks.sort(key=_cost, reverse=True)
    return tasks


def _grouped(units: Iterable[Item], limit: int) -> Iterator[list[Item]]:
    task: list[Item] = []
    cost = 0
    for unit in units:
        own = max(0, unit.size) + _EACH
        if task and (cost + own > limit or len(task) >= _MOST_UNITS):
            yield task
            task, cost = [], 0
        task.append(unit)
        cost += own
    if task:
        yield task


def _cost(task: Sequence[Sized]) -> int:
    return sum(max(0, unit.size) + _EACH for unit in task)
