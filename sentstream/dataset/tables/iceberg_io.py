"""The files of an Iceberg table's metadata, read by this house's own storage, for ``pyiceberg``."""

from __future__ import annotations

import json
from typing import cast

from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile

from sentstream.errors import InputNotFoundError, OutputWriteError
from sentstream.storage.api import StoredFile
from sentstream.storage.names import without_file_scheme
from sentstream.storage.open import open_storage

#: The property that holds the settings of object stores, as JSON.
OPTIONS = "sentstream.storage-options"


def find(location: str, options: dict[str, str]) -> StoredFile | None:
    """A file by what a table calls it; None if there is none.

    Raises:
        InputError: It cannot be looked at.
        StorageError: An object store does not answer, or rejects the credentials.
    """
    name = without_file_scheme(location)
    return open_storage(name, options).find(name)


class StorageIO(FileIO):
    """What pyiceberg reads through."""

    def new_input(self, location: str) -> InputFile:
        """A file to read."""
        return _Input(location, json.loads(self.properties.get(OPTIONS, "{}")))

    def new_output(self, location: str) -> OutputFile:
        """Nothing is written.

        Raises:
            OutputWriteError: Always.
        """
        raise OutputWriteError(f"{location} belongs to a table, which is read-only")

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Nothing is deleted.

        Raises:
            OutputWriteError: Always.
        """
        raise OutputWriteError(f"{location} belongs to a table, which is read-only")


class _Input(InputFile):
    """A file of a table."""

    def __init__(self, location: str, options: dict[str, str]) -> None:
        super().__init__(location)
        self._options = options

    def __len__(self) -> int:
        return self._file().size

    def exists(self) -> bool:
        return find(self.location, self._options) is not None

    def open(self, seekable: bool = True) -> InputStream:
        return cast(InputStream, self._file().open())

    def _file(self) -> StoredFile:
        file = find(self.location, self._options)
        if file is None:
            raise InputNotFoundError(
                f"{self.location}, which the table refers to, does not exist", hint="was the table moved?"
            )
        return file
