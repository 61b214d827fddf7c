"""Sums over rows from which all figures are computed: counts of labels, and values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sentstream.analyze.intervals import Interval, mean_interval, wilson
from sentstream.analyze.scored import Labels

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

#: With fewer labeled rows than this, a figure is not reliable.
FEW_ROWS = 30


@dataclass(frozen=True)
class Share:
    """The share of a label.

    Attributes:
        label: The label.
        rows: Number of rows with this label.
        share: Their share of the labeled rows.
        interval: 95 % interval of the share, assuming the rows are a random sample (Wilson 1927).
    """

    label: str
    rows: int
    share: float
    interval: Interval


@dataclass(frozen=True)
class Figures:
    """The figures of some rows.

    Attributes:
        rows: Number of rows.
        labeled: Number of rows with a label.
        shares: The share of each label, in order; empty if no row has a label.
        value: The mean of P(positive) − P(negative) over the labeled rows; None if there are no such labels.
        value_interval: 95 % interval of ``value``.
        few: Whether fewer than 30 rows are labeled, too few for reliable figures.
    """

    rows: int
    labeled: int
    shares: tuple[Share, ...]
    value: float | None
    value_interval: Interval | None
    few: bool


class Cells:
    """Sums rows by code: columns for each label and for no label, then the values and their squares.

    Args:
        labels: The labels.
    """

    def __init__(self, labels: Labels) -> None:
        self._labels, self._names = labels, labels.all
        self.columns = len(self._names) + 3
        self._uncertain = False

    def from_codes(self, codes: npt.NDArray[Any], count: int, label: Ints, value: Floats | None) -> Floats:
        """``float64[count, columns]``: the sums of the rows of each code.

        Args:
            codes: ``[rows]``, each at least 0 and below ``count``.
            count: Number of codes.
            label: ``int64[rows]``, the label's index; the last one for no label.
            value: ``float64[rows]``, 0 for a row without a label.
        """
        width = len(self._names) + 1
        sums = np.zeros((count, self.columns))
        counts = np.bincount(codes * width + label, minlength=count * width)
        sums[:, :width] = counts.reshape(count, width)
        self._uncertain = self._uncertain or bool(sums[:, len(self._labels.names) : width - 1].any())
        if value is not None:
            sums[:, width] = np.bincount(codes, value, count)
            sums[:, width + 1] = np.bincount(codes, value * value, count)
        return sums

    def rows(self, sums: Floats) -> Floats:
        """``float64[…]``: the number of rows behind sums ``[…, columns]``."""
        totals: Floats = sums[..., : len(self._names) + 1].sum(axis=-1)
        return totals

    def figures(self, sums: Floats) -> Figures:
        """The figures for sums, after all rows were added: one ``uncertain`` row makes that a label."""
        counts = sums[: len(self._names)].round().astype(int).tolist()
        rows, labeled = int(self.rows(sums).sum()), sum(counts)
        value = ends = None
        if self._labels.poles is not None and labeled:
            value = float(sums[-2] / labeled)
            ends = mean_interval(labeled, float(sums[-2]), float(sums[-1]), -1.0, 1.0)
        shares = tuple(
            Share(name, count, count / labeled, wilson(count, labeled))
            for name, count in zip(self._names, counts, strict=True)
            if labeled and (self._uncertain or name in self._labels.names)
        )
        return Figures(rows, labeled, shares, value, ends, labeled < FEW_ROWS)
