"""64-bit keys of rows: equal rows get equal keys, so that repeats are found without comparing texts."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentstream.text import LINK, MENTION, Tokens
from sentstream.text.clean import buffers_of

Keys: TypeAlias = npt.NDArray[np.uint64]

#: 2**64 over the golden ratio, whose multiples lie far apart (splitmix64's increment).
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(values: Keys) -> Keys:
    """The finalizer of splitmix64 (Steele et al. 2014): near values come out far apart."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def text_keys(text: pa.Array) -> Keys:
    """``uint64[rows]``: a key of each row's bytes.

    Args:
        text: ``string`` or ``large_string`` without nulls.
    """
    data, offsets = buffers_of(text)
    return _span_keys(data.astype(np.uint64), offsets)


def token_keys(tokens: Tokens) -> Keys:
    """``uint64[rows]``: a key of each row's tokens in their order, the same in any portion of the data."""
    encoded = tokens.text.dictionary_encode()
    return _span_keys(text_keys(encoded.dictionary)[encoded.indices.to_numpy()], tokens.offsets)


def word_keys(tokens: Tokens) -> Keys:
    """``uint64[rows]``: a key of each row's words in their order; mentions, links and symbols do not count.

    So a text that was quoted, cut out of a CSV carelessly or sent to somebody else is the same text.
    """
    encoded = tokens.text.dictionary_encode()
    masks = pc.is_in(encoded.dictionary, value_set=pa.array([MENTION, LINK]))
    words = pc.and_not(pc.match_substring_regex(encoded.dictionary, r"[\pL\pN]"), masks)
    kept = words.to_numpy(zero_copy_only=False)[encoded.indices.to_numpy()]
    running = np.concatenate((np.zeros(1, np.int64), np.cumsum(kept)))
    return token_keys(Tokens(tokens.text.filter(pa.array(kept)), running[tokens.offsets], tokens.blank))


def _span_keys(values: Keys, offsets: npt.NDArray[np.int64]) -> Keys:
    """A key of each span of values: each value is mixed with its place in the span, the results added.

    Two different spans share a key with probability 2**-64.
    """
    lengths = np.diff(offsets)
    place = np.arange(len(values), dtype=np.uint64) - np.repeat(offsets[:-1], lengths).astype(np.uint64)
    mixed = mix(values + (place + np.uint64(1)) * _GOLDEN)
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(mixed, dtype=np.uint64)))
    keys: Keys = sums[offsets[1:]] - sums[offsets[:-1]]
    return keys
