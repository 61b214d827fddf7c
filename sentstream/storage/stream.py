"""Input that can be read only once, such as standard input, with the interface of a file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO, Final, cast

from sentstream.errors import InputError

#: Bytes kept from the beginning, so that the format can be detected before reading.
KEPT_BYTES: Final = 16 << 20


class Stream:
    """A file of unknown size that is read once, but whose beginning can be opened repeatedly.

    Args:
        file: The source of the bytes.
        name: The name used in messages.

    Attributes:
        size: -1, for unknown.
        tag: Empty: a stream has no versions.
        path: None.
    """

    size: Final = -1
    tag: Final = ""
    path: Path | None = None

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        self._file = file
        self._kept: bytearray | None = bytearray()
        self._end = 0  # bytes read so far

    def open(self) -> BinaryIO:
        """Open a new handle at the first byte; it is not seekable.

        Raises:
            InputError: More than ``KEPT_BYTES`` have already been read.
        """
        if self._kept is None:
            raise self._refused()
        return cast(BinaryIO, io.BufferedReader(_Handle(self), 1 << 16))

    def check(self) -> None:
        """Do nothing: a stream cannot have changed."""

    def prefetch(self) -> None:
        """Do nothing: a stream cannot be read ahead."""

    def read_at(self, start: int, size: int) -> bytes:
        """Read up to ``size`` bytes at an offset that is still kept, or the next ones.

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
    """A position in a stream."""

    def __init__(self, stream: Stream) -> None:
        self._stream, self._place = stream, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._stream.read_at(self._place, len(buffer))
        self._place += len(data)
        buffer[: len(data)] = data
        return len(data)
