"""The scale of a column of whole numbers, and finding it again in numbers that were rounded once.

A bundle in int8 that becomes a Keras model for a while, as calibrating and fine-tuning do, leaves its scales
behind, and the largest value of a column need not have been the largest whole number. Were the scales chosen
anew, an export would round numbers again that are round.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sentstream_train.network.arrays import Floats

#: Rows of a column that are looked at before all of them are.
_SOME = 256


def column_scales(tables: list[Floats], steps: int) -> Floats:
    """One scale a column: what numbers are divided by to become whole ones from ``-steps`` to ``steps``.

    The largest value becomes ±``steps`` (symmetric), except in a column whose numbers all are whole multiples
    of a ``float32`` already, to the bit: it keeps that scale.

    Args:
        tables: ``float32[rows, columns]`` each, of the same columns.
        steps: The largest whole number.

    Returns:
        ``float32[columns]``.
    """
    highest = np.max([np.abs(table).max(axis=0) for table in tables], axis=0).astype(np.float32)
    scales = np.where(highest > 0, highest / np.float32(steps), np.float32(1)).astype(np.float32)
    some = np.concatenate([table[:_SOME] for table in tables])
    for column in np.flatnonzero(highest > 0).tolist():
        candidates = _candidates(highest[column], steps)
        for scale in candidates[_round_by(some[:, column], candidates)]:
            if all(_round_by(table[:, column], scale).all() for table in tables):
                scales[column] = scale
                break
    return scales


def _candidates(highest: np.float32, steps: int) -> Floats:
    """``float32[candidates]``, the likeliest first: those by which the largest value is a whole number."""
    middle = highest / np.arange(steps, 0, -1, dtype=np.float32)
    below, above = np.nextafter(middle, np.float32(0)), np.nextafter(middle, np.float32(np.inf))
    found: Floats = np.stack((middle, below, above), axis=1).ravel()
    return found


def _round_by(column: Floats, scales: Floats | np.float32) -> npt.NDArray[np.bool_]:
    """``bool[scales]``: by which of them all numbers of a column are whole multiples, to the bit."""
    values = column[:, None]
    found: npt.NDArray[np.bool_] = (np.rint(values / scales) * scales == values).all(axis=0)
    return found
