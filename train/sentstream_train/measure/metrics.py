"""Metrics of predictions: accuracy with its interval, per-class figures, calibration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sentstream.analyze.intervals import paired_interval, wilson
from sentstream_train.measure.bootstrap import mean_recalls, percentile_interval

Labels: TypeAlias = npt.NDArray[np.int32]
Floats: TypeAlias = npt.NDArray[np.float64]

CALIBRATION_BINS = 15
#: Probabilities are clipped here, as in Keras: log loss is infinite at 0.
_SMALLEST = 1e-7


@dataclass(frozen=True)
class ClassMetrics:
    """One label's figures; a figure with a denominator of 0 is None.

    Attributes:
        label: The label.
        support: Rows with this true label.
        predicted: Rows with this predicted label.
        precision: Share of the rows with this predicted label that have it.
        recall: Share of the rows with this true label that are predicted right.
        f1: Harmonic mean of precision and recall; 0 if no row is right.
    """

    label: str
    support: int
    predicted: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class CalibrationBin:
    """Rows whose confidence is in (low, high].

    Attributes:
        low, high: Edges.
        rows: Number of rows.
        confidence: Mean probability of the predicted labels; None without rows.
        accuracy: Share of the rows that is right; None without rows.
    """

    low: float
    high: float
    rows: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """How well probabilities match observed frequencies.

    Attributes:
        ece: Expected calibration error: the gap between confidence and accuracy, averaged over
            equal-width bins, weighted by their rows (Guo et al. 2017, arXiv 1706.04599, eq. 3).
        log_loss: Mean negative natural logarithm of the true label's probability.
        brier: Mean squared distance of the probabilities from the truth, summed over the labels
            (Brier 1950): from 0 to 2.
        bins: The bins of ``ece``, for a reliability diagram.
    """

    ece: float
    log_loss: float
    brier: float
    bins: tuple[CalibrationBin, ...]

    def to_dict(self, digits: int = 6) -> dict[str, Any]:
        """The figures as JSON-ready data, rounded."""
        figures = rounded(asdict(self), digits)
        assert isinstance(figures, dict)
        return figures


@dataclass(frozen=True)
class Metrics:
    """The figures of predictions on some rows.

    Attributes:
        rows: Number of rows.
        correct: Rows that are right.
        accuracy: Share of the rows that is right.
        interval: 95 % interval of the accuracy (Wilson 1927).
        macro_recall: Mean recall of the labels that occur; the metric of SemEval-2017 task 4A.
        macro_recall_interval: Its 95 % interval: percentiles of 1,000 multinomial bootstrap resamples of
            the confusion matrix (Efron and Tibshirani 1993), seeded.
        macro_f1: Mean F1 of the labels that occur.
        classes: Figures of each label.
        confusion: Counts of rows, ``[true][predicted]``.
        calibration: None for predictions without probabilities.
    """

    rows: int
    correct: int
    accuracy: float
    interval: tuple[float, float]
    macro_recall: float
    macro_recall_interval: tuple[float, float]
    macro_f1: float
    classes: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]
    calibration: Calibration | None

    def to_dict(self, digits: int = 6) -> dict[str, Any]:
        """The figures as JSON-ready data, rounded."""
        figures = rounded(asdict(self), digits)
        assert isinstance(figures, dict)
        return figures


def measure(
    truth: npt.ArrayLike,
    predicted: npt.ArrayLike,
    labels: Sequence[str],
    probabilities: npt.NDArray[np.floating[Any]] | None = None,
) -> Metrics:
    """Compute the metrics of predictions.

    Args:
        truth: ``int[rows]``, the index of each row's true label.
        predicted: ``int[rows]``, the index of its predicted label.
        labels: The labels.
        probabilities: ``float[rows, labels]`` for the calibration; rows sum to 1.

    Raises:
        ValueError: There are no rows, or the lengths differ.
    """
    true, given = np.asarray(truth, np.int32), np.asarray(predicted, np.int32)
    if not len(true) or true.shape != given.shape:
        raise ValueError(f"{len(true)} rows and {len(given)} predictions")
    classes = len(labels)
    cells = np.bincount(true * classes + given, minlength=classes * classes)
    confusion = cells.reshape(classes, classes)
    per_class = tuple(_class_metrics(index, name, confusion) for index, name in enumerate(labels))
    present = [one for one in per_class if one.support]
    correct = int(np.trace(confusion))
    return Metrics(
        rows=len(true),
        correct=correct,
        accuracy=correct / len(true),
        interval=wilson(correct, len(true)),
        macro_recall=sum(one.recall or 0.0 for one in present) / len(present),
        macro_recall_interval=percentile_interval(_wrong_and_right(confusion), mean_recalls),
        macro_f1=sum(one.f1 or 0.0 for one in present) / len(present),
        classes=per_class,
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        calibration=None if probabilities is None else calibrate(true, given, probabilities),
    )


def _wrong_and_right(confusion: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """``int64[labels, 2]``: the wrong and right rows of each label, all that recalls depend on."""
    hits = confusion.diagonal()
    return np.stack((confusion.sum(axis=1) - hits, hits), axis=1)


def _class_metrics(index: int, name: str, confusion: npt.NDArray[np.int64]) -> ClassMetrics:
    hits = int(confusion[index, index])
    support, predicted = int(confusion[index].sum()), int(confusion[:, index].sum())
    return ClassMetrics(
        label=name,
        support=support,
        predicted=predicted,
        precision=hits / predicted if predicted else None,
        recall=hits / support if support else None,
        f1=2 * hits / (support + predicted) if support + predicted else None,
    )


def calibrate(true: Labels, predicted: Labels, probabilities: npt.NDArray[np.floating[Any]]) -> Calibration:
    """The calibration of probabilities; shapes as in ``measure``."""
    table = np.asarray(probabilities, np.float64)
    rows = np.arange(len(true))
    confidence = np.clip(table[rows, predicted], 0.0, 1.0)
    right = (true == predicted).astype(np.float64)
    bin_of = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1, 0, CALIBRATION_BINS - 1)
    counts = np.bincount(bin_of, minlength=CALIBRATION_BINS)
    confidences = np.bincount(bin_of, confidence, CALIBRATION_BINS)
    hits = np.bincount(bin_of, right, CALIBRATION_BINS)
    bins = tuple(
        CalibrationBin(
            low=number / CALIBRATION_BINS,
            high=(number + 1) / CALIBRATION_BINS,
            rows=int(count),
            confidence=float(confidences[number] / count) if count else None,
            accuracy=float(hits[number] / count) if count else None,
        )
        for number, count in enumerate(counts)
    )
    of_truth = np.clip(table[rows, true], _SMALLEST, 1.0)
    distance = table.copy()
    distance[rows, true] -= 1.0
    return Calibration(
        ece=float(np.abs(hits - confidences).sum() / len(true)),
        log_loss=float(-np.log(of_truth).mean()),
        brier=float((distance**2).sum(axis=1).mean()),
        bins=bins,
    )


def mean_calibration(sets: Sequence[Calibration]) -> Calibration:
    """The mean calibration of several sets of rows, each with the same weight.

    The calibration error is the mean of the sets' errors, not the error of all rows together, in which
    overconfidence on one set would cancel underconfidence on another. In the bins, ``rows`` is a sum;
    confidence and accuracy are means in which each set has the same weight.

    Args:
        sets: One or more calibrations.
    """

    def mean(name: str) -> float:
        values: list[float] = [getattr(one, name) for one in sets]
        return sum(values) / len(values)

    together = zip(*(one.bins for one in sets), strict=True)
    sizes = [sum(part.rows for part in one.bins) for one in sets]
    bins = tuple(_mean_bin(parts, sizes) for parts in together)
    return Calibration(ece=mean("ece"), log_loss=mean("log_loss"), brier=mean("brier"), bins=bins)


def _mean_bin(parts: Sequence[CalibrationBin], sizes: Sequence[int]) -> CalibrationBin:
    """The mean of one bin over several sets; ``sizes`` are the sets' numbers of rows."""
    weights = [part.rows / size for part, size in zip(parts, sizes, strict=True)]

    def mean(values: Iterable[float | None]) -> float | None:
        pairs = zip(values, weights, strict=True)
        total = sum(weights)
        return sum((value or 0.0) * weight for value, weight in pairs) / total if total else None

    return replace(
        parts[0],
        rows=sum(part.rows for part in parts),
        confidence=mean(part.confidence for part in parts),
        accuracy=mean(part.accuracy for part in parts),
    )


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same rows.

    Attributes:
        only_first: Rows that only the first gets right.
        only_second: Rows that only the second gets right.
        difference: Accuracy of the first minus accuracy of the second.
        interval: 95 % interval of the difference for paired rows (Wald).
    """

    only_first: int
    only_second: int
    difference: float
    interval: tuple[float, float]

    def to_dict(self, digits: int = 6) -> dict[str, Any]:
        """The figures as JSON-ready data, rounded."""
        figures = rounded(asdict(self), digits)
        assert isinstance(figures, dict)
        return figures


def compare(first_right: npt.NDArray[np.bool_], second_right: npt.NDArray[np.bool_]) -> Comparison:
    """Compare two systems by which rows they get right (``bool[rows]`` each)."""
    rows = len(first_right)
    wins = int((first_right & ~second_right).sum())
    losses = int((second_right & ~first_right).sum())
    difference = (wins - losses) / rows
    return Comparison(wins, losses, difference, paired_interval(wins, losses, rows))


def rounded(value: Any, digits: int = 6) -> Any:
    """JSON-ready figures with floats rounded to this many digits."""
    if isinstance(value, float):
        return round(value, digits)
    if isinstance(value, dict):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item, digits) for item in value]
    return value
