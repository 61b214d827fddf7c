"""Base classes for remote files, which are fetched in blocks, and for read-only storage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from sentstream.errors import OutputWriteError
from sentstream.storage.blocks import BLOCKS


@dataclass(frozen=True)
class FetchedFile(ABC):
    """A remote file, as it was when found.

    Attributes:
        name: Its URI.
        size: Size in bytes.
        tag: Identifies its version; empty if nothing does.
    """

    name: str
    size: int
    tag: str

    @property
    def path(self) -> Path | None:
        """None: the file is remote."""
        return None

    def open(self) -> BinaryIO:
        """Open a new handle at the first byte, which fetches data as it is read.

        Raises:
            InputError: On reading: the file is gone, cannot be read, or has changed since it was found.
            StorageError: On reading: the server does not answer.
        """
        return cast(BinaryIO, BLOCKS.open((self.name, self.tag), self.name, self.size, self._fetch))

    def prefetch(self) -> None:
        """Start fetching what a reader needs first."""
        BLOCKS.prefetch((self.name, self.tag), self.name, self.size, self._fetch)

    @abstractmethod
    def _fetch(self, start: int, stop: int) -> bytes:
        """Fetch the bytes from ``start`` to before ``stop``, of the version that was found."""


class ReadOnly:
    """A read-only storage."""

    def join(self, directory: str, below: str) -> str:
        """Return the URI of a file in a directory."""
        return f"{directory.rstrip('/')}/{below}"

    def check_writable(self, name: str, *, overwrite: bool) -> None:
        """Refuse: nothing can be written.

        Raises:
            OutputWriteError: Always.
        """
        raise _only_read(name)

    def create(self, name: str, *, overwrite: bool) -> AbstractContextManager[BinaryIO]:
        """Refuse: nothing can be written.

        Raises:
            OutputWriteError: Always.
        """
        raise _only_read(name)

    def remove(self, name: str) -> None:
        """Refuse: nothing can be removed.

        Raises:
            OutputWriteError: Always.
        """
        raise _only_read(name)

    def lock(self, name: str, description: str) -> AbstractContextManager[None]:
        """Refuse: nothing can be written.

        Raises:
            OutputWriteError: Always.
        """
        raise _only_read(name)

    def clean(self, names: Collection[str]) -> None:
        """Do nothing: without writes there are no leftovers."""


def _only_read(name: str) -> OutputWriteError:
    return OutputWriteError(
        f"{name} cannot be written: this location is read-only",
        hint="give --output: a path, s3://, gs:// or abfs://",
    )
