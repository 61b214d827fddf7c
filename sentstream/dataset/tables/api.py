"""The interface of all tables: a snapshot, as files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from sentstream.dataset.formats.view import View
from sentstream.storage.api import StoredFile

#: ``none`` reads a table's directory as ordinary files.
Kind: TypeAlias = Literal["delta", "iceberg", "none"]
TITLES: Final = {"delta": "a Delta table", "iceberg": "an Iceberg table"}


@dataclass(frozen=True)
class TableOptions:
    """Which inputs are tables, and which of their snapshots to read.

    Attributes:
        kind: The kind of all inputs; None detects it for each.
        snapshot: The version of a Delta table, or the id of an Iceberg snapshot; None for the latest.
        pinned: Snapshots to use instead of the latest ones, by table id.
    """

    kind: Kind | None = None
    snapshot: int | None = None
    pinned: Mapping[str, int] = field(default_factory=dict)

    def chosen(self, table: str) -> int | None:
        """Return the snapshot to read, by the table's id; None for the latest."""
        return self.snapshot if self.snapshot is not None else self.pinned.get(table)


#: Detect tables, and read their latest snapshots.
ANY_TABLE: Final = TableOptions()


@dataclass(frozen=True)
class TableFile:
    """A file of a snapshot.

    Attributes:
        file: The file.
        below: Its path relative to the table's directory, separated by ``/``.
        view: The table's view of its rows.
    """

    file: StoredFile
    below: str
    view: View


@dataclass(frozen=True)
class Snapshot:
    """A snapshot of a table.

    Attributes:
        table: The table's id, which survives moves and renames.
        version: The version of a Delta table, or the id of an Iceberg snapshot.
        files: Its files, in directory-walk order.
    """

    table: str
    version: int
    files: tuple[TableFile, ...]
