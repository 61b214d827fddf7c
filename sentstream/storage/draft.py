"""A file that is being written, where no reader of the directory that it is meant for can meet it.

polars opens whatever is below a directory, hidden or not, and ``**`` in DuckDB does the same. So a draft has
no name at all where Linux and the file system know such files (O_TMPFILE, open(2)): nobody can see it, and a
kill leaves nothing. Elsewhere it has a hidden name, above the data set if it can be there, and is no less
private.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import BinaryIO

_LONGEST = 255  # bytes of a file name
_TOKEN = 8  # random bytes
_HIDDEN = re.compile(rf"(\..+)\.[0-9a-f]{{{2 * _TOKEN}}}\.tmp", re.DOTALL)
#: The flag that makes a file without a name; 0 where there is none.
_TMPFILE: int = getattr(os, "O_TMPFILE", 0)


class Draft:
    """A new file for a name that it does not have yet; under a hidden one it is locked until it is closed.

    Args:
        target: The name, in a directory that is there.

    Attributes:
        file: What is written.

    Raises:
        OSError: No permission, no space.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._hidden: Path | None = None
        try:
            self.file = _nameless(target.parent)
        except OSError:
            self.file, self._hidden = _named(target)

    def publish(self, *, replace: bool, exclusive: bool) -> None:
        """Give the file its name; whoever sees the name sees all of the file.

        Args:
            replace: Take the name from a file that has it. Without, that is an error.
            exclusive: Where there are no hard links, fail: without them, of two that find no such file the
                last one wins.

        Raises:
            FileExistsError: Something has the name.
            OSError: The file system says no.
        """
        if self._hidden is None:
            try:
                if self._linked(self._target):
                    return
            except FileExistsError:
                if not replace:
                    raise
            self._hide()
        assert self._hidden is not None
        _release(self.file)
        if not replace:
            try:
                os.link(self._hidden, self._target)  # unlike a rename, it fails where something is
                return
            except FileExistsError:
                raise
            except OSError:
                if exclusive:
                    raise
        self._hidden.replace(self._target)

    def discard(self) -> None:
        """Close the file; leave nothing but what was published."""
        with contextlib.suppress(OSError):  # what was to be kept has been synced
            self.file.close()
        if self._hidden is not None:
            with contextlib.suppress(OSError):
                self._hidden.unlink(missing_ok=True)

    def _linked(self, target: Path) -> bool:
        """Name what has no name, if the system lets us (linkat(2))."""
        try:
            # Without a descriptor Python calls link(2), which does not follow. To a path from the root it
            # says nothing, so that any will do.
            handle = self.file.fileno()
            os.link(_open_path(self.file), target, src_dir_fd=handle, follow_symlinks=True)
        except FileExistsError:
            raise
        except OSError:
            return False
        return True

    def _hide(self) -> None:
        """Give what has no name a hidden one: no link takes the place of a file, but a rename does."""
        name = hidden_name(self._target)
        _lock(self.file)  # which nobody else could have opened until now
        for directory in (_shelter(self._target), self._target.parent):
            if self._linked(directory / name):
                self._hidden = directory / name
                return
        file, self._hidden = _named(self._target)
        with open(_open_path(self.file), "rb") as source:
            shutil.copyfileobj(source, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())
        self.file.close()
        self.file = file


def remove_stale(targets: Collection[str | Path], directories: Iterable[str | Path] = ()) -> None:
    """Remove the hidden drafts that nobody writes any more: those of killed processes.

    Args:
        targets: Of these names.
        directories: Of any name, in these directories.
    """
    whole = {Path(directory) for directory in directories}
    beside: dict[Path, Path] = {}  # of many names in a directory, one is looked at
    for target in map(Path, targets):
        if target.parent not in beside:
            beside[target.parent] = _outside(target)
    # There are hardly any, and may be millions of targets.
    found = {
        directory: drafts
        for directory in {*whole, *beside, *beside.values()}
        if (drafts := _drafts(directory))
    }
    for directory in whole & found.keys():
        _remove(itertools.chain(*found[directory].values()))
    for target in map(Path, targets) if found else ():
        for directory in {target.parent, beside[target.parent]} & found.keys():
            _remove(found[directory].get(_stem(target), ()))


