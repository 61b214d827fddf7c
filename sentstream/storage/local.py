"""Local files, including mounted file systems."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from sentstream.errors import InputError, InputNotFoundError, OutputBusyError, OutputWriteError
from sentstream.packed import Packed, pickled_by_fields
from sentstream.storage.api import StoredFile
from sentstream.storage.draft import try_lock
from sentstream.storage.found import compare, gone
from sentstream.storage.names import is_skipped
from sentstream.storage.whole_file import check_writable, make_directory, remove_stale, whole_file


@pickled_by_fields
@dataclass(frozen=True, slots=True)
class LocalFile:
    """A local file, as it was when found.

    Attributes:
        name: The name used in messages.
        size: Size in bytes.
        tag: Its modification time, in ns since 1970.
        location: Its path as text, which takes less memory than a ``Path``; there may be millions.
    """

    name: str
    size: int
    tag: str
    location: str

    @property
    def path(self) -> Path:
        """Its path."""
        return Path(self.location)

    def open(self) -> BinaryIO:
        """Open a new handle at the first byte.

        Raises:
            InputError: The file is gone, cannot be read, or has changed since it was found.
        """
        try:
            file = open(self.location, "rb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise _unreadable(self.name, error) from error
        try:
            _compare(self, os.fstat(file.fileno()))
        except BaseException:
            file.close()
            raise
        return file

    def prefetch(self) -> None:
        """Do nothing: the file is local."""

    def check(self) -> None:
        """Check that the file has not changed since it was found.

        Raises:
            InputError: The file is gone, or its size or modification time has changed.
        """
        try:
            status = os.stat(self.location)
        except FileNotFoundError as error:
            raise gone(self.name) from error
        except OSError as error:
            raise _unreadable(self.name, error) from error
        _compare(self, status)


def local_file(path: str | Path, name: str | None = None) -> LocalFile:
    """Examine a local file.

    Args:
        path: Its path.
        name: The name used in messages; by default its path.

    Raises:
        InputNotFoundError: There is none.
        InputError: It is not a regular file, or cannot be examined.
    """
    location = os.fspath(path)
    name = name or location
    try:
        status = os.stat(location)
    except FileNotFoundError as error:
        raise InputNotFoundError(f"{name} does not exist", hint="check the path") from error
    except OSError as error:
        raise _unreadable(name, error) from error
    if not stat.S_ISREG(status.st_mode):
        raise InputError(
            f"{name} is not a regular file, so it cannot be read from the end", hint="pipe it into -"
        )
    return LocalFile(name, status.st_size, str(status.st_mtime_ns), location)


def absolute(file: StoredFile) -> StoredFile:
    """Return the file with an absolute path, for processes with other working directories."""
    if isinstance(file, LocalFile) and not os.path.isabs(file.location):
        return replace(file, location=str(file.path.absolute()))
    return file


@dataclass(frozen=True)
class LocalStorage:
    """The local file system."""

    def find(self, name: str) -> LocalFile | None:
        """Return the file with this name; None if there is none or it is a directory.

        Raises:
            InputError: It is not a regular file, or cannot be examined.
        """
        if os.path.isdir(name) or not os.path.lexists(name):
            return None
        return local_file(name)

    def is_directory(self, name: str) -> bool:
        """Return whether a name is a directory."""
        return os.path.isdir(name)

    def walk(self, directory: str, *, hidden: bool = False) -> Iterator[tuple[str, LocalFile]]:
        """Yield all files below a directory, ordered by name, with their names relative to it.

        Args:
            directory: The directory.
            hidden: Whether to include names that begin with a dot or an underscore. Such files come and go:
                one that is removed meanwhile is skipped.

        Raises:
            InputError: A directory cannot be read, or a file is gone.
        """
        passing = contextlib.suppress(InputNotFoundError) if hidden else contextlib.nullcontext()

        def refuse(error: OSError) -> None:
            if not (hidden and isinstance(error, FileNotFoundError)):
                raise _unreadable(str(error.filename), error) from error

        for parent, directories, names in os.walk(directory, onerror=refuse):
            directories[:] = sorted(name for name in directories if hidden or not is_skipped(name))
            below = os.path.relpath(parent, directory).replace(os.sep, "/")
            prefix, folder = "" if below == "." else f"{below}/", os.path.join(parent, "")
            for name in sorted(names):
                if hidden or not is_skipped(name):
                    file = None
                    with passing:
                        file = local_file(folder + name)
                    if file is not None:
                        yield prefix + name, file

    def join(self, directory: str, below: str) -> str:
        """Return the path of a file in a directory."""
        return os.path.join(directory, below.replace("/", os.sep))

    def check_writable(self, name: str, *, overwrite: bool) -> None:
        """Check, before any work, whether ``create`` can write.

        Raises:
            OutputExistsError: The name is taken and may not be overwritten, or is a directory.
            OutputWriteError: Nothing can be written there.
        """
        check_writable(name, overwrite=overwrite)

    def create(self, name: str, *, overwrite: bool) -> AbstractContextManager[BinaryIO]:
        """Create a file to write sequentially; it gets its name, durably, if the block succeeds.

        Raises:
            OutputExistsError: The name was taken while the block ran, and may not be overwritten.
            OutputWriteError: No space, no permission.
        """
        return whole_file(name, overwrite=overwrite)

    def remove(self, name: str) -> None:
        """Remove a file if it exists.

        Raises:
            OutputWriteError: The file cannot be removed.
        """
        try:
            os.unlink(name)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise OutputWriteError(f"{name} cannot be removed: {error.strerror or error}") from error

    @contextlib.contextmanager
    def lock(self, name: str, description: str) -> Iterator[None]:
        """Hold an exclusive lock, which the system releases when the process ends.

        Args:
            name: The lock file; its directory is created if needed.
            description: The name of the locked resource in messages.

        Raises:
            OutputBusyError: A live process holds it.
            OutputWriteError: Nothing can be written there.
        """
        try:
            created = make_directory(Path(name).parent)
            file = open(name, "ab")  # noqa: SIM115
            while not (locked := try_lock(file)) and not os.fstat(file.fileno()).st_nlink:
                file.close()  # its holder just removed it
                file = open(name, "ab")  # noqa: SIM115
        except OSError as error:
            raise OutputWriteError(f"{name} cannot be written: {error.strerror or error}") from error
        with file:
            if not locked:
                raise OutputBusyError(
                    f"{description} is being written by another run",
                    hint="wait for that run to end, or stop it",
                )
            try:
                yield
            finally:
                with contextlib.suppress(OSError):
                    os.unlink(name)
                    for directory in reversed(created):  # stops at the first that is not empty
                        directory.rmdir()

    def clean(self, names: Collection[str]) -> None:
        """Remove the drafts of killed processes for these files, or for a whole directory (``name/``)."""
        directories = [name for name in names if name.endswith("/")]
        remove_stale(
            Packed(name for name in names if not name.endswith("/")) if directories else names, directories
        )


def _compare(file: LocalFile, status: os.stat_result) -> None:
    compare(file, status.st_size, str(status.st_mtime_ns))


def _unreadable(name: str, error: OSError) -> InputError:
    return InputError(f"{name} cannot be read: {error.strerror or error}")
