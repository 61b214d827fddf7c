"""Two models on the same rows: is one better, or is it the rows?"""

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

#: With fewer rows that only one gets right, McNemar's test is exact; the customary bound.
_FEW = 25


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of equal accuracy (1947): do the rows that only one gets right split evenly?

    Attributes:
        method: ``exact`` (binomial) for fewer than 25 such rows, else ``chi-squared`` (continuity
            corrected, Edwards 1948).
        statistic: The chi-squared, of one degree of freedom; None for the exact test.
        p: Probability, were they equally good, of a split at least as uneven.
    """

    method: str
    statistic: float | None
    p: float


@dataclass(frozen=True)
class Versus:
    """The judged model (first) against another one (second).

    Attributes:
        model: Facts about the other one, as the evaluation has them of its own.
        labels: The labels that both know.
        rows: Rows that have one of these; only they are compared.
        accuracy: Of the first and of the second; each chooses among all of its own labels,
            or among the judged ones of them.
        macro_recall: Of the first and of the second.
        comparison: The rows that only one gets right; the difference of the accuracies, paired.
        macro_recall_difference: First minus second.
        macro_recall_interval: Its 95 % interval: percentiles of 1,000 paired bootstrap resamples
            (Efron and Tibshirani 1993), seeded.
        mcnemar: The test.
        only_first_rows: Of the rows that only the first gets right those that the second was surest of,
            with what it made of them; ``comparison`` counts them all.
        only_second_rows: The other way around.
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
        """The figures as JSON-ready data, rounded; p keeps three significant digits."""
        figures: dict[str, Any] = rounded(asdict(self))
        figures["mcnemar"]["p"] = float(f"{self.mcnemar.p:.3g}")
        figures["only_first_rows"] = [row.to_dict() for row in self.only_first_rows]
        figures["only_second_rows"] = [row.to_dict() for row in self.only_second_rows]
        return figures


def check_labels(first: Predictor, second: Predictor) -> None:
    """Refuse, before anything is computed, models that cannot be compared.

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
    most: int = 0,
    texts: bool = False,
) -> Versus:
    """Judge another model on the same rows, as far as it knows their labels.

    Args:
        judged: The rows, with the first model's predictions.
        other: The second model.
        progress: Called after each portion of rows.
        sources: The files that the rows came from, in the order of reading.
        most: How many of the rows that only one of them gets right to name at most, for each of the two.
        texts: Take their texts along.

    Raises:
        DataError: It knows the label of none of them, or reads no text in them.
    """
    place = places(judged.labels, other.labels)
    known = place[judged.truth] >= 0
    common = tuple(label for label in judged.labels if label in other.labels)
    rows = np.flatnonzero(known)
    if not len(rows):
        raise DataError(
            f"no row has a label that both models know: {', '.join(common)}", hint="is this the right data?"
        )
    text = judged.text if len(rows) == len(judged) else judged.text.take(pa.array(rows))
    table = other.probabilities(text, progress)
    # White space up to one model's cap may hide a text that another one reads.
    filled = ~np.isnan(table[:, 0])
    rows, table = rows[filled], table[filled]
    if not len(rows):
        raise DataError(
            f"{other.about['name']} finds no text in these rows",
            hint="the part that it reads is all whitespace",
        )
    second = Judged(
        text.filter(pa.array(filled)), place[judged.truth[rows]], other.labels, table, judged.row[rows]
    )
    first = judged.take(rows)
    return _versus(
        other.about,
        common,
        places(judged.labels, common)[first.truth],
        (first.right, second.right),
        worst_errors(second, sources, most, texts=texts, among=first.right),
        worst_errors(first, sources, most, texts=texts, among=second.right),
    )


def _versus(
    about: dict[str, Any],
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
        model=about,
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
    """The test, two-sided, of the rows that only the one and only the other gets right."""
    rows = only_first + only_second
    if rows < _FEW:
        tail = sum(math.comb(rows, count) for count in range(min(only_first, only_second) + 1))
        return McNemar("exact", None, min(1.0, 2 * tail / 2**rows))
    statistic = max(0, abs(only_first - only_second) - 1) ** 2 / rows
    return McNemar("chi-squared", statistic, math.erfc(math.sqrt(statistic / 2)))


def macro_recalls(cells: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """``float64[sets, 2]``: macro-recall of both models in sets of rows.

    Args:
        cells: ``int64[sets, labels, 2, 2]``: rows by label, by whether the first is right, and the second.
    """
    return np.stack((mean_recalls(cells.sum(axis=3)), mean_recalls(cells.sum(axis=2))), axis=-1)


def bootstrap(cells: npt.NDArray[np.int64], seed: int = 1) -> tuple[float, float]:
    """95 % interval of the difference in macro-recall, the rows being paired.

    Args:
        cells: ``int64[labels, 2, 2]``, as ``macro_recalls`` has them.
        seed: Of what is drawn.
    """

    def lead(drawn: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        recalls = macro_recalls(drawn)
        difference: npt.NDArray[np.float64] = recalls[:, 0] - recalls[:, 1]
        return difference

    return percentile_interval(cells, lead, seed)
