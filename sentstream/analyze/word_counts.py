"""How often each token occurs under each label, gathered portion by portion."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentstream.analyze.keyed_sums import KeyedSums
from sentstream.text import Tokens

Ints: TypeAlias = npt.NDArray[np.int64]

#: Distinct tokens gathered before they are merged into the count so far.
_MERGE_AT = 1_500_000


class WordCounts:
    """Counts of tokens in columns, one a label.

    Args:
        columns: How many columns.
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
        """The distinct tokens, and ``int64[tokens, columns]``: their counts."""
        return self._sums.merged()
