"""Dead letters -> back into their topics, each once however often it is tried.

A mark of how far it came (``queue``) is written in the transaction that puts the letters back, so neither a
killed replay nor a second one doubles or loses any. Two replays at a time have one transactional.id: the
later one ends the earlier.

A letter that is passed over, because of a filter or since its original is gone, goes to the end of its
topic again, in the same transaction: it stays pending.
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
from sentstream.kafka.dead_letters.letter import Letter
from sentstream.kafka.dead_letters.queue import (
    Dead,
    Filter,
    Foreign,
    Line,
    Span,
    handled,
    letters_within,
    pending_spans,
)

_BATCH = 500  # letters a transaction
_ATTEMPTS = 5  # of a transaction that the coordinator ends
_MOST_REPORTED = 20  # letters that stay which are named

Warn = Callable[[str], None]


@dataclass(frozen=True)
class ReplayPlan:
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

    def to_dict(self) -> dict[str, Any]:
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

    def to_dict(self) -> dict[str, Any]:
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
) -> ReplayPlan:
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
        for dead in letters_within(admin, partition, span):
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
    plan = ReplayPlan(line, which, to_topic, classes, sources, passed_over, pending, foreign, spans)
    _check_targets(admin, plan)
    return plan


def _check_targets(admin: Admin, plan: ReplayPlan) -> None:
    targets = [plan.to_topic] if plan.to_topic is not None else sorted(plan.sources)
    there = admin.partitions(targets) if targets else {}
    for topic in targets:
        if topic == plan.line.name:
            raise UsageError(f"letters from topic {topic} would go back into it", hint="give --to-topic")
        if topic not in there:
            raise TopicNotFoundError(
                f"no topic {topic!r} to replay letters to", hint="create it, or give --to-topic"
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

    def plan(self, which: Filter, *, to_topic: str | None = None, limit: int | None = None) -> ReplayPlan:
        """Look through the dead letters for those that ``run`` is to put back, as ``survey`` does."""
        return survey(self._admin, self._line, which, to_topic=to_topic, limit=limit)

    def run(
        self,
        plan: ReplayPlan,
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
        """Close; an open transaction is aborted."""
        try:
            self._producer.close()
        finally:
            self._admin.close()

    def _put_back(
        self, partition: Partition, batch: Sequence[Dead], end: int, plan: ReplayPlan, outcome: Outcome
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
                        f"{self._line.name}: the broker aborted the transaction {attempts} times: {error}",
                        hint="raise transaction.timeout.ms",
                    ) from error
                continue
            self._producer.abort()
            places = list(ready)
            for place, reason, cause in refusals:
                if place >= len(places):
                    limit = "max.message.bytes" if cause == "size" else "limits on keys and times"
                    raise DeliveryError(
                        f"topic {self._line.name} rejects an updated letter: {reason}",
                        hint=f"raise its {limit}; nothing is lost",
                    )
                again[places[place]] = f"topic {ready[places[place]].topic} rejects it: {reason}"
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
            self._warn("there are more such letters")

    def _restored(self, letter: Letter, to_topic: str | None) -> Outgoing:
        """The record as it was.

        Raises:
            MessageError: The letter is not whole, and its original is gone.
        """
        record = letter.restored(to_topic, original=self._original(letter) if letter.omitted else None)
        if record.partition is not None and record.partition >= self._partitions.get(record.topic, 0):
            return record._replace(partition=None)  # the topic has been recreated, with fewer
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
) -> ReplayPlan:
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
