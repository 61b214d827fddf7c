"""Tokens -> ids, for words and for frequent pairs of adjacent words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from io import BytesIO
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sentstream.errors import BundleSchemaError
from sentstream.text.key_table import KeyTable
from sentstream.text.word_table import WordTable

Ids: TypeAlias = npt.NDArray[np.int32]

PAD, UNKNOWN = 0, 1
SPECIAL = ("<pad>", "<unk>")
#: Number of tokens up to which a Python dict is fastest, and from which Arrow is: it builds its hash table in
#: every call (milliseconds).
_SMALL, _LARGE = 2048, 131_072
#: Pairs looked up at once: the intermediate arrays stay in a core's cache.
_BLOCK = 65_536
#: Below this number, looking up pairs is faster in Python than in NumPy.
_FEW_WORDS = 48
_ESCAPE = re.compile(r"\\(.?)")
_ESCAPED = {"\\": "\\", "n": "\n"}


class Vocabulary:
    """The words and word pairs that a model knows.

    Args:
        words: All tokens; an id is an index. ``<pad>`` and ``<unk>`` come first.
        pairs: ``int32[n, 2]`` of (previous word id, word id); a pair's id is its row plus one, and
            0 is "not a known pair". The previous id of a row's first word is 0. None: no pairs.
        escaped: Whether tokens may contain a line feed, as with the tokenizers ``split`` and ``characters``.
            If so, ``vocabulary.txt`` has a backslash as ``\\\\`` and a line feed as ``\\n``.

    Raises:
        BundleSchemaError: A word repeats, the first two are not the special ones, a pair refers to a word
            that does not exist, or a pair repeats.
    """

    def __init__(
        self,
        words: pa.StringArray | Sequence[str],
        pairs: npt.NDArray[np.int32] | None = None,
        *,
        escaped: bool = False,
    ) -> None:
        self.escaped = escaped
        self.words: pa.StringArray = words if isinstance(words, pa.Array) else pa.array(words, pa.string())
        if self.words[: len(SPECIAL)].to_pylist() != list(SPECIAL):
            raise BundleSchemaError(f"a vocabulary must begin with {' and '.join(SPECIAL)}")
        if self.words.null_count or len(pc.unique(self.words)) != len(self.words):
            raise BundleSchemaError("the vocabulary repeats a word")
        self.pairs: npt.NDArray[np.int32] | None = None
        if pairs is not None:
            self._set_pairs(np.ascontiguousarray(pairs, np.int32))

    def _set_pairs(self, pairs: npt.NDArray[np.int32]) -> None:
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise BundleSchemaError("word pairs are not two columns")
        if len(pairs) and (pairs.min() < 0 or pairs.max() >= len(self.words)):
            raise BundleSchemaError("a word pair refers to a word that is not in the vocabulary")
        self._places = KeyTable(self._keys(pairs[:, 0], pairs[:, 1]))
        self.pairs = pairs

    def __len__(self) -> int:
        return len(self.words)

    @property
    def pair_count(self) -> int:
        """Number of known pairs, not counting "no pair" (id 0)."""
        return 0 if self.pairs is None else len(self.pairs)

    @cached_property
    def _table(self) -> WordTable:
        return WordTable(self.words)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: index for index, word in enumerate(self.words.to_pylist())}

    def _keys(self, previous: Ids, current: Ids) -> npt.NDArray[np.int64]:
        return previous.astype(np.int64) * len(self.words) + current

    def word_ids(self, tokens: pa.StringArray) -> Ids:
        """``int32[tokens]``: the id of each token, 1 if it is unknown."""
        if len(tokens) < _SMALL:
            return self.ids_of(tokens.to_pylist())
        if len(tokens) < _LARGE:
            return np.maximum(self._table.find(tokens), UNKNOWN)
        found = pc.index_in(tokens, value_set=self.words)
        ids: Ids = found.fill_null(UNKNOWN).to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
        return np.maximum(ids, UNKNOWN)  # a token "<pad>" is unknown, not padding

    def ids_of(self, tokens: Sequence[str]) -> Ids:
        """``int32[tokens]``: the id of each Python string, 1 if it is unknown."""
        get = self._ids.get
        return np.array([get(token, UNKNOWN) or UNKNOWN for token in tokens], np.int32)

    def pair_ids(self, words: Ids, offsets: npt.NDArray[np.int64]) -> Ids:
        """``int32[tokens]``: the id of each word's pair with the previous word, 0 if it is not known."""
        if self.pairs is None:
            raise ValueError("this vocabulary has no pairs")
        if not len(words) or not len(self.pairs):
            return np.zeros(len(words), np.int32)
        if len(words) < _FEW_WORDS:
            return self._pairs_of_few(words, offsets)
        ids = np.empty(len(words), np.int32)
        before = previous_words(words, offsets)
        for start in range(0, len(words), _BLOCK):
            some = slice(start, start + _BLOCK)
            ids[some] = self._places.find(self._keys(before[some], words[some]))
        return ids

    def _pairs_of_few(self, words: Ids, offsets: npt.NDArray[np.int64]) -> Ids:
        """``pair_ids`` for a few words, in Python: faster than a dozen NumPy calls."""
        current, count = words.tolist(), len(self.words)
        previous = [PAD, *current]
        for first in offsets[1:].tolist():
            previous[first] = PAD
        keys = [before * count + word for before, word in zip(previous, current, strict=False)]
        return np.array(self._places.find_few(keys), np.int32)

    def words_bytes(self) -> bytes:
        """``vocabulary.txt``: UTF-8, one token per line; the line number, from 0, is the id."""
        words = self.words
        if self.escaped:
            words = pc.replace_substring(pc.replace_substring(words, "\\", r"\\"), "\n", r"\n")
        return ("\n".join(words.to_pylist()) + "\n").encode()

    def pairs_bytes(self) -> bytes | None:
        """``pairs.parquet``: the columns ``previous`` and ``current``; None without pairs."""
        if self.pairs is None:
            return None
        table = pa.table({"previous": self.pairs[:, 0].copy(), "current": self.pairs[:, 1].copy()})
        sink = BytesIO()
        pq.write_table(table, sink, compression="zstd", use_dictionary=False, write_page_checksum=True)
        return sink.getvalue()

    @classmethod
    def load(cls, words: bytes, pairs: bytes | None = None, *, escaped: bool = False) -> Vocabulary:
        """The inverse of ``words_bytes`` and ``pairs_bytes``.

        Raises:
            BundleSchemaError: The data is not UTF-8, not Parquet, or not a vocabulary.
        """
        try:
            text = words.decode().removesuffix("\n")
        except UnicodeDecodeError as error:
            raise BundleSchemaError(f"the vocabulary is not UTF-8: {error}") from error
        lines = pc.split_pattern(pa.scalar(text, pa.string()), "\n").values
        if escaped and "\\" in text:
            lines = pa.array([_ESCAPE.sub(_unescape, line) for line in lines.to_pylist()], pa.string())
        return cls(lines, None if pairs is None else _read_pairs(pairs), escaped=escaped)


def _unescape(match: re.Match[str]) -> str:
    try:
        return _ESCAPED[match[1]]
    except KeyError:
        raise BundleSchemaError(
            f"the vocabulary contains {match[0]!r}, which is not a valid escape"
        ) from None


def _read_pairs(data: bytes) -> npt.NDArray[np.int32]:
    try:
        # Not read_table: its threads sometimes abort a process that ends soon afterwards.
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            table = file.read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise BundleSchemaError(f"the word pairs cannot be read: {error}") from error
    if table.column_names != ["previous", "current"] or any(column.null_count for column in table.columns):
        raise BundleSchemaError("the word pairs are not the columns previous and current")
    if any(not pa.types.is_int32(field.type) for field in table.schema):
        raise BundleSchemaError("the word pairs are not int32")
    return np.stack([column.to_numpy() for column in table.columns], axis=1)


def previous_words(words: Ids, offsets: npt.NDArray[np.int64]) -> Ids:
    """``int32[tokens]``: the id of the previous word in the same row; 0 for a row's first word."""
    before = np.zeros_like(words)
    before[1:] = words[:-1]
    firsts = offsets[:-1]
    before[firsts[firsts < len(words)]] = PAD
    return before
