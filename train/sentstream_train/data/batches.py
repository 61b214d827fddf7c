"""Batches of rows of the same length, which need no padding and no mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import numpy as np
import numpy.typing as npt

from sentstream.text import Encoded
from sentstream_train.data.lengths import exact_length_batches, id_matrix

#: Class indices, ``int32[rows]``, or teachers' and labels' shares, ``float32[rows, 2 × classes]``.
Targets: TypeAlias = npt.NDArray[np.int32] | npt.NDArray[np.float32]


@dataclass(frozen=True)
class Examples:
    """Encoded rows and their targets.

    Attributes:
        rows: The token ids.
        targets: ``int32[rows]`` class indices, or ``float32[rows, 2 × classes]`` (``targets_of``).
        weights: ``float32[rows]``: the weight of each row in the loss; None: all the same.
    """

    rows: Encoded
    targets: Targets
    weights: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def classes(self) -> npt.NDArray[np.int32]:
        """``int32[rows]``: the most likely class of each row's target."""
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
        examples: The rows; longer ones are cut to ``max_tokens``.
        batch_size: Maximum number of rows per batch.
        max_tokens: Maximum number of tokens per row.
        seed: Seed for shuffling rows and batches; None keeps the order (validation).
    """

    def __init__(self, examples: Examples, batch_size: int, max_tokens: int, seed: int | None = None) -> None:
        super().__init__()
        self.examples, self.batch_size, self.seed = examples, batch_size, seed
        self.lengths = np.minimum(examples.rows.lengths, max_tokens)
        self.begin_epoch(0)

    def begin_epoch(self, epoch: int) -> None:
        """Shuffle the rows and batches for an epoch."""
        if self.seed is None:
            self.batches = exact_length_batches(self.lengths, self.batch_size)
        else:
            random = np.random.default_rng((self.seed, epoch))
            shuffled = random.permutation(len(self.lengths))
            batches = exact_length_batches(self.lengths[shuffled], self.batch_size)
            self.batches = [shuffled[batches[index]] for index in random.permutation(len(batches))]
        self._begin_with_two_lengths()

    def _begin_with_two_lengths(self) -> None:
        """Let the first two batches differ in length: Keras takes a size that they share as fixed."""
        lengths = [self.lengths[batch[0]] for batch in self.batches]
        other = next((index for index, length in enumerate(lengths) if length != lengths[0]), 1)
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
