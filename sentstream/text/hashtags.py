"""Hashtags -> words: "#BestDayEver" by its capitals, "#bestdayever" by the words in a vocabulary."""

from __future__ import annotations

from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Bytes: TypeAlias = npt.NDArray[np.uint8]
Offsets: TypeAlias = npt.NDArray[np.int64]

_END, _LOWER, _UPPER, _DIGIT, _SCORE, _OTHER = range(6)


def _kinds() -> Bytes:
    table = np.full(256, _END, np.uint8)
    table[0x80:] = _OTHER
    for kind, first, last in ((_LOWER, "a", "z"), (_UPPER, "A", "Z"), (_DIGIT, "0", "9"), (_SCORE, "_", "_")):
        table[ord(first) : ord(last) + 1] = kind
    return table


_KINDS = _kinds()
#: Bytes of a hashtag that are examined at once, and the number of hashtags up to which this is done.
_WINDOW, _FEW = 48, 8192
#: Bytes after which a "#" does not begin a hashtag: it is part of a word, an entity or a path.
_NOT_AFTER = (_KINDS != _END) & (_KINDS != _OTHER)
_NOT_AFTER[[ord("&"), ord("/")]] = True


def find_breaks(data: Bytes, offsets: Offsets) -> tuple[Offsets, Offsets]:
    """Find where to cut hashtags, by their capitals, numbers and underscores.

    A word begins at a capital after a lowercase letter, at the last of several capitals if a lowercase letter
    other than a plural s follows, and where letters and a number of two or more digits meet:
    "#NBAFinals2016" is "NBA", "Finals" and "2016", but "#gr8", "#iPhone" and "#DVDs" stay whole.

    Args:
        data: Valid UTF-8, before lowercasing.
        offsets: ``int64[rows + 1]``, the start of each row.

    Returns:
        The bytes at which words begin, and the underscores, both in order.
    """
    hashes = (data == ord("#")).nonzero()[0]
    none = np.zeros(0, np.int64)
    if not len(hashes):
        return none, none
    rows = np.searchsorted(offsets, hashes, side="right")
    inside = hashes > offsets[rows - 1]
    hashes = hashes[~(inside & _NOT_AFTER[data[hashes - 1]])]
    sizes = _sizes(data, hashes + 1)
    sizes = np.minimum(sizes, offsets[np.searchsorted(offsets, hashes, side="right")] - hashes - 1)
    before = np.cumsum(sizes) - sizes
    positions = np.repeat(hashes + 1 - before, sizes) + np.arange(sizes.sum())
    if not len(positions):
        return none, none
    # The class of each hashtag byte and of its neighbors; outside the hashtag, _END.
    kind = _KINDS[data[positions]]
    first = np.zeros(len(positions), np.bool_)
    first[before[sizes > 0]] = True
    last = np.append(first[1:], True)
    one = np.where(first, _END, np.append(_END, kind[:-1]))  # before it
    two = np.where(
        first | np.append(True, first[:-1]), _END, np.append([_END, _END], kind[:-2])[: len(positions)]
    )
    next_ = np.where(last, _END, np.append(kind[1:], _END))
    next_two = np.where(
        last | np.append(last[1:], True), _END, np.append(kind[2:], [_END, _END])[: len(positions)]
    )
    lone = np.append(True, first[:-1]) & ~first  # the second byte of a hashtag
    plural = (_byte(data, positions + 1) == ord("s")) & (next_two != _LOWER)
    begins = (kind == _UPPER) & (one == _LOWER) & ~lone
    begins |= (kind == _UPPER) & (one == _UPPER) & (next_ == _LOWER) & ~plural
    letter, letter_before = (kind == _LOWER) | (kind == _UPPER), (one == _LOWER) | (one == _UPPER)
    begins |= (kind == _DIGIT) & letter_before & (next_ == _DIGIT)
    begins |= letter & (one == _DIGIT) & (two == _DIGIT)
    return positions[begins], positions[kind == _SCORE]


def _sizes(data: Bytes, starts: Offsets) -> Offsets:
    """The number of word bytes from each start on."""
    sizes, left = np.zeros(len(starts), np.int64), np.arange(len(starts))
    if len(starts) <= _FEW:
        window = starts[:, None] + np.arange(_WINDOW)
        over = (window >= len(data)) | (_KINDS[data[np.minimum(window, len(data) - 1)]] == _END)
        sizes[:] = over.argmax(axis=1)
        left = (~over.any(axis=1)).nonzero()[0]
    if len(left):
        gaps = np.append((_KINDS[data] == _END).nonzero()[0], len(data))
        sizes[left] = gaps[np.searchsorted(gaps, starts[left])] - starts[left]
    return sizes


