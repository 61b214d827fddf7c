"""Concurrent calls whose results come in order."""

from __future__ import annotations

import threading

import pytest
from processes import PATIENCE

from sentstream.storage.ahead import ahead


def test_concurrency_is_bounded() -> None:
    together, largest, running, lock = threading.Barrier(3), 0, 0, threading.Lock()

    def call(number: int) -> int:
        nonlocal largest, running
        with lock:
            running += 1
            largest = max(largest, running)
        together.wait(PATIENCE)
        with lock:
            running -= 1
        return number * number

    assert list(ahead(call, range(30), at_once=3)) == [number * number for number in range(30)]
    assert largest == 3


def test_errors_are_raised_in_item_order() -> None:
    later = threading.Event()

    def call(number: int) -> int:
        if number == 1:
            assert later.wait(PATIENCE)
        if number == 3:
            later.set()
        if number in (1, 3):
            raise ValueError(number)
        return number

    found = ahead(call, range(8), at_once=4)
    assert next(found) == 0
    with pytest.raises(ValueError, match="1"):
        next(found)


def test_items_are_consumed_lazily() -> None:
    taken: list[int] = []
    found = ahead(str, (taken.append(number) or number for number in range(100)), at_once=5)  # type: ignore[func-returns-value]
    assert next(found) == "0"
    assert len(taken) == 5
    assert list(found) == [str(number) for number in range(1, 100)]


def test_stopping_does_not_wait() -> None:
    never = threading.Event()
    found = ahead(lambda number: number or never.wait(), [1, 0, 0], at_once=3)
    assert next(found) == 1
    found.close()  # type: ignore[attr-defined]
    never.set()
