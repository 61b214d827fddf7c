"""Run the baselines, lexicons and a linear classifier, on the rows that a model was judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentstream.analyze.keys import Keys
from sentstream.errors import DataError
from sentstream.text import DEFAULT_MAX_CHARS, TextRules, Tokens, tokenize
from sentstream_train.data.labeled import LabeledData
from sentstream_train.data.same_text import repeats_of, same_text
from sentstream_train.data.split import take_rows
from sentstream_train.evaluate.baselines.lexicons import LEXICONS, Lexicon, applies_to, score_texts
from sentstream_train.evaluate.baselines.tfidf import FOLDS, Floats, TfidfClassifier, deal_folds
from sentstream_train.measure.metrics import Comparison, Metrics, compare, measure

Labels = npt.NDArray[np.int32]

LINEAR = "TF-IDF + logistic regression"


@dataclass(frozen=True)
class JudgedRows:
    """The rows that a model was judged on.

    Attributes:
        text: ``string`` without nulls or blanks.
        truth: ``int32[rows]``, the index of each row's label.
        labels: The labels.
        right: ``bool[rows]``, whether the model was right.
    """

    text: pa.Array
    truth: Labels
    labels: tuple[str, ...]
    right: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Baseline:
    """The result of a baseline.

    Attributes:
        name: The baseline's name.
        method: How it was computed, or why it was skipped, in a phrase.
        metrics: Its figures; None: skipped.
        comparison: The model (first) against the baseline (second) on paired rows; None: skipped.
    """

    name: str
    method: str
    metrics: Metrics | None = None
    comparison: Comparison | None = None

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON-ready data."""
        return {
            "name": self.name,
            "method": self.method,
            "metrics": self.metrics and self.metrics.to_dict(),
            "comparison": self.comparison and self.comparison.to_dict(),
        }


def run_baselines(rows: JudgedRows, training: LabeledData | None = None) -> tuple[Baseline, ...]:
    """Evaluate VADER, TextBlob and TF-IDF with logistic regression.

    Args:
        rows: The rows.
        training: Training data for the linear classifier; None: it is cross-validated on ``rows``.

    Raises:
        MissingExtraError: A library is not installed.
        DataError: ``training`` has no usable rows with at least two labels.
    """
    return (*(_judge_lexicon(lexicon, rows) for lexicon in LEXICONS), _judge_linear(rows, training))


def _judge_lexicon(lexicon: Lexicon, rows: JudgedRows) -> Baseline:
    if not applies_to(rows.labels):
        return Baseline(
            lexicon.name, "skipped: it knows negative, neutral and positive only, the model has other labels"
        )
    scores = score_texts(lexicon, rows.text.to_pylist())
    undecided = f"{int((scores == 0).sum()):,} rows score exactly 0"
    if "neutral" not in rows.labels:
        rule = f"lexicon; by sign, 0 is positive ({undecided})"
    elif lexicon.threshold:
        rule = f"lexicon; neutral between -{lexicon.threshold} and {lexicon.threshold} ({undecided})"
    else:
        rule = f"lexicon; neutral at 0 ({undecided})"
    return _judged(lexicon.name, rule, rows, lexicon.labels(scores, rows.labels))


def _judge_linear(rows: JudgedRows, training: LabeledData | None) -> Baseline:
    if training is not None:
        table, method = _trained(rows, training)
        return _judged(LINEAR, method, rows, table.argmax(axis=1).astype(np.int32), table)
    tokens, _ = tokenize(rows.text, TextRules(), DEFAULT_MAX_CHARS)
    groups = same_text(rows.text).words
    counts = np.bincount(rows.truth, minlength=len(rows.labels))
    folds = min(FOLDS, int(counts[counts > 0].min()), len(np.unique(groups)))
    crossed = _cross_validated(tokens, rows, groups, folds)
    if crossed is None:
        return Baseline(
            LINEAR, "skipped: too few rows of each label to cross-validate it; give training data"
        )
    method = f"cross-validated on the same rows ({folds} folds, one text in one fold)"
    return _judged(LINEAR, method, rows, crossed.argmax(axis=1).astype(np.int32), crossed)


def _cross_validated(tokens: Tokens, rows: JudgedRows, groups: Keys, folds: int) -> Floats | None:
    """``float64[rows, labels]``, each row predicted by a model of the other folds; None: too few rows."""
    if folds < 2:
        return None
    fold = deal_folds(groups, rows.truth, folds, seed=1)
    table = np.zeros((len(rows.truth), len(rows.labels)))
    for number in range(folds):
        inside, outside = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        if len(np.unique(rows.truth[outside])) < 2:
            return None
        learned = TfidfClassifier(len(rows.labels)).fit(take_rows(tokens, outside), rows.truth[outside])
        table[inside] = learned.probabilities(take_rows(tokens, inside))
    return table


def _trained(rows: JudgedRows, training: LabeledData) -> tuple[Floats, str]:
    """``float64[rows, labels]``, predicted by a model of ``training``, and a phrase about that data."""
    labels = places(training.labels, rows.labels)[training.label]
    judged, _ = tokenize(rows.text, TextRules(), DEFAULT_MAX_CHARS)
    tokens, _ = tokenize(training.text, TextRules(), DEFAULT_MAX_CHARS)
    usable = (labels >= 0) & ~tokens.blank
    shared = usable & repeats_of(same_text(training.text).words, same_text(rows.text).words)
    chosen = np.flatnonzero(usable & ~shared)
    names = ", ".join(source.name for source in training.sources)
    if len(np.unique(labels[chosen])) < 2:
        raise DataError(
            f"{names}: {len(chosen):,} usable rows have fewer than two of the model's labels",
            hint=f"the baseline learns from rows labeled {', '.join(rows.labels)}",
        )
    learned = TfidfClassifier(len(rows.labels)).fit(take_rows(tokens, chosen), labels[chosen])
    table = learned.probabilities(judged)
    left_out = f", {int(shared.sum()):,} left out because their text is judged here" if shared.any() else ""
    return table, f"trained on {len(chosen):,} rows of {names}{left_out}"


def places(names: Sequence[str], labels: Sequence[str]) -> Labels:
    """``int32[names]``: each name's index in ``labels``, or -1."""
    return np.array([labels.index(name) if name in labels else -1 for name in names], np.int32)


def _judged(
    name: str, method: str, rows: JudgedRows, predicted: Labels, probabilities: Floats | None = None
) -> Baseline:
    metrics = measure(rows.truth, predicted, rows.labels, probabilities)
    return Baseline(name, method, metrics, compare(rows.right, predicted == rows.truth))
