"""Files of scored rows -> portions of plain arrays, in order and in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentstream.analyze.cells import Floats, Ints
from sentstream.analyze.scored import Labels, ModelName, check_same, labels_of, model_of
from sentstream.dataset.folders import add_columns, folder_fields, folder_of
from sentstream.dataset.formats.api import Format, Source, total
from sentstream.dataset.formats.names import is_scored
from sentstream.dataset.formats.open import open_source
from sentstream.dataset.inputs import Found, find_inputs
from sentstream.dataset.pieces import wanted_rows
from sentstream.dataset.where import Selection
from sentstream.errors import ColumnNotFoundError, InputFormatError, InputNotFoundError, UsageError, naming
from sentstream.scorer.added_columns import TEXT_COLUMN
from sentstream.text.columns import Column, find_field, find_text
from sentstream.text.storage import plain_values

#: Rows per portion: few enough that a column of numbers fits into a core's cache.
PORTION_ROWS = 131_072
#: Called with the number of rows done and the total, None if unknown.
Progress: TypeAlias = Callable[[int, int | None], None]


@dataclass(frozen=True)
class FileQuery:
    """What to read of each file.

    Attributes:
        prefix: The name of the label column.
        text_column: The text column; None for ``text``, if it exists.
        time_column: The time column; None for none.
        by: Columns to group by.
        where: SQL condition that selects rows; None for all rows.
    """

    prefix: str
    text_column: str | None = None
    time_column: str | None = None
    by: tuple[str, ...] = ()
    where: str | None = None


@dataclass(frozen=True)
class Portion:
    """Consecutive rows of one file.

    Attributes:
        file: Index of the file.
        first: Index of the first row in the file; None if ``where`` leaves out rows.
        label: ``int64[rows]``: index in ``Labels.all``; its length for a row without a label.
        probabilities: ``float32[rows, labels]``; NaN for a row without a label.
        texts: The texts, of any text type; None if there are none.
        times: The times as stored; None if they were not requested.
        groups: The values of each group column.
    """

    file: int
    first: int | None
    label: Ints
    probabilities: npt.NDArray[np.float32]
    texts: pa.Array | None
    times: pa.Array | None
    groups: tuple[pa.Array, ...]

    def __len__(self) -> int:
        return len(self.label)

    def slice(self, start: int, count: int) -> Portion:
        """Return ``count`` rows from ``start``."""
        rows = slice(start, start + count)
        return Portion(
            self.file,
            None if self.first is None else self.first + start,
            self.label[rows],
            self.probabilities[rows],
            None if self.texts is None else self.texts.slice(start, count),
            None if self.times is None else self.times.slice(start, count),
            tuple(column.slice(start, count) for column in self.groups),
        )

    def value(self, labels: Labels) -> Floats | None:
        """``float64[rows]``: P(positive) − P(negative), 0 without a label; None without such labels."""
        if labels.poles is None:
            return None
        positive, negative = labels.poles
        value = self.probabilities[:, positive].astype(np.float64) - self.probabilities[:, negative]
        return np.where(self.label < len(labels.all), value, 0.0)


class ScoredFiles:
    """Scored files, opened and checked: all can be read and have the same labels.

    Args:
        inputs: Files, directories, globs, URIs.
        wanted: What to read of them.
        format: The format of all files; None detects it for each.
        options: Settings for object stores.

    Attributes:
        labels: The labels.
        sources: The files.
        models: The model of each file.
        has_texts: Whether all files have texts.
        rows: Total number of rows, including those that ``where`` leaves out; None if unknown.
        left_out: Number of rows that ``where`` left out so far.

    Raises:
        InputError: A file cannot be read, is not scored, or lacks a column.
        UsageError: ``where`` is not a valid condition.
    """

    def __init__(
        self,
        inputs: Sequence[str],
        wanted: FileQuery,
        *,
        format: Format | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        if "-" in inputs:
            raise UsageError("report cannot read standard input", hint="name files or directories")
        self.wanted, self.left_out = wanted, 0
        self._selection = Selection(wanted.where)
        found = _find(inputs, options, format)
        kept = self._selection.keep(dict.fromkeys(folder_of(one.file.name) for one in found))
        self._files = [one for one in found if folder_of(one.file.name) in kept]
        self.sources: list[Source] = []
        self.models: list[ModelName] = []
        labels: Labels | None = None
        self.has_texts = True
        for one in self._files:
            source = open_source(one.file, format)
            self.sources.append(source)
            self.models.append(model_of(source.schema))
            file_labels = labels_of(source.schema, wanted.prefix, source.name)
            labels = labels or file_labels
            check_same(file_labels, source.name, labels, self.sources[0].name)
            with naming(source.name):
                self._look(source)
        assert labels is not None  # having no files at all is an error in _find
        self.labels = labels
        self.rows = total([source.total for source in self.sources])

    def name_model(self, model: ModelName) -> None:
        """Set the model of files whose format cannot store the model's name."""
        self.models = [model if one.name is None else one for one in self.models]

    def _look(self, source: Source) -> None:
        """Check that a file has the requested columns."""
        wanted, schema = self.wanted, self._schema(source)
        for name in (*wanted.by, *([wanted.time_column] if wanted.time_column else ())):
            find_field(schema, name)
        try:
            find_text(schema, wanted.text_column or TEXT_COLUMN)
        except ColumnNotFoundError:
            if wanted.text_column is not None:
                raise
            self.has_texts = False
        where = self._selection.of(source.name, source.name)
        if where is not None:
            replace(where, untyped=source.layout.format in ("csv", "tsv")).bind(source.schema)

    def _schema(self, source: Source) -> pa.Schema:
        """A file's schema, including the columns from its folders."""
        return pa.schema([*source.schema, *folder_fields(self._folders(source))])

    def _folders(self, source: Source) -> dict[str, pa.Scalar]:
        folders = self._selection.folders.of(source.name)
        names = set(source.schema.names)
        return {name: value for name, value in folders.items() if name not in names}

    def portions(self, on_file: Callable[[str, int, int], None] | None = None) -> Iterator[Portion]:
        """Yield the rows of all files in order; the next portion is read while one is processed.

        Args:
            on_file: Called when a file is started, with its name, its number from 1, and the number of files.

        Raises:
            InputError: A file is not valid, or has changed since it was opened.
        """
        return _ahead(self._portions(on_file))

    def _portions(self, on_file: Callable[[str, int, int], None] | None) -> Iterator[Portion]:
        for number, source in enumerate(self.sources):
            if on_file is not None:
                on_file(source.name, number + 1, len(self.sources))
            yield from self._of_file(number, source)

    def _of_file(self, number: int, source: Source) -> Iterator[Portion]:
        wanted, labels = self.wanted, self.labels
        folders, schema = self._folders(source), self._schema(source)
        by = [find_field(schema, name) for name in wanted.by]
        time = find_field(schema, wanted.time_column) if wanted.time_column else None
        text = find_text(schema, wanted.text_column or TEXT_COLUMN) if self.has_texts else None
        where = self._selection.of(source.name, source.name)
        if where is not None:
            where = replace(where, untyped=source.layout.format in ("csv", "tsv"))
        columns = [*by, *([time] if time else ()), *([text] if text else ())]
        names = [*labels.columns, *(schema.names[one.path[0]] for one in columns)]
        heavy = [schema.names[text.path[0]]] if text else []
        batches: Iterator[pa.RecordBatch] = wanted_rows(
            source.whole(),
            [name for name in dict.fromkeys(names) if name not in folders],
            heavy=heavy,
            batch_rows=PORTION_ROWS,
            where=where,
            left_out=self._leave_out,
        )
        if folders:
            batches = add_columns(batches, folders)
        first = 0
        for batch in batches:
            with naming(source.name):
                yield self._portion(number, None if where else first, batch, text, time, by)
            first += len(batch)

    def _leave_out(self, rows: int) -> None:
        self.left_out += rows

    def _portion(
        self,
        number: int,
        first: int | None,
        batch: pa.RecordBatch,
        text: Column | None,
        time: Column | None,
        by: Sequence[Column],
    ) -> Portion:
        labels = self.labels
        name, *shares = labels.columns
        values = plain_values(batch.column(name))
        label = _label_indices(values, labels)
        table = np.stack([_numbers(batch.column(share), share) for share in shares], axis=1)
        sound = np.isfinite(table).all(axis=1)
        label[~sound] = len(labels.all)
        labeled = label < len(labels.all)
        if labeled.any():
            _check_range(table[labeled], labels)

        def of(column: Column | None) -> pa.Array | None:
            # Only requested columns were read, so their positions differ: find them by name.
            if column is None:
                return None
            return find_field(batch.schema, column.name).texts(batch)

        groups = [of(one) for one in by]
        return Portion(
            number, first, label, table, of(text), of(time), tuple(one for one in groups if one is not None)
        )


