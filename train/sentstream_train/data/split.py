"""Resolve duplicates and label conflicts, then split rows so that no text or user is on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentstream.analyze.keys import Keys
from sentstream.errors import DataError
from sentstream.text import Tokens, tokenize
from sentstream_train.config import DataConfig
from sentstream_train.data.keys import word_keys
from sentstream_train.data.labeled import LabeledData, SourceInfo, read_labeled
from sentstream_train.data.same_text import TextKeys, repeats_of, same_text

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DataReport:
    """Counts of rows; every row is in ``read`` and in exactly one of the others.

    Attributes:
        read: Rows before the split.
        blank: Null, empty or only white space; left out.
        unsampled: Left out by the limit.
        conflicting: The same text has another label elsewhere; left out.
        duplicates: Repeat a text and its label, or have no label and fall into a validation group; left out.
        train: Training rows.
        validation: Validation rows.
    """

    read: int
    blank: int
    unsampled: int
    conflicting: int
    duplicates: int
    train: int
    validation: int

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True)
class Split:
    """Tokenized rows, split.

    Attributes:
        train, validation: The tokens of each side.
        train_labels, validation_labels: ``int32`` class indices; -1 for rows without a label.
        train_rows, validation_rows: ``int64`` indices into the input rows.
        report: The counts of rows.
    """

    train: Tokens
    validation: Tokens
    train_labels: npt.NDArray[np.int32]
    validation_labels: npt.NDArray[np.int32]
    train_rows: Rows
    validation_rows: Rows
    report: DataReport


def split_rows(data: LabeledData, config: DataConfig, seed: int) -> Split:
    """Resolve duplicates and conflicts, then hold rows out for validation.

    Rows with the same text (``same_text``) or the same user form a group, and a group is never split, so
    no validation row has a text or user of the training set. Duplicates and conflicts are rows with the
    same text and the same emoticons and emoji. A row without a label is a duplicate of a labeled row with
    the same text.

    Args:
        data: The rows.
        config: The policy.
        seed: Seed of the random draws.

    Raises:
        DataError: Too few rows are left, or rows with only one label.
    """
    random = np.random.default_rng((seed, 0))
    rows = np.flatnonzero(_not_blank(data.text))
    blank = len(data.text) - len(rows)
    before = len(rows)
    if config.limit and config.limit < len(rows):
        rows = np.sort(random.choice(rows, config.limit, replace=False))
    unsampled = before - len(rows)
    labels = np.asarray(data.label, np.int32)
    keys = _keys_of(data.text.take(pa.array(rows)), config)
    words, (_, texts) = keys.words, np.unique(keys.signs, return_inverse=True)
    repeats = (labels[rows] < 0) & np.isin(texts, texts[labels[rows] >= 0])
    duplicates = int(repeats.sum())
    rows, words, texts = rows[~repeats], words[~repeats], texts[~repeats]
    kept, conflicting = _settle_conflicts(texts, labels[rows], config.conflicts)
    rows, words, texts = rows[kept], words[kept], texts[kept]
    if config.duplicates == "first":
        _, first = np.unique(texts * (int(labels.max(initial=0)) + 2) + labels[rows] + 1, return_index=True)
        duplicates += len(rows) - len(first)
        first.sort()
        rows, words = rows[first], words[first]
    if labels[rows].min(initial=0) >= 0 and len(np.unique(labels[rows])) < 2:
        raise DataError(
            f"{len(rows):,} usable rows with fewer than two labels", hint="check --label-column and the data"
        )
    tokens, _ = tokenize(data.text.take(pa.array(rows)), config.rules, config.max_chars)
    users = None if data.user is None else _codes(data.user.take(pa.array(rows)), null=-1)
    groups = _groups(words, users)
    labeled = labels[rows] >= 0
    candidates = labeled if labeled.any() else ~labeled  # validate on labeled rows if there are any
    chosen = groups[candidates][_hold_out(groups[candidates], config.validation, random)]
    held_out = np.isin(groups, chosen)
    train, validation = np.flatnonzero(~held_out), np.flatnonzero(held_out & candidates)
    duplicates += len(rows) - len(train) - len(validation)
    if not len(train) or not len(validation):
        raise DataError(
            f"{len(rows):,} usable rows in {len(np.unique(groups)):,} groups are too few to hold any out",
            hint="give more data or another --validation",
        )
    report = DataReport(
        len(data.text), blank, unsampled, conflicting, duplicates, len(train), len(validation)
    )
    return Split(
        take_rows(tokens, train),
        take_rows(tokens, validation),
        labels[rows[train]],
        labels[rows[validation]],
        rows[train],
        rows[validation],
        report,
    )


def read_tokens(paths: Sequence[str | Path], config: DataConfig) -> tuple[Tokens, tuple[SourceInfo, ...]]:
    """The tokens of the texts in CSV or Parquet files, and the files' records."""
    data = read_labeled(paths, keep_unlabeled=True)
    return tokenize(data.text.fill_null(""), config.rules, config.max_chars)[0], data.sources


