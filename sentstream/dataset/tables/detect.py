"""Detect whether a directory is a table, and read its snapshot."""

from __future__ import annotations

from collections.abc import Mapping

from sentstream.dataset.tables.api import TITLES, Snapshot, TableOptions
from sentstream.dataset.tables.delta import is_delta, read_delta
from sentstream.dataset.tables.iceberg import ENDING, metadata_of, read_iceberg
from sentstream.errors import InputFormatError
from sentstream.storage.api import Storage


def is_metadata(name: str, options: TableOptions) -> bool:
    """Return whether a file is an Iceberg table's metadata, given instead of its directory."""
    return options.kind in (None, "iceberg") and name.endswith(ENDING)


def read_table(
    storage: Storage, directory: str, options: TableOptions, settings: Mapping[str, str] | None = None
) -> Snapshot | None:
    """Return the snapshot of a table; None if the directory is not to be read as a table.

    Args:
        storage: The storage of the directory.
        directory: The directory, or the metadata file of an Iceberg table.
        options: The required kind of table, and which snapshot.
        settings: Settings of object stores.

    Raises:
        InputFormatError: It is not the required kind of table, or uses an unsupported feature.
        InputNotFoundError: There is no such snapshot, or one of its files is missing.
        MissingExtraError: The package that reads such tables is not installed.
    """
    if options.kind == "none":
        return None
    if is_delta(storage, directory) and options.kind in (None, "delta"):
        return read_delta(storage, directory, options)
    if options.kind in (None, "iceberg"):
        given = is_metadata(directory, options)
        metadata = directory if given else metadata_of(storage, directory)
        if metadata is not None:
            return read_iceberg(metadata, options, settings)
    if options.kind is None:
        return None
    raise InputFormatError(
        f"{directory} is not {TITLES[options.kind]}", hint="check the path, or leave out --table"
    )
