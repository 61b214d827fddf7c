"""The figures of an inspection, JSON-ready: lengths, vocabulary coverage, repeats, users."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentstream.analyze.keys import Keys
from sentstream.analyze.word_counts import Ints
from sentstream.text.vocabulary import SPECIAL

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
_HISTOGRAM_BINS = 40
_MOST_FREQUENT = 20


def share_of(part: int | np.integer[Any], whole: int | np.integer[Any]) -> float:
    """``part / whole``, rounded to 6 digits; 0 if ``whole`` is 0."""
    return round(int(part) / int(whole), 6) if whole else 0.0


def describe_lengths(lengths: Ints) -> dict[str, Any]:
    """Percentiles, mean, and a histogram whose last bin has all longer rows.

    Args:
        lengths: ``int64[rows]``.
    """
    if not len(lengths):
        return {"rows": 0}
    percentiles = np.percentile(lengths, PERCENTILES, method="inverted_cdf")
    # A few very long rows would squeeze all others to the left.
    top = max(1, int(percentiles[-1]))
    width = -(-(top + 1) // _HISTOGRAM_BINS)
    bins = np.bincount(np.minimum(lengths // width, top // width))
    return {
        "rows": len(lengths),
        "mean": round(float(lengths.mean()), 3),
        "min": int(lengths.min()),
        **{f"p{percent}": int(value) for percent, value in zip(PERCENTILES, percentiles, strict=True)},
        "max": int(lengths.max()),
        "histogram": {"bin_width": width, "rows": bins.tolist()},
    }


def cover_vocabulary(words: pa.Array, counts: Ints, sizes: Sequence[int]) -> dict[str, Any]:
    """How much of the text each vocabulary size covers.

    Args:
        words: ``string[words]``, distinct.
        counts: ``int64[words]``, how often each occurs.
        sizes: Vocabulary sizes, including the special tokens.
    """
    order = np.sort(counts)[::-1]
    running = np.concatenate((np.zeros(1, np.int64), np.cumsum(order)))
    total = int(running[-1])
    coverage = []
    for size in sorted(set(sizes)):
        known = min(max(0, size - len(SPECIAL)), len(order))
        coverage.append(
            {
                "size": size,
                "tokens": share_of(running[known], total),
                "types": share_of(known, len(order)),
                "rarest_count": int(order[known - 1]) if known else 0,
            }
        )
        if known == len(order):
            break  # a larger vocabulary would contain the same words
    top = np.argsort(-counts, kind="stable")[:_MOST_FREQUENT]
    return {
        "tokens": total,
        "types": len(words),
        "types_seen_once": int((counts == 1).sum()),
        "coverage": coverage,
        "most_frequent": [
            {"word": words[index].as_py(), "share": share_of(counts[index], total)} for index in top.tolist()
        ],
    }


def describe_repeats(keys: Keys, settled: Keys, labels: npt.NDArray[np.int32]) -> dict[str, int]:
    """Count repeats among rows.

    Args:
        keys: ``uint64[rows]``, equal for rows with the same text.
        settled: ``uint64[rows]``, equal for rows with the same text that should also have the same label.
        labels: ``int32[rows]``.

    Returns:
        ``texts``: distinct texts that occur more than once; ``rows``: rows beyond the first of each;
        ``conflicting_texts``: texts with more than one label; ``conflicting_rows``: all rows of those.
    """
    _, sizes = np.unique(keys, return_counts=True)
    _, text, repeated = np.unique(settled, return_inverse=True, return_counts=True)
    least, most = (np.full(len(repeated), fill, np.int32) for fill in (np.iinfo(np.int32).max, -1))
    np.minimum.at(least, text, labels)
    np.maximum.at(most, text, labels)
    return {
        "texts": int((sizes > 1).sum()),
        "rows": len(keys) - len(sizes),
        "conflicting_texts": int((least < most).sum()),
        "conflicting_rows": int(repeated[least < most].sum()),
    }


def describe_users(users: pa.Array | None) -> dict[str, Any] | None:
    """How the rows are distributed over users; None without a user column."""
    if users is None:
        return None
    known = users.drop_null()
    counts = pc.value_counts(known).field("counts").to_numpy()
    return {
        "users": len(counts),
        "rows_with_a_user": share_of(len(known), len(users)),
        "most_rows_of_one": int(counts.max(initial=0)),
        "users_with_one_row": int((counts == 1).sum()),
    }
