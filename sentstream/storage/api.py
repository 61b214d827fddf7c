"""What the rest of the house sees of files, whether they lie on this machine or in a bucket.

A name is a path or a URI, as messages show it. Whatever is written gets its name when it is whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol


class StoredFile(Protocol):
    """A file as it was when it was found; it can be pickled, and opened in another process.

    Attributes:
        name: What messages call it.
        size: Bytes.
        tag: Changes when the content does: the time of the last change, or an object's ETag.
        path: Where it lies on this machine; None elsewhere.
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
        """A new handle at the first byte; it can seek.

        Raises:
            InputError: The file is gone, cannot be read, or is no longer the one that was found.
        """

    def prefetch(self) -> None:
        """Begin to fetch what a reader needs first, if it is far away; returns at once."""

    def check(self) -> None:
        """Find out whether it is still what was found.

        Raises:
            InputError: The file is gone, or its size or tag has changed.
        """


class Storage(Protocol):
    """Where files lie."""

    def find(self, name: str) -> StoredFile | None:
        """The file of a name; None where there is none, or a directory.

        Raises:
            InputError: The file cannot be examined.
        """

    def is_directory(self, name: str) -> bool:
        """Whether a name stands for a directory, or for a prefix that objects have."""

    def walk(self, directory: str, *, hidden: bool = False) -> Iterator[tuple[str, StoredFile]]:
        """All files below a directory, in the order of their names, with their names below it.

        The parts of a name below are divided by ``/``; the files of a directory come before those of the
        directories in it.

        Args:
            directory: The directory.
            hidden: Whether not to pass over what begins with a dot or an underscore.

        Raises:
            InputError: A directory cannot be read.
        """

    def join(self, directory: str, below: str) -> str:
        """The name of a file in a directory, with ``below`` divided by ``/``."""

    def check_writable(self, name: str, *, overwrite: bool) -> None:
        """Find out before any work what would keep ``create`` from writing.

        Raises:
            OutputExistsError: The name is taken and is not to be overwritten, or is a directory's.
            OutputWriteError: Nothing can be written there.
        """

    def create(self, name: str, *, overwrite: bool) -> AbstractContextManager[BinaryIO]:
        """A new file to write in order; it gets its name, durably, when the block ends well.

        When the block raises, or the process is killed, nothing of it is seen by who reads the directory.

        Raises:
            OutputExistsError: The name was taken while the block ran, and is not to be overwritten.
            OutputWriteError: No space, no permission, no connection for longer than retries go.
        """

    def remove(self, name: str) -> None:
        """Remove a file; it need not be there.

        Raises:
            OutputWriteError: The file cannot be removed.
        """

    def lock(self, name: str, what: str) -> AbstractContextManager[None]:
        """Keep others from doing the same: one holder at a time, and none that is dead.

        Args:
            name: A file that stands for it.
            what: What messages call what is locked.

        Raises:
            OutputBusyError: Somebody alive holds it.
            OutputWriteError: Nothing can be written there.
        """

    def clean(self, names: Collection[str]) -> None:
        """Remove what killed processes left of these files; of all in a directory, given with a ``/``."""
