"""Which of the files that were found can hold a row that is asked for, by the folders that they lie in."""

from __future__ import annotations

from collections.abc import Sequence

from sentstream.dataset.folders import Folders, folder_of
from sentstream.dataset.where.condition import Condition, RowFilter
from sentstream.errors import InputNotFoundError


class Selection:
    """What is asked for of a data set.

    Args:
        where: A condition in SQL; None for all rows.

    Attributes:
        condition: The same, parsed.
        folders: The columns that the folders of all files stand for, once ``keep`` was told of the files.

    Raises:
        UsageError: It is no condition, or one that has what is not supported.
    """

    def __init__(self, where: str | None) -> None:
        self.condition = None if where is None else Condition.parse(where)
        self.folders = Folders([])

    def keep(self, names: Sequence[str]) -> list[bool]:
        """Whether each of all files, given by their paths or URIs, may hold rows that are asked for.

        Raises:
            InputNotFoundError: None may.
            ColumnTypeError: A folder's column is compared with what its type has not.
            UsageError: Two constants are compared.
        """
        self.folders = Folders(names)
        if self.condition is None:
            return [True] * len(names)
        known: dict[str, bool] = {}
        kept: list[bool] = []
        for name in names:
            folder = folder_of(name)  # of many files in a folder, one tells
            if folder not in known:
                known[folder] = self.condition.allows(self.folders.of(name))
            kept.append(known[folder])
        if not any(kept):
            listed = self.folders.listed()
            raise InputNotFoundError(
                f"no file matches --where {self.condition.text}",
                hint=f"the folders are {listed}" if listed else "no row matches it",
            )
        return kept

    def of(self, name: str, file: str) -> RowFilter | None:
        """Which rows of a file are asked for; None for all.

        Args:
            name: The name that ``keep`` was told.
            file: The name used in messages.
        """
        return None if self.condition is None else RowFilter(self.condition, self.folders.of(name), file=file)
