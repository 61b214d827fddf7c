"""Check that existing files were made from the topic that is read now, not from another of the same name."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pyarrow as pa
import pyarrow.parquet as pq

from sentstream.errors import TopicChangedError
from sentstream.kafka.clients.api import Admin, Origin, Partition
from sentstream.kafka.dead_letters.letter import (
    SOURCE_OFFSET,
    SOURCE_PARTITION,
    SOURCE_TOPIC,
    SOURCE_TOPIC_ID,
)
from sentstream.kafka.sinks.dataset import Dataset
from sentstream.kafka.sinks.dataset_files import FileMetadata

_MOST_RECORDS = 500  # records that a file is compared with
_LETTERS = 5000  # dead letters per read
_ANOTHER = "choose another --to-parquet directory"


class Provenance:
    """Compares topics with the files that were made from them.

    Args:
        dataset: The files; new ones are stamped with the topic ids.
        admin: Returns an admin client; called only when needed.
        letters: Returns the dead letter topic of a topic.
        warn: Receives messages for the operator.
    """

    def __init__(
        self,
        dataset: Dataset,
        admin: Callable[[], Admin],
        letters: Callable[[str], str],
        warn: Callable[[str], None],
    ) -> None:
        self._dataset, self._ask, self._letters, self._warn = dataset, admin, letters, warn
        self._origins: dict[str, Origin] = {}

    def check(self, partitions: Collection[Partition]) -> None:
        """Check that the files of these partitions, if any, belong to the current topics.

        Raises:
            TopicChangedError: Some belong to another topic, or do not match the records of this one.
        """
        found = self._admin.origins({one.topic for one in partitions})
        for topic, origin in found.items():
            self._unchanged(topic, origin)
        self._origins.update(found)
        self._dataset.stamp(found)
        for one in partitions:
            if one.topic in found:
                self._check_files(one, found[one.topic])

    def check_again(self, topics: Collection[str]) -> None:
        """Check that topics have not been recreated since ``check``.

        Raises:
            TopicChangedError: A topic was deleted and recreated.
        """
        for topic, origin in self._admin.origins(topics).items():
            self._unchanged(topic, origin)

    def letters_end(self, partition: Partition) -> int:
        """Return the offset after the last record of a partition that has a dead letter; 0 if none has.

        Reads the whole dead letter topic, since replays leave letters out of order.
        """
        origin = self._origins.get(partition.topic)
        if origin is None or not origin.topic:
            return 0
        admin, letters = self._admin, self._letters(partition.topic)
        source = {
            SOURCE_TOPIC: partition.topic.encode(),
            SOURCE_PARTITION: str(partition.partition).encode(),
            SOURCE_TOPIC_ID: origin.topic.encode(),
        }
        end = 0
        for number in range(admin.partitions([letters]).get(letters, 0)):
            position = 0
            while records := admin.read(Partition(letters, number), position, _LETTERS):
                position = records[-1].offset + 1
                for record in records:
                    headers = dict(record.headers)
                    if source.items() <= headers.items():
                        offset = headers.get(SOURCE_OFFSET) or b""
                        end = max(end, int(offset) + 1 if offset.isdigit() else 0)
        return end

    @property
    def _admin(self) -> Admin:
        return self._ask()

    def _unchanged(self, topic: str, origin: Origin) -> None:
        before = self._origins.get(topic, origin)
        if before != origin:
            raise TopicChangedError(
                f"topic {topic} was deleted and recreated while it was read: its ID was {before.topic} and "
                f"is now {origin.topic}",
                hint=f"{_ANOTHER} and start again",
            )

    def _check_files(self, partition: Partition, origin: Origin) -> None:
        name, first = f"{partition.topic}-{partition.partition}", None
        for facts in self._dataset.facts(partition):
            if facts.origin is not None:
                if facts.origin != origin:
                    raise TopicChangedError(
                        f"{facts.path} belongs to a different topic {partition.topic} than the current one: "
                        + _difference(facts.origin, origin),
                        hint=_ANOTHER,
                    )
                return
            if first is None:
                first = self._first_offset(partition)
            if facts.next_offset <= first:
                continue  # the topic no longer has records that the file could wrongly mark as done
            if not self._is_of(facts, partition):
                raise TopicChangedError(
                    f"{facts.path} does not record its topic, and {name} has other records at its offsets",
                    hint=_ANOTHER,
                )
            self._warn(
                f"{facts.path} and older files do not record their topic; their records match those of "
                f"{name}, so they are assumed to come from it"
            )
            return

    def _first_offset(self, partition: Partition) -> int:
        """Return the offset of the first existing record, or the end."""
        records = self._admin.read(partition, 0, 1)
        return records[0].offset if records else self._admin.end_offsets([partition])[partition]

    def _is_of(self, facts: FileMetadata, partition: Partition) -> bool:
        """Return whether a file's last rows match the records of a partition."""
        if facts.next_offset > self._admin.end_offsets([partition])[partition]:
            return False
        columns = ["offset", "timestamp", "key", "value"]
        with pq.ParquetFile(facts.path) as file:
            last = file.read_row_group(file.num_row_groups - 1, columns=columns)
        numbers = last.set_column(1, "timestamp", last.column("timestamp").cast(pa.int64()))
        rows = {row["offset"]: tuple(row.values()) for row in numbers.to_pylist()}
        for record in self._admin.read(partition, min(rows), _MOST_RECORDS):
            if record.offset in rows:
                timestamp = record.timestamp if record.timestamp >= 0 else None
                return rows[record.offset] == (record.offset, timestamp, record.key, record.value)
        return False


def _difference(recorded: Origin, current: Origin) -> str:
    if recorded.cluster != current.cluster:
        return f"it is from cluster {recorded.cluster}, not {current.cluster}"
    return f"its ID is {recorded.topic}, not {current.topic}, so it was deleted and recreated"
