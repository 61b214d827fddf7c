"""Dead letters -> a look at them, or back into their topics, each once however often it is tried.

A dead letter topic is a line. How far a group has replayed each partition is told by marks in the
partition itself:

    key      sentstream.replayed:{group}
    value    the offset (in decimal) before which every letter of the partition has been dealt with

A mark is written in the transaction that puts the letters back, so neither a killed replay nor a second
one doubles or loses any. (A consumer group's offset would be forgotten a week after the last replay.)
Two replays at a time have one transactional.id: the later one ends the earlier.

A letter that is passed over, because of a filter or since its original is gone, goes to the end of its
topic again, in the same transaction: it stays pending.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sentstream.errors import (
    DeliveryError,
    MessageError,
    TopicNotFoundError,
    UsageError,
)
from sentstream.kafka.clients.api import (
    Admin,
    Client,
    Outgoing,
    Partition,
    Producer,
    Record,
    StaleGenerationError,
    UnreadableRecordError,
)
from sentstream.kafka.dead_letters.letter import Letter, dead_letter_topic
from sentstream.kafka.names import GROUP

_MARK: Final = "sentstream.replayed:"
_BATCH = 500  # letters a transaction
_READ = 500  # records a read
_WINDOW = 1000  # offsets from the end in which a mark is looked for first
_ATTEMPTS = 5  # of a transaction that the coordinator ends
_MOST_REPORTED = 20  # letters that stay which are named

Warn = Callable[[str], None]


@dataclass(frozen=True)
class Line:
    """A dead letter topic, or the part of it that comes from one topic.

    Attributes:
        topic: The source topic; None for all that have letters there.
        dead_letter_topic: The dead letter topic; None for ``{topic}.dlq``.
        group: Who deals with the letters: the consumer group whose they are.
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
        """Find what is missing.

        Raises:
            UsageError: No topic, no group, or one topic for both.
        """
        if not self.topic and not self.dead_letter_topic:
            raise UsageError("no topic", hint="--topic NAME, or --dead-letter-topic NAME")
        if self.topic == self.dead_letter_topic:
            raise UsageError(f"topic {self.topic} holds no dead letters of its own", hint="check --topic")
        if not self.group:
            raise UsageError("no group", hint="--group NAME")

    def partitions(self, admin: Admin) -> list[Partition]:
        """The partitions of the dead letter topic.

        Raises:
            TopicNotFoundError: It is not there.
        """
        count = admin.partitions([self.name]).get(self.name)
        if count is None:
            raise TopicNotFoundError(
                f"no topic {self.name!r}", hint="nothing has failed yet; or check --dead-letter-topic"
            )
        return [Partition(self.name, number) for number in range(count)]


@dataclass(frozen=True)
class Filter:
    """Which letters are meant; without anything, all.

    Attributes:
        errors: Error classes; empty for any.
        stage: Where it failed; None for anywhere.
        offsets: Places in the dead letter topic, as (partition, offset); empty for any.
    """

    errors: Collection[str] = ()
    stage: str | None = None
    offsets: Collection[tuple[int, int]] = ()

    def matches(self, dead: Dead, topic: str | None) -> bool:
        """Whether a letter is meant.

        Args:
            dead: The letter.
            topic: The source topic that it has to be from, or None.
        """
        letter, record = dead.letter, dead.record
        return (
            (topic is None or letter.source.topic == topic)
            and (not self.errors or letter.error_class in self.errors)
            and (self.stage is None or letter.stage == self.stage)
            and (not self.offsets or (record.partition, record.offset) in self.offsets)
        )


class Dead(NamedTuple):
    """A dead letter and the record that it is.

    ``pending``: whether it has not been dealt with.
    """

    record: Record
    letter: Letter
    pending: bool = True


class Foreign(NamedTuple):
    """A place in a dead letter topic that holds no dead letter of ours."""

    partition: Partition
    offset: int
    reason: str


class Span(NamedTuple):
    """The part of a partition from ``start`` up to, and without, ``end``."""

    start: int
    end: int


