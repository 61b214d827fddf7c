"""64-bit keys of texts: equal texts have equal keys, so repeats are found without comparing texts."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from sentstream.text.clean import buffers_of

Keys: TypeAlias = npt.NDArray[np.uint64]

_ROWS_AT_ONCE = 32_768
#: 2**64 divided by the golden ratio, whose multiples are well spread (splitmix64's increment).
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(values: Keys) -> Keys:
    """The finalizer of splitmix64 (Steele et al. 2014), which spreads similar values."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def text_keys(text: pa.Array) -> Keys:
    """``uint64[rows]``: a key of each row's bytes.

    Args:
        text: ``string`` or ``large_string`` without nulls.
    """
    keys = np.zeros(len(text), np.uint64)
    for start in range(0, len(text), _ROWS_AT_ONCE):  # needs eight bytes per byte of text
        data, offsets = buffers_of(text.slice(start, _ROWS_AT_ONCE))
        keys[start : start + _ROWS_AT_ONCE] = span_keys(data.astype(np.uint64), offsets)
    return keys


def rough_keys(text: pa.Array) -> Keys:
    """``uint64[rows]``: a key of each row's length and its first, middle and last eight bytes.

    Equal texts have equal keys; so do texts that differ only in other bytes. The cost does not depend on the
    length; it is a hundredth of that of ``text_keys``. Suitable for sampling texts.

    Args:
        text: ``string`` or ``large_string`` without nulls.
    """
    data, offsets = buffers_of(text)
    lengths = np.diff(offsets)
    padded = np.concatenate((data, np.zeros(8, np.uint8)))
    # The eight bytes from every position of the buffer on, without a copy; the byte order does not matter.
    windows = np.ndarray((len(padded) - 7,), np.uint64, padded, strides=(1,))
    keys = mix(lengths.astype(np.uint64) + _GOLDEN)
    for starts in (offsets[:-1], offsets[:-1] + np.maximum(0, lengths - 8) // 2, offsets[1:] - 8):
        chosen = windows[np.clip(starts, offsets[:-1], len(windows) - 1)]
        # For a text of fewer than eight bytes, use only its own bytes.
        bits = (np.uint64(64) - np.uint64(8) * np.minimum(lengths, 8).astype(np.uint64)) % np.uint64(64)
        chosen = np.where(lengths > 0, (chosen << bits) >> bits, 0)
        keys = mix(keys ^ chosen) + _GOLDEN
    return keys


def span_keys(values: Keys, offsets: npt.NDArray[np.int64]) -> Keys:
    """A key of each span of values: the sum of the values, each mixed with its position in the span.

    Two different spans have the same key with probability 2**-64.
    """
    lengths = np.diff(offsets)
    index = np.arange(len(values), dtype=np.uint64) - np.repeat(offsets[:-1], lengths).astype(np.uint64)
    mixed = mix(values + (index + np.uint64(1)) * _GOLDEN)
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(mixed, dtype=np.uint64)))
    keys: Keys = sums[offsets[1:]] - sums[offsets[:-1]]
    return keys
