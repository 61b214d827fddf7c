"""Names made durable: who waits for the sync of a directory shares it with all who wait for the same."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Final


class _Turns:
    """The syncs of one directory.

    Attributes:
        turn: Held by who syncs.
        begun: Syncs that were begun.
        done: The last of them that ended well, counted from 1.
        users: Threads that want one.
    """

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.begun = self.done = self.users = 0


_lock: Final = threading.Lock()
_turns: Final[dict[str, _Turns]] = {}


def _shared(directory: str) -> None:
    """Return after a sync that began after the call: an own one, or that of another thread."""
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
        """Windows syncs no directory."""

else:

    def sync_directory(directory: Path) -> None:
        """Make the names in a directory durable.

        Raises:
            OSError: The system cannot.
        """
        _shared(os.fspath(directory))
