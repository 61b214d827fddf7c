"""Labeled rows with a model's predictions, and counts of the rows that were left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentstream.errors import DataError
from sentstream_train.data.labeled import LabeledData
from sentstream_train.evaluate.baselines.run import places
from sentstream_train.measure.metrics import Labels, Metrics, measure
from sentstream_train.store.predictor import Predictor, Probabilities, Progress


@dataclass(frozen=True)
class RowCounts:
    """Counts of rows; every row is in ``read`` and in exactly one of the others.

    Attributes:
        read: All rows.
        without_label: Null or empty label; left out.
        other_labels: Left out because ``labels=`` does not include their label: a count per label.
        unknown_labels: Left out because the model does not have their label: a count per label.
        repeated: Left out because they repeat a text of ``without=``.
        blank: The text is null, empty or only white space; left out.
        judged: The remaining rows.
    """

    read: int
    without_label: int
    other_labels: dict[str, int]
    unknown_labels: dict[str, int]
    repeated: int
    blank: int
    judged: int

    def to_dict(self) -> dict[str, Any]:
        """The counts as JSON-ready data."""
        return dict(vars(self))


@dataclass(frozen=True)
class Judged:
    """Rows that a model was judged on.

    Attributes:
        text: ``string`` without nulls or blanks.
        truth: ``int32[rows]``, the index of each row's label.
        labels: The labels that the model chooses among.
        probabilities: ``float32[rows, labels]``.
        row: ``int64[rows]``, each row's position among all rows read, from 0.
    """

    text: pa.Array
    truth: Labels
    labels: tuple[str, ...]
    probabilities: Probabilities
    row: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.truth)

    @cached_property
    def predicted(self) -> Labels:
        """``int32[rows]``: the index of each row's predicted label."""
        indices: Labels = self.probabilities.argmax(axis=1).astype(np.int32)
        return indices

    @cached_property
    def right(self) -> npt.NDArray[np.bool_]:
        """``bool[rows]``: whether the prediction is right."""
        right: npt.NDArray[np.bool_] = self.predicted == self.truth
        return right

    @cached_property
    def score(self) -> npt.NDArray[np.float32]:
        """``float32[rows]``: the probability of each row's predicted label."""
        return self.probabilities[np.arange(len(self)), self.predicted]

    def take(self, rows: npt.NDArray[np.int64]) -> Judged:
        """The chosen rows."""
        text = self.text if len(rows) == len(self) else self.text.take(pa.array(rows))
        return Judged(text, self.truth[rows], self.labels, self.probabilities[rows], self.row[rows])

    def measured(self, mask: npt.NDArray[np.bool_]) -> Metrics:
        """The figures, without calibration, of the rows chosen by ``bool[rows]``, at least one."""
        return measure(self.truth[mask], self.predicted[mask], self.labels)


def judge(
    predictor: Predictor, data: LabeledData, progress: Progress | None = None, *, repeated: int = 0
) -> tuple[Judged, RowCounts]:
    """A model's predictions for the rows whose label it has and whose text is not blank.

    Args:
        predictor: The model.
        data: The rows.
        progress: Called after each chunk of rows.
        repeated: How many repeated rows were already left out, for the counts.

    Raises:
        DataError: No row is left to judge.
    """
    known = predictor.labels
    truth = places(data.labels, known)[data.label]
    strange = np.bincount(data.label[truth < 0], minlength=len(data.labels)).tolist()
    usable = np.flatnonzero(truth >= 0)
    if not len(usable):
        raise DataError(
            f"no row has a label of the model: {', '.join(data.labels[:8])}",
            hint=f"the model's labels are {', '.join(known)}; is it the right --label-column?",
        )
    text = data.text.take(pa.array(usable))
    table = predictor.probabilities(text, progress)
    filled = ~np.isnan(table[:, 0])
    if not filled.any():
        raise DataError(
            f"all {len(text):,} texts are null, empty or whitespace", hint="is it the right --text-column?"
        )
    kept = usable[filled]
    counts = RowCounts(
        read=sum(source.rows for source in data.sources),
        without_label=sum(source.without_label for source in data.sources),
        other_labels=_sum(source.other_labels for source in data.sources),
        unknown_labels={name: count for name, count in zip(data.labels, strange, strict=True) if count},
        repeated=repeated,
        blank=int((~filled).sum()),
        judged=len(kept),
    )
    return Judged(text.filter(pa.array(filled)), truth[kept], known, table[filled], data.row[kept]), counts


def _sum(counts: Iterable[Iterable[tuple[str, int]]]) -> dict[str, int]:
    together: Counter[str] = Counter()
    for part in counts:
        together.update(dict(part))
    return dict(together)