def pending_spans(admin: Admin, line: Line) -> dict[Partition, Span]:
    """What of each partition has not been dealt with, as of now.

    Raises:
        KafkaError: It cannot be read, or is not there.
    """
    ends = admin.end_offsets(line.partitions(admin))
    return {
        partition: Span(handled(admin, partition, end, line.mark), end)
        for partition, end in sorted(ends.items())
    }


def letters(admin: Admin, line: Line, *, everything: bool = False) -> Iterator[Dead | Foreign]:
    """The letters of a line, by partition and offset, read in bounded memory.

    Args:
        admin: Who reads.
        line: The line.
        everything: Also what has been dealt with.

    Raises:
        KafkaError: It cannot be read, or is not there.
    """
    for partition, (start, end) in pending_spans(admin, line).items():
        for found in _letters(admin, partition, Span(0 if everything else start, end)):
            if isinstance(found, Dead):
                yield found._replace(pending=found.record.offset >= start)
            else:
                yield found


def _letters(admin: Admin, partition: Partition, span: Span) -> Iterator[Dead | Foreign]:
    for found in _scan(admin, partition, *span):
        if isinstance(found, Foreign):
            yield found
        elif (letter := Letter.parse(found)) is not None:
            yield Dead(found, letter)
        elif not (found.key or b"").startswith(_MARK.encode()):
            yield Foreign(partition, found.offset, "not a dead letter of sentstream's")


def handled(admin: Admin, partition: Partition, end: int, mark: bytes) -> int:
    """The offset before which all letters of a partition have been dealt with.

    Marks are looked for from the end, in windows that double: the newest one tells.
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
    """The records of a partition in [start, end), and what is there and cannot be read."""
    at = start
    while at < end:
        try:
            records = admin.read(partition, at, _READ)
        except UnreadableRecordError as error:
            if error.offset < end:
                yield Foreign(partition, error.offset, error.reason)
            at = max(error.next_offset, at + 1)
            continue
        if not records:
            return
        for record in records:
            if record.offset >= end:
                return
            if record.offset >= at:
                yield record
        at = records[-1].offset + 1


@dataclass(frozen=True)
class Plan:
    """What a replay would do.

    Attributes:
        line: The line.
        filter: Which letters are meant.
        to_topic: Where they go; None for where they came from.
        letters: How many there are, of each error class.
        sources: How many come from each topic.
        passed_over: How many stand before the last of them, are not meant, and stay.
        pending: How many are pending.
        foreign: Records that are no dead letters of ours, or cannot be read.
        spans: For each partition with something to do, from its first letter to the last that is meant.
    """

    line: Line
    filter: Filter
    to_topic: str | None
    letters: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    passed_over: int = 0
    pending: int = 0
    foreign: int = 0
    spans: Mapping[Partition, Span] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Letters to replay."""
        return sum(self.letters.values())

    def as_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "dead_letter_topic": self.line.name,
            "group": self.line.group,
            "to_topic": self.to_topic,
            "pending": self.pending,
            "matching": self.count,
            "errors": dict(self.letters),
            "sources": dict(self.sources),
            "foreign": self.foreign,
        }


@dataclass
class Outcome:
    """What a replay came to.

    Attributes:
        replayed: Letters that were put back, of each error class.
        kept: Letters that could not be put back, and stay pending.
        passed_over: Letters that were not meant, and stay pending.
        foreign: Records that are no dead letters of ours.
        complete: Whether it went to its end.
    """

    replayed: Counter[str] = field(default_factory=Counter)
    kept: int = 0
    passed_over: int = 0
    foreign: int = 0
    complete: bool = False

    @property
    def count(self) -> int:
        """Letters that were put back."""
        return sum(self.replayed.values())

    def as_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "replayed": self.count,
            "errors": dict(self.replayed),
            "kept": self.kept,
            "passed_over": self.passed_over,
            "foreign": self.foreign,
        }


