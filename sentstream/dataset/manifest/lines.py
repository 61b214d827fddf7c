"""Lines by name, on the disk: a number each is in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import BinaryIO

from sentstream.errors import OutputWriteError


class Lines:
    """The last line of each name, in a file that nobody sees."""

    def __init__(self) -> None:
        self._file: BinaryIO | None = None
        self._starts: dict[str, int] = {}
        self._end = 0

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._starts)

    def add(self, name: str, line: bytes) -> None:
        """Keep the line of a name.

        Raises:
            OutputWriteError: There is no room for it.
        """
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix=".sentstream-")  # noqa: SIM115
            if self._file.tell() != self._end:
                self._file.seek(self._end)
            self._file.write(line)
        except OSError as error:
            raise OutputWriteError(
                f"{tempfile.gettempdir()} cannot be written: {error.strerror or error}",
                hint="set TMPDIR to a place with room",
            ) from error
        self._starts[name] = self._end
        self._end += len(line)

    def get(self, name: str) -> bytes | None:
        """The line of a name; None where there is none."""
        start = self._starts.get(name)
        if start is None or self._file is None:
            return None
        self._file.seek(start)
        return self._file.readline()

    def clear(self) -> None:
        """Forget all."""
        self._starts.clear()
        self._end = 0

    def close(self) -> None:
        """Forget all, and give the room on the disk back."""
        self.clear()
        if self._file is not None:
            self._file.close()
            self._file = None
