"""Write rows to the folders named by their values: ``lang=en/day=2026-09-01/``.

Only one output is open at a time, however many folders there are: the rows of a piece are buffered, in an
unnamed file if there are many, and then written folder by folder. So an output depends only on the rows, not
on how they were batched.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import IO, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sentstream.dataset.folders import folder, folder_values, without_folders
from sentstream.dataset.formats.api import RowWriter
from sentstream.dataset.formats.batches import regrouped
from sentstream.dataset.formats.parquet.dictionaries import has_dictionary
from sentstream.dataset.formats.rows import take
from sentstream.errors import ColumnTypeError, OutputExistsError, OutputWriteError, UsageError
from sentstream.storage.api import Storage
from sentstream.storage.names import is_skipped
from sentstream.text.columns import find_column, is_bytes
from sentstream.text.storage import plain_values, value_type

#: Maximum number of folders per piece: more means that the column holds ids.
MOST_FOLDERS: Final = 10_000
#: Bytes of rows buffered in memory; beyond that, all go to a file.
HELD_BYTES: Final = 64 << 20
#: Rows per batch on the way to an output.
_TOGETHER: Final = 32_768
_Places: TypeAlias = npt.NDArray[np.int64]


def check_columns(names: Sequence[str]) -> None:
    """Check that folders can be named after these columns.

    Raises:
        UsageError: A duplicate, or a name whose folders dataset readers ignore.
    """
    if len(set(names)) < len(names):
        raise UsageError(
            f"--partition-by has a duplicate column: {', '.join(names)}", hint="name each column once"
        )
    for name in names:
        if is_skipped(name):
            raise UsageError(
                f"--partition-by {name}: dataset readers ignore folders that start with {name[0]!r}",
                hint="choose another column, or rename it first",
            )


def grouped(codes: _Places) -> list[_Places]:
    """Return the indices of each value in an array of shape (n,), ordered by the value's first occurrence.

    >>> [places.tolist() for places in grouped(np.array([7, 5, 7]))]
    [[0, 2], [1]]
    """
    order = np.argsort(codes, kind="stable")
    ends = np.flatnonzero(np.diff(codes[order])) + 1
    return sorted(np.split(order, ends), key=lambda indices: int(indices[0])) if len(codes) else []


@dataclass(frozen=True)
class Partitions:
    """The partitioning of one file's rows; picklable.

    Attributes:
        names: The columns that name folders, outermost first.
        known: The values of those columns that come from the input file's own folders.
        below: The output's path inside its partition folders, separated by ``/``; it keeps the input's
            folders of other columns.
        root: The output directory.
    """

    names: tuple[str, ...]
    known: Mapping[str, str | None]
    below: str
    root: str

    @classmethod
    def of(cls, names: Sequence[str], source: str, output: str, root: str) -> Partitions:
        """Return the partitioning of a file.

        Args:
            names: The columns.
            source: The file's path or URI.
            output: The output's path without partitioning, relative to ``root``, separated by ``/``.
            root: The output directory.
        """
        values = folder_values(source)
        known = {name: values[name] for name in names if name in values}
        return cls(tuple(names), known, without_folders(output, names), root)

    @property
    def wanted(self) -> list[str]:
        """The columns that the rows themselves must have."""
        return [name for name in self.names if name not in self.known]

    @property
    def any(self) -> str:
        """The name of all folders in messages."""
        return "/".join(f"{name}=*" for name in self.names)

    def name(self, folders: str) -> str:
        """Return the path of the output in given folders, relative to the output directory."""
        return f"{folders}/{self.below}"

    def output(self, storage: Storage, name: str) -> str:
        """Return the full name of an output, given its name in the manifest.

        Args:
            storage: The storage of the output.
            name: Its name in the manifest, which begins with its folders; only they are used.
        """
        folders = "/".join(name.split("/")[: len(self.names)])
        return storage.join(self.root, self.name(folders))

    def may_be(self, name: str) -> bool:
        """Return whether a path, relative to the output directory, can be an output of this file."""
        depth = len(self.names)
        parts = name.split("/", depth)
        if len(parts) <= depth or parts[depth] != self.below:
            return False
        return list(folder_values(name.removesuffix(self.below))) == list(self.names)

    def schema(self, schema: pa.Schema) -> pa.Schema:
        """Return the schema of an output: without the columns that name folders.

        Args:
            schema: The schema of the scored rows.

        Raises:
            ColumnNotFoundError: A column is missing.
            ColumnTypeError: The values of a column cannot name folders.
        """
        for name in self.wanted:
            kind = value_type(schema.field(find_column(schema, name)).type)
            if pa.types.is_nested(kind):
                raise ColumnTypeError(
                    f"--partition-by {name}: values of type {kind} cannot name a folder",
                    hint="choose a column of text, numbers, booleans, dates or times",
                )
        return pa.schema([field for field in schema if field.name not in self.names], schema.metadata)

    def split(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, dict[str, tuple[int, int]]]:
        """Sort rows by folder, and drop the columns that name folders.

        Args:
            batch: n >= 0 scored rows.

        Returns:
            The rows, and for each folder, such as ``lang=en/day=1``, its start and stop index.
        """
        codes = np.zeros(len(batch), np.int64)
        found: list[tuple[str, ...]] = [()]
        for name in self.names:
            parts, of_row = self._parts(batch, name)
            pairs, codes = np.unique(codes * len(parts) + of_row, return_inverse=True)
            found = [(*found[pair // len(parts)], parts[pair % len(parts)]) for pair in pairs.tolist()]
        groups = grouped(codes)
        names = [name for name in batch.schema.names if name not in self.names]
        rows = batch.select(names)
        if len(groups) > 1:
            rows = take(rows, np.concatenate(groups))
        spans, start = {}, 0
        for indices in groups:
            spans["/".join(found[codes[indices[0]]])] = start, start + len(indices)
            start += len(indices)
        return rows, spans

    def _parts(self, batch: pa.RecordBatch, name: str) -> tuple[list[str], _Places]:
        """Return the folders that a column's values name, and the index of each row's folder."""
        if name in self.known:
            return [folder(name, self.known[name])], np.zeros(len(batch), np.int64)
        column = plain_values(batch.column(find_column(batch.schema, name)))
        is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        if not is_text and not is_bytes(column.type):
            column = column.cast(pa.string())
        encoded = pc.dictionary_encode(column.cast(pa.large_binary()), null_encoding="encode")
        values = [folder(name, value) for value in encoded.dictionary.to_pylist()]
        numbers = {part: number for number, part in enumerate(dict.fromkeys(values))}
        indices = np.array([numbers[value] for value in values], np.int64)
        return list(numbers) or [""], indices[encoded.indices.to_numpy(zero_copy_only=False)]


def check_distinct(files: Iterable[tuple[str, Partitions]]) -> None:
    """Check that no two files, given with their names, can have the same output.

    Raises:
        OutputExistsError: Two can.
    """
    taken: dict[str, tuple[frozenset[str], dict[tuple[str | None, ...], str]]] = {}
    for name, one in files:
        values = tuple(one.known[column] for column in one.names if column in one.known)
        columns, names = taken.setdefault(one.below, (frozenset(one.known), {}))
        other = names.setdefault(values, name) if columns == {*one.known} else next(iter(names.values()))
        if other != name:
            raise OutputExistsError(
                f"{other} and {name} may have the same output, {one.name(one.any)}",
                hint="rename one of the inputs, or give the directory that contains their folders",
            )


@dataclass(frozen=True)
class _Window:
    """The rows of one batch, sorted by folder.

    Attributes:
        rows: The rows; None if they are only in the file.
        spans: The start and stop index of each folder's rows.
        at: Their start and stop offset in the file.
        ends_group: Whether a row group ends after them.
    """

    rows: pa.RecordBatch | None
    spans: Mapping[str, tuple[int, int]]
    at: tuple[int, int] = (0, 0)
    ends_group: bool = False


class Scatter:
    """A buffer that takes the scored rows of a piece and returns each folder's, in order; a context manager.

    Args:
        partitions: The partitioning of the rows.
    """

    def __init__(self, partitions: Partitions) -> None:
        self._partitions = partitions
        self._windows: list[_Window] = []
        self._rows: dict[str, int] = {}
        self._held = 0
        self._file: IO[bytes] | None = None

    @property
    def folders(self) -> dict[str, int]:
        """The number of rows of each folder, ordered by name."""
        return dict(sorted(self._rows.items()))

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows.

        Raises:
            UsageError: There are more than ``MOST_FOLDERS`` folders.
            OutputWriteError: There is no disk space to buffer the rows.
        """
        rows, spans = self._partitions.split(batch)
        for name, (start, stop) in spans.items():
            self._rows[name] = self._rows.get(name, 0) + stop - start
        if len(self._rows) > MOST_FOLDERS:
            raise UsageError(
                f"--partition-by {','.join(self._partitions.names)} makes more than {MOST_FOLDERS:,} folders"
                " from one file",
                hint="choose columns with fewer distinct values",
            )
        self._windows.append(_Window(rows, spans))
        self._held += rows.nbytes
        if self._held >= HELD_BYTES:
            self._spill()

    def end_group(self) -> None:
        """End the row group of every folder."""
        if self._windows:
            self._windows[-1] = replace(self._windows[-1], ends_group=True)

    def copy(self, folders: str, writer: RowWriter) -> None:
        """Write the rows of some folders.

        Raises:
            OutputWriteError: They cannot be written.
        """
        waiting: list[pa.RecordBatch] = []
        for window in self._windows:
            if folders in window.spans:
                start, stop = window.spans[folders]
                waiting.append(self._read(window).slice(start, stop - start))
            if window.ends_group:
                self._write(waiting, writer)
                writer.end_group()
                waiting = []
        self._write(waiting, writer)

    def _write(self, batches: Sequence[pa.RecordBatch], writer: RowWriter) -> None:
        if batches:
            apart = any(has_dictionary(kind) for kind in batches[0].schema.types)
            for batch in regrouped(batches, _TOGETHER, apart=apart):
                writer.write(batch)

    def _spill(self) -> None:
        """Move all buffered rows to the file."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(prefix=".sentstream-")  # noqa: SIM115
            for index, window in enumerate(self._windows):
                if window.rows is not None:
                    start = self._file.seek(0, os.SEEK_END)
                    self._file.write(_packed(window.rows))
                    location = start, self._file.tell()
                    self._windows[index] = replace(window, rows=None, at=location)
            self._file.flush()
        except OSError as error:
            raise OutputWriteError(
                f"rows cannot be buffered in {tempfile.gettempdir()}: {error.strerror or error}",
                hint="set TMPDIR to a directory with enough space for an output",
            ) from error
        self._held = 0

    def _read(self, window: _Window) -> pa.RecordBatch:
        if window.rows is not None:
            return window.rows
        assert self._file is not None
        start, stop = window.at
        page = start - start % mmap.ALLOCATIONGRANULARITY
        mapped = mmap.mmap(self._file.fileno(), stop - page, access=mmap.ACCESS_READ, offset=page)
        with pa.ipc.open_stream(pa.py_buffer(mapped)[start - page :]) as stream:
            return stream.read_next_batch()

    def __enter__(self) -> Scatter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._windows.clear()
        if self._file is not None:
            self._file.close()


def _packed(batch: pa.RecordBatch) -> pa.Buffer:
    """Serialize rows as a separate IPC stream, including their dictionaries."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return sink.getvalue()
