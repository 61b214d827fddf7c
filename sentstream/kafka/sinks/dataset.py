"""Rows of topic partitions -> Parquet files, each row once, whoever else writes.

The rows of a partition that belong to one directory are a sequence, and its files there are runs of it: each
begins where another ended, and is named after that offset. A name is created exclusively. So of several
writers of a directory one wins, whatever the others have read, and a process that was stopped and wakes up
after its partitions went to another can add the next run at most, but neither double a row nor leave one out.

Directories do not wait for each other: rows for several of them come in any order, and what a killed process
had named in one and not in another is completed by whoever reads on from what was complete in all of them.
Meanwhile a reader finds some rows of later offsets and not yet all of the earlier ones, but none twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from sentstream.dataset.partitions import check_columns
from sentstream.errors import OutputExistsError, OutputWriteError, UsageError
from sentstream.kafka.clients.api import Origin, Partition
from sentstream.kafka.sinks import dataset_files as files
from sentstream.kafka.sinks.dataset_files import PARTITION_COLUMNS, Facts, PartitionColumn, Reach
from sentstream.kafka.sinks.open_file import OpenFile, Tail, explaining
from sentstream.storage.whole_file import check_exclusive, make_directory

__all__ = ["PARTITION_COLUMNS", "Dataset", "PartitionColumn", "Rolling", "Superseded"]

_MOST_OPEN = 8  # open files of a partition; above it, the one that was written to longest ago ends
_MOST_FILES = 4096  # directories of a partition with rows that wait; above it, all of them end


@dataclass(frozen=True)
class Rolling:
    """A file ends at the first of these.

    Attributes:
        rows: Rows in it.
        size: Bytes, as far as they can be foreseen.
        seconds: Time since its partition's first record after the last time that its files ended.
    """

    rows: int = 1_000_000
    size: int = 256 << 20
    seconds: float = 300.0


class Superseded(Exception):
    """Another writer has written what was to be written; our rows are dropped.

    Not an error of the user's: read again from ``next_offset``, up to which no row is missing.
    """

    def __init__(self, partition: Partition, next_offset: int) -> None:
        super().__init__(
            f"{partition.topic}-{partition.partition}: another writer wrote files up to offset {next_offset}"
        )
        self.partition, self.next_offset = partition, next_offset


class Dataset:
    """The Parquet files of any number of topic partitions in one directory; not thread-safe.

    A file is opened once its rows are worth it, and a partition has a few open files at most, so directories
    may be as many as they like. A file's schema metadata says where its rows are from: see ``dataset_files``.
    Columns that directories are named after are not in the files as well, as Hive has it: readers add them
    from the path.

    Args:
        directory: Where to; ``check`` makes it.
        schema: The schema of the rows, with ``offset`` (int64) and ``timestamp`` (timestamp[ms, UTC]).
        rolling: When a file ends.
        partition_by: Names of Hive directories, outermost first; ``date`` and ``hour`` are the record's, in
            UTC.
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
        check_columns(partition_by)
        for name in ("date", "hour"):
            if name in partition_by and name in schema.names:
                raise UsageError(
                    f"the rows have a column {name!r}, but directories are named after the {name}",
                    hint="choose another --prefix",
                )
        self._directory, self._rolling, self._memory = directory, rolling, memory
        self._by = tuple(partition_by)
        self._schema = pa.schema([one for one in schema if one.name not in self._by], schema.metadata)
        self._tails: dict[Partition, Tail] = {}
        self._ends: dict[Partition, dict[Path, int | None]] = {}
        self._origins: dict[str, Origin] = {}
        self._ratio = 1.0
        #: Files and rows that this object has made durable.
        self.files = self.rows = 0

    def check(self) -> None:
        """Make the directory, find out whether files can be written, remove those of killed writers.

        Raises:
            OutputWriteError: The directory cannot be made or written, or has no hard links.
            OutputExistsError: It has files of ours with other columns or in other Hive directories.
            InputFormatError: A file there is damaged.
        """
        if self._directory.exists() and not self._directory.is_dir():
            raise OutputWriteError(f"{self._directory} is not a directory", hint="choose another directory")
        with explaining(self._directory, "choose another directory, on a file system with hard links"):
            make_directory(self._directory)
            check_exclusive(self._directory)
        files.remove_abandoned(self._directory)
        self._check_layout()

    def next_offset(self, partition: Partition) -> int | None:
        """The first offset whose row may be missing; None if the partition has no file.

        It reads the metadata of all of the partition's files.

        Raises:
            InputFormatError: A file is damaged, or was written by somebody else.
            OutputWriteError: A directory cannot be read.
        """
        found = self.reach(partition)
        return None if found is None else found.rows

    def reach(self, partition: Partition) -> Reach | None:
        """How far the partition's files say that it is done; else as ``next_offset``."""
        self._ends.pop(partition, None)
        return files.reach(self._directory, partition)

    def facts(self, partition: Partition) -> Iterator[Facts]:
        """What the partition's files say about themselves, those of the last directory and offset first.

        Raises:
            InputFormatError: A file is damaged, or was written by somebody else.
            OutputWriteError: A directory cannot be read.
        """
        for path, start in sorted(files.files_of(self._directory, partition), reverse=True):
            yield files.read_facts(path, partition, start)

    def stamp(self, origins: Mapping[str, Origin]) -> None:
        """Say in the files to come which topics they are of."""
        self._origins.update(origins)

    def append(
        self, partition: Partition, rows: pa.RecordBatch, next_offset: int, letters_to: int = 0
    ) -> pa.Table:
        """Add rows; those that already exist are left out.

        The first rows that are added after ``drop``, or at all, begin at or before the first row that is
        missing, and from then on there are no gaps.

        Args:
            partition: Where they are from.
            rows: n >= 0 rows, ``offset`` ascending.
            next_offset: The offset behind all that these rows account for.
            letters_to: An offset before which all dead letters have been sent, for the files to tell.

        Returns:
            The rows that were added, in any order.

        Raises:
            Superseded: A file that had to end was another writer's. All of the partition's is dropped.
            OutputWriteError: No space left, no permission. All of the partition's is dropped.
        """
        try:
            added = self._append(partition, rows, next_offset)
            self._tails[partition].letters_to = letters_to
            self._bound()
        except BaseException:
            self.drop(partition)
            raise
        return pa.Table.from_batches(added, rows.schema)

    def due(self) -> set[Partition]:
        """The partitions that are to be closed now, or are being closed."""
        now, rolling = time.monotonic(), self._rolling
        return {
            one
            for one, tail in self._tails.items()
            if tail.ending
            or (tail.since is not None and now - tail.since >= rolling.seconds)
            or len(tail.files) >= _MOST_FILES
            or any(
                file.rows >= rolling.rows or file.foreseen(self._ratio) >= rolling.size
                for file in tail.files.values()
            )
        }

    def close(self, partition: Partition, deadline: float | None = None) -> int:
        """Make what was added durable under its names.

        Args:
            partition: Whose files end.
            deadline: When to stop, on the monotonic clock, after one file at least; None is never. A
                partition that was not done by then remains ``due``; what is added to it before the next
                call waits for the files after these.

        Returns:
            The offset that can be committed: all rows before it are durable.

        Raises:
            Superseded: It was another writer's. All of the partition's is dropped.
            OutputWriteError: No space left, no permission. All of the partition's is dropped.
        """
        tail = self._tails.get(partition)
        if tail is None:
            return self.next_offset(partition) or 0
        try:
            if deadline is None or not tail.ending:
                tail.end()
            while tail.ending:
                self._finish(partition, tail, tail.ending[0])
                if deadline is not None and time.monotonic() >= deadline:
                    break
        except BaseException:
            self.drop(partition)
            raise
        if not tail.files:
            del self._tails[partition]
        return tail.complete_to()

    def drop(self, partition: Partition) -> None:
        """Forget what is not durable, and where the files end."""
        self._ends.pop(partition, None)
        tail = self._tails.pop(partition, None)
        if tail is not None:
            for file in tail.files.values():
                file.drop()

    def close_all(self) -> dict[Partition, int]:
        """``close`` each partition; one that fails keeps those after it from being closed."""
        return {partition: self.close(partition) for partition in list(self._tails)}

    def drop_all(self) -> None:
        """``drop`` each partition."""
        for partition in list(self._tails):
            self.drop(partition)
        self._ends.clear()

    def _check_layout(self) -> None:
        """Refuse to write what could not be read together with what is there."""
        hint = "choose another directory"
        path = None
        for path in files.all_files(self._directory):
            there = tuple(part.partition("=")[0] for part in path.relative_to(self._directory).parts[:-1])
            if there != self._by:
                raise OutputExistsError(
                    f"{path} was written {_named(there)}, but this run writes {_named(self._by)}: "
                    "readers could not read both together",
                    hint=hint,
                )
        if path is not None:
            theirs, ours = (
                {one.name: one.type for one in schema} for schema in (files.schema_of(path), self._schema)
            )
            differing = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
            if differing:
                raise OutputExistsError(
                    f"{path} has different columns than this run writes: {', '.join(differing)}", hint=hint
                )

    def _append(self, partition: Partition, rows: pa.RecordBatch, next_offset: int) -> list[pa.RecordBatch]:
        tail = self._tails.get(partition)
        if tail is None:
            tail = self._tails[partition] = Tail()
        if tail.since is None:
            tail.since = time.monotonic()
        added: list[pa.RecordBatch] = []
        for place, found in files.by_directory(partition, _from(rows, tail.next_offset), self._by):
            directory = self._directory / place
            end = self._end(partition, directory)
            run = found if end is None else _from(found, end)
            if not len(run):
                continue
            added.append(run)
            file = tail.files.get(directory)
            if file is None:
                start = run.column("offset")[0].as_py() if end is None else end
                file = tail.files[directory] = OpenFile(directory, partition, start, self._schema)
            file.write(run)
            tail.files.move_to_end(directory)
            self._bound_open(partition, tail)
        tail.next_offset = max(tail.next_offset, next_offset)
        return added

    def _end(self, partition: Partition, directory: Path) -> int | None:
        """Where the partition's files in a directory ended when they were looked at last."""
        ends = self._ends.setdefault(partition, {})
        if directory not in ends:
            ends[directory] = files.end_in(directory, partition)
        return ends[directory]

    def _finish(self, partition: Partition, tail: Tail, file: OpenFile) -> None:
        """End a file, which accounts for all rows of its directory that were added."""
        directory = file.target.parent

        def check() -> None:
            if not self.files:  # somebody else may have begun when there was nothing to be seen
                self._check_layout()
            # The name alone is not enough where somebody began elsewhere.
            end = files.end_in(directory, partition)
            if end is not None and end > file.start:
                raise Superseded(partition, self.next_offset(partition) or 0)

        tail.take(file)
        next_offset = max(tail.next_offset, file.last + 1)
        origin = self._origins.get(partition.topic)
        try:
            file.finish(next_offset, tail.complete_to(), tail.letters_to, origin, check)
        except OutputExistsError:
            check()
            raise
        self._ends.setdefault(partition, {})[directory] = next_offset
        self._ratio = file.ratio or self._ratio
        self.files += 1
        self.rows += file.rows

    def _bound_open(self, partition: Partition, tail: Tail) -> None:
        """Keep to the number of open files."""
        opened = [file for file in tail.files.values() if file.is_open]
        for file in opened[: max(0, len(opened) - _MOST_OPEN)]:
            self._finish(partition, tail, file)

    def _bound(self) -> None:
        """Keep to the memory that rows may wait in."""
        waiting = {
            (one, directory): file.waiting
            for one, tail in self._tails.items()
            for directory, file in tail.files.items()
        }
        total = sum(waiting.values())
        while total > self._memory:
            fullest = max(waiting, key=waiting.__getitem__)
            total -= waiting.pop(fullest)
            partition, directory = fullest
            tail = self._tails[partition]
            try:
                if directory in tail.files:
                    tail.files[directory].end_group()
                    self._bound_open(partition, tail)
            except BaseException:
                self.drop(partition)
                raise


def _named(columns: Sequence[str]) -> str:
    """How a layout is asked for."""
    return f"with --partition-by {','.join(columns)}" if columns else "without --partition-by"


def _from(rows: pa.RecordBatch, floor: int) -> pa.RecordBatch:
    """The rows from an offset on."""
    if not len(rows) or rows.column("offset")[0].as_py() >= floor:
        return rows
    return rows.filter(pc.greater_equal(rows.column("offset"), floor))
