"""The text path: a column of tweets -> token ids. Training and scoring both go through here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentstream.profile import LOOK_UP, TOKENIZE, Clock
from sentstream.text.clean import clean
from sentstream.text.plain import Tokenizer, is_plain, plain_tokenizer
from sentstream.text.rules import TextRules
from sentstream.text.scan import Tokens, scan
from sentstream.text.vocabulary import UNKNOWN, Ids, Vocabulary

DEFAULT_MAX_CHARS = 1000
#: Rows scanned at once: their bytes and all that is derived from them stay in a core's cache.
_ROWS_AT_ONCE = 8192
#: Rows up to which plain ones are tokenized one by one.
_FEW_ROWS = 8


@dataclass(frozen=True)
class Encoded:
    """The token ids of some rows, in one flat array each.

    Attributes:
        offsets: ``int64[rows + 1]``; row ``i`` owns the tokens ``offsets[i]:offsets[i + 1]``. Only a
            null, empty or white-space-only row owns none.
        words: ``int32[tokens]``, word ids.
        pairs: ``int32[tokens]``, pair ids, or None where the vocabulary has no pairs.
        truncated: How many rows were cut at the character cap.
    """

    offsets: npt.NDArray[np.int64]
    words: Ids
    pairs: Ids | None
    truncated: int = 0

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """``int64[rows]``: tokens a row."""
        return self.offsets[1:] - self.offsets[:-1]

    def __len__(self) -> int:
        return len(self.offsets) - 1


def tokenize(column: pa.Array | pa.ChunkedArray, rules: TextRules, max_chars: int) -> tuple[Tokens, int]:
    """Split a text column into tokens.

    Args:
        column: A text column of any of Arrow's text types, nulls and broken UTF-8 allowed.
        rules: The text rules.
        max_chars: Characters of a row that are read; the rest is left out.

    Returns:
        The tokens, and how many rows were longer than ``max_chars``.

    Raises:
        ColumnTypeError: The column does not hold text.
        MissingExtraError: The rules ask for NLTK and it is not installed.
    """
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts: list[Tokens] = []
    truncated = 0
    for chunk in chunks:
        for start in range(0, len(chunk), _ROWS_AT_ONCE):
            tidy = clean(chunk.slice(start, _ROWS_AT_ONCE), max_chars)
            truncated += tidy.truncated
            parts.append(_split(tidy.text, rules))
    return _concat(parts), truncated


def _split(column: pa.StringArray, rules: TextRules) -> Tokens:
    if rules.tokenizer == "nltk":
        from sentstream.text.nltk_tokens import split

        return split(column, rules)
    return scan(column, rules)


def _concat(parts: list[Tokens]) -> Tokens:
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Tokens(pa.array([], pa.string()), np.zeros(1, np.int64), np.zeros(0, np.bool_))
    offsets = [np.zeros(1, np.int64)]
    for part in parts:
        offsets.append(part.offsets[1:] + offsets[-1][-1])
    return Tokens(
        pa.concat_arrays([part.text for part in parts]),
        np.concatenate(offsets),
        np.concatenate([part.blank for part in parts]),
    )


class TextPath:
    """A column of tweets to token ids, by one set of rules and one vocabulary.

    Args:
        rules: The text rules.
        vocabulary: Words and pairs.
        max_chars: Characters of a row that are read.
    """

    def __init__(self, rules: TextRules, vocabulary: Vocabulary, max_chars: int = DEFAULT_MAX_CHARS) -> None:
        self.rules, self.vocabulary, self.max_chars = rules, vocabulary, max_chars

    def encode(self, column: pa.Array | pa.ChunkedArray, clock: Clock | None = None) -> Encoded:
        """Look every token up.

        Args:
            column: A text column of any of Arrow's text types, nulls and broken UTF-8 allowed.
            clock: The calling thread's, if its time is told.

        Returns:
            The ids; a row that is not blank owns at least one, the unknown word if nothing else.

        Raises:
            ColumnTypeError: The column does not hold text.
        """
        if clock:
            clock.enter(TOKENIZE)
        plain = self._plain_tokens(column) if len(column) <= _FEW_ROWS else None
        if plain is not None:
            if clock:
                clock.enter(LOOK_UP)
            words, offsets = self.vocabulary.ids_of(plain[0]), plain[1]
            return Encoded(offsets, words, self._pairs(words, offsets))
        tokens, truncated = tokenize(column, self.rules, self.max_chars)
        if clock:
            clock.enter(LOOK_UP)
        return self.look_up(tokens, truncated)

    def look_up(self, tokens: Tokens, truncated: int = 0) -> Encoded:
        """The ids of tokens that these rules made."""
        words, offsets = self.vocabulary.word_ids(tokens.text), tokens.offsets
        wordless = ((offsets[1:] == offsets[:-1]) & ~tokens.blank).nonzero()[0]
        if len(wordless):
            words = np.insert(words, offsets[wordless], UNKNOWN)
            offsets = offsets + np.searchsorted(wordless, np.arange(len(offsets)))
        return Encoded(offsets, words, self._pairs(words, offsets), truncated)

    def _pairs(self, words: Ids, offsets: npt.NDArray[np.int64]) -> Ids | None:
        return None if self.vocabulary.pairs is None else self.vocabulary.pair_ids(words, offsets)

    @cached_property
    def _plain(self) -> Tokenizer | None:
        return plain_tokenizer(self.rules)

    def _plain_tokens(
        self, column: pa.Array | pa.ChunkedArray
    ) -> tuple[list[str], npt.NDArray[np.int64]] | None:
        """The tokens of a few rows and each row's range of them, if all rows are plain."""
        if self._plain is None or not pa.types.is_string(column.type):
            return None
        try:
            texts = column.to_pylist()
        except UnicodeDecodeError:
            return None
        tokens: list[str] = []
        ends = [0]
        for text in texts:
            if text is not None:
                if len(text) > self.max_chars or not is_plain(text):
                    return None
                tokens += self._plain(text)
            ends.append(len(tokens))
        return tokens, np.array(ends, np.int64)
