"""Read records that kafka-python 3.0 cannot read, or report them.

Works around three defects, each with a test that notices when kafka-python changes:

* A header key that is not UTF-8 loses the rest of its batch. Here it is decoded with surrogate escapes.
* After an unreadable batch (a failed checksum, an unknown compression) ``poll`` never returns. Here it
  raises ``UnreadableRecordError``, each time until the consumer seeks past the batch.
* When the producer splits a large batch, it has the first defect, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError, KafkaError
from kafka.record.default_records import DefaultRecordBatch

from sentstream.kafka.clients.api import Partition, UnreadableRecordError


class HeaderKey(str):
    """A header key of arbitrary bytes, which kafka-python encodes unchanged."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        """Return the bytes that the key was decoded from."""
        return str.encode(self, encoding, "surrogateescape")


class _Lenient(bytearray):
    """Bytes whose slices decode to a ``HeaderKey``."""

    def __getitem__(self, at: Any) -> Any:
        part = super().__getitem__(at)
        return _Lenient(part) if isinstance(at, slice) else part

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return HeaderKey(bytes(self).decode(encoding, "surrogateescape"))


_read_strictly = DefaultRecordBatch._read_msg


def _read_leniently(batch: Any) -> Any:
    """Read the next record of a batch; after the first header key that is not UTF-8, decode leniently.

    kafka-python decodes a key with ``buffer[from:to].decode("utf-8")`` and advances only after the whole
    record, so the same record can be read again from another kind of buffer.
    """
    try:
        return _read_strictly(batch)
    except UnicodeDecodeError:
        batch._buffer = _Lenient(batch._buffer)
        return _read_strictly(batch)


def read_any_header() -> None:
    """Make kafka-python accept header keys that are not UTF-8, in this process."""
    DefaultRecordBatch._read_msg = _read_leniently


class _Batches:
    """The batches of a fetch, and the last one returned."""

    def __init__(self, records: Any) -> None:
        self._records = records
        self._last: Any = None

    def next_batch(self) -> Any:
        self._last = self._records.next_batch()
        return self._last

    def following(self, offset: int) -> int:
        """Return the first offset after the last batch, in which ``offset`` cannot be read.

        If the batch is damaged, its length may be as well; so prefer the start of the next batch.
        """
        after: int | None = None
        with suppress(Exception):
            batch = self._records.next_batch()
            after = batch.base_offset if batch is not None else self._last.next_offset
        return offset + 1 if after is None or after <= offset else after


class CarefulFetcher(Fetcher):  # type: ignore[misc]
    """A fetcher that reports unreadable offsets, and neither hangs nor loses the records before them."""

    def _parse_fetched_data(self, completed_fetch: Any) -> Any:
        try:
            return super()._parse_fetched_data(completed_fetch)
        except KafkaError as error:
            # The broker reports a corrupt batch, or its length is corrupt: its end is unknown.
            if isinstance(error, CorruptRecordError) or "no complete records" in str(error):
                offset = completed_fetch.fetched_offset
                partition = Partition(*completed_fetch.topic_partition)
                raise UnreadableRecordError(partition, offset, offset + 1, "a corrupt batch") from error
            raise

    class PartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]
        """The records of a partition in a fetch."""

        def _unpack_records(self, tp: Any, records: Any, *deserializers: Any) -> Iterator[Any]:
            batches = _Batches(records)
            try:
                yield from super()._unpack_records(tp, batches, *deserializers)
            except Exception as error:
                offset = self.next_fetch_offset
                raise UnreadableRecordError(
                    Partition(*tp), offset, batches.following(offset), _reason(error)
                ) from error

        def take(self, n: int | None = None) -> Any:
            try:
                return super().take(n)
            except UnreadableRecordError:
                self.drain()  # otherwise the fetcher would read a finished iterator forever
                raise


def _reason(error: Exception) -> str:
    text = str(error)
    if "crc check" in text:
        return "its checksum is wrong"
    return text.partition(": ")[2] or text or type(error).__name__
