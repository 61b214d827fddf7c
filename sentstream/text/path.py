"""The text path: a column of tweets -> token ids. Training and scoring both use it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentstream.profile import LOOK_UP, TOKENIZE, Clock
from sentstream.text.clean import clean
from sentstream.text.cut import cut
from sentstream.text.emoji import find_sequences
from sentstream.text.hashtags import WordModel
from sentstream.text.plain import Tokenizer, is_plain, plain_tokenizer
from sentstream.text.rules import TextRules
from sentstream.text.scan import Tokens, scan, trace
from sentstream.text.vocabulary import PAD, UNKNOWN, Ids, Vocabulary

DEFAULT_MAX_CHARS = 1000
#: Maximum rows and bytes tokenized at once, so that they and all derived arrays stay in a core's cache. If
#: the texts may be long, the first step takes fewer rows, to learn how long they are.
_ROWS_AT_ONCE, _BYTES_AT_ONCE, _FIRST_ROWS = 8192, 2 << 20, 1024
#: Bytes of text per portion of ``TextPath.portions``: more than a batch of tweets has.
_PORTION_BYTES = 4 << 20
#: Maximum number of rows for which plain rows are tokenized one by one.
_FEW_ROWS = 8


@dataclass(frozen=True)
class Encoded:
    """The token ids of some rows, in flat arrays.

    Attributes:
        offsets: ``int64[rows + 1]``; row ``i`` owns the tokens ``offsets[i]:offsets[i + 1]``. Only null,
            empty and whitespace-only rows own none.
        words: ``int32[tokens]``, word ids.
        pairs: ``int32[tokens]``, pair ids; None if the vocabulary has no pairs.
        truncated: Number of rows cut at the character limit.
    """

    offsets: npt.NDArray[np.int64]
    words: Ids
    pairs: Ids | None
    truncated: int = 0

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """``int64[rows]``: number of tokens per row."""
        return self.offsets[1:] - self.offsets[:-1]

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True)
class Piece:
    """A token that a model looks up, and the characters it comes from.

    Attributes:
        token: The token.
        start: Index of its first character in the text, from 0; None if the tokenizer does not report it.
        source: The characters it comes from, such as "&amp;" for "&"; None under the same condition.
    """

    token: str
    start: int | None
    source: str | None


def tokenize(column: pa.Array | pa.ChunkedArray, rules: TextRules, max_chars: int) -> tuple[Tokens, int]:
    """Split a text column into tokens.

    Args:
        column: A text column of any Arrow text type; nulls and invalid UTF-8 are allowed.
        rules: The text rules.
        max_chars: Number of characters to read of each row.

    Returns:
        The tokens, and the number of rows longer than ``max_chars``.

    Raises:
        ColumnTypeError: The column does not hold text.
        MissingExtraError: The rules use NLTK, which is not installed.
    """
    parts = list(_parts(column, rules, max_chars))
    return _concat([part.tokens for part in parts]), sum(part.truncated for part in parts)


@dataclass(frozen=True)
class _Part:
    """The tokens of consecutive rows, the number of rows that were cut, and their size in bytes."""

    tokens: Tokens
    truncated: int
    size: int


def _parts(column: pa.Array | pa.ChunkedArray, rules: TextRules, max_chars: int) -> Iterator[_Part]:
    """``tokenize`` a few rows at a time."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    rows = _ROWS_AT_ONCE if chunks and _are_short(chunks[0].slice(0, _ROWS_AT_ONCE)) else _FIRST_ROWS
    for chunk in chunks:
        start = 0
        while start < len(chunk):
            tidy = clean(chunk.slice(start, rows), max_chars)
            start += rows
            size = tidy.text.nbytes
            yield _Part(_split(tidy.text, rules), tidy.truncated, size)
            rows = max(1, min(_ROWS_AT_ONCE, _BYTES_AT_ONCE * len(tidy.text) // max(1, size)))


def _are_short(column: pa.Array) -> bool:
    """Whether texts are known to be small in total; only if each row's text is stored separately."""
    plain = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return plain and bool(column.nbytes <= _BYTES_AT_ONCE)


def _split(column: pa.StringArray, rules: TextRules) -> Tokens:
    if rules.tokenizer == "nltk":
        from sentstream.text.nltk_tokens import split

        return split(column, rules)
    return cut(column, rules) if rules.cuts else scan(column, rules)


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
    """Converts columns of tweets to token ids, with one set of rules and one vocabulary.

    Args:
        rules: The text rules.
        vocabulary: Words and pairs.
        max_chars: Number of characters to read of each row.
    """

    def __init__(self, rules: TextRules, vocabulary: Vocabulary, max_chars: int = DEFAULT_MAX_CHARS) -> None:
        self.rules, self.vocabulary, self.max_chars = rules, vocabulary, max_chars

    def encode(self, column: pa.Array | pa.ChunkedArray, clock: Clock | None = None) -> Encoded:
        """Tokenize a column and look up every token.

        Args:
            column: A text column of any Arrow text type; nulls and invalid UTF-8 are allowed.
            clock: The calling thread's clock, if its time is measured.

        Returns:
            The ids. A row that is not blank has at least one: without tokens, it gets the unknown word's id
            or padding, according to the rule ``wordless``.

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
        """``encode`` in portions of consecutive rows, so that memory is bounded even for long texts.

        Args:
            column: A text column of any Arrow text type; nulls and invalid UTF-8 are allowed.
            clock: The calling thread's clock, if its time is measured.

        Yields:
            The ids of the next rows; of all rows at once, unless they have more than 4 MiB of text.

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

    def count_truncated(self, column: pa.Array) -> int:
        """Return the number of rows longer than the character limit.

        Args:
            column: A text column, as for ``encode``.

        Raises:
            ColumnTypeError: The column does not hold text.
        """
        return clean(column, self.max_chars).truncated

    def _joined(self, parts: list[_Part], clock: Clock | None) -> Encoded:
        if clock:
            clock.enter(LOOK_UP)
        return self.look_up(_concat([part.tokens for part in parts]), sum(part.truncated for part in parts))

    def look_up(self, tokens: Tokens, truncated: int = 0) -> Encoded:
        """Return the ids of tokens made with these rules."""
        words, offsets = self.fit(*self.ids_of(tokens))
        return Encoded(offsets, words, self._pairs(words, offsets), truncated)

    def count_words(self, ids: Ids) -> tuple[int, int | None]:
        """Return the number of tokens (without padding), and how many of them are unknown.

        The latter is None if the rules drop unknown words.
        """
        unknown = int(np.count_nonzero(ids == UNKNOWN)) if self.rules.unknown == "token" else None
        return int(np.count_nonzero(ids != PAD)), unknown

    def ids_of(self, tokens: Tokens) -> tuple[Ids, npt.NDArray[np.int64]]:
        """Return the ids and row offsets before ``fit`` cuts and pads the rows; see ``look_up``."""
        words, offsets, rules = self.vocabulary.word_ids(tokens.text), tokens.offsets, self.rules
        if rules.version > 2:
            words, offsets = self._replaced(words, offsets, self.substitutes(tokens, words))
        if rules.unknown == "drop":
            known = words != UNKNOWN
            words, offsets = words[known], np.concatenate((np.zeros(1, np.int64), np.cumsum(known)))[offsets]
        wordless = ((offsets[1:] == offsets[:-1]) & ~tokens.blank).nonzero()[0]
        if len(wordless):
            filler = UNKNOWN if rules.wordless == "unknown" else PAD
            words = np.insert(words, offsets[wordless], filler)
            offsets = offsets + np.searchsorted(wordless, np.arange(len(offsets)))
        return words, offsets

    def pieces(self, column: pa.Array) -> list[Piece]:
        """Return the tokens behind the ids that ``ids_of`` gives for one text; empty if it has no tokens.

        Args:
            column: A text column with one row, as for ``encode``.

        Raises:
            ColumnTypeError: The column does not hold text.
            MissingExtraError: The rules use NLTK, which is not installed.
        """
        text = clean(column, self.max_chars).text
        traceable = self.rules.tokenizer == "tweets"
        tokens, origins = trace(text, self.rules) if traceable else (_split(text, self.rules), None)
        words = self.vocabulary.word_ids(tokens.text)
        names, parts = tokens.text.to_pylist(), self.substitutes(tokens, words)
        if origins is None:
            pieces = [Piece(name, None, None) for name in names]
        else:
            source = text[0].as_py().encode()
            pieces, first = [], 0
            for index, (name, end) in enumerate(zip(names, origins.ends.tolist(), strict=True)):
                some, at = parts.get(index, [name]), first
                begins = []
                for part in some:
                    begins.append(int(origins.begins[at]))
                    at += len(part.encode())
                for part, begin, until in zip(some, begins, [*begins[1:], end], strict=True):
                    pieces.append(Piece(part, len(source[:begin].decode()), source[begin:until].decode()))
                first += len(name.encode())
        if self.rules.unknown == "drop":
            known = (self.vocabulary.ids_of([piece.token for piece in pieces]) != UNKNOWN).tolist()
            pieces = [piece for piece, stays in zip(pieces, known, strict=True) if stays]
        return pieces

    def is_unknown(self, tokens: Tokens) -> npt.NDArray[np.bool_]:
        """``bool[tokens]``: tokens that are not in the vocabulary and have no known stand-in either."""
        words = self.vocabulary.word_ids(tokens.text)
        unknown: npt.NDArray[np.bool_] = words == UNKNOWN
        for index, parts in self.substitutes(tokens, words).items():
            unknown[index] = (self.vocabulary.ids_of(parts) == UNKNOWN).all()
        return unknown

    def substitutes(self, tokens: Tokens, words: Ids) -> dict[int, list[str]]:
        """Return what is looked up instead of tokens that the vocabulary lacks.

        For a hashtag that consists of known words, its words; for an emoji sequence, its first emoji.

        Args:
            tokens: Tokens made with these rules.
            words: The id of each token.

        Returns:
            The stand-ins by token index, in ascending order.
        """
        rules, unknown = self.rules, (words == UNKNOWN).nonzero()[0]
        if not len(unknown) or (rules.hashtags == "keep" and rules.emoji == "parts"):
            return {}
        _, bounds, bytes_ = tokens.text.buffers()
        starts = np.frombuffer(bounds, np.int32, len(words) + 1, 4 * tokens.text.offset)
        data = np.frombuffer(bytes_, np.uint8)
        found: dict[int, list[str]] = {}
        if rules.emoji == "sequences":
            positions, sizes = find_sequences(data, starts[unknown], starts[unknown + 1] - starts[unknown])
            for index, size in zip(unknown[positions].tolist(), sizes.tolist(), strict=True):
                found[index] = [data[starts[index] : starts[index] + size].tobytes().decode()]
        if rules.hashtags == "split":
            behind = unknown[unknown > 0]
            ends = starts[behind]
            behind = behind[(ends - starts[behind - 1] == 1) & (data[ends - 1] == ord("#"))]
            rows = np.searchsorted(tokens.offsets, behind, side="right") - 1
            behind = behind[tokens.offsets[rows] < behind]
            for index, word in zip(
                behind.tolist(), tokens.text.take(pa.array(behind)).to_pylist(), strict=True
            ):
                parts = self._word_model.cut(word)
                if len(parts) > 1:
                    found[index] = parts
        return dict(sorted(found.items()))

    @cached_property
    def _word_model(self) -> WordModel:
        return WordModel(self.vocabulary.words)

    def _replaced(
        self, words: Ids, offsets: npt.NDArray[np.int64], parts: dict[int, list[str]]
    ) -> tuple[Ids, npt.NDArray[np.int64]]:
        """Replace the ids of some tokens with the ids of their parts."""
        if not parts:
            return words, offsets
        positions = np.fromiter(parts, np.int64, len(parts))
        sizes = np.array([len(some) for some in parts.values()])
        found = self.vocabulary.ids_of([part for some in parts.values() for part in some])
        firsts = np.cumsum(sizes) - sizes
        words[positions] = found[firsts]
        words = np.insert(words, np.repeat(positions + 1, sizes - 1), np.delete(found, firsts))
        more = np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes - 1)))
        return words, offsets + more[np.searchsorted(positions, offsets)]

    def fit(self, words: Ids, offsets: npt.NDArray[np.int64]) -> tuple[Ids, npt.NDArray[np.int64]]:
        """Cut and pad rows of ids to the rules' length; a row without ids stays empty."""
        rules = self.rules
        if not rules.length:
            return words, offsets
        lengths = offsets[1:] - offsets[:-1]
        kept = np.minimum(lengths, rules.length)
        sources = offsets[:-1] + (lengths - kept if rules.truncating == "pre" else 0)
        sizes = np.where(lengths > 0, rules.length, 0) if rules.padded else kept
        ends = np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes)))
        targets = ends[:-1] + (sizes - kept if rules.padding == "pre" else 0)
        steps = np.arange(kept.sum()) - np.repeat(np.cumsum(kept) - kept, kept)
        fitted = np.full(ends[-1], PAD, np.int32)
        fitted[np.repeat(targets, kept) + steps] = words[np.repeat(sources, kept) + steps]
        return fitted, ends

    def _pairs(self, words: Ids, offsets: npt.NDArray[np.int64]) -> Ids | None:
        return None if self.vocabulary.pairs is None else self.vocabulary.pair_ids(words, offsets)

    @cached_property
    def _plain(self) -> Tokenizer | None:
        return plain_tokenizer(self.rules) if self.rules.leaves_rows else None

    def _plain_tokens(
        self, column: pa.Array | pa.ChunkedArray
    ) -> tuple[list[str], npt.NDArray[np.int64]] | None:
        """The tokens of a few rows and the row offsets, if all rows are plain; otherwise None."""
        if self._plain is None or not pa.types.is_string(column.type):
            return None
        try:
            texts = column.to_pylist()
        except UnicodeDecodeError:
            return None
        tokens: list[str] = []
        ends, splits = [0], self.rules.hashtags == "split"
        for text in texts:
            if text is not None:
                if len(text) > self.max_chars or not is_plain(text) or (splits and "#" in text):
                    return None
                tokens += self._plain(text)
            ends.append(len(tokens))
        return tokens, np.array(ends, np.int64)
