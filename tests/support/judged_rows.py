"""Made-up judged rows, for the parts of an evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentstream_train.evaluate.judged import Judged

THREE = ("negative", "neutral", "positive")


def judged_rows(
    truth: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    labels: tuple[str, ...] = ("negative", "positive"),
    row: npt.ArrayLike | None = None,
) -> Judged:
    """Return rows with these labels and probabilities; their texts are ``text 0``, ``text 1`` …"""
    true = np.asarray(truth, np.int32)
    indices: npt.NDArray[Any] = np.arange(len(true)) if row is None else np.asarray(row)
    text = pa.array([f"text {index}" for index in indices.tolist()], pa.string())
    return Judged(text, true, labels, np.asarray(probabilities, np.float32), indices.astype(np.int64))


def drawn_rows(rows: int, classes: int = 2, seed: int = 0, sharpness: float = 1.0) -> Judged:
    """Return rows with labels drawn from their probabilities; a sharpness above 1 makes those too extreme."""
    random = np.random.default_rng(seed)
    table = random.dirichlet(np.full(classes, 0.7), rows)
    truth = (table.cumsum(axis=1) > random.random(rows)[:, None]).argmax(axis=1)
    sharp = np.maximum(table, 1e-6) ** sharpness
    return judged_rows(
        truth, sharp / sharp.sum(axis=1, keepdims=True), tuple(f"label {index}" for index in range(classes))
    )
