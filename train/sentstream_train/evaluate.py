"""How good is a model? Its figures on labeled rows, beside those of baselines on the same rows."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import sentstream
from sentstream.errors import DataError, UsageError
from sentstream_train.baselines import Baseline, JudgedRows, places, run_baselines
from sentstream_train.labeled import SourceInfo, read_labeled
from sentstream_train.metrics import Metrics, measure
from sentstream_train.predictor import Progress, open_model


@dataclass(frozen=True)
class RowCounts:
    """What became of the rows; every row that was read is in exactly one of the other counts.

    Attributes:
        read: All of them.
        without_label: Null or empty label; left out.
        other_labels: Left out because ``labels=`` does not name their label: a count for each.
        unknown_labels: Left out because the model does not know their label: a count for each.
        blank: Null, empty or white space only; left out.
        judged: The rest.
    """

    read: int
    without_label: int
    other_labels: dict[str, int]
    unknown_labels: dict[str, int]
    blank: int
    judged: int

    def to_dict(self) -> dict[str, Any]:
        """The counts as JSON-ready data."""
        return dict(vars(self))


@dataclass(frozen=True)
class Evaluation:
    """What a model is worth on some rows.

    Attributes:
        model: Facts about the model: ``kind``, ``name``, ``version``, ``digest``, ``labels``.
        sources: The files of the rows.
        rows: What became of the rows.
        metrics: The model's figures, over all of its labels.
        baselines: What the baselines came to; empty if they were not asked for.
    """

    model: dict[str, Any]
    sources: tuple[SourceInfo, ...]
    rows: RowCounts
    metrics: Metrics
    baselines: tuple[Baseline, ...]

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as JSON-ready data; what ``sentstream.report`` takes."""
        return {
            "report": "evaluation",
            "sentstream": sentstream.__version__,
            "model": self.model,
            "files": [source.to_dict() for source in self.sources],
            "rows": self.rows.to_dict(),
            "metrics": self.metrics.to_dict(),
            "baselines": [baseline.to_dict() for baseline in self.baselines],
        }


def evaluate(
    model: str | os.PathLike[str],
    paths: Sequence[str | Path],
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    labels: Sequence[str] | None = None,
    baselines: bool = False,
    baseline_paths: Sequence[str | Path] = (),
    progress: Progress | None = None,
) -> Evaluation:
    """Judge a model on labeled rows.

    A row is left out, and counted, if it has no label or one that the model does not know, or if its
    text is null, empty or white space only. The model chooses among all of its labels, also where
    ``labels`` names fewer. Rows that repeat are all judged.

    Args:
        model: The name of a model that ships, a bundle, a finished run's folder or its ``model.keras``.
        paths: CSV or Parquet files, globs or directories of labeled rows.
        text_column: Default ``text``.
        label_column: Default ``label``.
        labels: Judge only the rows with these labels; the model must know them.
        baselines: Judge VADER, TextBlob and TF-IDF with logistic regression on the same rows.
        baseline_paths: What the last one learns from, with the columns of the same names; without any,
            it is cross-validated on the judged rows.
        progress: Called after each portion of rows.

    Raises:
        UsageError: The model does not know one of ``labels``.
        SentstreamError: What ``open_model``, ``read_labeled`` and ``run_baselines`` raise.
        DataError: No row is left to judge.
    """
    predictor = open_model(model)
    known = predictor.labels
    if unknown := [label for label in labels or () if label not in known]:
        raise UsageError(
            f"the model does not know the label {unknown[0]!r}", hint=f"its labels are {', '.join(known)}"
        )
    data = read_labeled(paths, text_column=text_column, label_column=label_column, labels=labels)
    training = None
    if baseline_paths:
        training = read_labeled(baseline_paths, text_column=text_column, label_column=label_column)
    truth = places(data.labels, known)[data.label]
    strange = np.bincount(data.label[truth < 0], minlength=len(data.labels)).tolist()
    usable = np.flatnonzero(truth >= 0)
    if not len(usable):
        raise DataError(
            f"no row has a label that the model knows: {', '.join(data.labels[:8])}",
            hint=f"its labels are {', '.join(known)}; is it the right --label-column?",
        )
    text, truth = data.text.take(pa.array(usable)), truth[usable]
    table = predictor.probabilities(text, progress)
    filled = ~np.isnan(table[:, 0])
    if not filled.any():
        raise DataError(
            f"all {len(text):,} texts are null, empty or white space", hint="is it the right --text-column?"
        )
    text, truth, table = text.filter(pa.array(filled)), truth[filled], table[filled]
    predicted = table.argmax(axis=1).astype(np.int32)
    judged = JudgedRows(text, truth, known, predicted == truth)
    return Evaluation(
        model=predictor.about,
        sources=data.sources,
        rows=RowCounts(
            read=sum(source.rows for source in data.sources),
            without_label=sum(source.without_label for source in data.sources),
            other_labels=_sum(source.other_labels for source in data.sources),
            unknown_labels={name: count for name, count in zip(data.labels, strange, strict=True) if count},
            blank=int((~filled).sum()),
            judged=len(truth),
        ),
        metrics=measure(truth, predicted, known, table),
        baselines=run_baselines(judged, training) if baselines or baseline_paths else (),
    )


def _sum(counts: Iterable[Iterable[tuple[str, int]]]) -> dict[str, int]:
    together: Counter[str] = Counter()
    for part in counts:
        together.update(dict(part))
    return dict(together)
