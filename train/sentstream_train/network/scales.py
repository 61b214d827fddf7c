"""Choose the scales of quantized columns, and recover the scales of columns that were quantized before.

Calibration and fine-tuning turn an int8 bundle into a Keras model, which loses the scales, and the largest
value of a column was not necessarily the largest integer. With newly chosen scales, an export would round
already rounded numbers again.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sentstream_train.network.arrays import Floats

#: How many rows of a table are checked first, before all of them.
_SOME = 256


def column_scales(tables: list[Floats], steps: int) -> Floats:
    """One scale per column: the divisor that turns its numbers into integers from ``-steps`` to ``steps``.

    The largest value becomes ±``steps`` (symmetric). But if all numbers of a column are already exact
    multiples of a ``float32``, it is the scale.

    Args:
        tables: ``float32[rows, columns]`` each, with the same columns.
        steps: The largest integer.

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
    """``float32[candidates]``: scales that make the largest value an integer, the most likely first."""
    middle = highest / np.arange(steps, 0, -1, dtype=np.float32)
    below, above = np.nextafter(middle, np.float32(0)), np.nextafter(middle, np.float32(np.inf))
    candidates: Floats = np.stack((middle, below, above), axis=1).ravel()
    return candidates


def _round_by(column: Floats, scales: Floats | np.float32) -> npt.NDArray[np.bool_]:
    """``bool[scales]``: the scales of which all numbers in a column are exact multiples."""
    values = column[:, None]
    exact: npt.NDArray[np.bool_] = (np.rint(values / scales) * scales == values).all(axis=0)
    return exact
