"""Distillation: a student learns teachers' probabilities for each row, with its label or instead of it.

Teachers' probabilities tell a student more about a row than its label. With several teachers, it learns from
their mean (Hinton, Vinyals and Dean 2015, arXiv 1503.02531); and it can learn from rows without a label (Tang
et al. 2019, arXiv 1903.12136). A teacher is a sentstream model, or columns of the data with the probabilities
of any other model.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sentstream.bundle import Bundle
from sentstream.errors import UsageError
from sentstream.session import Session, usable_cpus
from sentstream.text import Encoded, TextRules, Tokens
from sentstream_train.data.teacher_columns import Shares
from sentstream_train.store.record import Teacher
from sentstream_train.store.trained import Trained, as_bundle, open_trained

_ROWS_AT_ONCE = 32_768


@dataclass(frozen=True)
class Teachers:
    """The teachers of a run.

    Attributes:
        models: Models, as ``open_trained`` takes them.
        columns: Prefix of data columns with another teacher's probabilities, one column per label.
    """

    models: tuple[str | os.PathLike[str], ...] = ()
    columns: str | None = None

    def __bool__(self) -> bool:
        return bool(self.models) or self.columns is not None


NOBODY = Teachers()


def open_teachers(teachers: Teachers, labels: Sequence[str]) -> list[Trained]:
    """Open the teachers that are models.

    Args:
        teachers: The teachers of a run.
        labels: The run's labels.

    Raises:
        UsageError: A teacher has other labels.
        SentstreamError: As ``open_trained``.
    """
    opened = [open_trained(source) for source in teachers.models]
    for source, teacher in zip(teachers.models, opened, strict=True):
        if set(teacher.labels) != set(labels):
            raise UsageError(
                f"the teacher {source} has the labels {', '.join(teacher.labels)};"
                f" this run has {', '.join(labels)}"
            )
    return opened


def mean_shares(
    opened: Sequence[Trained],
    labels: Sequence[str],
    columns: Shares | None,
    read: Callable[[TextRules], Tokens],
    rows: int,
) -> Shares:
    """The mean of the teachers' probabilities for each row, over the teachers that have any.

    Args:
        opened: The teachers that are models.
        labels: The run's labels.
        columns: ``float32[rows, labels]``: the probabilities in the data's own columns, or None.
        read: Returns the rows' tokens by a teacher's text rules.
        rows: Number of rows.

    Returns:
        ``float32[rows, labels]``; NaN for rows without probabilities of any teacher.
    """
    total = np.zeros((rows, len(labels)), np.float32)
    count = np.zeros((rows, 1), np.float32)
    predicted = [
        _probabilities(as_bundle(one), one.text.look_up(read(one.text.rules)))[:, _order(one, labels)]
        for one in opened
    ]
    if columns is not None:
        predicted.append(columns)
    for shares in predicted:
        labeled = ~np.isnan(shares).any(axis=1, keepdims=True)
        total += np.where(labeled, shares, np.float32(0))
        count += labeled
    with np.errstate(invalid="ignore"):
        mean: Shares = total / count
    return mean


def _order(teacher: Trained, labels: Sequence[str]) -> list[int]:
    return [teacher.labels.index(label) for label in labels]


def targets_of(
    shares: Shares, truth: npt.NDArray[np.int32], *, weight: float, temperature: float
) -> npt.NDArray[np.float32]:
    """The student's targets, as ``TeacherLoss`` takes them.

    Args:
        shares: ``float32[rows, classes]``, the teachers' probabilities; NaN if there are none.
        truth: ``int32[rows]``, each row's class; -1 for rows without a label.
        weight: The teachers' weight in rows that have a label, too.
        temperature: Softens the teachers' probabilities: p^(1/T), normalized.

    Returns:
        ``float32[rows, 2 × classes]``: the teachers' part, which sums to the teachers' weight in the row, and
        the label's part, which sums to the rest.
    """
    classes = shares.shape[1]
    taught = np.isfinite(shares[:, 0])  # a row has all probabilities or none
    soft = np.where(taught[:, None], shares, np.float32(0)) ** np.float32(1 / temperature)
    sums = soft.sum(axis=1, keepdims=True)
    soft = np.divide(soft, sums, out=np.zeros_like(soft), where=sums > 0)
    hard = np.where(truth[:, None] == np.arange(classes), np.float32(1), np.float32(0))
    share = np.where(truth < 0, np.float32(1), np.float32(weight)) * taught
    return np.concatenate((soft * share[:, None], hard * (1 - share[:, None])), axis=1).astype(np.float32)


def _probabilities(bundle: Bundle, rows: Encoded) -> Shares:
    session = Session(bundle, "cpu")

    def part(start: int) -> Shares:
        offsets = rows.offsets[start : start + _ROWS_AT_ONCE + 1]
        span = slice(offsets[0], offsets[-1])
        pairs = None if rows.pairs is None else rows.pairs[span]
        return session.probabilities(Encoded(offsets - offsets[0], rows.words[span], pairs))

    with ThreadPoolExecutor(usable_cpus()) as pool:
        return np.concatenate(list(pool.map(part, range(0, len(rows), _ROWS_AT_ONCE))))


def describe_teachers(opened: Sequence[Trained], teachers: Teachers) -> tuple[Teacher, ...]:
    """Names and fingerprints of the teachers, for the run's record."""
    found = [Teacher(one.name, one.fingerprint) for one in opened]
    if teachers.columns is not None:
        found.append(Teacher(f"columns {teachers.columns}*", None))
    return tuple(found)
