"""For how long a client and the loop on it go on without a broker, and how they are told to end sooner."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

CHECKING = 5.0  # seconds of waiting after which to look whether it can be of any use
_HURRY = 20.0  # seconds that a wait may last once somebody has asked to stop: a broker may be slow
_HURRY_OUT = 3.0  # the same where no broker has answered the last call
_GIVEN_UP = 0.5  # seconds of a wait when it is known that no broker answers, and that this is the end
_CLOSING, _CLOSING_SOON = 5.0, 1.0  # seconds to take leave of a broker
_RECENT = 60.0  # seconds; longer than a session may last by default
_LOOK = 0.25  # seconds between looks whether a wait has become shorter


class Patience:
    """How long an outage may last; one for a client and all that it opens, and for the loop on it.

    An outage begins with the first call that fails for lack of a broker, and ends when a broker has
    answered. Where a delivery has failed, only a delivery ends it: a broker that answers everything else and
    takes no records, as one with too few replicas, is as good as none.

    Args:
        seconds: How long an outage may last. No single wait is longer.
    """

    def __init__(self, seconds: float = math.inf) -> None:
        self.seconds = seconds
        self._since: float | None = None
        self._failed = -math.inf  # when a call failed last
        self._delivering = False
        self._asked: float | None = None  # when somebody asked to stop
        self._given_up = False

    def failed(self, began: float, *, delivering: bool = False) -> bool:
        """A call that began then (``time.monotonic``) has failed; whether that has gone on for too long."""
        if self._since is None or began - self._failed > self.seconds:
            self._since, self._delivering = began, False
        self._delivering |= delivering
        self._failed = time.monotonic()
        return self._failed >= self._since + self.seconds

    def is_too_long(self, down: float, otherwise: float) -> bool:
        """Note that no broker has been reached for ``down`` seconds; whether that is too long.

        Where an outage may last for ever, ``otherwise`` is what is too long.
        """
        if math.isinf(self.seconds):
            return down > otherwise
        return self.failed(time.monotonic() - down)

    def answered(self, *, delivered: bool = False) -> float | None:
        """A broker has answered; the seconds that the outage lasted if this ends one."""
        if self._since is None or (self._delivering and not delivered):
            return None
        lasted = time.monotonic() - self._since
        self._since, self._delivering = None, False
        return lasted

    @property
    def was_out(self) -> bool:
        """Whether a call has failed for lack of a broker, not long ago."""
        return time.monotonic() - self._failed < _RECENT

    @property
    def in_outage(self) -> bool:
        """Whether a call has failed since a broker answered."""
        return self._since is not None

    def stop(self) -> None:
        """Ask whoever uses this to end, from any thread or signal handler: no wait lasts long from now on."""
        if self._asked is None:
            self._asked = time.monotonic()

    @property
    def stopping(self) -> bool:
        """Whether somebody has asked to stop."""
        return self._asked is not None

    def give_up(self) -> None:
        """No broker answers, and this is the end: waits and farewells are short from now on."""
        self._given_up = True

    @property
    def closing(self) -> float:
        """Seconds that closing something may take."""
        return _CLOSING_SOON if self._given_up else _CLOSING

    def deadline(self, seconds: float) -> Deadline:
        """The end of a wait that begins now."""
        return Deadline(self, min(seconds, self.seconds))

    def end_of(self, began: float, seconds: float) -> float:
        """When a wait ends (``time.monotonic``), as things stand."""
        end = began + (min(seconds, _GIVEN_UP) if self._given_up else seconds)
        if self._asked is not None:
            hurry = _HURRY if self._since is None else _HURRY_OUT
            end = min(end, max(began, self._asked) + hurry)
        if self._since is not None and time.monotonic() - self._failed <= self.seconds:
            end = min(end, self._since + self.seconds)
        return end


class Deadline:
    """The end of a wait for a broker, which may come closer meanwhile."""

    def __init__(self, patience: Patience, seconds: float) -> None:
        self._patience, self._seconds, self._began = patience, seconds, time.monotonic()

    def left(self) -> float:
        """Seconds that are left, 0 if it is over.

        If that happens to somebody who was asked to stop, there is no broker to wait for any more.
        """
        left = self._patience.end_of(self._began, self._seconds) - time.monotonic()
        if left <= 0 and self._patience.stopping:
            self._patience.give_up()
        return max(0.0, left)

    def slice(self, seconds: float = _LOOK) -> float:
        """Seconds to wait before looking again."""
        return min(self.left(), seconds)


def watched(call: Callable[[], T], deadline: Deadline, check: Callable[[], None] | None = None) -> T:
    """Call a library in a thread of its own, since nothing else can end its waits.

    Args:
        call: What to do.
        deadline: When to stop waiting for it.
        check: Called every few seconds until it is done; it may raise.

    Raises:
        TimeoutError: It has not come back. It goes on, and nobody can end it.
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
