"""The files of a dataset: their names, their Hive directories, and what their metadata says.

A file is named ``{topic}+{partition}+{offset, 20 digits}.parquet``, as Kafka Connect names them. The offset
is where the partition's file before it in the same directory ended, and of the first that of its first row.
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
#: Offsets of the first and of the last row.
FIRST_OFFSET, LAST_OFFSET = "sentstream.first_offset", "sentstream.last_offset"
#: The file accounts for each row of its directory from the offset in its name up to this one, with which the
#: next file there is named.
NEXT_OFFSET = "sentstream.next_offset"
#: All rows before this offset, whatever their directory, were in files when this one got its name; only
#: where that is less than ``NEXT_OFFSET``, since rows before it were still on their way to other directories.
COMPLETE_TO = "sentstream.complete_to"
#: All dead letters of records before this offset had been sent when this file got its name.
LETTERS_TO = "sentstream.letters_to"
#: What tells the topic from others of its name; files of sentstream 0.1 have neither.
TOPIC_ID, CLUSTER_ID = "sentstream.topic_id", "sentstream.cluster_id"

_OURS = re.compile(r".+\+\d+\+\d{20}\.parquet")
_HIDDEN = re.compile(rf"\.({_OURS.pattern})\.[0-9a-f]+\.tmp")
_LONGEST = (
    180  # characters of a topic in a file's name; a topic may have 249, which is too long with the rest
)
_HOUR, _DAY = 3_600_000, 86_400_000  # ms
_NO_TIME = np.iinfo(np.int64).min


def file_name(partition: Partition, start: int) -> str:
    """The name of the file that begins at an offset."""
    return f"{_prefix(partition)}{start:020}.parquet"


def by_directory(
    partition: Partition, rows: pa.RecordBatch, columns: Sequence[PartitionColumn]
) -> Iterator[tuple[Path, pa.RecordBatch]]:
    """Split rows by their Hive directory.

    Args:
        partition: Where they come from.
        rows: n rows with a column ``timestamp`` (timestamp[ms, UTC], may be null).
        columns: What the directories are named after, outermost first.

    Yields:
        Each directory, relative to the dataset's, and its rows, in their order; the directory of the first
        row comes first.
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
class Facts:
    """What a file says about itself.

    Attributes:
        path: Where it is.
        start: The offset in its name.
        next_offset: The file accounts for all rows of its directory before this offset.
        complete_to: All rows before this offset, whatever their directory, are in files.
        letters_to: All dead letters of records before this offset were sent; 0 where it does not say.
        origin: Which topic the rows are from; None where it does not say.
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
        rows: The offset before which each row is in a file.
        letters: An offset before which each dead letter has been sent.
    """

    rows: int
    letters: int


def end_in(directory: Path, partition: Partition) -> int | None:
    """Where the files of a partition end in one directory; None without a file.

    Only the last file is read, and its name is made durable, whoever gave it. Files with other names, also
    Kafka Connect's, are none of ours.

    Args:
        directory: The directory of the files themselves.
        partition: Whose files.

    Raises:
        InputFormatError: The last file is damaged, or was written by somebody else.
        OutputWriteError: The directory cannot be read.
    """
    last, path = -1, ""
    for entry in _scan(directory):
        start = _start(entry.name, partition)
        if start is not None and start > last:
            last, path = start, entry.path
    if not path:
        return None
    end = read_facts(path, partition, last).next_offset
    try:
        sync_directory(directory)
    except OSError as error:
        raise OutputWriteError(f"{path} cannot be made durable: {error.strerror or error}") from error
    return end


def reach(directory: Path, partition: Partition) -> Reach | None:
    """How far a partition's files say that it is done; None without a file.

    It reads the metadata of all of them.

    Args:
        directory: The dataset's.
        partition: Whose files.

    Raises:
        InputFormatError: A file is damaged, or was written by somebody else.
        OutputWriteError: A directory cannot be read.
    """
    found = [read_facts(path, partition, start) for path, start in files_of(directory, partition)]
    if not found:
        return None
    return Reach(max(facts.complete_to for facts in found), max(facts.letters_to for facts in found))


def files_of(directory: Path, partition: Partition) -> Iterator[tuple[str, int]]:
    """The paths of a partition's files in all directories of a dataset, with the offsets in their names.

    Raises:
        OutputWriteError: A directory cannot be read.
    """
    for entry in _entries(directory, partition):
        if (start := _start(entry.name, partition)) is not None:
            yield entry.path, start


def all_files(directory: Path) -> Iterator[Path]:
    """The files of all partitions in a dataset.

    Raises:
        OutputWriteError: A directory cannot be read.
    """
    for entry in _entries(directory):
        if _OURS.fullmatch(entry.name):
            yield Path(entry.path)


def schema_of(path: Path) -> pa.Schema:
    """The schema of a file.

    Raises:
        InputFormatError: The file is damaged.
    """
    with _explaining_damage(path):
        return pq.read_schema(path)


def _start(name: str, partition: Partition) -> int | None:
    """The offset in the name of a partition's file; None for other names."""
    prefix = _prefix(partition)
    return (
        int(name[len(prefix) : len(prefix) + 20])
        if name.startswith(prefix) and _OURS.fullmatch(name)
        else None
    )


def remove_abandoned(directory: Path) -> None:
    """Remove the hidden files of killed writers, in the directory and above it, as ``files.draft`` has them.

    Raises:
        OutputWriteError: The directory cannot be read.
    """
    targets: list[Path] = []
    for entry in _entries(directory):
        if match := _HIDDEN.fullmatch(entry.name):
            targets.append(Path(entry.path).with_name(match[1]))
    with contextlib.suppress(OSError):  # not to be read: then there are none
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
    """All in a directory and in the Hive directories below it, but for those of other partitions."""
    waiting: list[str | Path] = [directory]
    while waiting:
        for entry in _scan(waiting.pop()):
            column, equals, value = entry.name.partition("=")
            if not equals or not entry.is_dir():
                yield entry
            elif partition is None or _may_hold(column, value, partition):
                waiting.append(entry.path)


def _scan(directory: str | Path) -> list[os.DirEntry[str]]:
    """What is in a directory; nothing, if there is none."""
    try:
        with os.scandir(directory) as found:
            return list(found)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OutputWriteError(f"{error.filename} cannot be read: {error.strerror}") from error


def _may_hold(column: str, value: str, partition: Partition) -> bool:
    if column == "topic":
        return value == quote(partition.topic, safe="")
    return column != "partition" or value == str(partition.partition)


def read_facts(path: str, partition: Partition, start: int) -> Facts:
    """Read what a file says about itself.

    Args:
        path: The file.
        partition: Whose it should be.
        start: The offset in its name.

    Raises:
        InputFormatError: The file is damaged, or was written by another program.
    """
    with _explaining_damage(path):
        metadata: Mapping[bytes, bytes] = pq.read_metadata(path).metadata or {}
    said = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in metadata.items()}
    origin = said.get(TOPIC), said.get(PARTITION)
    offset = said.get(NEXT_OFFSET, "")
    complete = said.get(COMPLETE_TO, offset)
    expected = partition.topic, str(partition.partition)
    if origin != expected or not offset.isdigit() or not complete.isdigit() or int(offset) <= start:
        raise InputFormatError(
            f"{path} does not record its last offset: its metadata {NEXT_OFFSET} is missing or wrong",
            hint="was it rewritten by another program? Write derived files to another directory",
        )
    letters, topic, cluster = said.get(LETTERS_TO, ""), said.get(TOPIC_ID), said.get(CLUSTER_ID)
    return Facts(
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
