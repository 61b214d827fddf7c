"""Concurrent calls whose results come in order."""

from __future__ import annotations

import threading

import pytest
from processes import PATIENCE

from sentstream.storage.ahead import ahead


def test_several_are_under_way_and_no_more() -> None:
    together, most, running, lock = threading.Barrier(3), 0, 0, threading.Lock()

    def call(number: int) -> int:
        nonlocal most, running
        with lock:
            running += 1
            most = max(most, running)
        together.wait(PATIENCE)
        with lock:
            running -= 1
        return number * number

    assert list(ahead(call, range(30), at_once=3)) == [number * number for number in range(30)]
    assert most == 3


def test_the_first_error_is_that_of_the_first_item() -> None:
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


def test_items_are_taken_as_they_are_needed() -> None:
    taken: list[int] = []
    found = ahead(str, (taken.append(number) or number for number in range(100)), at_once=5)  # type: ignore[func-returns-value]
    assert next(found) == "0"
    assert len(taken) == 5
    assert list(found) == [str(number) for number in range(1, 100)]


def test_who_stops_does_not_wait() -> None:
    never = threading.Event()
    found = ahead(lambda number: number or never.wait(), [1, 0, 0], at_once=3)
    assert next(found) == 1
    found.close()  # type: ignore[attr-defined]
    never.set()
