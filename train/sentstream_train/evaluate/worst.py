"""The errors that a model was surest of, as places in the files; texts only for who asks for them."""

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
    """A row that was given another label than it has.

    Attributes:
        file: Base name of its file.
        file_number: Which of the evaluation's files that is, from 0: names may repeat.
        row: Its place in the file, from 0; a header is no row.
        label: The label it has.
        predicted: The label it was given.
        score: The probability of that one.
        label_probability: The probability of the one it has.
        text: The text; None unless asked for.
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
        """The row as JSON-ready data, rounded; ``text`` only where it was asked for."""
        figures: dict[str, Any] = rounded(asdict(self))
        if self.text is None:
            del figures["text"]
        return figures


def worst_errors(
    judged: Judged,
    sources: Sequence[SourceInfo],
    most: int,
    *,
    texts: bool = False,
    among: npt.NDArray[np.bool_] | None = None,
) -> tuple[WrongRow, ...]:
    """The wrong rows with the highest scores; among equals in the order of the files.

    Args:
        judged: The rows.
        sources: The files that they came from, in the order of reading.
        most: How many at most.
        texts: Take their texts along.
        among: ``bool[rows]``, the rows to look at; default all.
    """
    wrong = np.flatnonzero(~judged.right if among is None else ~judged.right & among)
    wrong = wrong[np.argsort(-judged.score[wrong], kind="stable")][:most]
    starts = np.cumsum([0, *(source.rows for source in sources)])
    # An empty file starts where the next one does, and owns no row.
    files = np.searchsorted(starts, judged.row[wrong], side="right") - 1
    return tuple(
        WrongRow(
            file=sources[file].name,
            file_number=file,
            row=int(judged.row[place] - starts[file]),
            label=judged.labels[judged.truth[place]],
            predicted=judged.labels[judged.predicted[place]],
            score=float(judged.score[place]),
            label_probability=float(judged.probabilities[place, judged.truth[place]]),
            text=judged.text[place].as_py() if texts else None,
        )
        for place, file in zip(wrong.tolist(), files.tolist(), strict=True)
    )
