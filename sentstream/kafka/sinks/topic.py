"""Send results to a topic."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sentstream.kafka.clients.api import Consumer, Outgoing, Partition, Record
from sentstream.kafka.messages.codec import Codec
from sentstream.kafka.scoring.work import Work
from sentstream.kafka.sinks.api import commit_ahead
from sentstream.kafka.sinks.delivery import Delivery
from sentstream.kafka.sinks.summary import summary
from sentstream.kafka.watch.events import Observer

#: Headers of a result: the model that scored it, and the threshold of ``uncertain``, if set.
HEADERS = ("sentstream.model", "sentstream.model_digest", "sentstream.abstain")


class TopicSink:
    """Sends results to a topic. A batch is one transaction, or with at-least-once, a flush and a commit.

    Args:
        delivery: Sends and commits.
        consumer: The consumer whose offsets are committed.
        codec: Encodes the values.
        targets: For each source topic, its results topic and the number of partitions if both have the same
            number, so that results keep their partition and order; otherwise 0, and the key selects the
            partition. It also does for partitions that were added later.
        stamp: The metadata of the scorer's schema, with the values of ``HEADERS``.
        observer: Is notified of commits.
    """

    def __init__(
        self,
        delivery: Delivery,
        consumer: Consumer,
        codec: Codec,
        targets: Mapping[str, tuple[str, int]],
        stamp: Mapping[bytes, bytes],
        observer: Observer,
    ) -> None:
        self._delivery, self._consumer, self._codec = delivery, consumer, codec
        self._targets, self._observer = targets, observer
        self._stamp = [(name, stamp[name.encode()]) for name in HEADERS if name.encode() in stamp]
        self._committed: dict[Partition, int] = {}

    @property
    def committed(self) -> Mapping[Partition, int]:
        return self._committed

    def begin(self, first: Mapping[Partition, int]) -> dict[Partition, int]:
        return dict(first)

    def start(
        self, committed: Mapping[Partition, int], ends: Mapping[Partition, int]
    ) -> dict[Partition, int]:
        self._committed.update(committed)
        return dict(committed)

    def take(self, work: Work) -> None:
        values = self._codec.outputs(
            [record.value or b"{}" for record in work.records], work.texts, work.scored
        )
        results = [
            (record, self._outgoing(record, None if record.value is None else value))
            for record, value in zip(work.records, values, strict=True)
        ]
        try:
            refused = self._delivery(results, work.dead, work.offsets)
        except BaseException:
            if self._delivery.committing:
                self.drop(list(work.offsets))
            raise
        self._committed.update(work.offsets)
        self._observer.committed(summary(work, refused))

    def _outgoing(self, record: Record, value: bytes | None) -> Outgoing:
        topic, shared = self._targets[record.topic]
        headers = list(record.headers)
        if value is not None:  # a tombstone was not scored, so it gets no model headers
            if headers:
                headers = [header for header in headers if header[0] not in HEADERS]
            headers += self._stamp
        timestamp = record.timestamp if record.timestamp >= 0 else None
        partition = record.partition if record.partition < shared else None
        return Outgoing(topic, record.key, value, headers, timestamp, partition)

    def tick(self) -> None:
        """Do nothing: no results wait."""

    def idle(self, positions: Mapping[Partition, int]) -> None:
        commit_ahead(self._consumer, self._committed, positions)

    def finish(self, partitions: Collection[Partition] | None = None) -> None:
        """Do nothing: ``take`` has committed each batch."""

    def abort(self) -> None:
        self._delivery.abort()

    def drop(self, partitions: Collection[Partition]) -> None:
        for one in partitions:
            self._committed.pop(one, None)
