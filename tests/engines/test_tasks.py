"""Units are grouped into tasks: each unit once, many small files together, large ones alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sentstream.engines.tasks import into_tasks

MIB = 1 << 20


@given(st.lists(st.integers(-1, 200 * MIB), max_size=60), st.integers(1, 50))
def test_each_unit_is_in_one_task_with_its_neighbors(sizes: list[int], workers: int) -> None:
    tasks = into_tasks(sizes, workers)
    assert sorted(index for task in tasks for index in task) == list(range(len(sizes)))
    for task in tasks:
        assert [*task] == list(range(task[0], task[0] + len(task)))
        assert len(task) == 1 or sum(sizes[index] for index in task) <= 64 * MIB
    sums = [sum(max(0, sizes[index]) + (64 << 10) for index in task) for task in tasks]
    assert sums == sorted(sums, reverse=True)


def test_small_files_are_batched_and_large_ones_alone() -> None:
    tasks = into_tasks([1000] * 10_000 + [100 * MIB] * 4, workers=4)
    assert [len(task) for task in tasks[:4]] == [1] * 4
    assert max(len(task) for task in tasks) == 256
    assert len(tasks) < 4 + 10_000 / 200


def test_few_files_are_distributed() -> None:
    """Eight tasks a worker, so that the last ones end at about the same time."""
    assert len(into_tasks([4 * MIB] * 64, workers=8)) == 64
    assert len(into_tasks([1] * 10, workers=8)) == 1  # not worth more
