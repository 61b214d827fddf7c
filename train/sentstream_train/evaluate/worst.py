"""The most confident errors of a model, as positions in the files; texts only on request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sentstream_train.data.labeled import SourceInfo
from sentstream_train.evaluate.judged import Judged
from sentstream_train.measure.metrics import rounded


@dataclass(frozen=True)
class WrongRow:
    """A row with a wrong prediction.

    Attributes:
        file: Base name of its file.
        file_number: Index of that file in the evaluation, from 0, because names may repeat.
        row: The row's position in the file, from 0, without a header.
        label: The true label.
        predicted: The predicted label.
        score: The probability of the predicted label.
        label_probability: The probability of the true label.
        text: The text; None unless requested.
    """

    file: str
    file_number: int
    row: int
    label: str
    predicted: str
    score: float
    label_probability: float
    text: str | None

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON-ready data, rounded; ``text`` only if requested."""
        figures: dict[str, Any] = rounded(asdict(self))
        if self.text is None:
            del figures["text"]
        return figures


def worst_errors(
    judged: Judged,
    sources: Sequence[SourceInfo],
    limit: int,
    *,
    texts: bool = False,
    among: npt.NDArray[np.bool_] | None = None,
) -> tuple[WrongRow, ...]:
    """The wrong rows with the highest scores; equal scores stay in file order.

    Args:
        judged: The rows.
        sources: The files of the rows, in the order of reading.
        limit: Maximum number of rows to return.
        texts: Include the texts.
        among: ``bool[rows]``, the rows to consider; default all.
    """
    wrong = np.flatnonzero(~judged.right if among is None else ~judged.right & among)
    wrong = wrong[np.argsort(-judged.score[wrong], kind="stable")][:limit]
    starts = np.cumsum([0, *(source.rows for source in sources)])
    # An empty file starts where the next one does; side="right" picks the last of them.
    files = np.searchsorted(starts, judged.row[wrong], side="right") - 1
    return tuple(
        WrongRow(
            file=sources[file].name,
            file_number=file,
            row=int(judged.row[index] - starts[file]),
            label=judged.labels[judged.truth[index]],
            predicted=judged.labels[judged.predicted[index]],
            score=float(judged.score[index]),
            label_probability=float(judged.probabilities[index, judged.truth[index]]),
            text=judged.text[index].as_py() if texts else None,
        )
        for index, file in zip(wrong.tolist(), files.tolist(), strict=True)
    )
