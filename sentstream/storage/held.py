"""Small files whose bytes are in memory, so that each is opened once, however often it is looked at."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any, BinaryIO, Final

from sentstream.errors import InputError
from sentstream.storage.api import StoredFile
from sentstream.storage.found import compare

#: A file up to this size is read in one go.
HELD_BYTES: Final = 1 << 20
#: What is kept of all files together, from one look to the next.
_KEPT_BYTES: Final = 32 << 20


class HeldFile:
    """A file and its bytes; pickled, it is the file alone.

    Args:
        file: The file as it was found.
        data: All of its bytes.

    Attributes:
        data: All of its bytes.
    """

    def __init__(self, file: StoredFile, data: bytes) -> None:
        self.file, self.data = file, data
        self.name, self.size, self.tag = file.name, file.size, file.tag

    @property
    def path(self) -> Path | None:
        """Where it lies on this machine; None elsewhere."""
        return self.file.path

    def open(self) -> BinaryIO:
        """A new handle at the first byte in memory."""
        return io.BytesIO(self.data)

    def prefetch(self) -> None:
        """It is here."""

    def check(self) -> None:
        """Find out whether the file is still what was found.

        Raises:
            InputError: The file is gone, or its size or tag has changed.
        """
        self.file.check()

    def __reduce__(self) -> tuple[Any, ...]:
        return _itself, (self.file,)


class HeldFiles:
    """Bytes of small files, kept between looking into all of them and reading one after the other.

    A pickled one keeps nothing: what it holds is of this process.

    Args:
        most: Bytes that are kept, at most.
    """

    def __init__(self, most: int = _KEPT_BYTES) -> None:
        self._left = most
        self._lock = threading.Lock()
        self._held: dict[StoredFile, HeldFile] = {}

    def keep(self, file: StoredFile) -> None:
        """Keep a file for ``take``, if its bytes are held and there is room."""
        if isinstance(file, HeldFile):
            with self._lock:
                if file.size <= self._left:
                    self._left -= file.size
                    self._held[file.file] = file

    def take(self, file: StoredFile) -> StoredFile:
        """The file with its bytes, which are no longer kept; read now if they were not.

        Raises:
            InputError: It cannot be read, or is no longer what was found.
        """
        with self._lock:
            held = self._held.pop(file, None)
            if held is not None:
                self._left += held.size
        if held is None:
            return hold(file)
        held.check()
        return held

    def prefetch(self, file: StoredFile) -> None:
        """Begin to fetch what ``take`` will read, if the file is far away; returns at once."""
        if file not in self._held:
            file.prefetch()

    def __reduce__(self) -> tuple[Any, ...]:
        return HeldFiles, (0,)


def hold(file: StoredFile) -> StoredFile:
    """A file with its bytes, if it is small; else as it is.

    Raises:
        InputError: It cannot be read, or is no longer what was found.
    """
    if not 0 < file.size <= HELD_BYTES:
        return file
    data = b""
    try:
        with file.open() as handle:
            # One byte more tells of a file that grows.
            while part := handle.read(file.size + 1 - len(data)):
                data += part
    except OSError as error:
        raise InputError(f"{file.name} cannot be read: {error.strerror or error}") from error
    compare(file, len(data), file.tag)
    return HeldFile(file, data)


def _itself(file: StoredFile) -> StoredFile:
    return file
