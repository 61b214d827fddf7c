"""What a single pass over the inputs finds: which files they are, and their relative paths."""

from __future__ import annotations

import functools
import itertools
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from sentstream.dataset.distinct import Values, hashes_of
from sentstream.dataset.inputs import Found
from sentstream.errors import InputError, UsageError
from sentstream.storage.api import StoredFile
from sentstream.storage.local import LocalFile
from sentstream.storage.names import is_uri

#: Identifies a file: the device and inode of a local file, which all of its names share, or an object's name.
Identity: TypeAlias = tuple[int, int] | str


class Survey:
    """The identities and the relative paths of the inputs.

    Args:
        found: The inputs.

    Attributes:
        identities: The identity of each input, independent of its name.

    Raises:
        UsageError: An input is given twice.
        InputError: An input cannot be examined.
    """

    def __init__(self, found: Sequence[Found]) -> None:
        self._found = found
        self._folders: set[str] = set()
        self._hive = functools.lru_cache(_hive)  # neighbors are usually below the same folders
        # Unpacking millions of inputs takes seconds, so all values are hashed in one pass.
        names, identities, relative, below = hashes_of(found, _name, _identity, _relative, self._below)
        self._check_names(Values(found, _name, names).repeated())
        self.identities: Values[Found, Identity] = Values(found, _identity, identities)
        if len(self._folders) > 1:
            self._relative, self._paths = self._below, Values(found, self._below, below)
        else:
            self._relative, self._paths = _relative, Values(found, _relative, relative)

    def relatives(self) -> Callable[[Found], str]:
        """Return a function for paths relative to the given input, or, if not unique, to the common parent.

        Folders such as ``lang=en`` above the given inputs are kept, too, where they differ.
        """
        found = self._found
        if not self._paths.repeated():
            return self._relative
        if any(is_uri(absolute_name(item.file)) for item in found):

            def parts(item: Found) -> list[str]:
                return absolute_name(item.file).replace("//", "/").split("/")

            shared = parts(found[0])[:-1]
            for item in found:
                levels = zip(shared, parts(item)[:-1], strict=False)
                shared = [level for level, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], levels)]
            return lambda item: "/".join(parts(item)[len(shared) :])
        base = os.path.commonpath({os.path.dirname(absolute_name(item.file)) for item in found})
        return lambda item: Path(absolute_name(item.file)).relative_to(base).as_posix()

    def _below(self, item: Found) -> str:
        """Return the relative path, with the folders such as ``lang=en`` above the given input."""
        folder = ""
        if item.view is None or item.view.folders:
            folder = self._hive(item.file.name.removesuffix(item.relative))
        self._folders.add(folder)
        return folder + item.relative

    def _check_names(self, repeated: set[str]) -> None:
        seen: set[str] = set()
        for item in self._found if repeated else ():
            name = absolute_name(item.file)
            if name in seen:
                raise UsageError(f"{item.file.name} is given twice", hint="name it once")
            if name in repeated:
                seen.add(name)


def absolute_name(file: StoredFile) -> str:
    """Return the absolute path of a local file, or the URI of a remote one."""
    if isinstance(file, LocalFile):  # avoid making a Path of each, as there may be millions
        return os.path.abspath(file.location)
    return file.name if file.path is None else os.path.abspath(file.path)


def _name(item: Found) -> str:
    return absolute_name(item.file)


def _relative(item: Found) -> str:
    return item.relative


def _identity(item: Found) -> Identity:
    path = item.file.location if isinstance(item.file, LocalFile) else item.file.path
    if path is None:
        return absolute_name(item.file)
    try:
        status = os.stat(path)
    except OSError as error:
        raise InputError(f"{item.file.name} cannot be read: {error.strerror or error}") from error
    return status.st_dev, status.st_ino


def _hive(name: str) -> str:
    """Return the partition folders at the end of a path.

    >>> _hive("logs=1/in/lang=en/day=1/")
    'lang=en/day=1/'
    """
    parents = itertools.takewhile(lambda parent: "=" in parent, reversed(re.split(r"[/\\]", name)[:-1]))
    return "".join(f"{parent}/" for parent in reversed(list(parents)))
