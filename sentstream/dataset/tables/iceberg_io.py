"""A ``pyiceberg`` FileIO that reads an Iceberg table's metadata through this package's storage."""

from __future__ import annotations

import json
from typing import cast

from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile

from sentstream.errors import InputNotFoundError, OutputWriteError
from sentstream.storage.api import StoredFile
from sentstream.storage.names import without_file_scheme
from sentstream.storage.open import open_storage

#: The property with the settings of object stores, as JSON.
OPTIONS = "sentstream.storage-options"


def find(location: str, options: dict[str, str]) -> StoredFile | None:
    """Find a file by its location in a table; None if there is none.

    Raises:
        InputError: It cannot be examined.
        StorageError: An object store does not answer, or rejects the credentials.
    """
    name = without_file_scheme(location)
    return open_storage(name, options).find(name)


class StorageIO(FileIO):
    """The read-only FileIO for pyiceberg."""

    def new_input(self, location: str) -> InputFile:
        """Return a file to read."""
        return _Input(location, json.loads(self.properties.get(OPTIONS, "{}")))

    def new_output(self, location: str) -> OutputFile:
        """Refuse: nothing is written.

        Raises:
            OutputWriteError: Always.
        """
        raise OutputWriteError(f"{location} belongs to a table, which is read-only")

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Refuse: nothing is deleted.

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
