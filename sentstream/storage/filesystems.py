"""All other URIs, read-only, through fsspec: ``hf://``, ``sftp://``, ``hdfs://`` …

Read-only, since most of these file systems show a file while it is being written.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sentstream.errors import (
    InputError,
    MissingExtraError,
    SentstreamError,
    StorageUnreachableError,
    UsageError,
    first_line,
)
from sentstream.storage.connect import Options
from sentstream.storage.found import compare, gone
from sentstream.storage.names import is_skipped, scheme_of
from sentstream.storage.remote import FetchedFile, ReadOnly

EXTRA = "fsspec"
#: Fields that identify the version of a file, where a file system provides them.
_TAGS = (
    "ETag",
    "etag",
    "blob_id",
    "xet_hash",
    "checksum",
    "mtime",
    "last_modified",
    "LastModified",
    "modified",
)
_TRIES = 5


@dataclass(frozen=True)
class RemoteFile(FetchedFile):
    """A file of an fsspec file system, as it was when found.

    Attributes:
        name: Its URI.
        size: Size in bytes.
        tag: Identifies its version; empty if the file system provides nothing.
        options: Settings, as key-value pairs.
    """

    options: Options = field(default=(), repr=False)

    def check(self) -> None:
        """Check that the file has not changed since it was found.

        Raises:
            InputError: The file is gone, or its size or tag has changed.
        """
        now = FileSystems(self.options).find(self.name)
        if now is None:
            raise gone(self.name)
        compare(self, now.size, now.tag)

    def _fetch(self, start: int, stop: int) -> bytes:
        system = _file_system(self.name, self.options)
        data: bytes = _with_retries(
            self.name, lambda: system.cat_file(_path(system, self.name), start=start, end=stop)
        )
        if len(data) != stop - start:
            self.check()
            raise InputError(f"{self.name}: got {len(data):,} of {stop - start:,} bytes")
        return data


@dataclass(frozen=True)
class FileSystems(ReadOnly):
    """The file systems that fsspec reads.

    Attributes:
        options: Settings, as key-value pairs.
    """

    options: Options = field(default=(), repr=False)

    def find(self, name: str) -> RemoteFile | None:
        """Return the file at a URI; None if there is none or it is a directory.

        Raises:
            InputError: The file cannot be examined.
        """
        metadata = self._info(name)
        return None if metadata is None or metadata["type"] != "file" else self._found(name, metadata)

    def is_directory(self, name: str) -> bool:
        """Return whether a URI is a directory.

        Raises:
            InputError: The URI cannot be examined.
        """
        metadata = self._info(name)
        return metadata is not None and metadata["type"] == "directory"

    def walk(self, directory: str, *, hidden: bool = False) -> Iterator[tuple[str, RemoteFile]]:
        """Yield all files below a directory, in directory-walk order, with their names relative to it.

        Args:
            directory: The directory.
            hidden: Whether to include names that begin with a dot or an underscore.

        Raises:
            InputError: The directory cannot be read.
        """
        system = _file_system(directory, self.options)
        top = _path(system, directory).rstrip("/")
        entries: dict[str, Any] = _with_retries(directory, lambda: system.find(top, detail=True))
        found = []
        for path, metadata in entries.items():
            below = path.removeprefix(top).lstrip("/")
            parts = below.split("/")
            if below and (hidden or not any(map(is_skipped, parts))):
                order = [(True, part) for part in parts[:-1]] + [(False, parts[-1])]
                found.append((order, below, self._found(self.join(directory, below), metadata)))
        for _, below, file in sorted(found, key=lambda item: item[0]):
            yield below, file

    def _info(self, name: str) -> dict[str, Any] | None:
        system = _file_system(name, self.options)

        def info() -> dict[str, Any] | None:
            try:
                metadata: dict[str, Any] = system.info(_path(system, name))
                return metadata
            except FileNotFoundError:
                return None

        system.invalidate_cache()
        found: dict[str, Any] | None = _with_retries(name, info)
        return found

    def _found(self, name: str, metadata: dict[str, Any]) -> RemoteFile:
        size = metadata.get("size")
        if size is None:
            raise InputError(f"{name} cannot be read: its size is unknown", hint="download it first")
        tag = next((str(metadata[key]) for key in _TAGS if metadata.get(key)), "")
        return RemoteFile(name, int(size), tag, self.options)


def file_systems(name: str, options: Options) -> FileSystems:
    """Return the storage that reads a URI.

    Raises:
        UsageError: The scheme or a setting is not known.
        MissingExtraError: The package that reads it is not installed.
    """
    _file_system(name, options)
    return FileSystems(options)


def _file_system(name: str, options: Options) -> Any:
    return _connected(scheme_of(name), options, os.getpid())


@functools.lru_cache(maxsize=16)
def _connected(scheme: str, options: Options, process: int) -> Any:
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtraError(
            f"{scheme}:// needs fsspec, which is not installed",
            extra=EXTRA,
        ) from error
    try:
        kind = fsspec.get_filesystem_class(scheme)
    except ValueError as error:
        raise UsageError(
            f"unknown scheme {scheme}://",
            hint="use s3://, gs://, abfs://, https://, hf:// or a scheme that fsspec knows",
        ) from error
    except ImportError as error:
        raise MissingExtraError(
            f"{scheme}:// needs a package that is not installed: {first_line(error)}",
            hint="install it with pip",
        ) from error
    try:
        return kind(**dict(options))
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{scheme}://: {first_line(error)}", hint="check --storage-option KEY=VALUE"
        ) from error


def _path(system: Any, name: str) -> str:
    return str(system._strip_protocol(name))


def _with_retries(name: str, ask: Any) -> Any:
    """Ask a file system, with retries; its errors are translated into ours."""
    import time

    for last in (*[False] * (_TRIES - 1), True):
        try:
            return ask()
        except SentstreamError:
            raise
        except FileNotFoundError as error:
            raise gone(name) from error
        except PermissionError as error:
            raise InputError(f"{name} cannot be read: access is denied: {first_line(error)}") from error
        except Exception as error:
            if last:
                raise StorageUnreachableError(f"{name} cannot be read: {first_line(error)}") from error
        time.sleep(1)
    raise AssertionError
