"""How long an outage may last, and how a stop request ends waits; with a simulated clock."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import pytest

from sentstream.kafka.clients.patience import Patience, watched


class Clock:
    """Stands still unless it is advanced."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(name="clock")
def _clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("sentstream.kafka.clients.patience.time.monotonic", clock)
    return clock


def test_outage_begins_with_the_first_failed_call(clock: Clock) -> None:
    patience = Patience(120)
    began = clock.now
    clock.now += 30
    assert not patience.failed(began)
    clock.now += 89
    assert not patience.failed(clock.now - 10)
    clock.now += 1
    assert patience.failed(clock.now)


def test_answer_ends_it(clock: Clock) -> None:
    patience = Patience(120)
    patience.failed(clock.now)
    clock.now += 100
    assert patience.answered() == 100
    assert patience.answered() is None
    clock.now += 100
    assert not patience.failed(clock.now)


def test_only_a_delivery_clears_a_failed_delivery(clock: Clock) -> None:
    """A broker that answers but accepts no records must not be retried forever."""
    patience = Patience(120)
    for _ in range(4):
        assert not patience.failed(clock.now, delivering=True)
        clock.now += 30
        assert patience.answered() is None
    assert patience.failed(clock.now, delivering=True)
    assert patience.answered(delivered=True) == 120


def test_failure_long_ago_is_a_different_outage(clock: Clock) -> None:
    patience = Patience(120)
    patience.failed(clock.now, delivering=True)
    clock.now += 1000
    assert not patience.failed(clock.now)


def test_waits_are_bounded_by_the_outage_limit(clock: Clock) -> None:
    patience = Patience(20)
    assert patience.deadline(60).left() == 20
    patience.failed(clock.now - 15)
    assert patience.deadline(60).left() == 5
    patience.answered()
    assert patience.deadline(7).left() == 7


def test_without_a_limit_the_client_default_applies(clock: Clock) -> None:
    patience = Patience()
    assert patience.deadline(60).left() == 60
    assert not patience.failed(-math.inf)
    assert patience.is_too_long(61, otherwise=60)
    assert not patience.is_too_long(59, otherwise=60)


def test_stop_request_shortens_waits(clock: Clock) -> None:
    patience = Patience(120)
    under_way = patience.deadline(60)
    clock.now += 10
    patience.stop()
    patience.stop()
    assert under_way.left() == patience.deadline(60).left() == 20
    clock.now += 3
    assert (under_way.left(), patience.deadline(60).left(), patience.closing) == (17, 20, 5)
    clock.now += 17
    assert under_way.left() == 0  # so there is no broker
    assert (patience.deadline(60).left(), patience.closing) == (0.5, 1)


def test_stop_request_during_an_outage_waits_less(clock: Clock) -> None:
    patience = Patience(120)
    patience.failed(clock.now)
    patience.stop()
    assert patience.deadline(60).left() == 3


@pytest.fixture(name="stuck")
def _stuck() -> Callable[[], object]:
    """A call that does not come back before the test ends."""
    return threading.Event().wait


def test_hung_call_is_abandoned(stuck: Callable[[], object]) -> None:
    patience = Patience(0.2)
    with pytest.raises(TimeoutError):
        watched(stuck, patience.deadline(60))


def test_call_returns_its_result() -> None:
    assert watched(lambda: 7, Patience().deadline(60)) == 7
    with pytest.raises(KeyError):
        watched(lambda: {}["missing"], Patience().deadline(60))
