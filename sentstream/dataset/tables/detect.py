"""Whether a directory is a table's, and the files of its snapshot."""

from __future__ import annotations

from collections.abc import Mapping

from sentstream.dataset.tables.api import TITLES, Snapshot, TableOptions
from sentstream.dataset.tables.delta import is_delta, read_delta
from sentstream.dataset.tables.iceberg import ENDING, metadata_of, read_iceberg
from sentstream.errors import InputFormatError
from sentstream.storage.api import Storage


def is_metadata(name: str, options: TableOptions) -> bool:
    """Whether a file is the metadata of an Iceberg table, given in place of its directory."""
    return options.kind in (None, "iceberg") and name.endswith(ENDING)


def read_table(
    storage: Storage, directory: str, options: TableOptions, settings: Mapping[str, str] | None = None
) -> Snapshot | None:
    """The files of the table that a directory holds; None where it is to be read file by file.

    Args:
        storage: Where it lies.
        directory: The directory, or the metadata file of an Iceberg table.
        options: What it must be, and which snapshot.
        settings: Of object stores.

    Raises:
        InputFormatError: It is not the kind of table that was asked for, or has what is not read.
        InputNotFoundError: There is no such snapshot, or a file of it is gone.
        MissingExtraError: What reads such tables is not installed.
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
