"""Compare two models on the same rows, with tests of whether the difference could be chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentstream.errors import DataError, UsageError
from sentstream_train.data.labeled import SourceInfo
from sentstream_train.evaluate.baselines.run import places
from sentstream_train.evaluate.judged import Judged
from sentstream_train.evaluate.worst import WrongRow, worst_errors
from sentstream_train.measure.bootstrap import mean_recalls, percentile_interval
from sentstream_train.measure.metrics import Comparison, Labels, compare, rounded
from sentstream_train.store.predictor import Predictor, Progress

Flags: TypeAlias = npt.NDArray[np.bool_]

#: With fewer rows that only one model gets right, McNemar's test is exact; the customary bound.
_FEW = 25


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of equal accuracy (1947): do the rows that only one model gets right split evenly?

    Attributes:
        method: ``exact`` (binomial) for fewer than 25 such rows, else ``chi-squared`` (with continuity
            correction, Edwards 1948).
        statistic: The chi-squared statistic with one degree of freedom; None for the exact test.
        p: The p-value: the probability of a split at least this uneven if both models are equally good.
    """

    method: str
    statistic: float | None
    p: float


@dataclass(frozen=True)
class Versus:
    """The evaluated model (first) compared with another one (second).

    Attributes:
        model: Facts about the second model, as in ``Evaluation.model``.
        labels: The labels that both models have.
        rows: Rows with one of these labels; only they are compared.
        accuracy: Of the first and of the second. Each chooses among all of its own labels, or among those
            of them that are judged.
        macro_recall: Of the first and of the second.
        comparison: Counts of rows that only one gets right; the paired difference of the accuracies.
        macro_recall_difference: First minus second.
        macro_recall_interval: Its 95 % interval: percentiles of 1,000 paired bootstrap resamples
            (Efron and Tibshirani 1993), seeded.
        mcnemar: The test.
        only_first_rows: Of the rows that only the first gets right, the most confident errors of the
            second; ``comparison`` counts all of these rows.
        only_second_rows: The reverse.
    """

    model: dict[str, Any]
    labels: tuple[str, ...]
    rows: int
    accuracy: tuple[float, float]
    macro_recall: tuple[float, float]
    comparison: Comparison
    macro_recall_difference: float
    macro_recall_interval: tuple[float, float]
    mcnemar: McNemar
    only_first_rows: tuple[WrongRow, ...]
    only_second_rows: tuple[WrongRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """The figures as JSON-ready data, rounded; p has three significant digits."""
        figures: dict[str, Any] = rounded(asdict(self))
        figures["mcnemar"]["p"] = float(f"{self.mcnemar.p:.3g}")
        figures["only_first_rows"] = [row.to_dict() for row in self.only_first_rows]
        figures["only_second_rows"] = [row.to_dict() for row in self.only_second_rows]
        return figures


def check_labels(first: Predictor, second: Predictor) -> None:
    """Raise if two models cannot be compared, before anything is computed.

    Raises:
        UsageError: They share fewer than two labels.
    """
    if len(set(first.labels) & set(second.labels)) < 2:
        raise UsageError(
            f"{first.about['name']} and {second.about['name']} share fewer than two labels",
            hint=f"{', '.join(first.labels)} against {', '.join(second.labels)}",
        )


def run_against(
    judged: Judged,
    other: Predictor,
    progress: Progress | None = None,
    *,
    sources: Sequence[SourceInfo] = (),
    limit: int = 0,
    texts: bool = False,
) -> Versus:
    """Evaluate another model on those of the rows whose label it has.

    Args:
        judged: The rows, with the first model's predictions.
        other: The second model.
        progress: Called after each chunk of rows.
        sources: The files of the rows, in the order of reading.
        limit: Maximum number of rows to list that only the first gets right, and only the second.
        texts: Include the texts of these rows.

    Raises:
        DataError: The second model has the label of no row, or finds no text in the rows.
    """
    columns = places(judged.labels, other.labels)
    known = columns[judged.truth] >= 0
    common = tuple(label for label in judged.labels if label in other.labels)
    rows = np.flatnonzero(known)
    if not len(rows):
        raise DataError(
            f"no row has a label that both models know: {', '.join(common)}", hint="is this the right data?"
        )
    text = judged.text if len(rows) == len(judged) else judged.text.take(pa.array(rows))
    table = other.probabilities(text, progress)
    # A text may start with white space up to this model's character cap, but not up to the first model's.
    filled = ~np.isnan(table[:, 0])
    rows, table = rows[filled], table[filled]
    if not len(rows):
        raise DataError(
            f"{other.about['name']} finds no text in these rows",
            hint="the part that it reads is all whitespace",
        )
    second = Judged(
        text.filter(pa.array(filled)), columns[judged.truth[rows]], other.labels, table, judged.row[rows]
    )
    first = judged.take(rows)
    return _versus(
        other.about,
        common,
        places(judged.labels, common)[first.truth],
        (first.right, second.right),
        worst_errors(second, sources, limit, texts=texts, among=first.right),
        worst_errors(first, sources, limit, texts=texts, among=second.right),
    )


def _versus(
    model_facts: dict[str, Any],
    labels: tuple[str, ...],
    truth: Labels,
    right: tuple[Flags, Flags],
    only_first_rows: tuple[WrongRow, ...],
    only_second_rows: tuple[WrongRow, ...],
) -> Versus:
    first, second = right
    comparison = compare(first, second)
    cells = np.bincount(truth * 4 + first * 2 + second, minlength=4 * len(labels)).reshape(-1, 2, 2)
    recalls = macro_recalls(cells[None])[0]
    low, high = bootstrap(cells)
    return Versus(
        model=model_facts,
        labels=labels,
        rows=len(truth),
        accuracy=(float(first.mean()), float(second.mean())),
        macro_recall=(float(recalls[0]), float(recalls[1])),
        comparison=comparison,
        macro_recall_difference=float(recalls[0] - recalls[1]),
        macro_recall_interval=(low, high),
        mcnemar=mcnemar(comparison.only_first, comparison.only_second),
        only_first_rows=only_first_rows,
        only_second_rows=only_second_rows,
    )


def mcnemar(only_first: int, only_second: int) -> McNemar:
    """The two-sided test, from the counts of rows that only the first or only the second gets right."""
    rows = only_first + only_second
    if rows < _FEW:
        tail = sum(math.comb(rows, count) for count in range(min(only_first, only_second) + 1))
        return McNemar("exact", None, min(1.0, 2 * tail / 2**rows))
    statistic = max(0, abs(only_first - only_second) - 1) ** 2 / rows
    return McNemar("chi-squared", statistic, math.erfc(math.sqrt(statistic / 2)))


def macro_recalls(cells: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """``float64[sets, 2]``: the macro-recall of both models on sets of rows.

    Args:
        cells: ``int64[sets, labels, 2, 2]``: counts of rows by label, first wrong/right, second wrong/right.
    """
    return np.stack((mean_recalls(cells.sum(axis=3)), mean_recalls(cells.sum(axis=2))), axis=-1)


def bootstrap(cells: npt.NDArray[np.int64], seed: int = 1) -> tuple[float, float]:
    """95 % interval of the difference in macro-recall, for paired rows.

    Args:
        cells: ``int64[labels, 2, 2]``, one set as in ``macro_recalls``.
        seed: Seed of the draws.
    """

    def lead(drawn: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        recalls = macro_recalls(drawn)
        difference: npt.NDArray[np.float64] = recalls[:, 0] - recalls[:, 1]
        return difference

    return percentile_interval(cells, lead, seed)
