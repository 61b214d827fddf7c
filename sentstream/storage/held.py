"""Small files held in memory, so that each is opened only once."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any, BinaryIO, Final

from sentstream.errors import InputError
from sentstream.storage.api import StoredFile
from sentstream.storage.found import compare

#: Files up to this size are held.
HELD_BYTES: Final = 1 << 20
#: Bytes kept of all files together, between inspecting and reading them.
_KEPT_BYTES: Final = 32 << 20


class HeldFile:
    """A file and its content; it is pickled without the content.

    Args:
        file: The file as it was found.
        data: Its content.

    Attributes:
        data: Its content.
    """

    def __init__(self, file: StoredFile, data: bytes) -> None:
        self.file, self.data = file, data
        self.name, self.size, self.tag = file.name, file.size, file.tag

    @property
    def path(self) -> Path | None:
        """The local path; None for a remote file."""
        return self.file.path

    def open(self) -> BinaryIO:
        """Open a new handle at the first byte in memory."""
        return io.BytesIO(self.data)

    def prefetch(self) -> None:
        """Do nothing: the content is in memory."""

    def check(self) -> None:
        """Check that the file has not changed since it was found.

        Raises:
            InputError: The file is gone, or its size or tag has changed.
        """
        self.file.check()

    def __reduce__(self) -> tuple[Any, ...]:
        return _itself, (self.file,)


class HeldFiles:
    """Contents of small files, kept between inspecting all of them and reading them one by one.

    It is pickled without the contents.

    Args:
        most: Maximum number of bytes to keep.
    """

    def __init__(self, limit: int = _KEPT_BYTES) -> None:
        self._left = limit
        self._lock = threading.Lock()
        self._held: dict[StoredFile, HeldFile] = {}

    def keep(self, file: StoredFile) -> None:
        """Keep a file for ``take``, if its content is held and there is room."""
        if isinstance(file, HeldFile):
            with self._lock:
                if file.size <= self._left:
                    self._left -= file.size
                    self._held[file.file] = file

    def take(self, file: StoredFile) -> StoredFile:
        """Return the file with its content and stop keeping it; if it was not kept, read it now.

        Raises:
            InputError: It cannot be read, or has changed since it was found.
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
        """Start fetching what ``take`` will read, if the file is remote; return at once."""
        if file not in self._held:
            file.prefetch()

    def __reduce__(self) -> tuple[Any, ...]:
        return HeldFiles, (0,)


def hold(file: StoredFile) -> StoredFile:
    """Return a file with its content if it is small, else unchanged.

    Raises:
        InputError: It cannot be read, or has changed since it was found.
    """
    if not 0 < file.size <= HELD_BYTES:
        return file
    data = b""
    try:
        with file.open() as handle:
            # One byte more, to detect a file that grows.
            while part := handle.read(file.size + 1 - len(data)):
                data += part
    except OSError as error:
        raise InputError(f"{file.name} cannot be read: {error.strerror or error}") from error
    compare(file, len(data), file.tag)
    return HeldFile(file, data)


def _itself(file: StoredFile) -> StoredFile:
    return file
