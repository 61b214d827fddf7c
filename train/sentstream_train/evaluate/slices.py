"""A model's figures on parts of the rows: with negation, emoji, links, and so on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from sentstream_train.evaluate.judged import Judged
from sentstream_train.evaluate.text_marks import Flags, Groups
from sentstream_train.measure.metrics import rounded

#: How many values of a column get their own slice; rarer ones share a slice.
MOST_VALUES = 20


@dataclass(frozen=True)
class Slice:
    """The figures of a part of the rows.

    Attributes:
        group: What the rows are grouped by.
        name: The name of this part.
        rows: Number of rows.
        accuracy: Share of the rows that is right.
        interval: 95 % interval of the accuracy (Wilson 1927).
        macro_recall: Mean recall of the labels that occur in the part.
        score: Mean score, the probability of the predicted label.
    """

    group: str
    name: str
    rows: int
    accuracy: float
    interval: tuple[float, float]
    macro_recall: float
    score: float

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON-ready data, rounded."""
        figures: dict[str, Any] = rounded(asdict(self))
        return figures


def slice_rows(judged: Judged, groups: Groups) -> tuple[Slice, ...]:
    """The figures of every slice that is not empty, in the order of the groups."""
    return tuple(
        _slice(judged, group, name, mask)
        for group, slices in groups.items()
        for name, mask in slices.items()
        if mask.any()
    )


def _slice(judged: Judged, group: str, name: str, mask: Flags) -> Slice:
    found = judged.measured(mask)
    score = float(judged.score[mask].mean(dtype=np.float64))
    return Slice(group, name, found.rows, found.accuracy, found.interval, found.macro_recall, score)


def group_by(values: pa.DictionaryArray) -> dict[str, Flags]:
    """A slice for each value of a column, the most frequent first; then the other values, then null.

    Args:
        values: The value of each row, a dictionary array of ``string``.
    """
    codes = values.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    names: list[str] = values.dictionary.to_pylist()
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    order = sorted(range(len(names)), key=lambda index: (-counts[index], names[index]))
    slices = {names[index]: codes == index for index in order[:MOST_VALUES]}
    if others := order[MOST_VALUES:]:
        slices[f"({len(others):,} other values)"] = np.isin(codes, others)
    slices["(no value)"] = codes < 0
    return slices
