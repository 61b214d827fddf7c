"""Select and batch rows by length: batches of one exact length need no padding and no mask."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sentstream.text import Encoded


def id_matrix(rows: Encoded, chosen: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int32]:
    """The first ``length`` tokens of each chosen row, as model input.

    Returns:
        ``int32[len(chosen), length]`` of word ids, or ``[…, 2]`` of word and pair ids.
    """
    positions = rows.offsets[chosen][:, None] + np.arange(length)
    if rows.pairs is None:
        words: npt.NDArray[np.int32] = rows.words[positions]
        return words
    return np.stack((rows.words[positions], rows.pairs[positions]), axis=-1)


def some_of_each_length(rows: Encoded, limit: int = 64) -> Encoded:
    """The first ``limit`` rows of each length from 1 up, in their original order."""
    order = np.argsort(rows.lengths, kind="stable")
    lengths = rows.lengths[order]
    rank = np.arange(len(order)) - np.searchsorted(lengths, lengths)
    return taken(rows, np.sort(order[(rank < limit) & (lengths > 0)]))


def evenly(rows: Encoded, limit: int) -> Encoded:
    """All rows, or ``limit`` of them, evenly spaced from first to last."""
    if len(rows) <= limit:
        return rows
    return taken(rows, np.linspace(0, len(rows) - 1, limit).astype(np.int64))


def taken(rows: Encoded, chosen: npt.NDArray[np.int64]) -> Encoded:
    """The chosen rows, in the order of ``chosen``."""
    counts = rows.lengths[chosen]
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
    tokens = np.repeat(rows.offsets[chosen] - offsets[:-1], counts) + np.arange(offsets[-1])
    return Encoded(offsets, rows.words[tokens], None if rows.pairs is None else rows.pairs[tokens])


def exact_length_batches(lengths: npt.NDArray[np.int64], batch_size: int) -> list[npt.NDArray[np.int64]]:
    """Row indices in batches of one length each; rows without tokens are left out."""
    order = np.argsort(lengths, kind="stable")
    order = order[np.searchsorted(lengths[order], 1) :]
    cuts = np.flatnonzero(np.diff(lengths[order])) + 1
    batches: list[npt.NDArray[np.int64]] = []
    for group in np.split(order, cuts):
        batches.extend(group[start : start + batch_size] for start in range(0, len(group), batch_size))
    return [batch for batch in batches if len(batch)]
