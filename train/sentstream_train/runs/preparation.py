"""Prepare the rows of a run: read the files, leave out held-out texts, split, ask the teachers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from sentstream.errors import CheckpointError, UsageError, one_line
from sentstream.text import Vocabulary
from sentstream_train.config import Columns
from sentstream_train.data.labeled import NO_LABELS, LabeledData, SourceInfo, read_labeled
from sentstream_train.data.split import Rows, Split, leave_out, split_rows
from sentstream_train.data.teacher_columns import Shares
from sentstream_train.fit.distill import Teachers, describe_teachers, open_teachers
from sentstream_train.fit.targets import Taught, check_class_weights, teach
from sentstream_train.store.folder import RunFolder
from sentstream_train.store.record import (
    NamedFile,
    RunRecord,
    Settings,
    Teacher,
    Versions,
    VocabularySize,
    now,
)

#: Longest file name, in characters, that goes into a bundle.
_LONGEST_NAME = 80


@dataclass(frozen=True)
class Prepared:
    """The rows of a run.

    Attributes:
        labels: The run's classes, in order.
        sources: The files that were read.
        held_out: The files of texts that must not be learned.
        repeat_held_out: How many rows were left out because they repeat a held-out text.
        split: The other rows: tokens and labels of both sides.
        validation_of: Names of the files that the validation rows come from.
        columns: ``float32[rows, labels]``: the teacher columns of the rows that were split, or None.
        texts: The texts of these rows, for teachers that are models; None without such teachers.
    """

    labels: tuple[str, ...]
    sources: tuple[SourceInfo, ...]
    held_out: tuple[NamedFile, ...]
    repeat_held_out: int
    split: Split
    validation_of: tuple[str, ...]
    columns: Shares | None
    texts: pa.Array | None

    @property
    def validation_name(self) -> str:
        """A name for the validation rows, such as ``validation rows of a.csv and 2 other files``."""
        first, *others = self.validation_of
        more = {0: "", 1: " and another file"}.get(len(others), f" and {len(others)} other files")
        return f"validation rows of {one_line(first, _LONGEST_NAME)}{more}"

    def taught(self, teachers: Teachers, settings: Settings) -> tuple[Taught, tuple[Teacher, ...]]:
        """The teachers' probabilities for both sides, and the teachers' names and fingerprints.

        Raises:
            UsageError: A teacher does not match the run.
            SentstreamError: As ``open_trained``.
        """
        opened = open_teachers(teachers, self.labels)
        found = teach(opened, self.labels, self.columns, self.texts, self.split, settings.data)
        return found, describe_teachers(opened, teachers)


def prepare(
    paths: Sequence[str | Path],
    settings: Settings,
    *,
    without: Sequence[str | Path] = (),
    teachers: Teachers,
    taught: bool = False,
    known: Sequence[str] = (),
) -> Prepared:
    """Read the rows of a run, leave out what must not be learned, and split the rest.

    Args:
        paths: CSV or Parquet files of rows; with teachers, they need no labels.
        settings: How rows become examples.
        without: Files of held-out texts; rows that repeat one are left out.
        teachers: Teachers whose probabilities are learned.
        taught: The teachers' probabilities are already saved.
        known: The labels of the model to fine-tune. If they include every label of the rows, they are the
            classes, in this order.

    Raises:
        InputError: As ``read_labeled``.
        DataError: The rows cannot be used.
        UsageError: The labels are not known, or a class weight names an unknown label.
    """
    rows = read_rows(
        paths,
        settings.columns,
        settings.only_labels,
        unlabeled=taught or bool(teachers),
        teacher_columns=None if taught else teachers.columns,
        known=known,
    )
    check_class_weights(settings.fitting, rows.labels)
    kept, files = rows, tuple[SourceInfo, ...]()
    if without:
        held_out = read_labeled(without, keep_unlabeled=True)
        files = held_out.sources
        kept = leave_out(rows, held_out, settings.data)
    split = split_rows(kept, settings.data, settings.fitting.seed)
    return Prepared(
        labels=rows.labels,
        sources=rows.sources,
        held_out=tuple(map(NamedFile.of, files)),
        repeat_held_out=len(rows) - len(kept),
        split=split,
        validation_of=_files_of(kept, split.validation_rows),
        columns=kept.shares,
        texts=kept.text if teachers.models else None,
    )


def _files_of(data: LabeledData, rows: Rows) -> tuple[str, ...]:
    """The names of the files that the given rows come from."""
    ends = np.cumsum([source.rows for source in data.sources])
    files = np.unique(np.searchsorted(ends, data.row[rows], side="right"))
    return tuple(data.sources[file].name for file in files)


def read_rows(
    paths: Sequence[str | Path],
    columns: Columns,
    labels: Sequence[str] | None,
    *,
    unlabeled: bool = False,
    teacher_columns: str | None = None,
    known: Sequence[str] = (),
) -> LabeledData:
    """The rows of a run.

    Args:
        paths: CSV or Parquet files.
        columns: The columns of text, label and user.
        labels: Use only the rows with these labels, in this order.
        unlabeled: Also keep rows without a label, for teachers to label.
        teacher_columns: Prefix of the columns with a teacher's probabilities.
        known: If these include every label of the rows, they are the classes, in this order.

    Raises:
        InputError: As ``read_labeled``.
        DataError: The rows cannot be used.
        UsageError: Unlabeled rows are kept, and fewer than two labels are known.
    """
    rows = read_labeled(
        paths,
        text_column=columns.text,
        label_column=columns.label,
        user_column=columns.user,
        labels=labels,
        keep_unlabeled=unlabeled,
        teacher_columns=teacher_columns,
        known=known,
    )
    if unlabeled and len(rows.labels) < 2:
        raise UsageError(NO_LABELS)
    return rows


def check_same_files(record: RunRecord, prepared: Prepared, folder: RunFolder) -> None:
    """Raise if a run to resume was started with other files; names may differ.

    Raises:
        CheckpointError: The files differ from those that the run started with.
    """
    if [one.sha256 for one in record.data] != [one.sha256 for one in prepared.sources]:
        raise CheckpointError(
            f"the run in {folder.path} started with other data", hint="give the same files in the same order"
        )
    if [one.sha256 for one in record.held_out] != [one.sha256 for one in prepared.held_out]:
        names = " ".join(f"--without {one.name}" for one in record.held_out) or "no --without"
        raise CheckpointError(
            f"the run in {folder.path} started with other held-out rows", hint=f"it was started with {names}"
        )


def describe(
    prepared: Prepared, settings: Settings, vocabulary: Vocabulary, also_from: Sequence[str] = ()
) -> RunRecord:
    """The record of a run that starts now."""
    return RunRecord(
        labels=prepared.labels,
        rules=settings.data.rules,
        max_chars=settings.data.max_chars,
        vocabulary=VocabularySize.of(vocabulary, also_from),
        settings=settings,
        data=prepared.sources,
        rows=prepared.split.report,
        repeat_held_out=prepared.repeat_held_out,
        held_out=prepared.held_out,
        versions=Versions.here(),
        started=now(),
    )
