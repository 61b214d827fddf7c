"""Write rows of topic partitions to Parquet files, each row exactly once, even with concurrent writers.

The rows of a partition in one directory are a sequence, and its files there are consecutive ranges of it:
each begins where the previous one ended, and is named after that offset. A name is created exclusively. So if
several processes write the same range, one wins, whatever the others have read. A process that resumes after
its partitions went to another one can at most add the next range, but not duplicate or omit a row.

Directories are independent: rows for several of them arrive in any order. If a killed process had named its
file in one directory and not in another, the next process reads on from the offset that is complete in all
directories. Until then readers may see rows of later offsets before all earlier ones, but no row twice.
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
from sentstream.kafka.sinks.dataset_files import PARTITION_COLUMNS, FileMetadata, PartitionColumn, Reach
from sentstream.kafka.sinks.open_file import OpenFile, Tail, explaining
from sentstream.storage.whole_file import check_exclusive, make_directory

__all__ = ["PARTITION_COLUMNS", "Dataset", "PartitionColumn", "Rolling", "Superseded"]

_MOST_OPEN = 8  # open files per partition; above it, the least recently written one is finished
_MOST_FILES = 4096  # directories per partition with waiting rows; above it, all files are finished


@dataclass(frozen=True)
class Rolling:
    """Limits of a file; the first one reached ends it.

    Attributes:
        rows: Rows in the file.
        size: Estimated size in bytes.
        seconds: Time since the partition's first record after its files were last closed.
    """

    rows: int = 1_000_000
    size: int = 256 << 20
    seconds: float = 300.0


class Superseded(Exception):
    """Another writer has already written these rows; ours are dropped.

    Not a user error: read again from ``next_offset``, before which no row is missing.
    """

    def __init__(self, partition: Partition, next_offset: int) -> None:
        super().__init__(
            f"{partition.topic}-{partition.partition}: another writer wrote files up to offset {next_offset}"
        )
        self.partition, self.next_offset = partition, next_offset


class Dataset:
    """The Parquet files of any number of topic partitions in one directory; not thread-safe.

    A file is opened once it has enough rows, and a partition has few open files, so the number of directories
    is not limited. A file's schema metadata records where its rows are from; see ``dataset_files``. As in
    Hive, columns that directories are named after are not in the files: readers add them from the path.

    Args:
        directory: The output directory; ``check`` creates it.
        schema: The schema of the rows, with ``offset`` (int64) and ``timestamp`` (timestamp[ms, UTC]).
        rolling: When a file ends.
        partition_by: Columns of the Hive directories, outermost first; ``date`` and ``hour`` are those of the
            record's timestamp, in UTC.
        memory: Bytes of rows that may wait for their row groups, over all partitions.

    Raises:
        UsageError: A column has the name of a directory with another meaning, or a name occurs twice.
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
        #: The numbers of files and rows that this object has made durable.
        self.files = self.rows = 0

    def check(self) -> None:
        """Create the directory, check that it is writable, and remove temporary files of killed writers.

        Raises:
            OutputWriteError: The directory cannot be created or written, or has no hard links.
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
        """Return the first offset whose row may be missing; None if the partition has no file.

        Reads the metadata of all of the partition's files.

        Raises:
            InputFormatError: A file is damaged, or was written by another program.
            OutputWriteError: A directory cannot be read.
        """
        found = self.reach(partition)
        return None if found is None else found.rows

    def reach(self, partition: Partition) -> Reach | None:
        """Return how far the partition is done according to its files; otherwise like ``next_offset``."""
        self._ends.pop(partition, None)
        return files.reach(self._directory, partition)

    def facts(self, partition: Partition) -> Iterator[FileMetadata]:
        """Yield the metadata of the partition's files, those of the last directory and offset first.

        Raises:
            InputFormatError: A file is damaged, or was written by another program.
            OutputWriteError: A directory cannot be read.
        """
        for path, start in sorted(files.files_of(self._directory, partition), reverse=True):
            yield files.read_file_metadata(path, partition, start)

    def stamp(self, origins: Mapping[str, Origin]) -> None:
        """Record these topic ids in the metadata of all later files."""
        self._origins.update(origins)

    def append(
        self, partition: Partition, rows: pa.RecordBatch, next_offset: int, letters_to: int = 0
    ) -> pa.Table:
        """Add rows, except those that are in files already.

        The first rows added at all, or after ``drop``, must begin at or before the first missing row, and
        there must be no gaps from then on.

        Args:
            partition: The partition of the rows.
            rows: n >= 0 rows, ``offset`` ascending.
            next_offset: The offset after all records that these rows account for.
            letters_to: An offset before which all dead letters have been sent, for the files' metadata.

        Returns:
            The rows that were added, in any order.

        Raises:
            Superseded: Another writer has written a file that had to be finished. The partition is dropped.
            OutputWriteError: No space left, or no permission. The partition is dropped.
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
        """Return the partitions that should be closed now, or are being closed."""
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
        """Finish a partition's files: make their rows durable and give them their names.

        Args:
            partition: The partition.
            deadline: When to stop, on the monotonic clock, but after at least one file; None for never. A
                partition that is not done by then remains ``due``, and rows added before the next call may
                join the files that are still to be finished.

        Returns:
            The offset that can be committed: all rows before it are durable.

        Raises:
            Superseded: Another writer has written a file. The partition is dropped.
            OutputWriteError: No space left, or no permission. The partition is dropped.
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
        """Drop rows that are not durable, and forget where the files end."""
        self._ends.pop(partition, None)
        tail = self._tails.pop(partition, None)
        if tail is not None:
            for file in tail.files.values():
                file.drop()

    def close_all(self) -> dict[Partition, int]:
        """``close`` each partition, up to the first that fails."""
        return {partition: self.close(partition) for partition in list(self._tails)}

    def drop_all(self) -> None:
        """``drop`` each partition."""
        for partition in list(self._tails):
            self.drop(partition)
        self._ends.clear()

    def _check_layout(self) -> None:
        """Check that existing files have the same columns and directories, so that all can be read together.

        Raises:
            OutputExistsError: They do not.
        """
        hint = "choose another directory"
        path = None
        for path in files.all_files(self._directory):
            columns = tuple(part.partition("=")[0] for part in path.relative_to(self._directory).parts[:-1])
            if columns != self._by:
                raise OutputExistsError(
                    f"{path} was written {_named(columns)}, but this run writes {_named(self._by)}: "
                    "readers could not read both together",
                    hint=hint,
                )
        if path is not None:
            found, expected = (
                {one.name: one.type for one in schema} for schema in (files.schema_of(path), self._schema)
            )
            differing = [name for name in {**found, **expected} if found.get(name) != expected.get(name)]
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
        for path, found in files.by_directory(partition, _from(rows, tail.next_offset), self._by):
            directory = self._directory / path
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
        """Return where the partition's files in a directory end, from a cache."""
        ends = self._ends.setdefault(partition, {})
        if directory not in ends:
            ends[directory] = files.end_in(directory, partition)
        return ends[directory]

    def _finish(self, partition: Partition, tail: Tail, file: OpenFile) -> None:
        """Finish a file, which then accounts for all added rows of its directory."""
        directory = file.target.parent

        def check() -> None:
            if not self.files:  # another writer may have begun after ``check`` found nothing
                self._check_layout()
            # The name alone is not enough if another writer began at a different offset.
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
        """Limit the number of open files."""
        opened = [file for file in tail.files.values() if file.is_open]
        for file in opened[: max(0, len(opened) - _MOST_OPEN)]:
            self._finish(partition, tail, file)

    def _bound(self) -> None:
        """Limit the memory of waiting rows."""
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
    """Return the option that requests a layout, for errors."""
    return f"with --partition-by {','.join(columns)}" if columns else "without --partition-by"


def _from(rows: pa.RecordBatch, floor: int) -> pa.RecordBatch:
    """Return the rows from an offset on."""
    if not len(rows) or rows.column("offset")[0].as_py() >= floor:
        return rows
    return rows.filter(pc.greater_equal(rows.column("offset"), floor))
