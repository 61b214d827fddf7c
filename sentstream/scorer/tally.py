"""Counts of scored rows: how many got each label, how many none, how many were truncated."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Tally:
    """Counts of scored rows; with several text columns, of the texts of all of them.

    Attributes:
        rows: Number of rows.
        labels: Number of texts for each label.
        unlabeled: Texts with a null label: null, empty or only whitespace.
        truncated: Texts that were cut at the character limit.
        columns: With several label columns, the counts of each by its name.
    """

    rows: int
    labels: dict[str, int]
    unlabeled: int
    truncated: int
    columns: dict[str, Tally] = field(default_factory=dict)

    def __add__(self, other: Tally) -> Tally:
        labels = dict(self.labels)
        for name, count in other.labels.items():
            labels[name] = labels.get(name, 0) + count
        columns = dict(self.columns)
        for name, column in other.columns.items():
            columns[name] = columns[name] + column if name in columns else column
        return Tally(
            self.rows + other.rows,
            labels,
            self.unlabeled + other.unlabeled,
            self.truncated + other.truncated,
            columns,
        )

    @property
    def all_labels(self) -> dict[str, int]:
        """Number of texts for each label, and of texts without one if there are any."""
        return {**self.labels, **({"no label": self.unlabeled} if self.unlabeled else {})}

    def __sub__(self, other: Tally) -> Tally:
        return self + other._negative()

    def _negative(self) -> Tally:
        return Tally(
            -self.rows,
            {name: -count for name, count in self.labels.items()},
            -self.unlabeled,
            -self.truncated,
            {name: column._negative() for name, column in self.columns.items()},
        )

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Tally:
        """The inverse of ``to_dict``."""
        columns = {name: cls.from_dict(one) for name, one in fields.get("columns", {}).items()}
        return cls(fields["rows"], fields["labels"], fields["unlabeled"], fields["truncated"], columns)

    def to_dict(self) -> dict[str, Any]:
        """JSON-serializable data; ``columns`` only if there are several."""
        columns = {name: tally.to_dict() for name, tally in self.columns.items()}
        return {
            "rows": self.rows,
            "labels": self.labels,
            "unlabeled": self.unlabeled,
            "truncated": self.truncated,
            **({"columns": columns} if columns else {}),
        }


def tally_columns(columns: dict[str, Tally]) -> Tally:
    """The counts of rows from the counts of each of their label columns.

    >>> tally_columns({"a": Tally(1, {"good": 1}, 0, 0), "b": Tally(1, {"good": 0}, 1, 0)}).labels
    {'good': 1}
    """
    first, *others = columns.values()
    if not others:
        return first
    total = sum(others, first)
    return Tally(first.rows, total.labels, total.unlabeled, total.truncated, columns)
