"""Select the files that can have matching rows, by their partition folders."""

from __future__ import annotations

from collections.abc import Sequence

from sentstream.dataset.folders import Folders, folder_of
from sentstream.dataset.where.condition import Condition, RowFilter
from sentstream.errors import InputNotFoundError


class Selection:
    """The rows of a data set to score.

    Args:
        where: A condition in SQL; None for all rows.

    Attributes:
        condition: The parsed condition.
        folders: The columns in the folders of all files; set by ``keep``.

    Raises:
        UsageError: The condition is invalid, or uses an unsupported feature.
    """

    def __init__(self, where: str | None) -> None:
        self.condition = None if where is None else Condition.parse(where)
        self.folders = Folders([])

    def keep(self, names: Sequence[str]) -> list[bool]:
        """Return, for each of all files, given by path or URI, whether it may have matching rows.

        Raises:
            InputNotFoundError: No file may.
            ColumnTypeError: A folder's column is compared with a value of another type.
            UsageError: Two constants are compared.
        """
        self.folders = Folders(names)
        if self.condition is None:
            return [True] * len(names)
        known: dict[str, bool] = {}
        kept: list[bool] = []
        for name in names:
            folder = folder_of(name)  # evaluated once per folder
            if folder not in known:
                known[folder] = self.condition.allows(self.folders.of(name))
            kept.append(known[folder])
        if not any(kept):
            folder_values = self.folders.describe()
            raise InputNotFoundError(
                f"no file matches --where {self.condition.text}",
                hint=f"the folders are {folder_values}" if folder_values else "no row matches it",
            )
        return kept

    def of(self, name: str, file: str) -> RowFilter | None:
        """Return the row filter of a file; None for all rows.

        Args:
            name: The name that was given to ``keep``.
            file: The name used in messages.
        """
        return None if self.condition is None else RowFilter(self.condition, self.folders.of(name), file=file)
