"""The text path: a column of tweets -> token ids. Training and scoring both go through here."""

from __future__ import annotations

from collections.abc import Iterator
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
#: Rows scanned at once: their bytes and all that is derived from them stay in a core's cache. Of long texts
#: as many as have so many bytes; how long they are is known after the first few.
_ROWS_AT_ONCE, _BYTES_AT_ONCE, _FIRST_ROWS = 8192, 2 << 20, 1024
#: Bytes of text whose ids ``TextPath.portions`` holds together: more than a batch of tweets has.
_PORTION_BYTES = 4 << 20
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
    parts = list(_parts(column, rules, max_chars))
    return _concat([part.tokens for part in parts]), sum(part.truncated for part in parts)


@dataclass(frozen=True)
class _Part:
    """The tokens of consecutive rows, how many of these were cut, and the bytes that they had."""

    tokens: Tokens
    truncated: int
    size: int


def _parts(column: pa.Array | pa.ChunkedArray, rules: TextRules, max_chars: int) -> Iterator[_Part]:
    """``tokenize`` a few rows at a time."""
    rows = _FIRST_ROWS
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        start = 0
        while start < len(chunk):
            tidy = clean(chunk.slice(start, rows), max_chars)
            start += rows
            size = tidy.text.nbytes
            yield _Part(_split(tidy.text, rules), tidy.truncated, size)
            rows = max(1, min(_ROWS_AT_ONCE, _BYTES_AT_ONCE * len(tidy.text) // max(1, size)))


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

    def portions(self, column: pa.Array | pa.ChunkedArray, clock: Clock | None = None) -> Iterator[Encoded]:
        """``encode`` in portions of consecutive rows, so that memory stays bounded however long texts are.

        Args:
            column: A text column of any of Arrow's text types, nulls and broken UTF-8 allowed.
            clock: The calling thread's, if its time is told.

        Yields:
            The ids of the next rows: of all at once, unless they have more than 4 MiB of text.

        Raises:
            ColumnTypeError: The column does not hold text.
        """
        if len(column) <= _FIRST_ROWS:
            yield self.encode(column, clock)
            return
        waiting: list[_Part] = []
        if clock:
            clock.enter(TOKENIZE)
        for part in _parts(column, self.rules, self.max_chars):
            if waiting and sum(one.size for one in waiting) + part.size > _PORTION_BYTES:
                yield self._joined(waiting, clock)
                waiting = []
                if clock:
                    clock.enter(TOKENIZE)
            waiting.append(part)
        yield self._joined(waiting, clock)

    def _joined(self, parts: list[_Part], clock: Clock | None) -> Encoded:
        if clock:
            clock.enter(LOOK_UP)
        return self.look_up(_concat([part.tokens for part in parts]), sum(part.truncated for part in parts))

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
