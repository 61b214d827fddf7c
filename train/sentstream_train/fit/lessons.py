"""Rows and what they should come out as: their labels, or what labels and teachers say together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from sentstream.text import Encoded
from sentstream_train.config import FitConfig
from sentstream_train.data.batches import Examples
from sentstream_train.data.labeled import LabeledData
from sentstream_train.data.split import Split
from sentstream_train.fit.distill import Shares, Teachers, mean_shares, targets_of
from sentstream_train.store.trained import Trained

#: What the teachers make of each side of a split.
Taught: TypeAlias = tuple[Shares, Shares]


def teach(
    opened: Sequence[Trained],
    teachers: Teachers,
    paths: Sequence[str | Path],
    rows: LabeledData,
    split: Split,
) -> Taught:
    """Ask the teachers about both sides; the arguments are those of ``mean_shares``."""
    columns = teachers.read_columns(paths, rows)
    return (
        mean_shares(opened, columns, rows, split.train_rows, split.train),
        mean_shares(opened, columns, rows, split.validation_rows, split.validation),
    )


def lessons(
    split: Split, sides: tuple[Encoded, Encoded], classes: int, fitting: FitConfig, taught: Taught | None
) -> tuple[Examples, Examples]:
    """The examples to learn from, and those to judge each epoch by.

    Args:
        split: The rows.
        sides: Their token ids.
        classes: Labels.
        fitting: Weights of classes and teachers.
        taught: What the teachers say, where there are any.

    Held-out rows are judged by their labels alone; where nobody labeled any, by the teachers.
    """
    train_rows, validation_rows = sides
    if taught is None:
        weights = _row_weights(fitting, split.train_labels, classes)
        return (
            Examples(train_rows, split.train_labels, weights),
            Examples(validation_rows, split.validation_labels),
        )
    train, validation = taught
    targets = targets_of(
        train,
        split.train_labels,
        weight=fitting.teacher_weight,
        temperature=fitting.teacher_temperature,
    )
    answers = targets_of(validation, split.validation_labels, weight=0.0, temperature=1.0)
    likeliest = (targets[:, :classes] + targets[:, classes:]).argmax(axis=1).astype(np.int32)
    weights = _row_weights(fitting, likeliest, classes)
    return Examples(train_rows, targets, weights), Examples(validation_rows, answers)


def _row_weights(
    fitting: FitConfig, labels: npt.NDArray[np.int32], classes: int
) -> npt.NDArray[np.float32] | None:
    """``float32[rows]``: weights under which each class counts the same, their mean 1; None: all count 1."""
    if fitting.class_weights == "none":
        return None
    counts = np.bincount(labels, minlength=classes)
    per_class = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    weights: npt.NDArray[np.float32] = per_class[labels].astype(np.float32)
    return weights
