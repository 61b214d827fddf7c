"""Select the files that can have matching rows, by their partition folders."""

from __future__ import annotations

from collections.abc import Collection

from sentstream.dataset.folders import Folders
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

    def keep(self, folders: Collection[str]) -> set[str]:
        """Return the folders that may have matching rows.

        Args:
            folders: The folders of all files: their paths or URIs up to the last slash (``folder_of``).

        Raises:
            InputNotFoundError: No file may.
            ColumnTypeError: A folder's column is compared with a value of another type.
            UsageError: Two constants are compared.
        """
        self.folders = Folders(folders)
        if self.condition is None:
            return {*folders}
        kept = {folder for folder in folders if self.condition.allows(self.folders.of(folder))}
        if not kept:
            folder_values = self.folders.describe()
            raise InputNotFoundError(
                f"no file matches --where {self.condition.text}",
                hint=f"the folders are {folder_values}" if folder_values else "no row matches it",
            )
        return kept

    def of(self, name: str, file: str) -> RowFilter | None:
        """Return the row filter of a file; None for all rows.

        Args:
            name: The path or URI whose folder was given to ``keep``.
            file: The name used in messages.
        """
        return None if self.condition is None else RowFilter(self.condition, self.folders.of(name), file=file)
