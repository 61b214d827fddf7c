"""The storage interface that the rest of the package uses, for local files and buckets alike.

A name is a path or a URI, as shown in messages. A written file gets its name only when it is complete.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol


class StoredFile(Protocol):
    """A file as it was when found; it can be pickled and opened in another process.

    Attributes:
        name: The name used in messages.
        size: Size in bytes.
        tag: Changes with the content: the modification time, or an object's ETag.
        path: The local path; None for a remote file.
    """

    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def tag(self) -> str: ...
    @property
    def path(self) -> Path | None: ...

    def open(self) -> BinaryIO:
        """Open a new handle at the first byte; it is seekable.

        Raises:
            InputError: The file is gone, cannot be read, or has changed since it was found.
        """

    def prefetch(self) -> None:
        """Start fetching what a reader needs first, if the file is remote; return at once."""

    def check(self) -> None:
        """Check that the file has not changed since it was found.

        Raises:
            InputError: The file is gone, or its size or tag has changed.
        """


class Storage(Protocol):
    """A place that holds files."""

    def find(self, name: str) -> StoredFile | None:
        """Return the file with this name; None if there is none or it is a directory.

        Raises:
            InputError: The file cannot be examined.
        """

    def is_directory(self, name: str) -> bool:
        """Return whether a name is a directory, or a prefix of objects."""

    def walk(self, directory: str, *, hidden: bool = False) -> Iterator[tuple[str, StoredFile]]:
        """Yield all files below a directory, ordered by name, with their names relative to it.

        The parts of a relative name are separated by ``/``; a directory's own files come before those of its
        subdirectories.

        Args:
            directory: The directory.
            hidden: Whether to include names that begin with a dot or an underscore.

        Raises:
            InputError: A directory cannot be read.
        """

    def join(self, directory: str, below: str) -> str:
        """Return the name of a file in a directory; the parts of ``below`` are separated by ``/``."""

    def check_writable(self, name: str, *, overwrite: bool) -> None:
        """Check, before any work, whether ``create`` can write.

        Raises:
            OutputExistsError: The name is taken and may not be overwritten, or is a directory.
            OutputWriteError: Nothing can be written there.
        """

    def create(self, name: str, *, overwrite: bool) -> AbstractContextManager[BinaryIO]:
        """Create a file to write sequentially; it gets its name, durably, if the block succeeds.

        If the block raises or the process is killed, readers of the directory see nothing of it.

        Raises:
            OutputExistsError: The name was taken while the block ran, and may not be overwritten.
            OutputWriteError: No space, no permission, or no connection until retries ran out.
        """

    def remove(self, name: str) -> None:
        """Remove a file if it exists.

        Raises:
            OutputWriteError: The file cannot be removed.
        """

    def lock(self, name: str, description: str) -> AbstractContextManager[None]:
        """Hold an exclusive lock; a dead holder's lock does not count.

        Args:
            name: The lock file.
            description: The name of the locked resource in messages.

        Raises:
            OutputBusyError: A live process holds it.
            OutputWriteError: Nothing can be written there.
        """

    def clean(self, names: Collection[str]) -> None:
        """Remove the leftovers of killed processes for these files, or for a whole directory (``name/``)."""
