"""The files of a dataset: their names, Hive directories and metadata.

A file is named ``{topic}+{partition}+{offset, 20 digits}.parquet``, as in Kafka Connect. The offset is where
the partition's previous file in the same directory ended, or that of the first row for the first file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple, TypeAlias
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sentstream.dataset.folders import folder
from sentstream.dataset.partitions import grouped
from sentstream.errors import InputFormatError, OutputWriteError, first_line
from sentstream.kafka.clients.api import Origin, Partition
from sentstream.storage.sync import sync_directory
from sentstream.storage.whole_file import remove_stale

PartitionColumn: TypeAlias = Literal["topic", "partition", "date", "hour"]
PARTITION_COLUMNS: Final[tuple[PartitionColumn, ...]] = ("topic", "partition", "date", "hour")

#: Keys of a file's metadata.
TOPIC, PARTITION = "sentstream.topic", "sentstream.partition"
#: Offsets of the first and the last row.
FIRST_OFFSET, LAST_OFFSET = "sentstream.first_offset", "sentstream.last_offset"
#: The file accounts for each row of its directory from the offset in its name up to this one (exclusive),
#: which is in the name of the next file there.
NEXT_OFFSET = "sentstream.next_offset"
#: All rows before this offset, in any directory, were in files when this file got its name. Present only if
#: less than ``NEXT_OFFSET``, because earlier rows for other directories were not yet written.
COMPLETE_TO = "sentstream.complete_to"
#: All dead letters of records before this offset had been sent when this file got its name.
LETTERS_TO = "sentstream.letters_to"
#: The identity of the topic, as opposed to others of the same name; absent in files of sentstream 0.1.
TOPIC_ID, CLUSTER_ID = "sentstream.topic_id", "sentstream.cluster_id"

_OURS = re.compile(r".+\+\d+\+\d{20}\.parquet")
_HIDDEN = re.compile(rf"\.({_OURS.pattern})\.[0-9a-f]+\.tmp")
_LONGEST = 180  # characters of a topic in a file name; a topic may have 249, too long together with the rest
_HOUR, _DAY = 3_600_000, 86_400_000  # ms
_NO_TIME = np.iinfo(np.int64).min


def file_name(partition: Partition, start: int) -> str:
    """Return the name of the file that begins at an offset."""
    return f"{_prefix(partition)}{start:020}.parquet"


def by_directory(
    partition: Partition, rows: pa.RecordBatch, columns: Sequence[PartitionColumn]
) -> Iterator[tuple[Path, pa.RecordBatch]]:
    """Split rows by their Hive directory.

    Args:
        partition: The partition of the rows.
        rows: n rows with a column ``timestamp`` (timestamp[ms, UTC], may be null).
        columns: The columns that directories are named after, outermost first.

    Yields:
        Each directory, relative to the dataset, and its rows in order; the first row's directory is first.
    """
    if not len(rows):
        return
    unit = _HOUR if "hour" in columns else _DAY if "date" in columns else None
    if unit is None:
        yield _directory(partition, _NO_TIME, columns), rows
        return
    time = pc.fill_null(rows.column("timestamp").cast(pa.int64()), _NO_TIME).to_numpy(zero_copy_only=False)
    period = np.where(time == _NO_TIME, _NO_TIME, time // unit)
    if "date" not in columns:
        period = np.where(time == _NO_TIME, _NO_TIME, period % (_DAY // _HOUR))
    groups = grouped(period)
    for group in groups:
        directory = _directory(partition, int(time[group[0]]), columns)
        yield directory, rows if len(groups) == 1 else rows.take(pa.array(group))


def _directory(partition: Partition, time: int, columns: Sequence[PartitionColumn]) -> Path:
    date = hour = None
    if time != _NO_TIME:
        date, hour = str(np.datetime_as_string(np.datetime64(time, "ms"), unit="h")).rsplit("T", 1)
    values = {
        "topic": partition.topic,
        "partition": str(partition.partition),
        "date": date,
        "hour": hour,
    }
    return Path(*(folder(column, values[column]) for column in columns))


@dataclass(frozen=True)
class FileMetadata:
    """The metadata of a file.

    Attributes:
        path: The file's path.
        start: The offset in its name.
        next_offset: The file accounts for all rows of its directory before this offset.
        complete_to: All rows before this offset, in any directory, are in files.
        letters_to: All dead letters of records before this offset were sent; 0 if not recorded.
        origin: The topic that the rows are from; None if not recorded.
    """

    path: str
    start: int
    next_offset: int
    complete_to: int
    letters_to: int
    origin: Origin | None


class Reach(NamedTuple):
    """How far a partition is done.

    Attributes:
        rows: The offset before which all rows are in files.
        letters: An offset before which all dead letters have been sent.
    """

    rows: int
    letters: int


def end_in(directory: Path, partition: Partition) -> int | None:
    """Return the offset where a partition's files in one directory end; None without a file.

    Reads only the last file, and makes its name durable, whoever created it. Files with other names,
    such as Kafka Connect's, are ignored.

    Args:
        directory: The directory that contains the files.
        partition: The partition.

    Raises:
        InputFormatError: The last file is damaged, or was written by another program.
        OutputWriteError: The directory cannot be read or made durable.
    """
    last, path = -1, ""
    for entry in _scan(directory):
        start = _start(entry.name, partition)
        if start is not None and start > last:
            last, path = start, entry.path
    if not path:
        return None
    end = read_file_metadata(path, partition, last).next_offset
    try:
        sync_directory(directory)
    except OSError as error:
        raise OutputWriteError(f"{path} cannot be made durable: {error.strerror or error}") from error
    return end


def reach(directory: Path, partition: Partition) -> Reach | None:
    """Return how far a partition is done according to its files; None without a file.

    Reads the metadata of all of them.

    Args:
        directory: The directory of the dataset.
        partition: The partition.

    Raises:
        InputFormatError: A file is damaged, or was written by another program.
        OutputWriteError: A directory cannot be read.
    """
    found = [read_file_metadata(path, partition, start) for path, start in files_of(directory, partition)]
    if not found:
        return None
    return Reach(max(facts.complete_to for facts in found), max(facts.letters_to for facts in found))


def files_of(directory: Path, partition: Partition) -> Iterator[tuple[str, int]]:
    """Yield the paths of a partition's files in all directories of a dataset, and the offsets in their names.

    Raises:
        OutputWriteError: A directory cannot be read.
    """
    for entry in _entries(directory, partition):
        if (start := _start(entry.name, partition)) is not None:
            yield entry.path, start


def all_files(directory: Path) -> Iterator[Path]:
    """Yield the files of all partitions in a dataset.

    Raises:
        OutputWriteError: A directory cannot be read.
    """
    for entry in _entries(directory):
        if _OURS.fullmatch(entry.name):
            yield Path(entry.path)


def schema_of(path: Path) -> pa.Schema:
    """Return the schema of a file.

    Raises:
        InputFormatError: The file is damaged.
    """
    with _explaining_damage(path):
        return pq.read_schema(path)


def _start(name: str, partition: Partition) -> int | None:
    """Return the offset in the name of a partition's file; None for other names."""
    prefix = _prefix(partition)
    return (
        int(name[len(prefix) : len(prefix) + 20])
        if name.startswith(prefix) and _OURS.fullmatch(name)
        else None
    )


