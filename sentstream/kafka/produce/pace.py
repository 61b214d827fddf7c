"""Rate limit for sending: records per second, in bursts that are large enough to be efficient."""

from __future__ import annotations

import time
from collections.abc import Callable

_STEP = 0.02  # seconds between bursts, at least
_CATCH_UP = 1.0  # maximum seconds of delay to catch up on
_NAP = 0.1  # seconds between checks whether to stop


class Pace:
    """Limits the rows per second: exact on average, in bursts of about 20 ms.

    Delays are caught up on, but by no more than a second, so that a stall is not followed by a flood.

    Args:
        rate: Rows per second; None for no limit.
        clock: Returns a monotonic time in seconds.
        sleep: Waits for a number of seconds.
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

    def wait(self, limit: int, stopped: Callable[[], bool]) -> int:
        """Wait until a row is due; return how many are, at most ``limit``; 0 if stopped."""
        if self._rate is None:
            return 0 if stopped() else limit
        now = self._clock()
        if self._start < 0:
            self._start, self._last = now, now - _STEP
        self._start += max(0.0, now - _CATCH_UP - self._start - self._sent / self._rate)
        due = max(self._start + self._sent / self._rate, self._last + _STEP)
        while not stopped():
            now = self._clock()
            if now >= due:
                ready = int((now - self._start) * self._rate) + 1 - self._sent
                count = max(1, min(limit, ready))
                self._last, self._sent = now, self._sent + count
                return count
            self._sleep(min(_NAP, due - now))
        return 0
