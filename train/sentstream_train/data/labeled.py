"""Read labeled texts from any number of files: labels become indices, texts become valid UTF-8."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentstream.errors import (
    ColumnTypeError,
    DataError,
    UsageError,
)
from sentstream.text import is_text
from sentstream.text.clean import clean
from sentstream.text.storage import plain_values, value_type
from sentstream_train.data.files import MORE, PathLike, TableReader, find_files, open_table, recorded_name
from sentstream_train.data.teacher_columns import Shares, TeacherColumns

#: The order of these labels; other sets of labels are sorted.
POLARITIES = ("negative", "neutral", "positive")

#: The error if only teachers label the rows.
NO_LABELS = "no row has a label, so give the labels with --labels"

#: With more distinct values than this, a column does not hold labels.
_MOST_LABELS = 1000
#: Past this many bytes of text, 32-bit offsets no longer suffice.
_MOST_STRING_BYTES = 2**31 - 1
_NO_CAP = 2**29


@dataclass(frozen=True)
class SourceInfo:
    """One file that was read.

    Attributes:
        name: The file's base name (no directory, because model cards contain it).
        rows: Rows in the file.
        rows_used: Rows that were kept.
        sha256: Hex digest of the file's bytes.
        without_label: Rows whose label is null or empty.
        other_labels: Rows left out by ``labels=``, as a count per label.
        broken: Rows with invalid UTF-8; each invalid sequence is replaced with U+FFFD.
    """

    name: str
    rows: int
    rows_used: int
    sha256: str
    without_label: int = 0
    other_labels: tuple[tuple[str, int], ...] = ()
    broken: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The record as JSON-ready data."""
        return {**asdict(self), "other_labels": dict(self.other_labels)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SourceInfo:
        """The inverse of ``to_dict``."""
        return cls(**{**values, "other_labels": tuple(dict(values.get("other_labels", {})).items())})


@dataclass(frozen=True)
class LabeledData:
    """Texts and their labels, in file order.

    Attributes:
        text: ``string`` (``large_string`` past 2 GiB) of valid UTF-8; nulls stay null.
        label: ``int32[rows]``, indices into ``labels``. All -1 if the data has no label column and
            ``unlabeled_ok`` is set; -1 for rows without a label if those are kept.
        labels: The labels by index: negative, neutral, positive in this order; others sorted; or in the
            order of ``labels=`` or ``known=``.
        user: ``string`` array with the author of each row, null if unknown; None without a user column.
        row: ``int64[rows]``, each row's position among all rows read, from 0. It identifies a row
            although others were left out.
        sources: The files, in the order of reading.
        shares: ``float32[rows, labels]``: the probabilities in a teacher's columns, NaN where there are
            none; None if no teacher's columns were requested.
    """

    text: pa.Array
    label: npt.NDArray[np.int32]
    labels: tuple[str, ...]
    user: pa.Array | None
    row: npt.NDArray[np.int64]
    sources: tuple[SourceInfo, ...]
    shares: Shares | None = None

    def __len__(self) -> int:
        return len(self.text)

    def file_of(self, row: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """``int64[rows]``: the index into ``sources`` for each position in ``row``."""
        ends = np.cumsum([source.rows for source in self.sources])
        return np.searchsorted(ends, row, side="right")

    def take(self, rows: npt.NDArray[np.int64]) -> LabeledData:
        """The chosen rows, with unchanged ``sources``."""
        wanted = pa.array(rows)
        user = None if self.user is None else self.user.take(wanted)
        return replace(
            self,
            text=self.text.take(wanted),
            label=self.label[rows],
            user=user,
            row=self.row[rows],
            shares=None if self.shares is None else self.shares[rows],
        )


def read_labeled(
    paths: PathLike | Iterable[PathLike],
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    user_column: str | None = None,
    labels: Sequence[str] | None = None,
    unlabeled_ok: bool = False,
    keep_unlabeled: bool = False,
    teacher_columns: str | None = None,
    known: Sequence[str] = (),
) -> LabeledData:
    """Read labeled texts; 1.6 million rows fit in about 400 MB.

    The official Sentiment140 CSV is recognized by its first row, or by its second row after a header. Its
    labels 0/2/4 (or 0/1) are read as negative/neutral/positive. Other CSV and TSV files need a header; the
    encoding (UTF-8, UTF-16, Latin-1) and the delimiter are detected; fields may be quoted and contain line
    breaks; ``.gz``, ``.bz2``, ``.zst`` and ``.lz4`` are decompressed. Integer labels become strings of
    digits; polarities such as ``Positive`` become lower case.

    Args:
        paths: Files, globs, or directories of such files. A file that is named twice is read once.
        text_column: Default ``text``.
        label_column: Default ``label``.
        user_column: The author of the row; default ``user`` if there is such a column.
        labels: Keep only rows with these labels, indexed in this order.
        unlabeled_ok: Accept files without the default label column if no file has it.
        keep_unlabeled: Also keep rows without a label; files with and without the column may be mixed.
        teacher_columns: Prefix of columns with a teacher's probabilities; the label follows.
        known: A model's labels. If they include every label of the rows, they are the labels, in this order.

    Raises:
        InputNotFoundError: A file is missing, or a glob or directory has no data file.
        InputFormatError: A Parquet file is corrupt.
        ColumnNotFoundError: A column is missing.
        ColumnTypeError: The text column is not text, labels are neither text nor integers, or a teacher's
            column is not floating-point.
        UsageError: ``labels`` is empty or has a duplicate; or no label is known, so the names of the
            teacher's columns are not, either.
        DataError: A CSV row is malformed, a polarity is unknown, there are too many distinct labels or no
            rows, or a teacher's values are not probabilities.
    """
    if labels is not None and (not labels or len(set(labels)) != len(labels)):
        raise UsageError(f"labels {', '.join(labels)!r}: empty, or with a duplicate")
    files = find_files(paths)
    teacher = None if teacher_columns is None else TeacherColumns(teacher_columns)
    collected = _Collector(labels, keep_unlabeled, teacher, tuple(known))
    labeled: set[bool] = set()
    for path in files:
        bare_ok = unlabeled_ok or keep_unlabeled
        reader = open_table(path, text_column, label_column, user_column, bare_ok, teacher_columns)
        labeled.add(reader.labeled)
        if len(labeled) > 1 and not keep_unlabeled:
            raise DataError(
                f"{path} {'has' if reader.labeled else 'lacks'} a label column, other files "
                f"{'lack' if reader.labeled else 'have'} it",
                hint="give labeled and unlabeled files separately",
            )
        collected.add(path, reader)
    return collected.finish()


def order_labels(names: Iterable[str]) -> tuple[str, ...]:
    """The labels in the order negative, neutral, positive if there are no others; else sorted."""
    unique = sorted(set(names))
    if set(unique) <= set(POLARITIES):
        return tuple(name for name in POLARITIES if name in unique)
    return tuple(unique)


class _Collector:
    """Collects the batches of all files; labels are numbered in order of appearance."""

    def __init__(
        self,
        labels: Sequence[str] | None,
        keep_unlabeled: bool,
        teacher: TeacherColumns | None,
        known: tuple[str, ...],
    ) -> None:
        self.keep_unlabeled = keep_unlabeled
        self.teacher, self.known = teacher, known
        self.wanted = None if labels is None else tuple(labels)
        self.numbers: dict[str, int] = {name: index for index, name in enumerate(labels or ())}
        self.text: list[pa.Array] = []
        self.user: list[pa.Array | None] = []
        self.label: list[npt.NDArray[np.int32]] = []
        self.row: list[npt.NDArray[np.int64]] = []
        self.sources: list[SourceInfo] = []
        self.rows = 0
        self.polarities: set[str] = set()  # of Sentiment140 files: 1 means 4 if there is no 4

    def add(self, path: Path, reader: TableReader) -> None:
        rows = used = broken = without = 0
        others: Counter[str] = Counter()
        if self.teacher is not None:
            self.teacher.begin_file(path, reader.more)
        for batch in reader.batches:
            if reader.labeled:
                column = _label_names(batch.column("label"), path)
                labels, bare = self._number(column, reader.names, path, rows, others)
                without += int(bare.sum())
                keep = np.flatnonzero((labels >= 0) | bare if self.keep_unlabeled else labels >= 0)
            else:
                labels, keep = np.full(len(batch), -1, np.int32), np.arange(len(batch))
            text, bad = _text(batch.column("text"), path)
            broken += bad
            user = _users(batch.column("user"), path) if "user" in batch.schema.names else None
            if len(keep) < len(batch):
                kept = pa.array(keep)
                text, labels = text.take(kept), labels[keep]
                user = None if user is None else user.take(kept)
            self.text.append(text)
            self.user.append(user)
            self.label.append(labels)
            self.row.append(keep + (self.rows + rows))
            if self.teacher is not None:
                names = [name for name in batch.schema.names if name.startswith(MORE)]
                numbers = {name.removeprefix(MORE): batch.column(name) for name in names}
                self.teacher.add(numbers, keep, rows)
            rows += len(batch)
            used += len(keep)
        self.rows += rows
        left_out = tuple(sorted(others.items()))
        info = SourceInfo(recorded_name(path), rows, used, sha256_of(path), without, left_out, broken)
        self.sources.append(info)

    def _number(
        self, column: pa.Array, names: dict[str, str] | None, path: Path, before: int, others: Counter[str]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
        """Each row's label number (-1: no label, or an unwanted one), and which rows have no label."""
        encoded = column.dictionary_encode()
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
        found: list[str] = encoded.dictionary.to_pylist()
        numbers = np.full(len(found) + 1, -1, np.int32)
        for index, label in enumerate(found):
            name = _tidy(label)
            if names is not None:
                if name not in names:
                    row = before + int(np.argmax(codes == index)) + 1
                    raise DataError(f"{path} row {row:,}: polarity {name[:20]!r} is not 0, 2 or 4")
                if name in ("1", "2", "4"):
                    self.polarities.add(name)
                if "1" in self.polarities and len(self.polarities) > 1:
                    raise DataError(
                        f"{path} has both polarity 1 and {max(self.polarities)}: which one is positive?"
                    )
                name = names[name]
            if not name:
                codes[codes == index] = -1
            elif self.wanted is None or name in self.numbers:
                numbers[index] = self.numbers.setdefault(name, len(self.numbers))
            else:
                others[name] += int((codes == index).sum())
        if max(len(self.numbers), len(others)) > _MOST_LABELS:
            raise DataError(
                f"{path}: the label column has more than {_MOST_LABELS:,} distinct values",
                hint="is it the right --label-column?",
            )
        return numbers[codes], codes == -1

    def finish(self) -> LabeledData:
        if not any(map(len, self.text)):
            read = ", ".join(source.name for source in self.sources)
            reason = f" with one of the labels {', '.join(self.wanted)}" if self.wanted else ""
            raise DataError(f"{read}: no rows{reason}")
        label = np.concatenate(self.label)
        labels = self.wanted or order_labels(self.numbers)
        if self.known and set(labels) <= set(self.known):
            labels = self.known
        index = [labels.index(name) for name in self.numbers]
        label = np.array([*index, -1], np.int32)[label]  # -1: no label
        user = None
        if any(column is not None for column in self.user):
            pairs = zip(self.user, self.text, strict=True)
            user = pa.concat_arrays(
                [pa.nulls(len(text), pa.string()) if column is None else column for column, text in pairs]
            )
        shares = None
        if self.teacher is not None:
            if not labels:
                raise UsageError(NO_LABELS)
            shares = self.teacher.finish(labels)
        text = _join(self.text)
        return LabeledData(text, label, labels, user, np.concatenate(self.row), tuple(self.sources), shares)


def _tidy(text: str) -> str:
    """A normalized label: without spaces around it, ``1.0`` as ``1``, ``Positive`` as ``positive``."""
    name = text.strip()
    if name.lower() in POLARITIES:
        return name.lower()
    whole, point, rest = name.partition(".")
    return whole if point and rest.strip("0") == "" and whole.lstrip("+-").isdigit() else name


def _join(parts: list[pa.Array]) -> pa.Array:
    if sum(part.nbytes for part in parts) > _MOST_STRING_BYTES:
        parts = [part.cast(pa.large_string()) for part in parts]
    return pa.concat_arrays(parts)


def _text(column: pa.Array, path: Path) -> tuple[pa.Array, int]:
    """The column as ``string`` of valid UTF-8, with nulls kept, and how many rows were repaired."""
    if not is_text(column.type):
        raise ColumnTypeError(
            f"{path}: the text column is of type {column.type}, not text", hint="choose another --text-column"
        )
    column = plain_values(column)  # here every null is a null row
    text = clean(column, _NO_CAP).text
    # A repaired row contains U+FFFD. So may a valid row, which is not counted.
    broken = 0
    if not _valid(column):
        marked = np.flatnonzero(pc.match_substring(text, "\ufffd").to_numpy(zero_copy_only=False))
        broken = sum(not _valid(column.slice(row, 1)) for row in marked.tolist())
    if column.null_count:
        text = pc.if_else(column.is_valid(), text, pa.scalar(None, pa.string()))
    return text, broken


def _valid(column: pa.Array) -> bool:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _label_names(column: pa.Array, path: Path) -> pa.Array:
    """Labels as ``string``: text unchanged, integers as digits."""
    kind = column.type
    if is_text(kind):
        return clean(column, 200).text
    if kind != value_type(kind):
        return _label_names(plain_values(column), path)
    hint = "choose another --label-column"
    return digits(
        column,
        ColumnTypeError(f"{path}: the label column has fractional numbers, not labels", hint=hint),
        ColumnTypeError(f"{path}: the label column is of type {kind}, neither text nor integers", hint=hint),
    )


def digits(column: pa.Array, fractions: ColumnTypeError, other: ColumnTypeError) -> pa.Array:
    """Integers and booleans as ``string``, NaN as null.

    Args:
        column: The values.
        fractions: Raised if some numbers are fractions.
        other: Raised if the column has another type.
    """
    kind = column.type
    if pa.types.is_floating(kind):  # pandas turns integers with nulls into floats
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
        try:
            column = column.cast(pa.int64())
        except pa.ArrowInvalid:
            raise fractions from None
    elif not (pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise other
    return column.cast(pa.string())


def _users(column: pa.Array, path: Path) -> pa.Array:
    """Users as ``string``; an empty name becomes null."""
    users = _label_names(column, path)
    if column.null_count:
        users = pc.if_else(column.is_valid(), users, pa.scalar(None, pa.string()))
    return pc.if_else(pc.equal(users, ""), pa.scalar(None, pa.string()), users)


def sha256_of(path: Path) -> str:
    """The hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
