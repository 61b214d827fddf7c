"""How long a client and the consume loop keep trying without a broker, and how to stop them sooner."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

CHECKING = 5.0  # seconds of waiting between checks whether it can succeed
_HURRY = 20.0  # maximum seconds of a wait once a stop was requested; a broker may be slow
_HURRY_OUT = 3.0  # the same if no broker has answered the last call
_GIVEN_UP = 0.5  # maximum seconds of a wait after ``give_up``
_CLOSING, _CLOSING_SOON = 5.0, 1.0  # seconds to close a connection; the second after ``give_up``
_RECENT = 60.0  # seconds; longer than a session lasts by default
_LOOK = 0.25  # seconds between checks whether a wait has become shorter


class Patience:
    """Limits how long an outage may last; shared by a client, all that it opens, and the consume loop.

    An outage begins with the first call that fails for lack of a broker, and ends when a broker answers.
    If a delivery has failed, only a delivery ends it: a broker that answers other requests but accepts no
    records, for example because of too few replicas, does not help.

    Args:
        seconds: How long an outage may last. No single wait is longer.
    """

    def __init__(self, seconds: float = math.inf) -> None:
        self.seconds = seconds
        self._since: float | None = None
        self._failed = -math.inf  # when a call last failed
        self._delivering = False
        self._asked: float | None = None  # when a stop was requested
        self._given_up = False

    def failed(self, began: float, *, delivering: bool = False) -> bool:
        """Note that a call begun at ``began`` (``time.monotonic``) failed; return whether to give up."""
        if self._since is None or began - self._failed > self.seconds:
            self._since, self._delivering = began, False
        self._delivering |= delivering
        self._failed = time.monotonic()
        return self._failed >= self._since + self.seconds

    def is_too_long(self, down: float, otherwise: float) -> bool:
        """Note that no broker has been reached for ``down`` seconds; return whether that is too long.

        If outages have no limit, more than ``otherwise`` seconds is too long.
        """
        if math.isinf(self.seconds):
            return down > otherwise
        return self.failed(time.monotonic() - down)

    def answered(self, *, delivered: bool = False) -> float | None:
        """Note that a broker has answered; return the outage's length in seconds if this ends one."""
        if self._since is None or (self._delivering and not delivered):
            return None
        lasted = time.monotonic() - self._since
        self._since, self._delivering = None, False
        return lasted

    @property
    def was_out(self) -> bool:
        """Whether a call has recently failed for lack of a broker."""
        return time.monotonic() - self._failed < _RECENT

    @property
    def in_outage(self) -> bool:
        """Whether a call has failed since a broker answered."""
        return self._since is not None

    def stop(self) -> None:
        """Request a stop, from any thread or signal handler; waits are short from now on."""
        if self._asked is None:
            self._asked = time.monotonic()

    @property
    def stopping(self) -> bool:
        """Whether a stop was requested."""
        return self._asked is not None

    def give_up(self) -> None:
        """Note that no broker answers and the run ends: waits and closing are short from now on."""
        self._given_up = True

    @property
    def closing(self) -> float:
        """The maximum seconds for closing a connection."""
        return _CLOSING_SOON if self._given_up else _CLOSING

    def deadline(self, seconds: float) -> Deadline:
        """Return the deadline of a wait that begins now."""
        return Deadline(self, min(seconds, self.seconds))

    def end_of(self, began: float, seconds: float) -> float:
        """Return when a wait ends (``time.monotonic``), in the current state."""
        end = began + (min(seconds, _GIVEN_UP) if self._given_up else seconds)
        if self._asked is not None:
            hurry = _HURRY if self._since is None else _HURRY_OUT
            end = min(end, max(began, self._asked) + hurry)
        if self._since is not None and time.monotonic() - self._failed <= self.seconds:
            end = min(end, self._since + self.seconds)
        return end


class Deadline:
    """The deadline of a wait for a broker; it may move closer during the wait."""

    def __init__(self, patience: Patience, seconds: float) -> None:
        self._patience, self._seconds, self._began = patience, seconds, time.monotonic()

    def left(self) -> float:
        """Return the seconds left, or 0.

        If the time is up after a stop was requested, give up waiting for brokers.
        """
        left = self._patience.end_of(self._began, self._seconds) - time.monotonic()
        if left <= 0 and self._patience.stopping:
            self._patience.give_up()
        return max(0.0, left)

    def slice(self, seconds: float = _LOOK) -> float:
        """Return the seconds to wait before checking again."""
        return min(self.left(), seconds)


def watched(call: Callable[[], T], deadline: Deadline, check: Callable[[], None] | None = None) -> T:
    """Call a library in a separate thread, since its waits cannot be interrupted otherwise.

    Args:
        call: The call.
        deadline: When to stop waiting for it.
        check: Called every few seconds until the call is done; it may raise.

    Raises:
        TimeoutError: The call has not returned. It keeps running and cannot be stopped.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(call())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="sentstream-watched", daemon=True)
    thread.start()
    looked = time.monotonic()
    while thread.is_alive() and (wait := deadline.slice()) > 0:
        thread.join(wait)
        if check is not None and thread.is_alive() and time.monotonic() - looked > CHECKING:
            check()
            looked = time.monotonic()
    if failed:
        raise failed[0]
    if not done:
        raise TimeoutError
    return done[0]
