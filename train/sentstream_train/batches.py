"""Batches of one exact length: no padding is computed on, and no mask is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from sentstream.text import Encoded


@dataclass(frozen=True)
class Examples:
    """Encoded rows with what they should come out as.

    Attributes:
        rows: The token ids.
        targets: ``int32[rows]`` class indices, or ``float32[rows, classes]`` soft labels.
        weights: ``float32[rows]`` or None: how much each row counts in the loss.
    """

    rows: Encoded
    targets: npt.NDArray[Any]
    weights: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.rows)


def id_matrix(rows: Encoded, chosen: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int32]:
    """The first ``length`` tokens of each chosen row, as a model takes them.

    Returns:
        ``int32[len(chosen), length]`` of word ids, or ``[…, 2]`` of word and pair ids.
    """
    at = rows.offsets[chosen][:, None] + np.arange(length)
    if rows.pairs is None:
        return rows.words[at]
    return np.stack((rows.words[at], rows.pairs[at]), axis=-1)


def exact_length_batches(lengths: npt.NDArray[np.int64], batch_size: int) -> list[npt.NDArray[np.int64]]:
    """Row numbers in batches of one length each; rows without a token are in none."""
    order = np.argsort(lengths, kind="stable")
    order = order[np.searchsorted(lengths[order], 1) :]
    cuts = np.flatnonzero(np.diff(lengths[order])) + 1
    batches: list[npt.NDArray[np.int64]] = []
    for group in np.split(order, cuts):
        batches.extend(group[start : start + batch_size] for start in range(0, len(group), batch_size))
    return [batch for batch in batches if len(batch)]


class LengthBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """A Keras data set of exact-length batches, shuffled anew for each epoch from (seed, epoch).

    Args:
        examples: The rows; one longer than ``max_tokens`` is read up to there.
        batch_size: Rows a batch, at most.
        max_tokens: Longest row.
        seed: None keeps the order (validation); otherwise rows and batches are shuffled.
    """

    def __init__(self, examples: Examples, batch_size: int, max_tokens: int, seed: int | None = None) -> None:
        super().__init__()
        self.examples, self.batch_size, self.seed = examples, batch_size, seed
        self.lengths = np.minimum(examples.rows.lengths, max_tokens)
        self.begin_epoch(0)

    def begin_epoch(self, epoch: int) -> None:
        """Draw the order of an epoch."""
        if self.seed is None:
            self.batches = exact_length_batches(self.lengths, self.batch_size)
            return
        random = np.random.default_rng((self.seed, epoch))
        shuffled = random.permutation(len(self.lengths))
        batches = exact_length_batches(self.lengths[shuffled], self.batch_size)
        self.batches = [shuffled[batches[place]] for place in random.permutation(len(batches))]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        chosen = self.batches[index]
        inputs = id_matrix(self.examples.rows, chosen, int(self.lengths[chosen[0]]))
        targets = self.examples.targets[chosen]
        if self.examples.weights is None:
            return inputs, targets
        return inputs, targets, self.examples.weights[chosen]
