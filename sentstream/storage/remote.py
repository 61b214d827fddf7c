"""What files that lie elsewhere share: they are fetched in blocks, and some places are only read."""

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
    """A file that lies elsewhere, as it was when it was found.

    Attributes:
        name: Its URI.
        size: Bytes.
        tag: What tells this version of it from others; empty where nothing does.
    """

    name: str
    size: int
    tag: str

    @property
    def path(self) -> Path | None:
        """It lies elsewhere."""
        return None

    def open(self) -> BinaryIO:
        """A new handle at the first byte, which fetches what is read.

        Raises:
            InputError: Later, when it is read: it is gone, cannot be read, or is no longer what was found.
            StorageError: Later, too: nobody answers.
        """
        return cast(BinaryIO, BLOCKS.open((self.name, self.tag), self.name, self.size, self._fetch))

    def prefetch(self) -> None:
        """Begin to fetch what a reader needs first."""
        BLOCKS.prefetch((self.name, self.tag), self.name, self.size, self._fetch)

    @abstractmethod
    def _fetch(self, start: int, stop: int) -> bytes:
        """The bytes from one place up to another, of the version that was found."""


class ReadOnly:
    """A storage that nothing is written to."""

    def join(self, directory: str, below: str) -> str:
        """The URI of a file in a directory."""
        return f"{directory.rstrip('/')}/{below}"

    def check_writable(self, name: str, *, overwrite: bool) -> None:
        """Nothing can be written.

        Raises:
            OutputWriteError: Always.
        """
        raise _only_read(name)

    def create(self, name: str, *, overwrite: bool) -> AbstractContextManager[BinaryIO]:
        """Nothing can be written.

        Raises:
            OutputWriteError: Always.
        """
        raise _only_read(name)

    def remove(self, name: str) -> None:
        """Nothing can be removed.

        Raises:
            OutputWriteError: Always.
        """
        raise _only_read(name)

    def lock(self, name: str, what: str) -> AbstractContextManager[None]:
        """Nothing can be written.

        Raises:
            OutputWriteError: Always.
        """
        raise _only_read(name)

    def clean(self, names: Collection[str]) -> None:
        """Nothing is left of what cannot be written."""


def _only_read(name: str) -> OutputWriteError:
    return OutputWriteError(
        f"{name} cannot be written: this location is read-only",
        hint="give --output: a path, s3://, gs:// or abfs://",
    )
