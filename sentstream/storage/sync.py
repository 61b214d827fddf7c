"""Make names durable: one sync of a directory serves all who wait for it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Final

from sentstream.errors import OutputWriteError


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


class DeferredSyncs:
    """Syncs directories together, once for all names that were created in the meantime; thread-safe.

    Creating a file in a directory of many and syncing both costs two flushes of the disk; most of the second
    ones are saved.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._directories: set[str] = set()

    @contextlib.contextmanager
    def collecting(self) -> Iterator[None]:
        """Defer the syncs of directories in this block, for this thread, until ``sync``."""
        token = _deferred.set(self)
        try:
            yield
        finally:
            _deferred.reset(token)

    def add(self, directory: str) -> None:
        """Add a directory to sync."""
        with self._lock:
            self._directories.add(directory)

    def sync(self) -> None:
        """Make all names durable that were created before this call.

        Raises:
            OutputWriteError: A sync failed.
        """
        with self._lock:
            directories, self._directories = self._directories, set()
        for directory in sorted(directories):
            try:
                _shared(directory)
            except OSError as error:
                with self._lock:  # names may be in them whose entries are recorded later
                    self._directories |= directories
                raise OutputWriteError(
                    f"{directory} cannot be written: {error.strerror or error}",
                    hint="check the disk, then continue with --resume",
                ) from error


_deferred: Final[ContextVar[DeferredSyncs | None]] = ContextVar("_deferred", default=None)


if sys.platform == "win32":

    def sync_directory(directory: str | Path) -> None:
        """Do nothing: Windows cannot sync a directory."""

else:

    def sync_directory(directory: str | Path) -> None:
        """Make the names in a directory durable, now or with the ``DeferredSyncs`` of this thread.

        Raises:
            OSError: The sync failed.
        """
        deferred = _deferred.get()
        if deferred is None:
            _shared(os.fspath(directory))
        else:
            deferred.add(os.fspath(directory))
