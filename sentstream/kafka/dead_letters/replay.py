"""Replay dead letters into their topics, each exactly once, however often a replay is restarted.

The transaction that sends the letters also writes a mark of the progress (``queue``), so neither a killed
replay nor a second one duplicates or loses any. Concurrent replays share a transactional.id: the later one
fences the earlier.

A letter that is passed over, because of a filter or because its original is gone, is written again to the
end of its topic in the same transaction, so it stays pending.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sentstream.errors import DeliveryError, MessageError, TopicNotFoundError, UsageError
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
from sentstream.kafka.dead_letters.letter import ParsedDeadLetter
from sentstream.kafka.dead_letters.queue import (
    DeadLetterQueue,
    Filter,
    Foreign,
    QueuedDeadLetter,
    Span,
    handled,
    letters_within,
    pending_spans,
)

_BATCH = 500  # letters per transaction
_ATTEMPTS = 5  # per transaction, if the coordinator ends it
_MOST_REPORTED = 20  # letters that are reported one by one

Warn = Callable[[str], None]


@dataclass(frozen=True)
class ReplayPlan:
    """What a replay would do.

    Attributes:
        queue: The dead letters to read.
        filter: Selects the letters.
        to_topic: The topic to send them to; None for their source topics.
        letters: The number of selected letters by error class.
        sources: The number of selected letters by source topic.
        passed_over: The number of letters before the last selected one that are not selected.
        pending: The number of all pending letters.
        foreign: Records that are not dead letters from sentstream, or cannot be read.
        spans: For each partition with selected letters, from its first pending letter to the last selected.
    """

    queue: DeadLetterQueue
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
        """The number of letters to replay."""
        return sum(self.letters.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-compatible values."""
        return {
            "dead_letter_topic": self.queue.name,
            "group": self.queue.group,
            "to_topic": self.to_topic,
            "pending": self.pending,
            "matching": self.count,
            "errors": dict(self.letters),
            "sources": dict(self.sources),
            "foreign": self.foreign,
        }


