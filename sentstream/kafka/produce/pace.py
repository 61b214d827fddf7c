"""How fast to send: so many records a second, in bursts that are worth sending."""

from __future__ import annotations

import time
from collections.abc import Callable

_STEP = 0.02  # seconds between bursts, at least
_CATCH_UP = 1.0  # seconds of delay that are made up for
_NAP = 0.1  # seconds between looks at whether to stop


class Pace:
    """So many rows a second: exact on average, in bursts of about 20 ms.

    What is late is made up for, but no more than a second of it: after a stall there is no flood.

    Args:
        rate: Rows a second; None for as fast as it goes.
        clock: A monotonic time in s.
        sleep: Waits for some seconds.
    """

    def __init__(
        self,
        rate: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate, self._clock, self._sleep = rate, clock, sleep
        self._start = self._last = -1.0
        self._sent = 0

    def wait(self, most: int, stopped: Callable[[], bool]) -> int:
        """Wait until a row is due; how many are, at most ``most``; 0 if it stopped."""
        if self._rate is None:
            return 0 if stopped() else most
        now = self._clock()
        if self._start < 0:
            self._start, self._last = now, now - _STEP
        self._start += max(0.0, now - _CATCH_UP - self._start - self._sent / self._rate)
        due = max(self._start + self._sent / self._rate, self._last + _STEP)
        while not stopped():
            now = self._clock()
            if now >= due:
                ready = int((now - self._start) * self._rate) + 1 - self._sent
                count = max(1, min(most, ready))
                self._last, self._sent = now, self._sent + count
                return count
            self._sleep(min(_NAP, due - now))
        return 0
