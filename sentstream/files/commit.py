"""A file gets its name when it is whole, and not before."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from sentstream.errors import OutputExistsError, OutputWriteError

_LONGEST = 255  # bytes of a file name
_TOKEN = 8  # random bytes


@contextlib.contextmanager
def whole_file(target: Path, *, overwrite: bool, exclusive: bool = False) -> Iterator[BinaryIO]:
    """Open a hidden file beside ``target``; when the block ends well, sync it and give it the name.

    When the block raises, the hidden file goes, and so do the directories that were made for it. The
    hidden file is locked as long as its writer lives: ``remove_stale`` takes those that are not.

    Args:
        target: The final name; missing parents are made.
        overwrite: Replace a file of that name. Without, one that appears meanwhile is an error.
        exclusive: Of several writers of a name at once, let one succeed on every file system, which takes
            hard links (``check_exclusive``). Without, where there are none, the last one wins.

    Raises:
        OutputExistsError: The target appeared while the block ran.
        OutputWriteError: No space left, no permission, no links.
    """
    made: list[Path] = []
    hidden = target.with_name(f"{_stem(target)}.{secrets.token_hex(_TOKEN)}.tmp")
    try:
        with _explaining(target):
            for parent in _missing(target.parent):
                parent.mkdir()
                made.append(parent)
            with _create(hidden) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                _release(file)
                _name(hidden, target, overwrite, exclusive)
            sync_directory(target.parent)
        made = []
    finally:
        with contextlib.suppress(OSError):
            hidden.unlink(missing_ok=True)
        for parent in reversed(made):
            with contextlib.suppress(OSError):  # somebody put something there
                parent.rmdir()


def remove_stale(targets: Iterable[Path]) -> None:
    """Remove the hidden files of writers that were killed before they could give them these names."""
    stems: dict[Path, set[str]] = defaultdict(set)
    for target in targets:
        stems[target.parent].add(_stem(target))
    ours = re.compile(rf"(.+)\.[0-9a-f]{{{2 * _TOKEN}}}\.tmp", re.DOTALL)
    for directory, names in stems.items():
        with contextlib.suppress(OSError):
            for entry in os.scandir(directory):
                match = ours.fullmatch(entry.name)
                if match and match[1] in names and _is_abandoned(entry.path):
                    os.unlink(entry.path)


def check_writable(target: Path, *, overwrite: bool) -> None:
    """Find out before any work what would keep ``whole_file`` from writing.

    Raises:
        OutputExistsError: The target is there and is not to be overwritten, or is a directory.
        OutputWriteError: Its directory is not one, or not writable.
    """
    if target.is_dir():
        raise OutputExistsError(f"{target} is a directory", hint="name a file")
    if not overwrite and os.path.lexists(target):
        raise OutputExistsError(f"{target} is there already", hint="choose another name, or give --overwrite")
    parent = target.parent
    while not os.path.lexists(parent):
        parent = parent.parent
    if not parent.is_dir():
        raise OutputWriteError(f"{target} cannot be written: {parent} is not a directory")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputWriteError(
            f"{target} cannot be written: {parent} is not writable", hint="choose another --output"
        )


def make_directory(directory: Path) -> None:
    """Make a directory and its missing parents, durably; others may make them at the same time.

    Raises:
        OSError: It cannot be made.
    """
    missing = _missing(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for parent in missing:
        sync_directory(parent.parent)


def check_exclusive(directory: Path) -> None:
    """Find out whether ``whole_file`` can create names exclusively there.

    Raises:
        OSError: Nothing can be written there, or the file system has no hard links.
    """
    probe = directory / "probe"
    remove_stale([probe])
    names = [directory / f"{_stem(probe)}.{secrets.token_hex(_TOKEN)}.tmp" for _ in range(2)]
    try:
        with _create(names[0]):  # the lock holds for both names
            os.link(*names)
    finally:
        for name in names:
            name.unlink(missing_ok=True)


@contextlib.contextmanager
def _explaining(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputWriteError(
            f"{target} cannot be written: {error.strerror or error}", hint=_FREE
        ) from error


_FREE = "nothing was left there; make room, or choose another --output"


def _stem(target: Path) -> str:
    """What the hidden file's name begins with: hidden, and short enough however long the target's is."""
    name = target.name
    if len(os.fsencode(name)) > _LONGEST - 2 * _TOKEN - len("...tmp"):
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return f".{name}"


def _missing(directory: Path) -> list[Path]:
    """The parts of a directory's path that are not there, outermost first."""
    parts: list[Path] = []
    while not directory.exists():
        parts.append(directory)
        directory = directory.parent
    return parts[::-1]


def _create(hidden: Path) -> BinaryIO:
    """A new file, locked; made again in the rare case that ``remove_stale`` came before the lock."""
    while True:
        file = open(os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666), "wb")  # noqa: SIM115
        if _lock(file):
            return file
        file.close()


def _name(hidden: Path, target: Path, overwrite: bool, exclusive: bool) -> None:
    if overwrite:
        hidden.replace(target)
        return
    try:
        os.link(hidden, target)  # unlike a rename, it fails where something is
    except FileExistsError as error:
        raise OutputExistsError(
            f"{target} appeared while it was made", hint="choose another name, or give --overwrite"
        ) from error
    except OSError:  # a file system without links
        if exclusive:
            raise
        hidden.replace(target)


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

    def sync_directory(directory: Path) -> None:
        """Windows syncs no directory."""

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

    def sync_directory(directory: Path) -> None:
        """Make the names in a directory durable."""
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