def _byte(data: Bytes, positions: Offsets) -> Bytes:
    return data[np.minimum(positions, len(data) - 1)]


class WordModel:
    """Splits an unknown word into known words.

    A word's frequency is estimated from its rank in the vocabulary (Zipf's law), which lists the most
    frequent words first. The best split is the most probable one, assuming independent words, and must be
    more probable than a single unknown word (Norvig 2009, "Natural Language Corpus Data"). All arithmetic
    uses integers, so that the same vocabulary gives the same splits on every machine.

    Args:
        words: All tokens of a vocabulary; a word's rank is its index.
    """

    #: Costs are in 1/256 bit. A word of rank r costs log2(r) + log2(sum of 1/r over about 50,000 words).
    _EVERY_WORD = 256 * 7 // 2
    #: Cost of an unknown word, and of each of its letters. These keep names and foreign words whole.
    _UNKNOWN, _UNKNOWN_LETTER = 256 * 14, 256 * 5 // 2
    _SHORTEST, _LONGEST = 4, 40
    _BEGUN = 4
    _REMEMBERED = 65_536

    def __init__(self, words: pa.StringArray) -> None:
        self._words = words
        self._cuts: dict[str, list[str]] = {}

    @cached_property
    def _costs(self) -> dict[str, int]:
        words = self._words.to_pylist()
        costs = (log2(np.arange(1, len(words) + 1)) + self._EVERY_WORD).tolist()
        return {
            word: cost
            for word, cost in zip(words, costs, strict=True)
            if word.isascii() and word.isalpha() and (len(word) > 1 or word in "aiAI")
        }

    @cached_property
    def _longest(self) -> dict[str, int]:
        """The length of the longest word for each prefix of ``_BEGUN`` letters."""
        longest: dict[str, int] = {}
        for word in self._costs:
            if len(word) >= self._BEGUN:
                begun = word[: self._BEGUN]
                longest[begun] = max(len(word), longest.get(begun, 0))
        return longest

    def cut(self, word: str) -> list[str]:
        """Return the words it consists of; the word itself if it does not consist of known words.

        >>> WordModel(pa.array(["<pad>", "<unk>", "day", "best"])).cut("bestday")
        ['best', 'day']
        """
        cut = self._cuts.get(word)
        if cut is None:
            if len(self._cuts) >= self._REMEMBERED:
                self._cuts.clear()
            cut = self._cuts[word] = self._cut(word)
        return cut

    def _cut(self, word: str) -> list[str]:
        size = len(word)
        if not (self._SHORTEST <= size <= self._LONGEST and word.isascii() and word.isalpha()):
            return [word]
        costs, longest = self._costs, self._longest
        beyond = self._UNKNOWN + self._UNKNOWN_LETTER * size
        best, begins = [0] + [beyond] * size, [0] * (size + 1)
        for begin in range(size):
            so_far = best[begin]
            if so_far == beyond:
                continue  # no known words end here
            limit = longest.get(word[begin : begin + self._BEGUN], self._BEGUN - 1)
            for end in range(begin + 1, min(begin + limit, size) + 1):
                cost = costs.get(word[begin:end])
                if cost is not None and so_far + cost < best[end]:
                    best[end], begins[end] = so_far + cost, begin
        if best[size] >= beyond:
            return [word]
        parts, end = [], size
        while end:
            parts.append(word[begins[end] : end])
            end = begins[end]
        return parts[::-1]


def log2(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """256 times the binary logarithm of numbers from 1 to 2**30, rounded down, in integer arithmetic.

    >>> log2(np.array([1, 2, 3])).tolist()
    [0, 256, 405]
    """
    whole = np.frexp(numbers.astype(np.float64))[1].astype(np.int64) - 1
    mantissa, fraction = numbers << (30 - whole), np.zeros_like(numbers)
    for _ in range(8):
        mantissa = mantissa * mantissa >> 30
        over = mantissa >> 31
        fraction = fraction << 1 | over
        mantissa >>= over
    return whole << 8 | fraction
