"""How often each token occurs under each label, gathered portion by portion in bounded memory."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

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
        self._words: list[pa.Array] = [pa.array([], pa.string())]
        self._counts: list[Ints] = [np.zeros((0, columns), np.int64)]

    def add(self, tokens: Tokens, columns: Ints) -> None:
        """Count a portion; ``columns`` is ``int64[rows]``, each row's column."""
        encoded = tokens.text.dictionary_encode()
        cells = encoded.indices.to_numpy() * self.columns + np.repeat(columns, np.diff(tokens.offsets))
        shape = (len(encoded.dictionary), self.columns)
        self._words.append(encoded.dictionary)
        self._counts.append(np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape))
        if sum(map(len, self._words[1:])) > _MERGE_AT:
            self.merged()

    def merged(self) -> tuple[pa.Array, Ints]:
        """The distinct tokens, and ``int64[tokens, columns]``: their counts."""
        if len(self._words) > 1:
            encoded = pa.concat_arrays(self._words).dictionary_encode()
            codes, given = encoded.indices.to_numpy(), np.concatenate(self._counts)
            sums = [np.bincount(codes, column, len(encoded.dictionary)) for column in given.T]
            self._words = [encoded.dictionary]
            self._counts = [np.stack(sums, axis=1).astype(np.int64)]
        return self._words[0], self._counts[0]
