"""Tweets as the encoder reads them, those that may be used for training, and macro-recall."""

from __future__ import annotations

import html
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from sentstream_train.data.same_text import NO_TEXT, repeats_of, same_text

LABELS = ("negative", "neutral", "positive")
#: Evaluation sets, labeled by people: no text that repeats one of theirs is used for training.
WITHHELD = ("semeval/validation.parquet", "sentiment140/test.parquet", "kaggle_tse/train.parquet")

Rows = npt.NDArray[np.int64]
Shares = npt.NDArray[np.float32]

_LINK = re.compile(r"https?://\S+|www\.\S+", re.IGNORECASE)
_MENTION = re.compile(r"(?<!\w)@\w+|<user>", re.IGNORECASE)
_HASHTAG = re.compile(r"#\w+")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


def plain(text: str) -> str:
    """Return a tweet in words that the encoder knows.

    Mentions and links are masked, emoji are replaced by their names, #BestDayEver is three words.

    >>> plain("@you #BestDayEver 😍 &amp;amp; more: https://t.co/x")
    '@user # Best Day Ever smiling face with heart-shaped eyes & more: http'
    """
    text = unicodedata.normalize("NFKC", html.unescape(html.unescape(text)))
    text = _LINK.sub("http", _MENTION.sub("@user", text))
    text = _HASHTAG.sub(lambda match: "# " + _HUMP.sub(" ", match[0][1:]), text)
    return " ".join("".join(map(_spelled, text)).split())


@cache
def _spelled(character: str) -> str:
    if character < "\u2000" or unicodedata.category(character) != "So":
        return character
    return f" {unicodedata.name(character, '').lower()} "


def read(path: Path, *columns: str) -> pa.Table:
    """Read some columns of a Parquet file."""
    with pq.ParquetFile(path) as file:
        return file.read(columns=list(columns))


def write_table(table: pa.Table, path: Path) -> None:
    """Write a Parquet file, atomically; the column ``row``, if there, as differences."""
    temporary = path.with_suffix(".new")
    pq.write_table(
        table,
        temporary,
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name in table.column_names if name != "row"],
        column_encoding={name: "DELTA_BINARY_PACKED" for name in table.column_names if name == "row"},
    )
    os.replace(temporary, path)


def labeled(path: Path) -> tuple[list[str], Rows]:
    """Read texts and labels of a Parquet or CSV file; labels are indexes into ``LABELS``."""
    table = pyarrow.csv.read_csv(path) if path.suffix == ".csv" else read(path, "text", "label")
    return table["text"].to_pylist(), np.array([LABELS.index(one) for one in table["label"].to_pylist()])


def trainable_rows(data: Path, withheld: Iterable[Path]) -> Rows:
    """Return a labeled file's rows that repeat no withheld row and no earlier row with the same label."""
    table = read(data, "text", "label").combine_chunks()
    keys = same_text(table["text"].combine_chunks())
    kept = keys.words != NO_TEXT
    for path in withheld:
        other_keys = same_text(read(path, "text")["text"].combine_chunks())
        kept &= ~repeats_of(keys.words, other_keys.words)
    rows = np.flatnonzero(kept)
    label = np.array([LABELS.index(one) for one in table["label"].to_pylist()], np.uint64)
    both = np.stack((keys.signs[rows], label[rows]), axis=1)
    _, first = np.unique(both, axis=0, return_index=True)
    return rows[np.sort(first)]


def batches(lengths: Rows, tokens: int, order: Rows) -> Iterator[Rows]:
    """Yield batches of rows of one length, at most ``tokens`` tokens each, in the given order per length.

    >>> [one.tolist() for one in batches(np.array([3, 2, 3, 3]), 6, np.array([3, 2, 1, 0]))]
    [[1], [3, 2], [0]]
    """
    for length in np.unique(lengths[order]):
        same = order[lengths[order] == length]
        limit = max(1, tokens // int(length))
        for start in range(0, len(same), limit):
            yield same[start : start + limit]


def macro_recall(truth: Rows, shares: Shares) -> float:
    """Return the mean recall of the labels."""
    guess = shares.argmax(1)
    return float(np.mean([np.mean(guess[truth == one] == one) for one in range(len(LABELS))]))
