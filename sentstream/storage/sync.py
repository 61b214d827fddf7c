"""Make names durable: threads that wait for a sync of the same directory share it."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Final


class _Turns:
    """The syncs of one directory.

    Attributes:
        turn: Held by the thread that syncs.
        begun: Number of syncs started.
        done: Number of the last successful sync, from 1.
        users: Number of threads that want a sync.
    """

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.begun = self.done = self.users = 0


_lock: Final = threading.Lock()
_turns: Final[dict[str, _Turns]] = {}


def _shared(directory: str) -> None:
    """Return after a sync that began after the call: this thread's or another's."""
    with _lock:
        turns = _turns.setdefault(directory, _Turns())
        turns.users += 1
        wanted = turns.begun + 1
    try:
        with turns.turn:
            if turns.done >= wanted:
                return
            with _lock:
                turns.begun += 1
            _sync(directory)
            turns.done = turns.begun
    finally:
        with _lock:
            turns.users -= 1
            if not turns.users:
                _turns.pop(directory, None)


def _sync(directory: str) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


if sys.platform == "win32":

    def sync_directory(directory: Path) -> None:
        """Do nothing: Windows cannot sync a directory."""

else:

    def sync_directory(directory: Path) -> None:
        """Make the names in a directory durable.

        Raises:
            OSError: The sync failed.
        """
        _shared(os.fspath(directory))
