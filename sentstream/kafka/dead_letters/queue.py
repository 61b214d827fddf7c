"""A dead letter topic as a queue: which letters it has, and which have been handled.

Marks in each partition record how far a group has replayed it:

    key      sentstream.replayed:{group}
    value    the offset (in decimal) before which every letter of the partition has been handled

(A consumer group's offset would expire a week after the last replay.)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from sentstream.errors import TopicNotFoundError, UsageError
from sentstream.kafka.clients.api import Admin, Partition, Record, UnreadableRecordError
from sentstream.kafka.dead_letters.letter import ParsedDeadLetter, dead_letter_topic
from sentstream.kafka.names import GROUP

_MARK: Final = "sentstream.replayed:"
_READ = 500  # records per read
_WINDOW = 1000  # offsets from the end that are searched for a mark first


@dataclass(frozen=True)
class DeadLetterQueue:
    """A dead letter topic, or the part of it that comes from one topic.

    Attributes:
        topic: The source topic; None for all topics that have letters there.
        dead_letter_topic: The dead letter topic; None for ``{topic}.dlq``.
        group: The consumer group that handles the letters.
    """

    topic: str | None
    dead_letter_topic: str | None = None
    group: str = GROUP

    @property
    def name(self) -> str:
        """The dead letter topic."""
        return dead_letter_topic(str(self.topic), self.dead_letter_topic)

    @property
    def mark(self) -> bytes:
        """The key of the marks."""
        return f"{_MARK}{self.group}".encode()

    def check(self) -> None:
        """Check that the names are complete.

        Raises:
            UsageError: No topic, no group, or the same topic for both.
        """
        if not self.topic and not self.dead_letter_topic:
            raise UsageError("no topic", hint="give --topic NAME or --dead-letter-topic NAME")
        if self.topic == self.dead_letter_topic:
            raise UsageError(f"topic {self.topic} has no dead letters of its own", hint="check --topic")
        if not self.group:
            raise UsageError("no group", hint="give --group NAME")

    def partitions(self, admin: Admin) -> list[Partition]:
        """Return the partitions of the dead letter topic.

        Raises:
            TopicNotFoundError: The dead letter topic does not exist.
        """
        count = admin.partitions([self.name]).get(self.name)
        if count is None:
            raise TopicNotFoundError(
                f"no topic {self.name!r}", hint="either nothing has failed yet, or check --dead-letter-topic"
            )
        return [Partition(self.name, number) for number in range(count)]


@dataclass(frozen=True)
class Filter:
    """Selects dead letters; by default all.

    Attributes:
        errors: Error classes; empty for any.
        stage: The stage that failed; None for any.
        offsets: Positions in the dead letter topic, as (partition, offset); empty for any.
    """

    errors: Collection[str] = ()
    stage: str | None = None
    offsets: Collection[tuple[int, int]] = ()

    def matches(self, dead: QueuedDeadLetter, topic: str | None) -> bool:
        """Return whether a letter is selected.

        Args:
            dead: The letter.
            topic: The source topic that it must be from; None for any.
        """
        letter, record = dead.letter, dead.record
        return (
            (topic is None or letter.source.topic == topic)
            and (not self.errors or letter.error_class in self.errors)
            and (self.stage is None or letter.stage == self.stage)
            and (not self.offsets or (record.partition, record.offset) in self.offsets)
        )


class QueuedDeadLetter(NamedTuple):
    """A dead letter and its record in the dead letter topic.

    ``pending``: whether it has not been handled yet.
    """

    record: Record
    letter: ParsedDeadLetter
    pending: bool = True


class Foreign(NamedTuple):
    """A position in a dead letter topic without a readable dead letter from sentstream."""

    partition: Partition
    offset: int
    reason: str


class Span(NamedTuple):
    """The offsets of a partition from ``start`` (inclusive) to ``end`` (exclusive)."""

    start: int
    end: int


def pending_spans(admin: Admin, queue: DeadLetterQueue) -> dict[Partition, Span]:
    """Return the part of each partition that has not been handled yet.

    Raises:
        KafkaError: The dead letter topic cannot be read, or does not exist.
    """
    ends = admin.end_offsets(queue.partitions(admin))
    return {
        partition: Span(handled(admin, partition, end, queue.mark), end)
        for partition, end in sorted(ends.items())
    }


def letters(
    admin: Admin, queue: DeadLetterQueue, *, everything: bool = False
) -> Iterator[QueuedDeadLetter | Foreign]:
    """Yield the letters of a queue, ordered by partition and offset, in bounded memory.

    Args:
        admin: Reads the records.
        queue: The dead letters to read.
        everything: Include letters that have been handled.

    Raises:
        KafkaError: The dead letter topic cannot be read, or does not exist.
    """
    for partition, (start, end) in pending_spans(admin, queue).items():
        for found in letters_within(admin, partition, Span(0 if everything else start, end)):
            if isinstance(found, QueuedDeadLetter):
                yield found._replace(pending=found.record.offset >= start)
            else:
                yield found


def letters_within(admin: Admin, partition: Partition, span: Span) -> Iterator[QueuedDeadLetter | Foreign]:
    for found in _scan(admin, partition, *span):
        if isinstance(found, Foreign):
            yield found
        elif (letter := ParsedDeadLetter.parse(found)) is not None:
            yield QueuedDeadLetter(found, letter)
        elif not (found.key or b"").startswith(_MARK.encode()):
            yield Foreign(partition, found.offset, "not a dead letter from sentstream")


def handled(admin: Admin, partition: Partition, end: int, mark: bytes) -> int:
    """Return the offset before which all letters of a partition have been handled.

    Search for marks backward from the end, in windows that double in size; the newest mark counts.
    """
    stop, window = end, _WINDOW
    while stop > 0:
        start, newest = max(0, stop - window), -1
        for found in _scan(admin, partition, start, stop):
            if not isinstance(found, Foreign) and found.key == mark and (found.value or b"").isdigit():
                newest = int(found.value or b"0")
        if newest >= 0:
            return newest
        stop, window = start, 2 * window
    return 0


def _scan(admin: Admin, partition: Partition, start: int, end: int) -> Iterator[Record | Foreign]:
    """Yield the records of a partition in [start, end), and a ``Foreign`` for each unreadable one."""
    offset = start
    while offset < end:
        try:
            records = admin.read(partition, offset, _READ)
        except UnreadableRecordError as error:
            if error.offset < end:
                yield Foreign(partition, error.offset, error.reason)
            offset = max(error.next_offset, offset + 1)
            continue
        if not records:
            return
        for record in records:
            if record.offset >= end:
                return
            if record.offset >= offset:
                yield record
        offset = records[-1].offset + 1
