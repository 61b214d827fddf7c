"""Evaluate a model on labeled rows, with baselines and other models on the same rows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa

import sentstream
from sentstream.errors import DataError, UsageError
from sentstream_train.data.columns import read_column
from sentstream_train.data.labeled import LabeledData, SourceInfo, read_labeled
from sentstream_train.data.same_text import NO_TEXT, repeats_of, same_text
from sentstream_train.evaluate.baselines.run import Baseline, JudgedRows, run_baselines
from sentstream_train.evaluate.coverage import Coverage, cover
from sentstream_train.evaluate.judged import RowCounts, judge
from sentstream_train.evaluate.narrowed import Narrowed
from sentstream_train.evaluate.recalibration import Recalibration, recalibrate
from sentstream_train.evaluate.slices import Slice, group_by, slice_rows
from sentstream_train.evaluate.text_marks import mark_texts
from sentstream_train.evaluate.versus import Versus, check_labels, run_against
from sentstream_train.evaluate.worst import WrongRow, worst_errors
from sentstream_train.measure.metrics import Metrics, measure
from sentstream_train.store.predictor import Progress, open_model

#: The labels that a model chooses among: all of its own, or those of the judged rows.
ChooseAmong: TypeAlias = Literal["all", "judged"]

#: How many wrong rows an evaluation lists by default.
WORST = 20


@dataclass(frozen=True)
class Evaluation:
    """The figures of a model on some rows.

    Attributes:
        model: Facts about the model: ``kind``, ``name``, ``version``, ``digest``, ``labels``. If it chose
            only among the judged labels, these are the ``labels``, and ``set_aside`` has the others.
        choose_among: The labels that it chose among.
        sources: The files of the rows.
        without: The files whose texts were left out.
        rows: Counts of rows that were judged and left out.
        metrics: The model's figures, over all labels that it chose among.
        baselines: Results of the baselines; empty if they were not requested.
        slices: The model's figures on parts of the rows.
        coverage: Accuracy by the share of the rows that get a label.
        recalibration: The effect of a temperature on its calibration.
        worst: Its most confident errors.
        comparisons: Comparisons with other models on the same rows.
    """

    model: dict[str, Any]
    choose_among: ChooseAmong
    sources: tuple[SourceInfo, ...]
    without: tuple[SourceInfo, ...]
    rows: RowCounts
    metrics: Metrics
    baselines: tuple[Baseline, ...]
    slices: tuple[Slice, ...]
    coverage: Coverage
    recalibration: Recalibration
    worst: tuple[WrongRow, ...]
    comparisons: tuple[Versus, ...]

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as JSON-ready data, the input of ``sentstream_train.report``."""
        return {
            "report": "evaluation",
            "sentstream": sentstream.__version__,
            "model": self.model,
            "choose_among": self.choose_among,
            "files": [source.to_dict() for source in self.sources],
            "without": [source.to_dict() for source in self.without],
            "rows": self.rows.to_dict(),
            "metrics": self.metrics.to_dict(),
            "baselines": [baseline.to_dict() for baseline in self.baselines],
            "slices": [one.to_dict() for one in self.slices],
            "coverage": self.coverage.to_dict(),
            "recalibration": self.recalibration.to_dict(),
            "worst": [row.to_dict() for row in self.worst],
            "comparisons": [versus.to_dict() for versus in self.comparisons],
        }


