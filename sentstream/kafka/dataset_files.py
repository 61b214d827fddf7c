"""The files of a dataset: their names, their Hive directories, and where a partition's end on disk is.

A file is named ``{topic}+{partition}+{offset, 20 digits}.parquet``, as Kafka Connect names them. The offset
is where the file before ended, and of the first file that of its first row.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sentstream.errors import InputFormatError, OutputWriteError
from sentstream.files.commit import remove_stale, sync_directory
from sentstream.kafka.client import Partition

PartitionColumn: TypeAlias = Literal["topic", "partition", "date", "hour"]
PARTITION_COLUMNS: Final[tuple[PartitionColumn, ...]] = ("topic", "partition", "date", "hour")

#: Keys of a file's metadata.
TOPIC, PARTITION = "sentstream.topic", "sentstream.partition"
#: Offsets of the first and of the last row.
FIRST_OFFSET, LAST_OFFSET = "sentstream.first_offset", "sentstream.last_offset"
#: The file accounts for every offset from the one in its name up to this one, which is the next file's.
NEXT_OFFSET = "sentstream.next_offset"

_OURS = re.compile(r".+\+\d+\+\d{20}\.parquet")
_HIDDEN = re.compile(rf"\.({_OURS.pattern})\.[0-9a-f]+\.tmp")
_LONGEST = (
    180  # characters of a topic in a file's name; a topic may have 249, which is too long with the rest
)
_NULL = "__HIVE_DEFAULT_PARTITION__"
_HOUR, _DAY = 3_600_000, 86_400_000  # ms
_NO_TIME = np.iinfo(np.int64).min


def file_name(partition: Partition, start: int) -> str:
    """The name of the file that begins at an offset."""
    return f"{_prefix(partition)}{start:020}.parquet"


def hive_runs(
    partition: Partition, rows: pa.RecordBatch, columns: Sequence[PartitionColumn]
) -> Iterator[tuple[Path, pa.RecordBatch]]:
    """Split rows where their Hive directory changes; none are moved.

    Args:
        partition: Where they come from.
        rows: n rows with a column ``timestamp`` (timestamp[ms, UTC], may be null).
        columns: What the directories are named after, outermost first.

    Yields:
        The directory, relative to the dataset's, and the rows of one run.
    """
    unit = _HOUR if "hour" in columns else _DAY if "date" in columns else None
    if unit is None:
        if len(rows):
            yield _directory(partition, _NO_TIME, columns), rows
        return
    time = pc.fill_null(rows.column("timestamp").cast(pa.int64()), _NO_TIME).to_numpy(zero_copy_only=False)
    period = np.where(time == _NO_TIME, _NO_TIME, time // unit)
    starts = [0, *(np.flatnonzero(period[1:] != period[:-1]) + 1)] if len(rows) else []
    for start, stop in zip(starts, [*starts[1:], len(rows)], strict=False):
        yield _directory(partition, int(time[start]), columns), rows.slice(start, stop - start)


def _directory(partition: Partition, time: int, columns: Sequence[PartitionColumn]) -> Path:
    date = hour = _NULL
    if time != _NO_TIME:
        date, hour = str(np.datetime_as_string(np.datetime64(time, "ms"), unit="h")).rsplit("T", 1)
    values = {
        "topic": quote(partition.topic, safe=""),
        "partition": str(partition.partition),
        "date": date,
        "hour": hour,
    }
    return Path(*(f"{column}={values[column]}" for column in columns))


def end_on_disk(directory: Path, partition: Partition) -> int | None:
    """Where the files of a partition end: the first offset that none accounts for; None without a file.

    Only the last file is read, and its name is made durable, whoever gave it. Files with other names, also
    Kafka Connect's, are none of ours.

    Raises:
        InputFormatError: The last file is damaged, or was written by somebody else.
        OutputWriteError: The directory cannot be read.
    """
    prefix, last = _prefix(partition), -1
    paths: list[str] = []
    for entry in _entries(directory, partition):
        if entry.name.startswith(prefix) and _OURS.fullmatch(entry.name):
            start = int(entry.name[len(prefix) : len(prefix) + 20])
            if start > last:
                last, paths = start, []
            if start == last:
                paths.append(entry.path)
    end = max((_next_offset(path, partition, last) for path in paths), default=None)
    for path in paths:
        try:
            sync_directory(Path(path).parent)
        except OSError as error:
            raise OutputWriteError(f"{path} cannot be made durable: {error.strerror or error}") from error
    return end


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
        try:
            with os.scandir(waiting.pop()) as found:
                entries = list(found)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise OutputWriteError(f"{error.filename} cannot be read: {error.strerror}") from error
        for entry in entries:
            column, equals, value = entry.name.partition("=")
            if not equals or not entry.is_dir():
                yield entry
            elif partition is None or _may_hold(column, value, partition):
                waiting.append(entry.path)


def _may_hold(column: str, value: str, partition: Partition) -> bool:
    if column == "topic":
        return value == quote(partition.topic, safe="")
    return column != "partition" or value == str(partition.partition)


def _next_offset(path: str, partition: Partition, start: int) -> int:
    try:
        metadata = pq.read_metadata(path).metadata or {}
    except (OSError, pa.ArrowException) as error:
        raise InputFormatError(
            f"{path} is damaged: {str(error).splitlines()[0]}",
            hint="move it away, and its offsets are read again, as far as the topic has them",
        ) from error
    origin = metadata.get(TOPIC.encode()), metadata.get(PARTITION.encode())
    offset = metadata.get(NEXT_OFFSET.encode(), b"")
    expected = partition.topic.encode(), str(partition.partition).encode()
    if origin != expected or not offset.isdigit() or int(offset) <= start:
        raise InputFormatError(
            f"{path} does not say where it ends: its metadata {NEXT_OFFSET} is missing or wrong",
            hint="was it rewritten by another program? Write what is derived from it elsewhere",
        )
    return int(offset)
