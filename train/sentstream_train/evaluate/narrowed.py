"""A model that chooses among only some of its labels, to compare models with three and two labels."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa

from sentstream_train.store.predictor import Predictor, Probabilities, Progress


class Narrowed:
    """A model without some of its labels: their probabilities are dropped, the others renormalized.

    ``about`` has the remaining ``labels``, and the dropped ones as ``set_aside``.

    Args:
        model: The model.
        labels: The labels to choose among; those that the model does not have are ignored.
    """

    def __init__(self, model: Predictor, labels: Collection[str]) -> None:
        self._model, self.text = model, model.text
        self._columns = [index for index, label in enumerate(model.labels) if label in labels]
        self.labels = tuple(model.labels[index] for index in self._columns)
        self.about: dict[str, Any] = {
            **model.about,
            "labels": list(self.labels),
            "set_aside": [label for label in model.labels if label not in labels],
        }

    def probabilities(self, text: pa.Array, progress: Progress | None = None) -> Probabilities:
        """``float32[rows, labels]``; NaN for a blank text; unchanged bits if no label is dropped."""
        table = self._model.probabilities(text, progress)
        return renormalized(table[:, self._columns]) if self.about["set_aside"] else table


def renormalized(table: Probabilities) -> Probabilities:
    """Rows scaled to sum to 1; equal probabilities if all are 0 in float32; NaN stays NaN."""
    shares = table.astype(np.float64)
    total = shares.sum(axis=1, keepdims=True)
    equal = np.full_like(shares, 1 / table.shape[1])
    result: Probabilities = np.divide(shares, total, out=equal, where=total != 0).astype(np.float32)
    return result
