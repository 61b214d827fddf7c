"""Hashtags -> words: "#BestDayEver" by its capitals, "#bestdayever" by the words that a model knows."""

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
#: Bytes of a hashtag that are looked at together, as long as hashtags are few.
_WINDOW, _FEW = 48, 8192
#: What a "#" that begins a hashtag doesn't follow: a part of a word, of an entity, of a path.
_NOT_AFTER = (_KINDS != _END) & (_KINDS != _OTHER)
_NOT_AFTER[[ord("&"), ord("/")]] = True


def find_breaks(data: Bytes, offsets: Offsets) -> tuple[Offsets, Offsets]:
    """Where hashtags are cut, by their capitals, numbers and underscores.

    A word begins at a capital after a small letter, at the last of several capitals if a small letter
    follows, other than a plural's s, and where letters and a number of two digits or more meet:
    "#NBAFinals2016" is "NBA", "Finals" and "2016", but "#gr8", "#iPhone" and "#DVDs" stay whole.

    Args:
        data: Valid UTF-8, capitals as they were written.
        offsets: ``int64[rows + 1]``, where each row begins.

    Returns:
        The bytes at which a word begins, and the underscores, both in their order.
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
    at = np.repeat(hashes + 1 - before, sizes) + np.arange(sizes.sum())
    if not len(at):
        return none, none
    # Each hashtag's bytes, with nothing in front of its first and behind its last.
    kind = _KINDS[data[at]]
    first = np.zeros(len(at), np.bool_)
    first[before[sizes > 0]] = True
    last = np.append(first[1:], True)
    one = np.where(first, _END, np.append(_END, kind[:-1]))  # before it
    two = np.where(first | np.append(True, first[:-1]), _END, np.append([_END, _END], kind[:-2])[: len(at)])
    next_ = np.where(last, _END, np.append(kind[1:], _END))
    next_two = np.where(last | np.append(last[1:], True), _END, np.append(kind[2:], [_END, _END])[: len(at)])
    lone = np.append(True, first[:-1]) & ~first  # behind the hashtag's only letter so far
    plural = (_byte(data, at + 1) == ord("s")) & (next_two != _LOWER)
    begins = (kind == _UPPER) & (one == _LOWER) & ~lone
    begins |= (kind == _UPPER) & (one == _UPPER) & (next_ == _LOWER) & ~plural
    letter, letter_before = (kind == _LOWER) | (kind == _UPPER), (one == _LOWER) | (one == _UPPER)
    begins |= (kind == _DIGIT) & letter_before & (next_ == _DIGIT)
    begins |= letter & (one == _DIGIT) & (two == _DIGIT)
    return at[begins], at[kind == _SCORE]


def _sizes(data: Bytes, starts: Offsets) -> Offsets:
    """How many bytes from each place on are parts of a word."""
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


def _byte(data: Bytes, at: Offsets) -> Bytes:
    return data[np.minimum(at, len(data) - 1)]


class WordModel:
    """Which words an unknown one is made of.

    Words are as frequent as their rank in the vocabulary, which lists the most frequent first, makes them
    (Zipf's law). The best way to cut is the most probable one, words being independent, and has to be more
    probable than that the whole is one word that nobody knows (Norvig 2009, "Natural Language Corpus Data").
    All of it are integers, so that the same vocabulary cuts alike on every machine.

    Args:
        words: All tokens of a vocabulary; a word's rank is its index.
    """

    #: Of 1/256 bit. A word of rank r costs log2(r) and the logarithm of the sum of all 1/r of some 50,000.
    _EVERY_WORD = 256 * 7 // 2
    #: What an unknown one costs, and each of its letters more: names and foreign words stay whole so.
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
        """The letters of the longest word that begins with the same few."""
        longest: dict[str, int] = {}
        for word in self._costs:
            if len(word) >= self._BEGUN:
                begun = word[: self._BEGUN]
                longest[begun] = max(len(word), longest.get(begun, 0))
        return longest

    def cut(self, word: str) -> list[str]:
        """The words that it is made of; itself, where it is not made of known ones.

        >>> WordModel(pa.array(["<pad>", "<unk>", "day", "best"])).cut("bestday")
        ['best', 'day']
        """
        found = self._cuts.get(word)
        if found is None:
            if len(self._cuts) >= self._REMEMBERED:
                self._cuts.clear()
            found = self._cuts[word] = self._cut(word)
        return found

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
                continue  # no words end here
            most = longest.get(word[begin : begin + self._BEGUN], self._BEGUN - 1)
            for end in range(begin + 1, min(begin + most, size) + 1):
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
    """256 times the binary logarithm of numbers from 1 to 2**30, rounded down, by integers alone.

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
