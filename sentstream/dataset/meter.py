"""Measure progress in bytes of the inputs."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

from sentstream.storage.api import StoredFile

#: Called with (bytes done, total bytes) of what this run has to read.
OnBytes: TypeAlias = Callable[[int, int], None]


class Meter:
    """Measures progress through files that are processed one after another.

    Args:
        total: Total number of bytes.
        on_progress: Called with the progress.
    """

    def __init__(self, total: int, on_progress: OnBytes) -> None:
        self._total, self._report_progress = total, on_progress
        self._before = self._size = 0
        self._rows: int | None = None
        self._done = 0

    def begin(self, size: int, rows: int | None) -> None:
        """Start a file.

        Args:
            size: Number of bytes to read.
            rows: Number of rows to read; None if only known after reading to the end.
        """
        self._size, self._rows, self._done = size, rows, 0

    def rows(self, count: int) -> None:
        """Count rows that are done, as if all rows had the same size."""
        if self._rows:
            self._done += count
            self._report_progress(
                self._before + min(self._size, self._size * self._done // self._rows), self._total
            )

    def read(self, position: int) -> None:
        """Note the position up to which the file was read; used if its number of rows is unknown."""
        if self._rows is None:
            self._report_progress(self._before + min(self._size, position), self._total)

    def end(self) -> None:
        """End the file."""
        self._before += self._size
        self._size = 0
        self._report_progress(self._before, self._total)


class Metered:
    """A file that reports its reads to a meter.

    Args:
        file: The file.
        meter: The meter.
    """

    def __init__(self, file: StoredFile, meter: Meter) -> None:
        self._file, self._meter = file, meter
        self.name, self.size, self.tag = file.name, file.size, file.tag
        self.path: Path | None = file.path

    def open(self) -> BinaryIO:
        """Open a new handle at the first byte.

        Raises:
            InputError: From the file.
        """
        return cast(BinaryIO, io.BufferedReader(_Handle(self._file.open(), self._meter), 1 << 16))

    def prefetch(self) -> None:
        """Start fetching the file."""
        self._file.prefetch()

    def check(self) -> None:
        """Check that the file has not changed since it was found.

        Raises:
            InputError: It is gone, or has changed since it was found.
        """
        self._file.check()


class _Handle(io.RawIOBase):
    """A handle that is read sequentially."""

    def __init__(self, file: BinaryIO, meter: Meter) -> None:
        self._file, self._meter, self._position = file, meter, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        self._meter.read(self._position)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
            super().close()