def evaluate(
    model: str | os.PathLike[str],
    paths: Sequence[str | Path],
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    labels: Sequence[str] | None = None,
    choose_among: ChooseAmong = "all",
    without: Sequence[str | Path] = (),
    baselines: bool = False,
    baseline_paths: Sequence[str | Path] = (),
    slices: Sequence[str] = (),
    compare: Sequence[str | os.PathLike[str]] = (),
    worst: int = WORST,
    show_texts: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate a model on labeled rows.

    Rows are left out, and counted, if they have no label or one that the model does not have, or if the
    text is null, empty or only white space. Duplicate rows are all judged.

    Args:
        model: The name of a model that ships, a bundle, a finished run's folder or its ``model.keras``.
        paths: CSV or Parquet files, globs or directories of labeled rows.
        text_column: Default ``text``.
        label_column: Default ``label``.
        labels: Judge only the rows with these labels; the model must have them.
        choose_among: ``all``: models choose among all of their labels, even if ``labels`` names fewer.
            ``judged``: among ``labels``, of which there must be two or more. The probabilities of other
            labels are dropped and the rest renormalized, for all figures and for the models of
            ``compare``, too.
        without: Files of texts that the model may have been trained on, with the same text column; rows
            that repeat one (``same_text``) are left out and counted.
        baselines: Also evaluate VADER, TextBlob and TF-IDF with logistic regression on the same rows.
        baseline_paths: Training data for the last one, with the same columns; without any, it is
            cross-validated on the judged rows.
        slices: Additional columns of the files; each of their values is a slice.
        compare: Other models, given like ``model``, to evaluate on the rows whose label they have.
        worst: How many wrong rows to list; in a comparison, how many rows that only the first model gets
            right, and how many that only the second does.
        show_texts: Include the texts of these rows.
        progress: Called after each chunk of rows.

    Raises:
        UsageError: The model does not have one of ``labels``, or they are too few to choose among; a model
            of ``compare`` shares fewer than two labels with it; a column of ``slices`` is the text or
            label column.
        SentstreamError: As ``open_model``, ``read_labeled``, ``read_column`` and ``run_baselines``.
        DataError: No row is left to judge, or to compare models on.
    """
    if choose_among == "judged" and len(set(labels or ())) < 2:
        raise UsageError(
            "--choose-among judged needs at least two labels",
            hint="e.g. --labels negative,positive",
        )
    predictor = open_model(model)
    if unknown := [label for label in labels or () if label not in predictor.labels]:
        raise UsageError(
            f"the model has no label {unknown[0]!r}",
            hint=f"its labels are {', '.join(predictor.labels)}",
        )
    for column in slices:
        if column in (text_column or "text", label_column or "label"):
            raise UsageError(
                f"--slice {column} is the text or label column",
                hint="figures per label are reported without it",
            )
    others = [open_model(other) for other in compare]
    if choose_among == "judged":
        predictor = Narrowed(predictor, labels or ())
        others = [Narrowed(other, labels or ()) for other in others]
    for other in others:
        check_labels(predictor, other)
    data = read_labeled(paths, text_column=text_column, label_column=label_column, labels=labels)
    read, left_out = len(data), tuple[SourceInfo, ...]()
    if without:
        learned = read_labeled(without, text_column=text_column, keep_unlabeled=True)
        data, left_out = _outside(data, learned), learned.sources
    columns = {column: read_column(paths, column, text_column) for column in slices}
    training = None
    if baseline_paths:
        training = read_labeled(baseline_paths, text_column=text_column, label_column=label_column)
    judged, rows = judge(predictor, data, progress, repeated=read - len(data))
    groups = mark_texts(judged.text, predictor.text)
    for column, values in columns.items():
        groups[column] = group_by(values.take(pa.array(judged.row)))
    baseline_rows = JudgedRows(judged.text, judged.truth, judged.labels, judged.right)
    return Evaluation(
        model=predictor.about,
        choose_among=choose_among,
        sources=data.sources,
        without=left_out,
        rows=rows,
        metrics=measure(judged.truth, judged.predicted, judged.labels, judged.probabilities),
        baselines=run_baselines(baseline_rows, training) if baselines or baseline_paths else (),
        slices=slice_rows(judged, groups),
        coverage=cover(judged),
        recalibration=recalibrate(judged),
        worst=worst_errors(judged, data.sources, worst, texts=show_texts),
        comparisons=tuple(
            run_against(judged, other, progress, sources=data.sources, limit=worst, texts=show_texts)
            for other in others
        ),
    )


def _outside(data: LabeledData, learned: LabeledData) -> LabeledData:
    """The rows of ``data`` that do not repeat a row of ``learned``.

    Raises:
        DataError: All rows with a text repeat one.
    """
    keys = same_text(data.text).words
    repeats = repeats_of(keys, same_text(learned.text).words)
    if repeats.any() and (repeats | (keys == NO_TEXT)).all():
        raise DataError(
            f"all {int(repeats.sum()):,} rows with a text repeat one of --without",
            hint=f"use other rows, or leave out {', '.join(one.name for one in learned.sources)}",
        )
    return data.take(np.flatnonzero(~repeats))
