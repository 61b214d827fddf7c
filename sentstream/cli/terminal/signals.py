"""Ctrl-C and SIGTERM that let a command finish its current work."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sentstream.cli.terminal.streams import print_message

_UNWINDING = 5.0  # seconds


@contextmanager
def asking_on_signals(ask: Callable[[int], None]) -> Iterator[dict[int, Any]]:
    """Call ``ask`` on the first SIGTERM or Ctrl-C; later ones act at once, as usual.

    A library may catch whatever the second one raises, so the process ends after a few seconds in any case.

    Yields the earlier handlers.
    """
    before: dict[int, Any] = {}

    def first(number: int, *_: object) -> None:
        for one in before:
            signal.signal(one, second)
        ask(number)

    def second(number: int, *_: object) -> None:
        restore()
        end = threading.Timer(_UNWINDING, _end, (number,))
        end.daemon = True
        end.start()
        signal.raise_signal(number)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    with suppress(ValueError):  # not in the main thread
        for one in (signal.SIGTERM, signal.SIGINT):
            before[one] = signal.signal(one, first)
    try:
        yield before
    finally:
        restore()


def _end(number: int) -> None:
    """End without unwinding, as a kill would."""
    print_message("sentstream: error: interrupted", level="error")
    os._exit(128 + number)


@contextmanager
def finishing_on_signals(*, expected: bool = False) -> Iterator[list[int]]:
    """Put the first SIGTERM or Ctrl-C in the list and act on it at the end; a second one acts at once.

    Args:
        expected: A signal is the normal end, as for an endless loop, and not an error.
    """
    came: list[int] = []
    with asking_on_signals(came.append) as before:
        yield came
    if came and not expected:
        if callable(before[came[0]]):
            before[came[0]](came[0], None)
        raise KeyboardInterrupt  # if there was no handler, or it returned
