"""The text path: a column of tweets -> token ids. Training and scoring both go through here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentstream.profile import LOOK_UP, TOKENIZE, Clock
from sentstream.text.chunks import cut, parts
from sentstream.text.clean import clean
from sentstream.text.plain import is_plain, plain_tokenizer
from sentstream.text.rules import TextRules
from sentstream.text.scan import Flags, Offsets, Tokens, scan
from sentstream.text.vocabulary import UNKNOWN, Ids, Vocabulary

DEFAULT_MAX_CHARS = 1000
#: Rows scanned at once: their bytes and all that is derived from them stay in a core's cache.
_ROWS_AT_ONCE = 8192
#: The same for chunks, which are shorter.
_CHUNKS_AT_ONCE = 65_536
#: Rows whose chunks are told apart at once, and the fewest for which that pays.
_MOST_ROWS, _FEW_ROWS = 32_768, 2048
#: Rows up to which plain ones are tokenized one by one.
_FEWEST_ROWS = 8
_NONE = np.zeros(0, np.bool_)


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

    @property
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
    found: list[Tokens] = []
    truncated = 0
    for rows in _slices(column, _ROWS_AT_ONCE):
        tidy = clean(rows, max_chars)
        truncated += tidy.truncated
        found.append(_split(tidy.text, rules))
    return _concat(found), truncated


def _slices(column: pa.Array | pa.ChunkedArray, rows: int) -> Iterator[pa.Array]:
    for array in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        for start in range(0, len(array), rows):
            yield array.slice(start, rows)


def _split(column: pa.StringArray, rules: TextRules) -> Tokens:
    if rules.tokenizer == "nltk":
        from sentstream.text.nltk_tokens import split

        return split(column, rules)
    return scan(column, rules)


def _concat(found: list[Tokens]) -> Tokens:
    if len(found) == 1:
        return found[0]
    if not found:
        return Tokens(pa.array([], pa.string()), np.zeros(1, np.int64), np.zeros(0, np.bool_))
    return Tokens(
        pa.concat_arrays([part.text for part in found]),
        _join_offsets([part.offsets for part in found]),
        np.concatenate([part.blank for part in found]),
    )


def _join_offsets(found: list[npt.NDArray[np.int64]]) -> npt.NDArray[np.int64]:
    joined = [np.zeros(1, np.int64)]
    for offsets in found:
        joined.append(offsets[1:] + joined[-1][-1])
    return np.concatenate(joined)


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
        if len(column) >= _FEW_ROWS and self.rules.tokenizer == "tweets":
            return self._encode_chunks(column, clock)
        if len(column) <= _FEWEST_ROWS and (encoded := self._encode_plain(column)):
            return encoded
        tokens, truncated = tokenize(column, self.rules, self.max_chars)
        if clock:
            clock.enter(LOOK_UP)
        return self.look_up(tokens, truncated)

    def look_up(self, tokens: Tokens, truncated: int = 0) -> Encoded:
        """The ids of tokens that these rules made."""
        wordless = (tokens.offsets[1:] == tokens.offsets[:-1]) & ~tokens.blank
        return self._complete(self.vocabulary.word_ids(tokens.text), tokens.offsets, wordless, truncated)

    def _encode_plain(self, column: pa.Array | pa.ChunkedArray) -> Encoded | None:
        """The same ids of a few rows, if all of them are plain."""
        tokenizer = plain_tokenizer(self.rules)
        if tokenizer is None or not pa.types.is_string(column.type):
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
                tokens += tokenizer(text)
            ends.append(len(tokens))
        words, offsets = self.vocabulary.ids_of(tokens), np.array(ends, np.int64)
        return self._complete(words, offsets, _NONE, 0)

    def _encode_chunks(self, column: pa.Array | pa.ChunkedArray, clock: Clock | None) -> Encoded:
        """The same ids by way of the distinct chunks, in two thirds of the time."""
        found: list[tuple[Ids, Offsets, Flags]] = []
        truncated = 0
        for rows in _slices(column, _MOST_ROWS):
            if clock:
                clock.enter(TOKENIZE)
            tidy = clean(rows, self.max_chars)
            truncated += tidy.truncated
            found += [self._words(part, clock) for part in parts(tidy.text)]
        if len(found) == 1:
            return self._complete(*found[0], truncated)
        words, offsets, wordless = (list(kind) for kind in zip(*found, strict=True))
        return self._complete(
            np.concatenate(words), _join_offsets(offsets), np.concatenate(wordless), truncated
        )

    def _words(self, column: pa.StringArray, clock: Clock | None) -> tuple[Ids, Offsets, Flags]:
        """Of valid, capped text: word ids, each row's range of them, and which rows lack the unknown word."""
        if clock:
            clock.enter(TOKENIZE)
        chunks = cut(column, self.rules)
        tokens = _concat([scan(some, self.rules) for some in _slices(chunks.distinct, _CHUNKS_AT_ONCE)])
        if clock:
            clock.enter(LOOK_UP)
        ids = self.vocabulary.word_ids(tokens.text)
        lists = pa.ListArray.from_arrays(pa.array(tokens.offsets.astype(np.int32)), pa.array(ids))
        lists = lists.take(chunks.which)
        offsets = lists.offsets.to_numpy().take(chunks.offsets).astype(np.int64)
        wordless = offsets[1:] == offsets[:-1]
        if wordless.any():  # what is not blank, though nothing of it became a token
            odd = np.append((tokens.offsets[1:] == tokens.offsets[:-1]) & ~tokens.blank, False)
            before = np.append(0, np.cumsum(odd.take(chunks.which.fill_null(len(odd) - 1))))
            wordless &= before[chunks.offsets[1:]] > before[chunks.offsets[:-1]]
        return lists.values.to_numpy(), offsets, wordless

    def _complete(self, words: Ids, offsets: Offsets, wordless: Flags, truncated: int) -> Encoded:
        """Words that are known, and rows without one that are not blank -> all ids."""
        at = wordless.nonzero()[0]
        if len(at):
            words = np.insert(words, offsets[at], UNKNOWN)
            offsets = offsets + np.searchsorted(at, np.arange(len(offsets)))
        pairs = self.vocabulary.pair_ids(words, offsets) if self.vocabulary.pairs is not None else None
        return Encoded(offsets, words, pairs, truncated)
