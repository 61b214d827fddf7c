"""Edit a broker's log files while it is dead."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from kafka import KafkaAdminClient
from processes import wait_until

from tools.local_kafka import LocalKafka

OFFSETS = "__consumer_offsets"
_CONTROL = 0x20  # of a batch's attributes
_BEFORE_LENGTH = 12  # bytes: base offset and length
_HEADER = 61  # bytes


class Batch(NamedTuple):
    """A record batch: its position in a file, and the fields of interest."""

    start: int
    end: int
    is_control: bool
    producer: int


def described(bootstrap: str, transactional_id: str) -> tuple[str, int]:
    """Return the state of a transactional.id, and its producer id."""
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        transaction = admin.describe_transactions([transactional_id])[transactional_id]
    return transaction.state.value, transaction.producer_id


def await_end(bootstrap: str, transactional_id: str) -> None:
    """Wait until no transaction of the id is open or ending."""
    wait_until(
        lambda: described(bootstrap, transactional_id)[0] in ("Empty", "CompleteCommit", "CompleteAbort"),
        f"the transaction of {transactional_id} has ended",
    )


def lose_markers(kafka: LocalKafka, transactional_ids: Collection[str], topics: Collection[str]) -> None:
    """Kill the broker, and make it forget that it wrote the markers that end a transaction.

    This simulates a broker that dies between deciding a transaction and writing its markers, and that takes
    it for ended at its next start, without writing them. Returns when the broker runs again.

    Args:
        kafka: The broker.
        transactional_ids: Their last transactions are changed; each must contain a group's offsets.
        topics: The topics that the transactions wrote to.
    """
    producers = []
    for each in transactional_ids:
        await_end(kafka.bootstrap, each)
        producers.append(described(kafka.bootstrap, each)[1])
    kafka.kill()
    for producer in producers:
        folders = (kafka.directory / "data").glob(f"{OFFSETS}-*")
        lost = [_lose_last_marker(folder, producer) for folder in folders]
        assert any(lost), "there was no marker"
        for topic in topics:
            for folder in (kafka.directory / "data").glob(f"{topic}-*"):
                _lose_last_marker(folder, producer)
    kafka.start()


def _lose_last_marker(folder: Path, producer: int) -> bool:
    """Remove a producer's last control batch from a partition's log."""
    for path in sorted(folder.glob("*.log"), reverse=True):
        data = path.read_bytes()
        markers = [each for each in _batches(data) if each.is_control and each.producer == producer]
        if markers:
            path.write_bytes(data[: markers[-1].start] + data[markers[-1].end :])
            for suffix in "index", "timeindex", "txnindex", "snapshot":  # rebuilt from the log
                for derived in folder.glob(f"*.{suffix}"):
                    derived.unlink()
            return True
    return False


def _batches(data: bytes) -> Iterator[Batch]:
    start = 0
    while start + _HEADER <= len(data):
        (length,) = struct.unpack_from(">i", data, start + 8)
        (attributes,) = struct.unpack_from(">h", data, start + 21)
        (producer,) = struct.unpack_from(">q", data, start + 43)
        if length <= 0:  # a preallocated file
            return
        end = start + _BEFORE_LENGTH + length
        yield Batch(start, end, bool(attributes & _CONTROL), producer)
        start = end
