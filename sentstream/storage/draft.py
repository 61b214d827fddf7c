"""A draft: a file that is being written, hidden from readers of its target directory.

polars opens everything below a directory, hidden or not, and so does ``**`` in DuckDB. So a draft has no name
at all if Linux and the file system support that (O_TMPFILE, open(2)): nobody can see it, and a kill leaves
nothing. Otherwise it has a hidden name, outside the data set if possible and if it is as private there.
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
#: The flag that creates an unnamed file; 0 if the system has none.
_TMPFILE: int = getattr(os, "O_TMPFILE", 0)


class Draft:
    """A new file that does not have its final name yet; with a hidden name, it is locked until closed.

    Args:
        target: The final name, in an existing directory.

    Attributes:
        file: The file to write to.

    Raises:
        OSError: No permission, no space.
    """

    def __init__(self, target: str | Path) -> None:
        self._target = os.fspath(target)
        self._hidden: Path | None = None
        try:
            self.file = _nameless(os.path.dirname(self._target) or os.curdir)
        except OSError:
            self.file, self._hidden = _named(Path(self._target))

    def publish(self, *, replace: bool, exclusive: bool) -> None:
        """Give the file its final name, atomically.

        Args:
            replace: Replace an existing file. If false, that is an error.
            exclusive: Fail if there are no hard links: without them, two writers may both find the name free,
                and the last one wins.

        Raises:
            FileExistsError: The name is taken.
            OSError: The file system refuses.
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
                os.link(self._hidden, self._target)  # unlike a rename, it fails if the name is taken
                return
            except FileExistsError:
                raise
            except OSError:
                if exclusive:
                    raise
        self._hidden.replace(self._target)

    def discard(self) -> None:
        """Close the file, and remove it unless it was published."""
        with contextlib.suppress(OSError):  # a published file has been synced
            self.file.close()
        if self._hidden is not None:
            with contextlib.suppress(OSError):
                self._hidden.unlink(missing_ok=True)

    def _linked(self, target: str | Path) -> bool:
        """Give the unnamed file a name; return whether the system allows it (linkat(2))."""
        try:
            # Without a descriptor Python calls link(2), which does not follow links. For an absolute path the
            # descriptor has no effect, so any will do.
            handle = self.file.fileno()
            os.link(_open_path(self.file), target, src_dir_fd=handle, follow_symlinks=True)
        except FileExistsError:
            raise
        except OSError:
            return False
        return True

    def _hide(self) -> None:
        """Give the unnamed file a hidden name: a link cannot replace a file, but a rename can."""
        target = Path(self._target)
        name = hidden_name(target)
        _lock(self.file)  # nobody else could have opened it until now
        for directory in (_hidden_directory(target), target.parent):
            if self._linked(directory / name):
                self._hidden = directory / name
                return
        file, self._hidden = _named(target)
        with open(_open_path(self.file), "rb") as source:
            shutil.copyfileobj(source, file, 1 << 20)
        file.flush()
        os.fsync(file.fileno())
        self.file.close()
        self.file = file


def remove_stale(targets: Collection[str | Path], directories: Iterable[str | Path] = ()) -> None:
    """Remove the hidden drafts of killed processes.

    Args:
        targets: Remove the drafts of these names.
        directories: Remove all drafts in these directories.
    """
    whole = {Path(directory) for directory in directories}
    shelters: dict[Path, Path] = {}  # resolved once per directory, not per name
    for parent in {os.path.dirname(target) for target in targets}:
        shelters[Path(parent)] = _outside(Path(parent))
    # Few drafts, if any, but possibly millions of targets.
    found = {
        directory: drafts
        for directory in {*whole, *shelters, *shelters.values()}
        if (drafts := _drafts(directory))
    }
    for directory in whole & found.keys():
        _remove(itertools.chain(*found[directory].values()))
    for target in map(Path, targets) if found else ():
        for directory in {target.parent, shelters[target.parent]} & found.keys():
            _remove(found[directory].get(_stem(target), ()))


