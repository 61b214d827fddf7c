"""Batches of one exact length: no padding is computed on, and no mask is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import numpy as np
import numpy.typing as npt

from sentstream.text import Encoded
from sentstream_train.data.lengths import exact_length_batches, id_matrix

#: Class indices, ``int32[rows]``, or what teachers and labels say, ``float32[rows, 2 × classes]``.
Targets: TypeAlias = npt.NDArray[np.int32] | npt.NDArray[np.float32]


@dataclass(frozen=True)
class Examples:
    """Encoded rows with what they should come out as.

    Attributes:
        rows: The token ids.
        targets: ``int32[rows]`` class indices, or ``float32[rows, 2 × classes]`` (``targets_of``).
        weights: ``float32[rows]`` or None: how much each row counts in the loss.
    """

    rows: Encoded
    targets: Targets
    weights: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def classes(self) -> npt.NDArray[np.int32]:
        """``int32[rows]``: the class that each row should come out as, most of all."""
        if self.targets.ndim == 1:
            return self.targets.astype(np.int32, copy=False)
        half = self.targets.shape[1] // 2
        likeliest: npt.NDArray[np.int32] = (
            (self.targets[:, :half] + self.targets[:, half:]).argmax(axis=1).astype(np.int32)
        )
        return likeliest


class LengthBatches(keras.utils.PyDataset):
    """A Keras data set of exact-length batches, shuffled for each epoch from (seed, epoch).

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
        else:
            random = np.random.default_rng((self.seed, epoch))
            shuffled = random.permutation(len(self.lengths))
            batches = exact_length_batches(self.lengths[shuffled], self.batch_size)
            self.batches = [shuffled[batches[place]] for place in random.permutation(len(batches))]
        self._begin_with_two_lengths()

    def _begin_with_two_lengths(self) -> None:
        """Keras takes the sizes that the first two batches share for the sizes of all."""
        lengths = [self.lengths[batch[0]] for batch in self.batches]
        other = next((place for place, length in enumerate(lengths) if length != lengths[0]), 1)
        if other > 1:
            self.batches[1], self.batches[other] = self.batches[other], self.batches[1]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        chosen = self.batches[index]
        inputs = id_matrix(self.examples.rows, chosen, int(self.lengths[chosen[0]]))
        targets = self.examples.targets[chosen]
        if self.examples.weights is None:
            return inputs, targets
        return inputs, targets, self.examples.weights[chosen]