def _drafts(directory: Path) -> dict[str, list[str]]:
    """The hidden drafts in a directory, by what their names begin with."""
    found: dict[str, list[str]] = {}
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if match := _HIDDEN.fullmatch(entry.name):
                found.setdefault(match[1], []).append(entry.path)
    return found


def _remove(drafts: Iterable[str]) -> None:
    for draft in drafts:
        with contextlib.suppress(OSError):
            if _is_abandoned(draft):
                os.unlink(draft)


def hidden_file(target: Path) -> tuple[BinaryIO, Path]:
    """A new, locked, hidden file beside a name, and its path.

    Raises:
        OSError: No permission, no space.
    """
    while True:
        hidden = target.with_name(hidden_name(target))
        file = open(os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666), "wb")  # noqa: SIM115
        if _lock(file):
            return file, hidden
        file.close()  # the rare case that ``remove_stale`` came before the lock


def _named(target: Path) -> tuple[BinaryIO, Path]:
    file, hidden = hidden_file(target)
    # While it is empty, readers pass it over. A rename fails where a link back would: across mounts.
    with contextlib.suppress(OSError):
        return file, hidden.rename(_shelter(target) / hidden.name)
    return file, hidden


def _outside(target: Path) -> Path:
    """The directory above the data set: above the Hive directories that the name is in, and one more."""
    directory = target.parent.resolve()
    while "=" in directory.name:
        directory = directory.parent
    return directory.parent


def _shelter(target: Path) -> Path:
    """Where a hidden file goes: outside, unless more people could read or replace it there."""
    if target.parent.name.startswith("_"):  # no part of the data set that it lies in
        return target.parent
    outside = _outside(target)
    with contextlib.suppress(OSError):
        there, here = outside.stat().st_mode, target.parent.stat().st_mode
        others = 0o055 if there & stat.S_ISVTX else 0o077
        if not there & ~here & others:
            return outside
    return target.parent


def hidden_name(target: Path) -> str:
    return f"{_stem(target)}.{secrets.token_hex(_TOKEN)}.tmp"


def _stem(target: Path) -> str:
    """What the hidden file's name begins with: hidden, and short enough however long the target's is."""
    name = target.name
    if len(os.fsencode(name)) > _LONGEST - 2 * _TOKEN - len("...tmp"):
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return f".{name}"


def _nameless(directory: Path) -> BinaryIO:
    """A new file without a name that can get one later.

    Raises:
        OSError: There is no such thing here.
    """
    if not _TMPFILE:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    file = open(os.open(directory, _TMPFILE | os.O_WRONLY, 0o666), "wb")  # noqa: SIM115
    try:
        os.stat(_open_path(file))  # by which it gets its name
    except BaseException:
        file.close()
        raise
    return file


def _open_path(file: BinaryIO) -> str:
    return f"/proc/self/fd/{file.fileno()}"


if sys.platform == "win32":
    _BINARY = os.O_BINARY

    def _lock(file: BinaryIO) -> bool:
        """No locks on Windows: there, hidden files of killed writers stay."""
        return True

    def _release(file: BinaryIO) -> None:
        """Windows renames no file that is open."""
        file.close()

    def _is_abandoned(path: str) -> bool:
        return False

    def try_lock(file: BinaryIO) -> bool:
        """No locks on Windows."""
        return True

else:
    import fcntl

    _BINARY = 0

    def _lock(file: BinaryIO) -> bool:
        """Mark a file as somebody's until its process is dead; whether it still has a name."""
        with contextlib.suppress(OSError):  # without locks, nothing is taken for abandoned
            fcntl.flock(file, fcntl.LOCK_EX)
        return os.fstat(file.fileno()).st_nlink > 0

    def _release(file: BinaryIO) -> None:
        """The lock stays until the file has its name."""

    def _is_abandoned(path: str) -> bool:
        """Whether nobody holds the lock."""
        with open(path, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
            return True

    def try_lock(file: BinaryIO) -> bool:
        """Take the lock of a file, which lasts as long as it is open.

        Returns:
            False where somebody has it, or had it and has removed the file.
        """
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return True
        return os.fstat(file.fileno()).st_nlink > 0