def _drafts(directory: Path) -> dict[str, list[str]]:
    """Return the hidden drafts in a directory, by the stem of their names."""
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
    """Create a locked, hidden file next to a name; return it and its path.

    Raises:
        OSError: No permission, no space.
    """
    while True:
        hidden = target.with_name(hidden_name(target))
        file = open(os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666), "wb")  # noqa: SIM115
        if _lock(file):
            return file, hidden
        file.close()  # rare: ``remove_stale`` removed it before it was locked


def _named(target: Path) -> tuple[BinaryIO, Path]:
    file, hidden = hidden_file(target)
    # Readers ignore it while it is empty. Across mounts this rename fails, as would linking it back later.
    with contextlib.suppress(OSError):
        return file, hidden.rename(_hidden_directory(target) / hidden.name)
    return file, hidden


def _outside(directory: Path) -> Path:
    """Return the directory that contains the data set: above any Hive folders (``key=value``) on the path."""
    directory = directory.resolve()
    while "=" in directory.name:
        directory = directory.parent
    return directory.parent


def _hidden_directory(target: Path) -> Path:
    """Return the directory for a hidden file: outside, unless more users could read or replace it there."""
    if target.parent.name.startswith("_"):  # readers of the data set ignore it
        return target.parent
    outside = _outside(target.parent)
    with contextlib.suppress(OSError):
        outside_mode, target_mode = outside.stat().st_mode, target.parent.stat().st_mode
        others = 0o055 if outside_mode & stat.S_ISVTX else 0o077
        if not outside_mode & ~target_mode & others:
            return outside
    return target.parent


def hidden_name(target: Path) -> str:
    return f"{_stem(target)}.{secrets.token_hex(_TOKEN)}.tmp"


def _stem(target: Path) -> str:
    """Return the stem of a hidden file's name, shortened if the target's name is too long."""
    name = target.name
    if len(os.fsencode(name)) > _LONGEST - 2 * _TOKEN - len("...tmp"):
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return f".{name}"


def _nameless(directory: str) -> BinaryIO:
    """Create an unnamed file that can get a name later.

    Raises:
        OSError: The system or the file system does not support it.
    """
    if not _TMPFILE:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    file = open(os.open(directory, _TMPFILE | os.O_WRONLY, 0o666), "wb")  # noqa: SIM115
    try:
        os.stat(_open_path(file))  # the path that naming it needs
    except BaseException:
        file.close()
        raise
    return file


def _open_path(file: BinaryIO) -> str:
    return f"/proc/self/fd/{file.fileno()}"


if sys.platform == "win32":
    _BINARY = os.O_BINARY

    def _lock(file: BinaryIO) -> bool:
        """Do nothing: there are no locks on Windows, so hidden files of killed writers stay."""
        return True

    def _release(file: BinaryIO) -> None:
        """Close the file: Windows cannot rename an open file."""
        file.close()

    def _is_abandoned(path: str) -> bool:
        return False

    def try_lock(file: BinaryIO) -> bool:
        """Return True: there are no locks on Windows."""
        return True

else:
    import fcntl

    _BINARY = 0

    def _lock(file: BinaryIO) -> bool:
        """Lock a file until its process ends; return whether it still has a name."""
        with contextlib.suppress(OSError):  # without locks, no file counts as abandoned
            fcntl.flock(file, fcntl.LOCK_EX)
        return os.fstat(file.fileno()).st_nlink > 0

    def _release(file: BinaryIO) -> None:
        """Do nothing: the lock stays until the file has its final name."""

    def _is_abandoned(path: str) -> bool:
        """Return whether nobody holds the lock."""
        with open(path, "rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
            return True

    def try_lock(file: BinaryIO) -> bool:
        """Try to lock a file for as long as it is open.

        Returns:
            False if another process holds the lock, or held it and removed the file.
        """
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return True
        return os.fstat(file.fileno()).st_nlink > 0
