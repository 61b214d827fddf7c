"""Build examples from rows: the targets are the labels, or labels combined with teachers' probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentstream.errors import UsageError
from sentstream.text import Encoded, TextRules, Tokens, tokenize
from sentstream_train.config import DataConfig, FitConfig
from sentstream_train.data.batches import Examples
from sentstream_train.data.split import Rows, Split
from sentstream_train.data.teacher_columns import Shares
from sentstream_train.fit.distill import mean_shares, targets_of
from sentstream_train.store.trained import Trained

#: The teachers' probabilities for both sides of a split: training, validation.
Taught: TypeAlias = tuple[Shares, Shares]


def teach(
    opened: Sequence[Trained],
    labels: Sequence[str],
    columns: Shares | None,
    texts: pa.Array | None,
    split: Split,
    data: DataConfig,
) -> Taught:
    """The teachers' mean probabilities for both sides of a split.

    Args:
        opened: The teachers that are models. Each reads the texts by its own rules.
        labels: The run's labels.
        columns: ``float32[rows, labels]``: the teacher columns of the rows that were split, or None.
        texts: The texts of these rows; only needed for teachers with other text rules than the run.
        split: The rows.
        data: How the run reads them.
    """

    def side(tokens: Tokens, rows: Rows) -> Shares:
        def read(rules: TextRules) -> Tokens:
            if rules == data.rules or texts is None:
                return tokens
            return tokenize(texts.take(pa.array(rows)), rules, data.max_chars)[0]

        return mean_shares(opened, labels, None if columns is None else columns[rows], read, len(rows))

    return side(split.train, split.train_rows), side(split.validation, split.validation_rows)


def lessons(
    split: Split,
    sides: tuple[Encoded, Encoded],
    labels: Sequence[str],
    fitting: FitConfig,
    taught: Taught | None,
) -> tuple[Examples, Examples]:
    """The training examples and the validation examples.

    The targets of held-out rows are their labels; those of rows without a label are the teachers'
    probabilities. Class weights of both sides are computed from the training rows.

    Args:
        split: The rows.
        sides: The token ids of both sides.
        labels: The run's labels.
        fitting: Weights of classes and teachers.
        taught: The teachers' probabilities, or None without teachers.
    """
    train, validation = (
        Examples(sides[0], split.train_labels),
        Examples(sides[1], split.validation_labels),
    )
    if taught is not None:
        learned = targets_of(
            taught[0],
            split.train_labels,
            weight=fitting.teacher_weight,
            temperature=fitting.teacher_temperature,
        )
        answers = targets_of(taught[1], split.validation_labels, weight=0.0, temperature=1.0)
        train, validation = replace(train, targets=learned), replace(validation, targets=answers)
    if fitting.class_weights == "none":
        return train, validation
    weights = class_weights(fitting, train.classes(), labels)
    train, validation = (replace(one, weights=weights[one.classes()]) for one in (train, validation))
    return train, validation


def check_class_weights(fitting: FitConfig, labels: Sequence[str]) -> None:
    """Raise if a class weight names a label that the run does not have.

    Raises:
        UsageError: A weight names an unknown label.
    """
    named = fitting.class_weights if isinstance(fitting.class_weights, dict) else ()
    if unknown := [label for label in named if label not in labels]:
        raise UsageError(
            f"--class-weights names the label {unknown[0]!r}, which no row has",
            hint=f"the labels are {', '.join(labels)}",
        )


def class_weights(
    fitting: FitConfig, classes: npt.NDArray[np.int32], labels: Sequence[str]
) -> npt.NDArray[np.float32]:
    """``float32[labels]``: the weight of a row of each class, scaled so that the mean over the rows is 1.

    Args:
        fitting: Its ``class_weights`` is not ``"none"``.
        classes: ``int32[rows]``, the class of each training row.
        labels: Their names.
    """
    counts = np.bincount(classes, minlength=len(labels))
    if isinstance(fitting.class_weights, dict):
        wished = np.array([fitting.class_weights.get(label, 1.0) for label in labels])
    else:
        wished = 1 / np.maximum(counts, 1)
    weights: npt.NDArray[np.float32] = (wished * len(classes) / (wished * counts).sum()).astype(np.float32)
    return weights