@dataclass
class Outcome:
    """The result of a replay.

    Attributes:
        replayed: The number of replayed letters by error class.
        kept: Letters that could not be replayed, and stay pending.
        passed_over: Letters that were not selected, and stay pending.
        foreign: Records that are not dead letters from sentstream, or cannot be read.
        complete: Whether the replay ran to its end.
    """

    replayed: Counter[str] = field(default_factory=Counter)
    kept: int = 0
    passed_over: int = 0
    foreign: int = 0
    complete: bool = False

    @property
    def count(self) -> int:
        """The number of replayed letters."""
        return sum(self.replayed.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the counts as JSON-compatible values."""
        return {
            "replayed": self.count,
            "errors": dict(self.replayed),
            "kept": self.kept,
            "passed_over": self.passed_over,
            "foreign": self.foreign,
        }


def survey(
    admin: Admin,
    queue: DeadLetterQueue,
    criteria: Filter,
    *,
    to_topic: str | None = None,
    limit: int | None = None,
) -> ReplayPlan:
    """Find out what a replay would do, without changing anything.

    Args:
        admin: Reads the records.
        queue: The dead letters to read.
        criteria: Selects the letters.
        to_topic: The topic to send them to; None for their source topics.
        limit: Maximum number of letters, taken by partition and offset.

    Raises:
        UsageError: Letters would go into the dead letter topic.
        KafkaError: The dead letter topic cannot be read, or a target topic does not exist.
    """
    queue.check()
    if to_topic == queue.name:
        raise UsageError(f"topic {to_topic} is the dead letter topic", hint="choose another --to-topic")
    classes, sources, spans = Counter[str](), Counter[str](), dict[Partition, Span]()
    passed_over = pending = foreign = 0
    for partition, span in pending_spans(admin, queue).items():
        waiting = 0  # letters not selected since the last selected one
        for dead in letters_within(admin, partition, span):
            if isinstance(dead, Foreign):
                foreign += 1
                continue
            pending += 1
            full = limit is not None and sum(classes.values()) >= limit
            if full or not criteria.matches(dead, queue.topic):
                waiting += 1
                continue
            passed_over += waiting
            waiting = 0
            classes[dead.letter.error_class] += 1
            sources[dead.letter.source.topic] += 1
            spans[partition] = Span(span.start, dead.record.offset + 1)
    plan = ReplayPlan(queue, criteria, to_topic, classes, sources, passed_over, pending, foreign, spans)
    _check_targets(admin, plan)
    return plan


def _check_targets(admin: Admin, plan: ReplayPlan) -> None:
    targets = [plan.to_topic] if plan.to_topic is not None else sorted(plan.sources)
    partitions = admin.partitions(targets) if targets else {}
    for topic in targets:
        if topic == plan.queue.name:
            raise UsageError(f"letters from topic {topic} would go back into it", hint="give --to-topic")
        if topic not in partitions:
            raise TopicNotFoundError(
                f"no topic {topic!r} to replay letters to", hint="create it, or give --to-topic"
            )


class Replay:
    """A replay. Creating it fences any other replay of the queue.

    Args:
        client: The Kafka client.
        queue: The dead letters to read.
        warn: Receives messages for the operator.

    Raises:
        KafkaError: The transactions cannot start.
    """

    def __init__(self, client: Client, queue: DeadLetterQueue, *, warn: Warn = lambda text: None) -> None:
        queue.check()
        self._queue, self._warn = queue, warn
        self._admin = client.admin()
        try:
            queue.partitions(self._admin)
            # Fences another replay and aborts its open transaction, before anything is read.
            self._producer: Producer = client.producer(f"{queue.group}.replay-{queue.name}")
        except BaseException:
            self._admin.close()
            raise
        self._partitions: dict[str, int] = {}
        self._reported = 0

    def plan(self, criteria: Filter, *, to_topic: str | None = None, limit: int | None = None) -> ReplayPlan:
        """Find the letters that ``run`` is to replay; see ``survey``."""
        return survey(self._admin, self._queue, criteria, to_topic=to_topic, limit=limit)

    def run(
        self,
        plan: ReplayPlan,
        *,
        progress: Callable[[int, int], None] = lambda done, total: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Outcome:
        """Replay the letters.

        Args:
            plan: What to do, from ``plan`` of this replay.
            progress: Is called with the number of letters handled so far, and of all.
            stopped: Returns whether to stop; the letters of an unfinished transaction are not replayed.

        Raises:
            FencedError: A later replay of the queue has taken over.
            DeliveryError: The dead letter topic refuses a letter.
            KafkaError: It cannot continue; the letters replayed so far are marked.
        """
        topics = [plan.to_topic] if plan.to_topic is not None else list(plan.sources)
        self._partitions = self._admin.partitions(topics) if topics else {}
        outcome = Outcome()
        progress(0, plan.count)
        for partition, span in sorted(plan.spans.items()):
            batch: list[QueuedDeadLetter] = []
            for found in letters_within(self._admin, partition, span):
                if stopped():
                    break
                if isinstance(found, Foreign):
                    outcome.foreign += 1
                    self._report(f"{_place(partition, found.offset)} is skipped: {found.reason}")
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
        """Close the connections; an open transaction is aborted."""
        try:
            self._producer.close()
        finally:
            self._admin.close()

    def _put_back(
        self,
        partition: Partition,
        batch: Sequence[QueuedDeadLetter],
        end: int,
        plan: ReplayPlan,
        outcome: Outcome,
    ) -> None:
        """Send letters to their topics, others to the end of the queue, and the mark, in one transaction."""
        again: dict[int, str] = {}  # indexes in the batch of letters that stay, and why; "" if not selected
        ready: dict[int, Outgoing] = {}
        for index, dead in enumerate(batch):
            if not plan.filter.matches(dead, self._queue.topic):
                again[index] = ""
                continue
            try:
                ready[index] = self._restored(dead.letter, plan.to_topic)
            except MessageError as error:
                again[index] = str(error)
        mark = Outgoing(partition.topic, self._queue.mark, str(end).encode(), (), None, partition.partition)
        attempts = 0
        while True:
            kept = [_kept(batch[index].record) for index in sorted(again)]
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
                        f"{self._queue.name}: the broker aborted the transaction {attempts} times: {error}",
                        hint="raise transaction.timeout.ms",
                    ) from error
                continue
            self._producer.abort()
            indices = list(ready)
            for index, reason, cause in refusals:
                if index >= len(indices):
                    limit = "max.message.bytes" if cause == "size" else "limits on keys and times"
                    raise DeliveryError(
                        f"topic {self._queue.name} rejects an updated letter: {reason}",
                        hint=f"raise its {limit}; nothing is lost",
                    )
                again[indices[index]] = f"topic {ready[indices[index]].topic} rejects it: {reason}"
                del ready[indices[index]]
        for index, reason in sorted(again.items()):
            if not reason:
                outcome.passed_over += 1
                continue
            outcome.kept += 1
            self._report(f"{_place(partition, batch[index].record.offset)} stays: {reason}")
        outcome.replayed.update(batch[index].letter.error_class for index in ready)

    def _is_marked(self, partition: Partition, end: int) -> bool:
        """Return whether our transaction, whose mark is ``end``, was committed."""
        newest = self._admin.end_offsets([partition])[partition]
        return handled(self._admin, partition, newest, self._queue.mark) >= end

    def _report(self, text: str) -> None:
        self._reported += 1
        if self._reported <= _MOST_REPORTED:
            self._warn(text)
        elif self._reported == _MOST_REPORTED + 1:
            self._warn("there are more such letters")

    def _restored(self, letter: ParsedDeadLetter, to_topic: str | None) -> Outgoing:
        """Return the original record.

        Raises:
            MessageError: The letter is incomplete, and its original is gone.
        """
        record = letter.restored(to_topic, original=self._original(letter) if letter.omitted else None)
        if record.partition is not None and record.partition >= self._partitions.get(record.topic, 0):
            return record._replace(partition=None)  # the topic was recreated with fewer
        return record

    def _original(self, letter: ParsedDeadLetter) -> Record | None:
        """Return the record that a letter was made from, if it still exists."""
        try:
            found = self._admin.read(letter.source, letter.offset, 1)
        except (UnreadableRecordError, TopicNotFoundError):
            return None
        return found[0] if found and found[0].offset == letter.offset else None


def _place(partition: Partition, offset: int) -> str:
    return f"{partition.topic}-{partition.partition} at offset {offset}"


def _kept(record: Record) -> Outgoing:
    """Return a copy of a letter's record, to append to its partition."""
    moment = record.timestamp if record.timestamp >= 0 else None
    return Outgoing(record.topic, record.key, record.value, record.headers, moment, record.partition)


def dry_plan(
    client: Client,
    queue: DeadLetterQueue,
    criteria: Filter,
    *,
    to_topic: str | None = None,
    limit: int | None = None,
) -> ReplayPlan:
    """Find out what a replay would do, without fencing one that is running.

    Raises:
        UsageError, KafkaError: As ``survey``.
    """
    queue.check()
    admin = client.admin()
    try:
        return survey(admin, queue, criteria, to_topic=to_topic, limit=limit)
    finally:
        admin.close()