def survey(
    admin: Admin, line: Line, which: Filter, *, to_topic: str | None = None, limit: int | None = None
) -> Plan:
    """Find out what a replay would do; nothing is changed.

    Args:
        admin: Who reads.
        line: The line.
        which: Which letters are meant.
        to_topic: Where they should go; None for where they came from.
        limit: Most letters, by partition and offset.

    Raises:
        UsageError: Letters would go into a dead letter topic.
        KafkaError: It cannot be read, or there is no topic to put them into.
    """
    line.check()
    if to_topic == line.name:
        raise UsageError(f"topic {to_topic} is the dead letter topic", hint="choose another --to-topic")
    classes, sources, spans = Counter[str](), Counter[str](), dict[Partition, Span]()
    passed_over = pending = foreign = 0
    for partition, span in pending_spans(admin, line).items():
        waiting = 0  # not meant, since the last one that is
        for dead in _letters(admin, partition, span):
            if isinstance(dead, Foreign):
                foreign += 1
                continue
            pending += 1
            full = limit is not None and sum(classes.values()) >= limit
            if full or not which.matches(dead, line.topic):
                waiting += 1
                continue
            passed_over += waiting
            waiting = 0
            classes[dead.letter.error_class] += 1
            sources[dead.letter.source.topic] += 1
            spans[partition] = Span(span.start, dead.record.offset + 1)
    plan = Plan(line, which, to_topic, classes, sources, passed_over, pending, foreign, spans)
    _check_targets(admin, plan)
    return plan


def _check_targets(admin: Admin, plan: Plan) -> None:
    targets = [plan.to_topic] if plan.to_topic is not None else sorted(plan.sources)
    there = admin.partitions(targets) if targets else {}
    for topic in targets:
        if topic == plan.line.name:
            raise UsageError(f"letters of topic {topic} would go into it again", hint="give --to-topic")
        if topic not in there:
            raise TopicNotFoundError(
                f"no topic {topic!r} to put letters into", hint="create it, or give --to-topic"
            )


