"""A journal, whose lines are durable as soon as ``append`` returns.

Locally, lines are appended to a file. Objects cannot be appended to, so in a store each call creates one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Protocol

from sentstream.errors import OutputWriteError
from sentstream.storage.api import Storage
from sentstream.storage.local import LocalStorage
from sentstream.storage.names import is_uri
from sentstream.storage.sync import sync_directory
from sentstream.storage.whole_file import make_directory


class Journal(Protocol):
    """The interface of journals.

    Attributes:
        name: A file that exists from the first call until the journal is discarded.
    """

    @property
    def name(self) -> str: ...

    def append(self, data: bytes) -> None:
        """Add whole lines.

        Raises:
            OutputWriteError: They cannot be written.
        """

    def close(self) -> None:
        """Close the journal."""

    def discard(self) -> None:
        """Close and remove the journal, which has only a header.

        Raises:
            OutputWriteError: It cannot be removed.
        """


class FileJournal:
    """A journal in a local file, created by the first ``append``.

    Args:
        name: Its path, which no other process writes.
        header: Its first line.
    """

    def __init__(self, name: str, header: bytes) -> None:
        self._path, self._header = Path(name), header
        self._file: BinaryIO | None = None

    @property
    def name(self) -> str:
        """Its path."""
        return str(self._path)

    def append(self, data: bytes) -> None:
        """Add whole lines, and sync the file.

        Raises:
            OutputWriteError: No space, no permission.
        """
        try:
            if self._file is None:
                make_directory(self._path.parent)
                self._file = self._path.open("xb", buffering=0)
                data = self._header + data
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) :]
            os.fsync(self._file.fileno())
            if self._header:
                sync_directory(self._path.parent)
                self._header = b""
        except OSError as error:
            raise OutputWriteError(
                f"{self._path} cannot be written: {error.strerror or error}",
                hint="finished work is kept; free some space, then continue with --resume",
            ) from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def discard(self) -> None:
        """Close and remove the file.

        Raises:
            OutputWriteError: It cannot be removed.
        """
        self.close()
        LocalStorage().remove(str(self._path))


class ObjectJournal:
    """A journal in objects of a store, one per ``append``.

    Args:
        storage: The store.
        stem: The prefix of their names, which no other process uses.
        header: The first line of each object.
    """

    def __init__(self, storage: Storage, stem: str, header: bytes) -> None:
        self._storage, self._stem, self._header, self._count = storage, stem, header, 0

    @property
    def name(self) -> str:
        """The first object."""
        return self._object(0)

    def append(self, data: bytes) -> None:
        """Write whole lines as an object.

        Raises:
            OutputWriteError: It cannot be written.
        """
        with self._storage.create(self._object(self._count), overwrite=False) as file:
            file.write(self._header + data)
        self._count += 1

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def discard(self) -> None:
        """Remove the objects.

        Raises:
            OutputWriteError: It cannot be removed.
        """
        for number in range(self._count):
            self._storage.remove(self._object(number))

    def _object(self, number: int) -> str:
        return f"{self._stem}.{number:06}.jsonl"


def open_journal(storage: Storage, stem: str, header: bytes) -> Journal:
    """Create a journal.

    Args:
        storage: Its storage.
        stem: Its name without a suffix.
        header: The header's line.
    """
    if is_uri(stem):
        return ObjectJournal(storage, stem, header)
    return FileJournal(f"{stem}.jsonl", header)
