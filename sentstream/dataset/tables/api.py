"""What every kind of table offers: a snapshot of it, as files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from sentstream.dataset.formats.view import View
from sentstream.storage.api import StoredFile

#: ``none`` takes a table's directory for one of files like any other.
Kind: TypeAlias = Literal["delta", "iceberg", "none"]
TITLES: Final = {"delta": "a Delta table", "iceberg": "an Iceberg table"}


@dataclass(frozen=True)
class TableOptions:
    """Which tables, and which snapshots of them.

    Attributes:
        kind: What all inputs are; None finds out for each.
        snapshot: The version of Delta's log, or the id of a snapshot of Iceberg; None for the latest.
        pinned: Snapshots by the tables' ids, in place of the latest ones.
    """

    kind: Kind | None = None
    snapshot: int | None = None
    pinned: Mapping[str, int] = field(default_factory=dict)

    def chosen(self, table: str) -> int | None:
        """The snapshot of a table, given by its id; None for the latest."""
        return self.snapshot if self.snapshot is not None else self.pinned.get(table)


#: Whatever is there, as it is now.
ANY_TABLE: Final = TableOptions()


@dataclass(frozen=True)
class TableFile:
    """A file of a snapshot.

    Attributes:
        file: The file.
        below: Its name below the table's directory, divided by ``/``.
        view: The rows that the table makes of it.
    """

    file: StoredFile
    below: str
    view: View


@dataclass(frozen=True)
class Snapshot:
    """A table as it was at some time.

    Attributes:
        table: The table's own id, which stays when it is moved or renamed.
        version: The version of Delta's log, or the id of Iceberg's snapshot.
        files: Its files, in the order of a walk.
    """

    table: str
    version: int
    files: tuple[TableFile, ...]
