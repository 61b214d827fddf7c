"""Sums of some rows, from which every figure comes: how many have each label, and their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sentstream.analyze.intervals import Interval, mean_interval, wilson
from sentstream.analyze.scored import Labels

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]

#: Rows with a label below which a figure says little.
FEW_ROWS = 30


@dataclass(frozen=True)
class Share:
    """How many rows have a label.

    Attributes:
        label: The label.
        rows: The rows that have it.
        share: Of those that have any.
        interval: 95 % interval of the share, were the rows drawn by chance (Wilson 1927).
    """

    label: str
    rows: int
    share: float
    interval: Interval


@dataclass(frozen=True)
class Figures:
    """What some rows come to.

    Attributes:
        rows: All rows.
        labeled: Those with a label.
        shares: Of the labels, in their order; empty where no row has one.
        value: The mean of P(positive) − P(negative) over the rows with a label; None without such labels.
        value_interval: 95 % interval of it.
        few: Whether these are fewer than 30 rows, which says little.
    """

    rows: int
    labeled: int
    shares: tuple[Share, ...]
    value: float | None
    value_interval: Interval | None
    few: bool


class Cells:
    """Sums of rows by a code: columns for each label and for none, then the values and their squares.

    Args:
        labels: The labels.
    """

    def __init__(self, labels: Labels) -> None:
        self._labels, self._names = labels, labels.all
        self.columns = len(self._names) + 3
        self._uncertain = False

    def of_codes(self, codes: npt.NDArray[Any], count: int, label: Ints, value: Floats | None) -> Floats:
        """``float64[count, columns]``: the sums of the rows of each code.

        Args:
            codes: ``[rows]``, each from 0 up to ``count``.
            count: How many codes there are.
            label: ``int64[rows]``, the label's place; the last one for none.
            value: ``float64[rows]``, 0 of a row without label.
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
        """``float64[…]``: the rows behind sums of ``[…, columns]``."""
        found: Floats = sums[..., : len(self._names) + 1].sum(axis=-1)
        return found

    def figures(self, sums: Floats) -> Figures:
        """What sums come to, once all rows have been seen: a single ``uncertain`` one makes it a label."""
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
