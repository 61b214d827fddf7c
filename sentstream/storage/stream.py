"""Bytes that come once, such as those of standard input, in the shape of a file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO, Final, cast

from sentstream.errors import InputError

#: What is kept of the beginning, so that a format can be looked at before it is read.
KEPT_BYTES: Final = 16 << 20


class Stream:
    """A file of unknown size that is read once, but whose beginning can be opened again and again.

    Args:
        file: Where the bytes come from.
        name: What messages call it.

    Attributes:
        size: -1, for it is not known.
        tag: Nothing: what comes once does not change.
        path: None.
    """

    size: Final = -1
    tag: Final = ""
    path: Path | None = None

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        self._file = file
        self._kept: bytearray | None = bytearray()
        self._end = 0  # bytes that were read

    def open(self) -> BinaryIO:
        """A new handle at the first byte; it cannot seek.

        Raises:
            InputError: More than ``KEPT_BYTES`` were read before.
        """
        if self._kept is None:
            raise self._refused()
        return cast(BinaryIO, io.BufferedReader(_Handle(self), 1 << 16))

    def check(self) -> None:
        """Nothing to find out: what was read is what was there."""

    def prefetch(self) -> None:
        """Nothing to begin with: it comes as it comes."""

    def read_at(self, start: int, size: int) -> bytes:
        """Up to so many bytes from a place that is kept, or the next ones.

        Raises:
            InputError: The bytes cannot be read.
        """
        if self._kept is not None and start < self._end:
            return bytes(self._kept[start : start + size])
        if start != self._end:
            raise self._refused()
        try:
            data = self._file.read(size)
        except OSError as error:
            raise InputError(f"{self.name} cannot be read: {error.strerror or error}") from error
        self._end += len(data)
        if self._kept is not None:
            if self._end <= KEPT_BYTES:
                self._kept += data
            else:
                self._kept = None
        return data

    def _refused(self) -> InputError:
        return InputError(f"{self.name} can be read only once", hint="save it to a file first")


class _Handle(io.RawIOBase):
    """A place in a stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream, self._place = stream, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._stream.read_at(self._place, len(buffer))
        self._place += len(data)
        buffer[: len(data)] = data
        return len(data)
