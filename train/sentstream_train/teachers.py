"""Distillation: what other models make of the training rows becomes part of what is learned.

A student that sees how sure its teachers are learns more from a row than its label says, and from several
teachers something of what their mean knows (Hinton, Vinyals and Dean 2015, arXiv 1503.02531).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from sentstream.bundle import Bundle
from sentstream.errors import UsageError
from sentstream.session import Session, usable_cpus
from sentstream.text import Encoded, TextRules, Tokens
from sentstream_train.trained import Trained, as_bundle, open_trained

_ROWS_AT_ONCE = 32_768


def open_teachers(
    sources: Sequence[str | os.PathLike[str]], labels: Sequence[str], rules: TextRules
) -> list[Trained]:
    """Open the teachers of a run.

    Args:
        sources: What ``open_trained`` opens.
        labels: The run's labels.
        rules: Its text rules.

    Raises:
        UsageError: A teacher knows other labels, or splits texts by other rules.
        SentstreamError: As ``open_trained``.
    """
    teachers = [open_trained(source) for source in sources]
    for source, teacher in zip(sources, teachers, strict=True):
        if set(teacher.labels) != set(labels):
            raise UsageError(
                f"the teacher {source} knows {', '.join(teacher.labels)}; this run has {', '.join(labels)}"
            )
        if teacher.text.rules != rules:
            raise UsageError(f"the teacher {source} splits texts by other rules than this run")
    return teachers


def soft_targets(
    teachers: Sequence[Trained],
    tokens: Tokens,
    truth: npt.NDArray[np.int32],
    labels: Sequence[str],
    weight: float,
) -> npt.NDArray[np.float32]:
    """The mean of the teachers' probabilities, mixed with the labels.

    Args:
        teachers: The teachers.
        tokens: The rows.
        truth: ``int32[rows]``, each row's label.
        labels: The labels, in the order of the student's classes.
        weight: Share of the teachers.

    Returns:
        ``float32[rows, classes]``; a row without a token has its label only.
    """
    hard = np.eye(len(labels), dtype=np.float32)[truth]
    mean = np.zeros_like(hard)
    for teacher in teachers:
        order = [teacher.labels.index(label) for label in labels]
        rows = teacher.text.look_up(tokens)
        mean += _probabilities(as_bundle(teacher), rows)[:, order] / np.float32(len(teachers))
    mixed = np.where(np.isnan(mean), hard, np.float32(weight) * mean + np.float32(1 - weight) * hard)
    return np.ascontiguousarray(mixed, np.float32)


def _probabilities(bundle: Bundle, rows: Encoded) -> npt.NDArray[np.float32]:
    session = Session(bundle, "cpu")

    def part(start: int) -> npt.NDArray[np.float32]:
        offsets = rows.offsets[start : start + _ROWS_AT_ONCE + 1]
        span = slice(offsets[0], offsets[-1])
        pairs = None if rows.pairs is None else rows.pairs[span]
        return session.probabilities(Encoded(offsets - offsets[0], rows.words[span], pairs))

    with ThreadPoolExecutor(usable_cpus()) as pool:
        return np.concatenate(list(pool.map(part, range(0, len(rows), _ROWS_AT_ONCE))))


def describe_teachers(teachers: Sequence[Trained]) -> list[dict[str, Any]]:
    """Who they were, JSON-ready."""
    return [{"name": one.name, "fingerprint": one.fingerprint} for one in teachers]