def _find(inputs: Sequence[str], options: Mapping[str, str] | None, format: Format | None) -> list[Found]:
    """The files of the inputs; if a directory has outputs next to their inputs, only the outputs."""
    files: list[Found] = []
    for name in inputs:
        found = find_inputs([name], None, options, format, scored=True).files
        scored = [one for one in found if is_scored(one.file.name)]
        files += scored or found
    if not files:
        raise InputNotFoundError(
            "no files to report", hint="name files or directories that sentstream score wrote"
        )
    return files


def _label_indices(column: pa.Array, labels: Labels) -> Ints:
    """``int64[rows]``: the index of each row's label; the last one for no label (null or empty)."""
    none = len(labels.all)
    indices = pc.index_in(column.cast(pa.string()), value_set=pa.array(labels.all, pa.string()))
    if indices.null_count > column.null_count:
        odd = column.filter(pc.and_(indices.is_null(), column.is_valid()))
        for value in pc.unique(odd.cast(pa.string())).to_pylist():
            if value:
                raise InputFormatError(
                    f"column {labels.prefix!r} contains {value!r}, which has no probability column",
                    hint="give files that sentstream score wrote",
                )
    codes: Ints = indices.fill_null(none).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes


def _numbers(column: pa.Array, name: str) -> npt.NDArray[np.float32]:
    column = plain_values(column)
    try:
        if not pa.types.is_floating(column.type):
            if pa.types.is_large_string(column.type) or pa.types.is_string(column.type):
                column = pc.if_else(pc.equal(column, ""), pa.scalar(None, column.type), column)
            column = column.cast(pa.float32())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputFormatError(
            f"column {name!r} is not numeric", hint="give files that sentstream score wrote"
        ) from error
    numbers: npt.NDArray[np.float32] = column.to_numpy(zero_copy_only=False)
    return numbers.astype(np.float32, copy=False)


def _check_range(table: npt.NDArray[np.float32], labels: Labels) -> None:
    low, high = float(table.min()), float(table.max())
    if low < 0 or high > 1.0001:
        raise InputFormatError(
            f"a probability of {high if high > 1 else low:g}, outside 0 to 1, in {labels.prefix}_prob_…",
            hint="give files that sentstream score wrote",
        )


def _ahead(portions: Iterator[Portion]) -> Iterator[Portion]:
    """Yield each portion while another thread reads the next one."""
    with ThreadPoolExecutor(1, "sentstream-read") as pool:
        waiting = pool.submit(next, portions, None)
        while (portion := waiting.result()) is not None:
            waiting = pool.submit(next, portions, None)
            yield portion
