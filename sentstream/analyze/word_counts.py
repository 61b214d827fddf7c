"""How often each token occurs with each label, collected portion by portion."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentstream.analyze.keyed_sums import KeyedSums
from sentstream.text import Tokens

Ints: TypeAlias = npt.NDArray[np.int64]

#: Number of pending distinct tokens that triggers a merge.
_MERGE_AT = 1_500_000


class WordCounts:
    """Counts of tokens, with one column per label.

    Args:
        columns: Number of columns.
    """

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self._sums = KeyedSums(pa.string(), columns, merge_at=_MERGE_AT)

    def add(self, tokens: Tokens, columns: Ints) -> None:
        """Count a portion; ``columns`` is ``int64[rows]``, each row's column."""
        encoded = tokens.text.dictionary_encode()
        cells = encoded.indices.to_numpy() * self.columns + np.repeat(columns, np.diff(tokens.offsets))
        shape = (len(encoded.dictionary), self.columns)
        self._sums.add(encoded.dictionary, np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape))

    def merged(self) -> tuple[pa.Array, Ints]:
        """The distinct tokens, and their counts, ``int64[tokens, columns]``."""
        return self._sums.merged()