def leave_out(data: LabeledData, held_out: LabeledData, config: DataConfig) -> LabeledData:
    """The rows that do not repeat the text of a held-out row (``same_text``).

    Args:
        data: The rows.
        held_out: Rows that must not be learned from, with or without labels.
        config: Names the version of ``same_text``.
    """
    held_out_keys = _keys_of(held_out.text, config).words
    return data.take(np.flatnonzero(~repeats_of(_keys_of(data.text, config).words, held_out_keys)))


def _keys_of(text: pa.Array, config: DataConfig) -> TextKeys:
    """The keys of texts in the version of ``same_text`` that the run started with."""
    if config.same_text > 1:
        return same_text(text)
    text = text.fill_null("")
    words = word_keys(tokenize(text, config.rules, config.max_chars)[0])
    return TextKeys(words, _codes(text).astype(np.uint64))


def _not_blank(text: pa.Array) -> npt.NDArray[np.bool_]:
    filled = pc.greater(pc.binary_length(pc.utf8_trim_whitespace(text)), 0).fill_null(False)
    flags: npt.NDArray[np.bool_] = filled.to_numpy(zero_copy_only=False)
    return flags


def _codes(column: pa.Array, null: int | None = None) -> Rows:
    """A number per row; equal values get equal numbers."""
    encoded = column.dictionary_encode()
    indices = encoded.indices.fill_null(null) if null is not None else encoded.indices
    codes: Rows = indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes


def _settle_conflicts(texts: Rows, labels: npt.NDArray[np.int32], policy: str) -> tuple[Rows, int]:
    """The rows that stay, and how many are left out because their text has another label, too."""
    everything = np.arange(len(texts))
    if policy == "keep" or not len(texts):
        return everything, 0
    classes = int(labels.max()) + 2
    cells, cell_of, counts = np.unique(texts * classes + labels + 1, return_inverse=True, return_counts=True)
    text_of = cells // classes
    starts = np.flatnonzero(np.append(True, np.diff(text_of) != 0))
    labels_per_text = np.diff(np.append(starts, len(cells)))
    group = np.repeat(np.arange(len(starts)), labels_per_text)
    if policy == "drop":
        good = labels_per_text[group] == 1
    else:
        largest = np.maximum.reduceat(counts, starts)[group]
        ties = np.add.reduceat((counts == largest).astype(np.int64), starts)[group]
        good = (counts == largest) & (ties == 1)
    stay = good[cell_of]
    return everything[stay], int((~stay).sum())


def _groups(texts: Keys, users: Rows | None) -> Rows:
    """A group number per row: rows connected by text or user, over any number of steps, share one."""
    _, text = np.unique(texts, return_inverse=True)
    if users is None:
        return text
    # Each row without a user counts as its own user.
    user = np.where(users >= 0, users, users.max(initial=-1) + 1 + np.arange(len(users)))
    _, user = np.unique(user, return_inverse=True)
    group = np.arange(len(text))
    while True:
        smaller = group.copy()
        for links in (text, user):
            least = np.full(links.max(initial=-1) + 1, len(group))
            np.minimum.at(least, links, smaller)
            smaller = least[links]
        if (smaller == group).all():
            return group
        group = smaller


def _hold_out(groups: Rows, share: float, random: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Draw whole groups until enough rows are held out; big groups (a prolific user) stay in training.

    Returns ``bool[rows]``, True for rows that are held out.
    """
    target = share * len(groups) if share < 1 else share
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = random.permutation(len(sizes))
    order = order[sizes[order] <= max(1.0, target / 10)]
    taken = order[: int(np.searchsorted(np.cumsum(sizes[order]), target)) + 1]
    chosen = np.zeros(len(sizes), np.bool_)
    chosen[taken] = True
    return chosen[group]


def take_rows(tokens: Tokens, rows: Rows) -> Tokens:
    """The tokens of the chosen rows; ``rows`` must be ascending."""
    wanted = np.zeros(len(tokens.blank), np.bool_)
    wanted[rows] = True
    lengths = np.diff(tokens.offsets)
    text = tokens.text.filter(pa.array(np.repeat(wanted, lengths)))
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths[rows])))
    return Tokens(text, offsets, tokens.blank[rows])


def describe(report: DataReport) -> dict[str, Any]:
    """The report with readable names for the counts."""
    return {
        "rows read": report.read,
        "blank, left out": report.blank,
        "left out by --limit": report.unsampled,
        "conflicting labels, left out": report.conflicting,
        "duplicates, left out": report.duplicates,
        "to train on": report.train,
        "held out for validation": report.validation,
    }