class Replay:
    """A replay; from when it is made to ``close``, no other one of the line can go on.

    Args:
        client: The client.
        line: The line.
        warn: Is given lines for the operator.

    Raises:
        KafkaError: The transactions cannot start.
    """

    def __init__(self, client: Client, line: Line, *, warn: Warn = lambda text: None) -> None:
        line.check()
        self._line, self._warn = line, warn
        self._admin = client.admin()
        try:
            line.partitions(self._admin)
            # Ends another replay, and with it its open transaction, before anything is read.
            self._producer: Producer = client.producer(f"{line.group}.replay-{line.name}")
        except BaseException:
            self._admin.close()
            raise
        self._partitions: dict[str, int] = {}
        self._reported = 0

    def plan(self, which: Filter, *, to_topic: str | None = None, limit: int | None = None) -> Plan:
        """See ``survey``."""
        return survey(self._admin, self._line, which, to_topic=to_topic, limit=limit)

    def run(
        self,
        plan: Plan,
        *,
        progress: Callable[[int, int], None] = lambda done, total: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Outcome:
        """Put the letters back.

        Args:
            plan: What to do, by ``plan`` of this replay.
            progress: Is told how many of the letters have been dealt with.
            stopped: Whether to stop; asked between transactions.

        Raises:
            FencedError: A later replay of the line has taken over.
            DeliveryError: The dead letter topic does not take a letter back.
            KafkaError: It cannot go on; what has been put back is marked.
        """
        topics = [plan.to_topic] if plan.to_topic is not None else list(plan.sources)
        self._partitions = self._admin.partitions(topics) if topics else {}
        outcome = Outcome()
        progress(0, plan.count)
        for partition, span in sorted(plan.spans.items()):
            batch: list[Dead] = []
            for found in _letters(self._admin, partition, span):
                if stopped():
                    break
                if isinstance(found, Foreign):
                    outcome.foreign += 1
                    self._report(f"{_place(partition, found.offset)} is passed: {found.reason}")
                    continue
                batch.append(found)
                if len(batch) == _BATCH:
                    self._put_back(partition, batch, found.record.offset + 1, plan, outcome)
                    progress(outcome.count + outcome.kept, plan.count)
                    batch = []
            else:
                self._put_back(partition, batch, span.end, plan, outcome)
                progress(outcome.count + outcome.kept, plan.count)
                continue
            return outcome
        outcome.complete = True
        return outcome

    def close(self) -> None:
        """Close; an open transaction is aborted."""
        try:
            self._producer.close()
        finally:
            self._admin.close()

    def _put_back(
        self, partition: Partition, batch: Sequence[Dead], end: int, plan: Plan, outcome: Outcome
    ) -> None:
        """Letters into their topics, the others to the end of the line, and the mark: one transaction."""
        again: dict[int, str] = {}  # places in the batch that stay, and why; "" where not meant
        ready: dict[int, Outgoing] = {}
        for place, dead in enumerate(batch):
            if not plan.filter.matches(dead, self._line.topic):
                again[place] = ""
                continue
            try:
                ready[place] = self._restored(dead.letter, plan.to_topic)
            except MessageError as error:
                again[place] = str(error)
        mark = Outgoing(partition.topic, self._line.mark, str(end).encode(), (), None, partition.partition)
        attempts = 0
        while True:
            kept = [_kept(batch[place].record) for place in sorted(again)]
            try:
                self._producer.begin()
                refusals = self._producer.send([*ready.values(), *kept, mark])
                if not refusals:
                    self._producer.commit()
                    break
            except StaleGenerationError as error:
                attempts += 1
                self._producer.abort()
                if self._is_marked(partition, end):
                    break  # it was committed, and only the answer was lost
                if attempts == _ATTEMPTS:
                    raise DeliveryError(
                        f"{self._line.name}: the coordinator ended the transaction {attempts} times: {error}",
                        hint="raise transaction.timeout.ms",
                    ) from error
                continue
            self._producer.abort()
            places = list(ready)
            for place, reason, cause in refusals:
                if place >= len(places):
                    limit = "max.message.bytes" if cause == "size" else "limits on keys and times"
                    raise DeliveryError(
                        f"topic {self._line.name} does not take a letter back: {reason}",
                        hint=f"raise its {limit}; nothing is lost",
                    )
                again[places[place]] = f"topic {ready[places[place]].topic} refuses it: {reason}"
                del ready[places[place]]
        for place, reason in sorted(again.items()):
            if not reason:
                outcome.passed_over += 1
                continue
            outcome.kept += 1
            self._report(f"{_place(partition, batch[place].record.offset)} stays: {reason}")
        outcome.replayed.update(batch[place].letter.error_class for place in ready)

    def _is_marked(self, partition: Partition, end: int) -> bool:
        """Whether a transaction of ours has got through."""
        newest = self._admin.end_offsets([partition])[partition]
        return handled(self._admin, partition, newest, self._line.mark) >= end

    def _report(self, text: str) -> None:
        self._reported += 1
        if self._reported <= _MOST_REPORTED:
            self._warn(text)
        elif self._reported == _MOST_REPORTED + 1:
            self._warn("there are more like these")

    def _restored(self, letter: Letter, to_topic: str | None) -> Outgoing:
        """The record as it was.

        Raises:
            MessageError: It is not whole, and its original is gone.
        """
        record = letter.restored(to_topic, original=self._original(letter) if letter.omitted else None)
        if record.partition is not None and record.partition >= self._partitions.get(record.topic, 0):
            return record._replace(partition=None)  # the topic has been made anew, with fewer
        return record

    def _original(self, letter: Letter) -> Record | None:
        """The record that a letter was made of, if it is still there."""
        try:
            found = self._admin.read(letter.source, letter.offset, 1)
        except (UnreadableRecordError, TopicNotFoundError):
            return None
        return found[0] if found and found[0].offset == letter.offset else None


def _place(partition: Partition, offset: int) -> str:
    return f"{partition.topic}-{partition.partition} at offset {offset}"


def _kept(record: Record) -> Outgoing:
    """A letter that stays: the same record at the end of its partition."""
    moment = record.timestamp if record.timestamp >= 0 else None
    return Outgoing(record.topic, record.key, record.value, record.headers, moment, record.partition)


def dry_plan(
    client: Client, line: Line, which: Filter, *, to_topic: str | None = None, limit: int | None = None
) -> Plan:
    """What a replay would do, without ending one that is under way.

    Raises:
        KafkaError: As ``survey``.
    """
    line.check()
    admin = client.admin()
    try:
        return survey(admin, line, which, to_topic=to_topic, limit=limit)
    finally:
        admin.close()
