"""Rows of topic partitions -> Parquet files, each row once, whoever else writes.

The rows of a partition are a sequence, and its files are runs of it: each begins where another ended, and
is named after that offset. A name is created exclusively. So of several writers at one place one wins,
whatever the others have read, and a process that was stopped and wakes up after its partitions went to
another can add the next run at most, but neither double a row nor leave one out.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from sentstream.errors import OutputExistsError, OutputWriteError, UsageError
from sentstream.files.commit import check_exclusive, make_directory, whole_file
from sentstream.files.writer import Writer
from sentstream.kafka import dataset_files as files
from sentstream.kafka.client import Partition
from sentstream.kafka.dataset_files import PARTITION_COLUMNS, PartitionColumn

__all__ = ["PARTITION_COLUMNS", "Dataset", "PartitionColumn", "Rolling", "Superseded"]

_FEW = 64  # small batches that become one: each costs some KB beside its rows
_ENOUGH = 1 << 20  # bytes from which compression is worth measuring
_VARIED = {"offset", "timestamp", "value", "text"}  # too many different values for a dictionary


@dataclass(frozen=True)
class Rolling:
    """A file ends at the first of these.

    Attributes:
        rows: Rows in it.
        size: Bytes, as far as they can be foreseen.
        seconds: Time since its partition's first record after the last ``Dataset.close``.
    """

    rows: int = 1_000_000
    size: int = 256 << 20
    seconds: float = 300.0


class Superseded(Exception):
    """Another writer has written what was to be written; our rows are dropped.

    Not an error of the user's: go on at ``next_offset``, where the files end.
    """

    def __init__(self, partition: Partition, next_offset: int) -> None:
        super().__init__(
            f"{partition.topic}-{partition.partition}: another writer has written files up to {next_offset}"
        )
        self.partition, self.next_offset = partition, next_offset


class Dataset:
    """The Parquet files of any number of topic partitions in one directory; not thread-safe.

    Each open partition has a file handle. A file's schema metadata says where its rows are from: see
    ``dataset_files``. Columns that directories are named after are not in the files as well, as Hive has
    it: readers add them from the path.

    Args:
        directory: Where to; ``check`` makes it.
        schema: The schema of the rows, with ``offset`` (int64) and ``timestamp`` (timestamp[ms, UTC]).
        rolling: When a file ends.
        partition_by: Names of Hive directories, outermost first; ``date`` and ``hour`` are the record's, in
            UTC. A file ends where a value changes from one row to the next.
        memory: Bytes of rows that may wait for their row groups, all partitions together.

    Raises:
        UsageError: A column is named like a directory for another thing, or a name comes twice.
    """

    def __init__(
        self,
        directory: Path,
        schema: pa.Schema,
        *,
        rolling: Rolling,
        partition_by: Sequence[PartitionColumn] = (),
        memory: int = 256 << 20,
    ) -> None:
        if len(set(partition_by)) < len(partition_by):
            raise UsageError(f"--partition-by names a column twice: {', '.join(partition_by)}")
        for name in ("date", "hour"):
            if name in partition_by and name in schema.names:
                raise UsageError(
                    f"the rows have a column {name!r}, and directories are to be named after the {name}",
                    hint="choose another --prefix",
                )
        self._directory, self._rolling, self._memory = directory, rolling, memory
        self._by = tuple(partition_by)
        self._schema = pa.schema([one for one in schema if one.name not in self._by], schema.metadata)
        self._tails: dict[Partition, _Tail] = {}
        self._ends: dict[Partition, int | None] = {}
        self._ratio = 1.0
        #: Files and rows that this object has made durable.
        self.files = self.rows = 0

    def check(self) -> None:
        """Make the directory, find out whether files can be written, remove those of killed writers.

        Raises:
            OutputWriteError: The directory cannot be made or written, or has no hard links.
        """
        if self._directory.exists() and not self._directory.is_dir():
            raise OutputWriteError(f"{self._directory} is not a directory", hint="choose another one")
        with _explaining(self._directory, "choose another directory, on a file system with hard links"):
            make_directory(self._directory)
            check_exclusive(self._directory)
        files.remove_abandoned(self._directory)

    def next_offset(self, partition: Partition) -> int | None:
        """Where the partition's files end: the first offset to be written; None if there is no file.

        Raises:
            InputFormatError: The last file is damaged, or was written by somebody else.
            OutputWriteError: The directory cannot be read.
        """
        self._ends[partition] = end = files.end_on_disk(self._directory, partition)
        return end

    def append(self, partition: Partition, rows: pa.RecordBatch, next_offset: int) -> None:
        """Add rows; those that are there already are left out.

        Args:
            partition: Where they are from.
            rows: n >= 0 rows, ``offset`` ascending.
            next_offset: The offset behind all that these rows account for.

        Raises:
            Superseded: A file that had to end was another writer's. All of the partition's is dropped.
            OutputWriteError: No space left, no permission. All of the partition's is dropped.
        """
        try:
            self._append(partition, rows, next_offset)
            self._bound()
        except BaseException:
            self.drop(partition)
            raise

    def due(self) -> set[Partition]:
        """The partitions that are to be closed now."""
        now, rolling = time.monotonic(), self._rolling
        return {
            one
            for one, tail in self._tails.items()
            if now - tail.since >= rolling.seconds
            or (
                tail.file is not None
                and (tail.file.rows >= rolling.rows or tail.file.foreseen(self._ratio) >= rolling.size)
            )
        }

    def close(self, partition: Partition) -> int:
        """Make all that was added durable under its name.

        Returns:
            The offset that can be committed.

        Raises:
            Superseded: It was another writer's. All of the partition's is dropped.
            OutputWriteError: No space left, no permission. All of the partition's is dropped.
        """
        tail = self._tails.get(partition)
        if tail is None:
            return self._end(partition) or 0
        try:
            self._finish(partition, tail, tail.next_offset)
        except BaseException:
            self.drop(partition)
            raise
        del self._tails[partition]
        return tail.next_offset

    def drop(self, partition: Partition) -> None:
        """Forget what is not durable, and where the files end."""
        self._ends.pop(partition, None)
        tail = self._tails.pop(partition, None)
        if tail is not None and tail.file is not None:
            tail.file.drop()

    def close_all(self) -> dict[Partition, int]:
        """``close`` each partition; one that fails keeps those after it from being closed."""
        return {partition: self.close(partition) for partition in list(self._tails)}

    def drop_all(self) -> None:
        """``drop`` each partition."""
        for partition in list(self._tails):
            self.drop(partition)
        self._ends.clear()

    def _append(self, partition: Partition, rows: pa.RecordBatch, next_offset: int) -> None:
        tail = self._tails.get(partition)
        if tail is None:
            tail = self._tails[partition] = _Tail(self._end(partition) or 0, time.monotonic())
        rows = _from(rows, tail.next_offset)
        for place, run in files.hive_runs(partition, rows, self._by):
            directory, first = self._directory / place, run.column("offset")[0].as_py()
            if tail.file is not None and tail.file.target.parent != directory:
                self._finish(partition, tail, first)
            if tail.file is None:
                end = self._end(partition)
                tail.file = _File(directory, partition, first if end is None else end, self._schema)
            tail.file.write(run)
            tail.next_offset = run.column("offset")[-1].as_py() + 1
        tail.next_offset = max(tail.next_offset, next_offset)

    def _end(self, partition: Partition) -> int | None:
        """Where the files ended when they were looked at last."""
        return self._ends[partition] if partition in self._ends else self.next_offset(partition)

    def _finish(self, partition: Partition, tail: _Tail, next_offset: int) -> None:
        """End the file, if there is one; it accounts for all before ``next_offset``."""
        file = tail.file
        if file is None:
            return

        def check() -> None:
            # The name alone is not enough where somebody writes to other directories, or began elsewhere.
            end = files.end_on_disk(self._directory, partition)
            if end is not None and end > file.start:
                raise Superseded(partition, end)

        try:
            file.finish(next_offset, check)
        except OutputExistsError:
            check()
            raise
        tail.file = None
        self._ends[partition] = next_offset
        self._ratio = file.ratio or self._ratio
        self.files += 1
        self.rows += file.rows

    def _bound(self) -> None:
        """Keep to the memory that rows may wait in."""
        waiting = {one: tail.file.waiting for one, tail in self._tails.items() if tail.file is not None}
        total = sum(waiting.values())
        while total > self._memory:
            fullest = max(waiting, key=waiting.__getitem__)
            total -= waiting.pop(fullest)
            file = self._tails[fullest].file
            assert file is not None
            try:
                file.end_group()
            except BaseException:
                self.drop(fullest)
                raise


@dataclass
class _Tail:
    """What was added to a partition since it was closed; all but ``file`` is durable already."""

    next_offset: int
    since: float
    file: _File | None = None


class _Dropped(Exception):
    """Ends the contexts of a file that is to have no name."""


class _File:
    """A file that has no name yet."""

    def __init__(self, directory: Path, partition: Partition, start: int, schema: pa.Schema) -> None:
        self._naming, self._writing = contextlib.ExitStack(), contextlib.ExitStack()
        self.target, self.start = directory / files.file_name(partition, start), start
        self._partition, self._schema = partition, schema
        self.rows = 0
        self._first = self._last = -1
        self._few: list[pa.RecordBatch] = []
        self._few_bytes = self._given = 0
        #: Bytes in the file for a byte of rows, once that is known.
        self.ratio: float | None = None
        varied = {one.name for one in schema if one.name in _VARIED or pa.types.is_floating(one.type)}
        with self._dropping():
            make_directory(directory)
            whole = whole_file(self.target, overwrite=False, exclusive=True)
            self._out = self._naming.enter_context(whole)
            self._writer = self._writing.enter_context(Writer(self._out, schema, varied))

    @property
    def waiting(self) -> int:
        """Bytes of rows in memory."""
        return self._few_bytes + self._writer.waiting

    def foreseen(self, ratio: float) -> float:
        """What size the file would have if it ended now, given a ratio in case that it knows none."""
        return self._out.tell() + self.waiting * (self.ratio or ratio)

    def write(self, rows: pa.RecordBatch) -> None:
        """Add n >= 1 rows."""
        if not self.rows:
            self._first = rows.column("offset")[0].as_py()
        self._last = rows.column("offset")[-1].as_py()
        self.rows += len(rows)
        rows = rows.select(self._schema.names)
        self._few.append(rows)
        self._few_bytes += rows.nbytes
        if len(self._few) >= _FEW or self._few_bytes >= _ENOUGH:
            self._join()

    def end_group(self) -> None:
        """Bring all rows to the file."""
        self._join()
        with self._dropping():
            self._writer.end_group()
        self._measure()

    def finish(self, next_offset: int, check: Callable[[], None]) -> None:
        """Give the file its name; ``check`` comes last before that."""
        self.end_group()
        metadata = {
            files.TOPIC: self._partition.topic,
            files.PARTITION: self._partition.partition,
            files.FIRST_OFFSET: self._first,
            files.LAST_OFFSET: self._last,
            files.NEXT_OFFSET: next_offset,
        }
        with self._dropping():
            self._writer.describe({key: str(value) for key, value in metadata.items()})
            self._writing.close()
            self._out.flush()
            os.fsync(self._out.fileno())
            check()
            self._naming.close()

    def drop(self) -> None:
        """Leave nothing."""
        for stack in (self._writing, self._naming):
            with contextlib.suppress(_Dropped, OSError, OutputWriteError):  # a full disk fails here too
                stack.__exit__(_Dropped, _Dropped(), None)

    def __del__(self) -> None:
        self.drop()

    def _join(self) -> None:
        if self._few:
            table = pa.Table.from_batches(self._few, self._schema).combine_chunks()
            self._few, self._few_bytes = [], 0
            with self._dropping():
                for batch in table.to_batches():
                    self._given += batch.nbytes
                    self._writer.write(batch)
            self._measure()

    def _measure(self) -> None:
        if self._given >= _ENOUGH and not self._writer.waiting:
            self.ratio = self._out.tell() / self._given

    @contextlib.contextmanager
    def _dropping(self) -> Iterator[None]:
        """Leave nothing when the block fails."""
        try:
            with _explaining(self.target, "make room, or choose another directory"):
                yield
        except BaseException:
            self.drop()
            raise


def _from(rows: pa.RecordBatch, floor: int) -> pa.RecordBatch:
    """The rows from an offset on."""
    if not len(rows) or rows.column("offset")[0].as_py() >= floor:
        return rows
    return rows.filter(pc.greater_equal(rows.column("offset"), floor))


@contextlib.contextmanager
def _explaining(path: Path, hint: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror or error}"
        raise OutputWriteError(message, hint=hint) from error
    except OutputWriteError as error:
        raise OutputWriteError(error.message, hint=hint) from error
