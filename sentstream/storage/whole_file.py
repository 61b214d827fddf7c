"""Write a file that gets its name only when it is complete."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sentstream.errors import OutputExistsError, OutputWriteError
from sentstream.storage.draft import Draft, hidden_file, hidden_name, remove_stale
from sentstream.storage.sync import sync_directory

__all__ = [
    "check_exclusive",
    "check_writable",
    "make_directory",
    "remove_stale",
    "whole_file",
]


@contextlib.contextmanager
def whole_file(target: str | Path, *, overwrite: bool, exclusive: bool = False) -> Iterator[BinaryIO]:
    """Open a file that is synced and gets the name ``target`` if the block succeeds.

    Until then readers of its directory do not see it (``draft``). If the block raises, the file and the
    directories created for it are removed.

    Args:
        target: The final name; missing parents are created.
        overwrite: Replace an existing file. If false, a file that appears meanwhile is an error.
        exclusive: Let only one of several concurrent writers of a name succeed, on any file system; this
            needs hard links (``check_exclusive``). If false and there are no links, the last writer wins.

    Raises:
        OutputExistsError: The target appeared while the block ran.
        OutputWriteError: No space left, no permission, or no hard links.
    """
    # Names are text here: this may run millions of times, and paths are objects of many parts.
    created: list[Path] = []
    draft: Draft | None = None
    directory = os.path.dirname(target) or os.curdir
    try:
        with _explaining(target):
            for parent in _missing(directory):
                with contextlib.suppress(FileExistsError):  # another process made it meanwhile
                    parent.mkdir()
                    created.append(parent)
            draft = Draft(target)
            yield draft.file
            draft.file.flush()
            os.fsync(draft.file.fileno())
            _publish(draft, target, overwrite, exclusive)
            for changed in (directory, *(str(parent.parent) for parent in created)):
                sync_directory(changed)
        created = []
    finally:
        if draft is not None:
            draft.discard()
        for parent in reversed(created):
            with contextlib.suppress(OSError):  # it is not empty
                parent.rmdir()


def check_writable(name: str | Path, *, overwrite: bool) -> None:
    """Check, before any work, whether ``whole_file`` can write.

    Raises:
        OutputExistsError: The target exists and may not be overwritten, or is a directory.
        OutputWriteError: Its parent is not a directory, or not writable.
    """
    if os.path.isdir(name):
        raise OutputExistsError(f"{name} is a directory", hint="name a file")
    if not overwrite and os.path.lexists(name):
        raise OutputExistsError(f"{name} already exists", hint="choose another name, or give --overwrite")
    parent = os.path.dirname(name) or os.curdir
    while not os.path.lexists(parent):
        parent = os.path.dirname(parent) or os.curdir
    if not os.path.isdir(parent):
        raise OutputWriteError(f"{name} cannot be written: {parent} is not a directory")
    if not os.access(parent, os.W_OK | os.X_OK):
        raise OutputWriteError(
            f"{name} cannot be written: {parent} is not writable", hint="choose another --output"
        )


def make_directory(directory: Path) -> list[Path]:
    """Create a directory and its missing parents, durably; other processes may do so at the same time.

    Returns:
        The directories that were missing, outermost first.

    Raises:
        OSError: A directory cannot be created.
    """
    missing = _missing(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for parent in missing:
        sync_directory(parent.parent)
    return missing


def check_exclusive(directory: Path) -> None:
    """Check that ``whole_file`` can create names exclusively in a directory.

    Raises:
        OSError: Nothing can be written there, or the file system has no hard links.
    """
    probe = directory / "probe"
    remove_stale([probe])
    file, first = hidden_file(probe)
    second = first.with_name(hidden_name(probe))
    with file:  # the lock holds for both names
        try:
            os.link(first, second)
        finally:
            for name in (first, second):
                name.unlink(missing_ok=True)


@contextlib.contextmanager
def _explaining(target: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputWriteError(
            f"{target} cannot be written: {error.strerror or error}", hint=_FREE
        ) from error


_FREE = "nothing was left behind; free some space, or choose another --output"


def _missing(directory: str | Path) -> list[Path]:
    """Return the missing directories of a path, outermost first."""
    parts: list[Path] = []
    while not os.path.exists(directory):
        parts.append(Path(directory))
        directory = parts[-1].parent
    return parts[::-1]


def _publish(draft: Draft, target: str | Path, overwrite: bool, exclusive: bool) -> None:
    try:
        draft.publish(replace=overwrite, exclusive=exclusive)
    except FileExistsError as error:
        raise OutputExistsError(
            f"{target} was created by something else in the meantime",
            hint="choose another name, or give --overwrite",
        ) from error
