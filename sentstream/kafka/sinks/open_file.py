"""Files of a dataset that are still being written and have no name yet."""

from __future__ import annotations

import contextlib
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from sentstream.dataset.formats.parquet.writer import Writer
from sentstream.errors import OutputWriteError
from sentstream.kafka.clients.api import Origin, Partition
from sentstream.kafka.sinks import dataset_files as files
from sentstream.storage.whole_file import make_directory, whole_file

_FEW = 64  # small batches that are combined, since each takes some KB besides its rows
_BATCH = 4096  # bytes that a small batch takes besides its rows
_ENOUGH = 1 << 20  # bytes from which to open a file and measure its compression
_VARIED = {"offset", "timestamp", "value", "text"}  # too many distinct values for a dictionary


class Tail:
    """The rows of a partition that are not durable yet.

    Attributes:
        since: When the first record after the last close arrived, on the monotonic clock.
        next_offset: The offset after all added records.
        letters_to: An offset before which all dead letters have been sent.
        files: The file of each directory, least recently written first.
        ending: The files that are being closed, in the order of their first rows.
    """

    def __init__(self) -> None:
        self.since: float | None = None
        self.next_offset = self.letters_to = 0
        self.files: OrderedDict[Path, OpenFile] = OrderedDict()
        self.ending: list[OpenFile] = []

    def complete_to(self) -> int:
        """Return the offset before which all rows are durable."""
        return min(
            self.next_offset, min((file.first for file in self.files.values()), default=self.next_offset)
        )

    def end(self) -> None:
        """Mark all current files for closing."""
        self.ending = sorted(self.files.values(), key=lambda file: file.first)
        self.since = None

    def take(self, file: OpenFile) -> None:
        """Remove a file."""
        del self.files[file.target.parent]
        if file in self.ending:
            self.ending.remove(file)


class _Dropped(Exception):
    """Exits the contexts of a file so that it gets no name."""


class OpenFile:
    """A file without a name yet; it is opened once there is enough to write."""

    def __init__(self, directory: Path, partition: Partition, start: int, schema: pa.Schema) -> None:
        self.target, self.start = directory / files.file_name(partition, start), start
        self._partition, self._schema = partition, schema
        self._naming, self._writing = contextlib.ExitStack(), contextlib.ExitStack()
        self._out: BinaryIO | None = None
        self._writer: Writer | None = None
        self.rows = 0
        #: Offsets of the first and the last row.
        self.first = self.last = -1
        self._few: list[pa.RecordBatch] = []
        self._few_bytes = self._given = 0
        #: Bytes in the file per byte of rows in memory, once measured.
        self.ratio: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether it uses a file handle."""
        return self._out is not None

    @property
    def waiting(self) -> int:
        """The bytes of rows in memory."""
        written = 0 if self._writer is None else self._writer.waiting
        return self._few_bytes + len(self._few) * _BATCH + written

    def foreseen(self, ratio: float) -> float:
        """Return the estimated size of the file if it ended now; ``ratio`` is used until one is measured."""
        written = 0 if self._out is None else self._out.tell()
        return written + self.waiting * (self.ratio or ratio)

    def write(self, rows: pa.RecordBatch) -> None:
        """Add n >= 1 rows."""
        if not self.rows:
            self.first = rows.column("offset")[0].as_py()
        self.last = rows.column("offset")[-1].as_py()
        self.rows += len(rows)
        rows = rows.select(self._schema.names)
        self._few.append(rows)
        self._few_bytes += rows.nbytes
        if self._few_bytes >= _ENOUGH:
            self._join()
        elif len(self._few) >= _FEW:
            self._few = self._joined().to_batches()

    def end_group(self) -> None:
        """Write all rows to the file, as a row group."""
        writer = self._join()
        with self._dropping():
            writer.end_group()
        self._measure()

    def finish(
        self,
        next_offset: int,
        complete_to: int,
        letters_to: int,
        origin: Origin | None,
        check: Callable[[], None],
    ) -> None:
        """Complete the file, call ``check``, and give the file its name."""
        self.end_group()
        metadata: dict[str, object] = {
            files.TOPIC: self._partition.topic,
            files.PARTITION: self._partition.partition,
            files.FIRST_OFFSET: self.first,
            files.LAST_OFFSET: self.last,
            files.NEXT_OFFSET: next_offset,
        }
        if complete_to < next_offset:
            metadata[files.COMPLETE_TO] = complete_to
        if letters_to:
            metadata[files.LETTERS_TO] = letters_to
        if origin is not None:
            metadata |= {files.TOPIC_ID: origin.topic, files.CLUSTER_ID: origin.cluster}
        assert self._out is not None
        assert self._writer is not None
        with self._dropping():
            self._writer.describe({key: str(value) for key, value in metadata.items()})
            self._writing.close()
            self._out.flush()
            os.fsync(self._out.fileno())
            check()
            self._naming.close()

    def drop(self) -> None:
        """Discard the file."""
        for stack in (self._writing, self._naming):
            with contextlib.suppress(_Dropped, OSError, OutputWriteError):  # a full disk fails here too
                stack.__exit__(_Dropped, _Dropped(), None)

    def __del__(self) -> None:
        self.drop()

    def _opened(self) -> Writer:
        if self._writer is None:
            varied = {
                one.name for one in self._schema if one.name in _VARIED or pa.types.is_floating(one.type)
            }
            with self._dropping():
                make_directory(self.target.parent)
                whole = whole_file(self.target, overwrite=False, exclusive=True)
                self._out = self._naming.enter_context(whole)
                self._writer = self._writing.enter_context(Writer(self._out, self._schema, varied))
        return self._writer

    def _joined(self) -> pa.Table:
        return pa.Table.from_batches(self._few, self._schema).combine_chunks()

    def _join(self) -> Writer:
        writer = self._opened()
        if self._few:
            batches = self._joined().to_batches()
            self._few, self._few_bytes = [], 0
            with self._dropping():
                for batch in batches:
                    self._given += batch.nbytes
                    writer.write(batch)
            self._measure()
        return writer

    def _measure(self) -> None:
        assert self._out is not None
        assert self._writer is not None
        if self._given >= _ENOUGH and not self._writer.waiting:
            self.ratio = self._out.tell() / self._given

    @contextlib.contextmanager
    def _dropping(self) -> Iterator[None]:
        """Discard the file if the block fails."""
        try:
            with explaining(self.target, "free some space, or choose another directory"):
                yield
        except BaseException:
            self.drop()
            raise


@contextlib.contextmanager
def explaining(path: Path, hint: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror or error}"
        raise OutputWriteError(message, hint=hint) from error
    except OutputWriteError as error:
        raise OutputWriteError(error.message, hint=hint) from error