def remove_abandoned(directory: Path) -> None:
    """Remove the hidden files of killed writers, in the directory and above it; see ``storage.draft``.

    Raises:
        OutputWriteError: The directory cannot be read.
    """
    targets: list[Path] = []
    for entry in _entries(directory):
        if match := _HIDDEN.fullmatch(entry.name):
            targets.append(Path(entry.path).with_name(match[1]))
    with contextlib.suppress(OSError):  # not readable: assume there are none
        for entry in os.scandir(directory.resolve().parent):
            if match := _HIDDEN.fullmatch(entry.name):
                targets.append(directory / match[1])
    remove_stale(targets)


def _prefix(partition: Partition) -> str:
    topic = quote(partition.topic, safe="")
    if len(topic) > _LONGEST:  # no topic has a "~"
        topic = f"{topic[: _LONGEST - 20]}~{hashlib.sha256(topic.encode()).hexdigest()[:16]}"
    return f"{topic}+{partition.partition}+"


def _entries(directory: Path, partition: Partition | None = None) -> Iterator[os.DirEntry[str]]:
    """Yield all entries of a directory and its Hive directories, except those of other partitions."""
    waiting: list[str | Path] = [directory]
    while waiting:
        for entry in _scan(waiting.pop()):
            column, equals, value = entry.name.partition("=")
            if not equals or not entry.is_dir():
                yield entry
            elif partition is None or _may_hold(column, value, partition):
                waiting.append(entry.path)


def _scan(directory: str | Path) -> list[os.DirEntry[str]]:
    """Return the entries of a directory; [] if it does not exist."""
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OutputWriteError(f"{error.filename} cannot be read: {error.strerror}") from error


def _may_hold(column: str, value: str, partition: Partition) -> bool:
    if column == "topic":
        return value == quote(partition.topic, safe="")
    return column != "partition" or value == str(partition.partition)


def read_file_metadata(path: str, partition: Partition, start: int) -> FileMetadata:
    """Read the metadata of a file.

    Args:
        path: The file.
        partition: The partition that it should belong to.
        start: The offset in its name.

    Raises:
        InputFormatError: The file is damaged, or was written by another program.
    """
    with _explaining_damage(path):
        metadata: Mapping[bytes, bytes] = pq.read_metadata(path).metadata or {}
    fields = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in metadata.items()}
    origin = fields.get(TOPIC), fields.get(PARTITION)
    offset = fields.get(NEXT_OFFSET, "")
    complete = fields.get(COMPLETE_TO, offset)
    expected = partition.topic, str(partition.partition)
    if origin != expected or not offset.isdigit() or not complete.isdigit() or int(offset) <= start:
        raise InputFormatError(
            f"{path} does not record its last offset: its metadata {NEXT_OFFSET} is missing or wrong",
            hint="was it rewritten by another program? Write derived files to another directory",
        )
    letters, topic, cluster = fields.get(LETTERS_TO, ""), fields.get(TOPIC_ID), fields.get(CLUSTER_ID)
    return FileMetadata(
        path,
        start,
        int(offset),
        int(complete),
        int(letters) if letters.isdigit() else 0,
        None if topic is None or cluster is None else Origin(cluster, topic),
    )


@contextlib.contextmanager
def _explaining_damage(path: str | Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise InputFormatError(
            f"{path} is damaged: {first_line(error)}",
            hint="move it away: its offsets are then read again, if the topic still has them",
        ) from error
