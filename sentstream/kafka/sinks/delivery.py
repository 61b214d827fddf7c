"""Where results go, and how results and offsets become one: a transaction, or a file's name."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from sentstream.errors import DeliveryError, MessageRefusedError, MessageSizeError
from sentstream.kafka.clients.api import (
    Consumer,
    Outgoing,
    Partition,
    Producer,
    Record,
    Refusal,
    StaleGenerationError,
)
from sentstream.kafka.dead_letters.letter import DeadLetter, dead_letter_topic
from sentstream.kafka.messages.codec import Codec
from sentstream.kafka.scoring.work import Work
from sentstream.kafka.sinks.dataset import Dataset, Superseded
from sentstream.kafka.sinks.provenance import Provenance
from sentstream.kafka.watch.events import Committed, Observer

#: Headers of a result: what scored it, and the threshold of ``uncertain`` if there was one.
HEADERS = ("sentstream.model", "sentstream.model_digest", "sentstream.abstain")
_MOST_DEAD = 1000  # dead letters of a partition that wait for its files
_STEP = 1.0  # seconds that closing files may keep the loop from all else


class Sink(Protocol):
    """Takes the results of batches in order. The loop calls it from one thread at a time."""

    def begin(self, first: Mapping[Partition, int]) -> dict[Partition, int]:
        """Where to begin in partitions that the group has no offset of, given where it would else.

        What comes before the offset that is committed for one is taken for done, even after a crash.
        """

    def start(
        self, committed: Mapping[Partition, int], ends: Mapping[Partition, int]
    ) -> dict[Partition, int]:
        """Where to read partitions that have come or are read again, given committed offsets and ends."""

    def take(self, work: Work) -> None:
        """Deliver a batch; what is durable when this returns is for the sink to say (``committed``).

        Raises:
            StaleGenerationError: Nothing of the batch is committed. ``abort``, then read again.
        """

    def tick(self) -> None:
        """Do what time asks for; called about once a second."""

    def idle(self, positions: Mapping[Partition, int]) -> None:
        """Nothing is under way and all before these offsets has been taken: commit what is not."""

    def finish(self, partitions: Collection[Partition] | None = None) -> None:
        """Make all of these partitions durable now, and commit it; None for every one."""

    def abort(self) -> None:
        """Drop all that is not durable."""

    def drop(self, partitions: Collection[Partition]) -> None:
        """Drop what is not durable of partitions that are somebody else's now."""

    @property
    def committed(self) -> Mapping[Partition, int]:
        """The committed offsets, as far as this sink knows."""


@dataclass
class Letters:
    """Where dead letters go.

    Attributes:
        topic: The dead letter topic, or None for ``{source topic}.dlq``.
        limits: ``max.message.bytes`` of each dead letter topic.
        topic_ids: For each source topic its id, as far as they are known.
    """

    topic: str | None
    limits: dict[str, int] = field(default_factory=dict)
    topic_ids: dict[str, str] = field(default_factory=dict)

    def outgoing(self, dead: DeadLetter, *, bare: bool = False) -> Outgoing:
        """A dead letter, ready to send; ``bare`` leaves its value out."""
        topic = dead_letter_topic(dead.record.topic, self.topic)
        limit = 0 if bare else self.limits.get(topic, 1 << 20)
        return dead.outgoing(topic, limit=limit, topic_id=self.topic_ids.get(dead.record.topic, ""))


class Delivery:
    """The producer, and the order of things around it.

    Args:
        producer: With a transactional.id for exactly-once, without one for at-least-once.
        consumer: Whose offsets are committed.
        exactly_once: Whether results and offsets become one transaction.
        letters: Where dead letters go.
    """

    def __init__(
        self, producer: Producer, consumer: Consumer, letters: Letters, *, exactly_once: bool
    ) -> None:
        self._producer, self._consumer = producer, consumer
        self.letters, self._exactly_once = letters, exactly_once

    def __call__(
        self,
        results: Sequence[tuple[Record, Outgoing]],
        dead: Sequence[DeadLetter],
        offsets: Mapping[Partition, int],
    ) -> list[DeadLetter]:
        """Send results and dead letters, and commit the offsets.

        Args:
            results: What to send, each with the record that it comes from.
            dead: Dead letters.
            offsets: The offsets to commit.

        Returns:
            The records of ``results`` that the broker refused for what they are and that became dead letters.

        Raises:
            DeliveryError: The broker refuses a dead letter, even without what it was refused for.
            StaleGenerationError: Nothing was committed (at least once: it may have been sent).
        """
        refused: list[DeadLetter] = []
        waiting: list[tuple[Record | DeadLetter, Outgoing]] = [
            *results,
            *((one, self.letters.outgoing(one)) for one in dead),
        ]
        while True:
            if self._exactly_once:
                self._producer.begin()
            refusals = self._producer.send([message for _, message in waiting]) if waiting else []
            if not refusals:
                break
            self._producer.abort()
            if not self._exactly_once:  # all others are there to stay
                waiting = [waiting[refusal.place] for refusal in refusals]
                refusals = [refusal._replace(place=place) for place, refusal in enumerate(refusals)]
            for refusal in refusals:
                origin, sent = waiting[refusal.place]
                if isinstance(origin, DeadLetter):
                    waiting[refusal.place] = origin, self._lighter(origin, sent, refusal)
                else:
                    kind = MessageSizeError if refusal.cause == "size" else MessageRefusedError
                    letter = DeadLetter(origin, kind(f"the broker refuses the result: {refusal.reason}"))
                    refused.append(letter)
                    waiting[refusal.place] = letter, self.letters.outgoing(letter)
        if self._exactly_once:
            self._producer.add_offsets(offsets, self._consumer.group())
            self._producer.commit()
        else:
            self._consumer.commit(offsets)
        return refused

    def _lighter(self, letter: DeadLetter, sent: Outgoing, refusal: Refusal) -> Outgoing:
        """A dead letter that was refused, without what it was refused for: its time, or its value."""
        record = letter.record
        where = f"the dead letter of {record.topic}-{record.partition} at offset {record.offset} is refused"
        if refusal.cause == "time" and sent.timestamp is not None:  # a header has it
            return sent._replace(timestamp=None)
        if refusal.cause != "size":
            raise DeliveryError(
                f"{where}: {refusal.reason}",
                hint=f"{sent.topic} must take records of any key and time (cleanup.policy=delete)",
            )
        bare = self.letters.outgoing(letter, bare=True)._replace(timestamp=sent.timestamp)
        if bare == sent:
            raise DeliveryError(
                f"{where}, even without its value: {refusal.reason}",
                hint=f"raise max.message.bytes of {bare.topic}",
            )
        return bare

    def abort(self) -> None:
        """Abort what is open."""
        self._producer.abort()


class TopicSink:
    """Results to a topic. A batch is a transaction; at least once, it is a flush and then a commit.

    Args:
        delivery: Sends and commits.
        consumer: Whose offsets are committed.
        codec: Makes the values.
        targets: For each source topic, the topic of its results and how many partitions both have, so that
            results keep their partition, and with it their order; 0 where they differ. A partition that
            was added later has no counterpart: there the key decides, too.
        stamp: The metadata of the scorer's schema, which has the values of ``HEADERS``.
        observer: Is told what was committed.
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
        refused = self._delivery(results, work.dead, work.offsets)
        self._committed.update(work.offsets)
        self._observer.committed(summary(work, refused))

    def _outgoing(self, record: Record, value: bytes | None) -> Outgoing:
        topic, shared = self._targets[record.topic]
        headers = list(record.headers)
        if value is not None:  # a tombstone was not scored, so it names no model
            if headers:
                headers = [header for header in headers if header[0] not in HEADERS]
            headers += self._stamp
        timestamp = record.timestamp if record.timestamp >= 0 else None
        partition = record.partition if record.partition < shared else None
        return Outgoing(topic, record.key, value, headers, timestamp, partition)

    def tick(self) -> None:
        """Nothing waits here."""

    def idle(self, positions: Mapping[Partition, int]) -> None:
        _commit_ahead(self._consumer, self._committed, positions)

    def finish(self, partitions: Collection[Partition] | None = None) -> None:
        """Each batch was finished when it was taken."""

    def abort(self) -> None:
        self._delivery.abort()

    def drop(self, partitions: Collection[Partition]) -> None:
        for one in partitions:
            self._committed.pop(one, None)


@dataclass
class _Open:
    """A partition's records that are taken and not committed.

    Attributes:
        next_offset: The offset behind all of them.
        dead: Their dead letters.
        done: For each batch the offset behind it, and what became of it.
    """

    next_offset: int
    dead: list[DeadLetter] = field(default_factory=list)
    done: list[tuple[int, Committed]] = field(default_factory=list)

    def before(self, offset: int) -> tuple[list[DeadLetter], list[Committed]]:
        """Take out what is settled when all before an offset is."""
        dead = [letter for letter in self.dead if letter.record.offset < offset]
        done = [one for end, one in self.done if end <= offset]
        self.dead = [letter for letter in self.dead if letter.record.offset >= offset]
        self.done = [(end, one) for end, one in self.done if end > offset]
        return dead, done


class ParquetSink:
    """Results to Parquet files; a file's name, not the offset in Kafka, says what is done.

    A partition's records are a fixed sequence, its files in a directory are runs of it, each begins where
    another ends, and a name is given once. So two writers of a partition cannot double a row. Offsets are
    committed after the names; dead letters go with them, in one transaction. When a run ends between
    a name and the commit, the records between are read again for what else there is to do. Where the group's
    offsets are gone, the files say where to go on, and the dead letter topic which letters are there.

    Args:
        dataset: The files.
        provenance: Knows whether the files are of the topics that are read.
        delivery: Sends dead letters and commits offsets.
        consumer: Whose offsets are committed.
        observer: Is told what was committed.
    """

    def __init__(
        self,
        dataset: Dataset,
        provenance: Provenance,
        delivery: Delivery,
        consumer: Consumer,
        observer: Observer,
    ) -> None:
        self._dataset, self._provenance, self._delivery = dataset, provenance, delivery
        self._consumer, self._observer = consumer, observer
        self._committed: dict[Partition, int] = {}
        self._open: dict[Partition, _Open] = {}
        self._letters_to: dict[Partition, int] = {}  # letters before are there, though nothing is committed

    @property
    def committed(self) -> Mapping[Partition, int]:
        return self._committed

    def begin(self, first: Mapping[Partition, int]) -> dict[Partition, int]:
        self._provenance.check(first)
        begun = dict(first)
        beginnings = self._consumer.beginning_offsets(first)
        for one in first:
            reach = self._dataset.reach(one)
            if reach is not None:
                letters = max(reach.letters, self._provenance.letters_end(one))
                begun[one] = min(reach.rows, max(letters, beginnings[one]))
                self._letters_to[one] = letters
        return begun

    def start(
        self, committed: Mapping[Partition, int], ends: Mapping[Partition, int]
    ) -> dict[Partition, int]:
        for one in committed:
            self._drop(one)
        self._provenance.check(committed)
        self._committed.update(committed)
        return dict(committed)

    def take(self, work: Work) -> None:
        dead: dict[Partition, list[DeadLetter]] = {}
        sent: dict[Partition, int] = {}
        for letter in work.dead:
            one = Partition(letter.record.topic, letter.record.partition)
            if letter.record.offset < self._letters_to.get(one, 0):
                sent[one] = sent.get(one, 0) + 1
            else:
                dead.setdefault(one, []).append(letter)
        places: dict[Partition, list[int]] = {}
        for place, record in enumerate(work.records):
            places.setdefault(Partition(record.topic, record.partition), []).append(place)
        now = time.monotonic()
        # Known of the batch only: both go with its first partition.
        truncated, samples = work.tally.truncated, work.samples()
        for one, next_offset in work.offsets.items():
            rows = _rows(work, places.get(one, []))
            try:
                added = self._dataset.append(one, rows, next_offset, self._committed[one])
            except Superseded as error:
                raise StaleGenerationError(str(error)) from error
            taken = [work.records[place] for place in places.get(one, [])]
            taken += [letter.record for letter in dead.get(one, [])]
            done = replace(
                _counted(added, work.tally.labels),
                truncated=truncated,
                dead=_by_class(dead.get(one, [])),
                replicas=len(rows) - len(added) + sent.get(one, 0),
                score_seconds=work.seconds / len(work.offsets),
                batch_seconds=now - work.arrived,
                newest=work.newest,
                times=np.array([record.timestamp for record in taken], np.int64),
                offsets={one: next_offset},
                samples=samples,
            )
            truncated, samples = 0, []
            open_ = self._open.setdefault(one, _Open(next_offset))
            open_.next_offset = next_offset
            open_.dead += dead.get(one, [])
            open_.done.append((next_offset, done))
        self.tick()

    def tick(self) -> None:
        due = self._dataset.due() | {
            one for one, open_ in self._open.items() if len(open_.dead) >= _MOST_DEAD
        }
        if due:
            self._close([one for one in self._open if one in due], time.monotonic() + _STEP)

    def idle(self, positions: Mapping[Partition, int]) -> None:
        done = {
            one: offset
            for one, offset in positions.items()
            if one not in self._open and offset >= self._letters_to.get(one, 0)
        }
        _commit_ahead(self._consumer, self._committed, done)

    def finish(self, partitions: Collection[Partition] | None = None) -> None:
        self._close([one for one in self._open if partitions is None or one in partitions], None)

    def _close(self, partitions: Sequence[Partition], deadline: float | None) -> None:
        """Close files, up to a deadline, and commit how far that gets us."""
        if not partitions:
            return
        self._provenance.check_again({one.topic for one in partitions})
        offsets: dict[Partition, int] = {}
        for one in partitions:
            try:
                offset = self._dataset.close(one, deadline)
            except Superseded as error:
                raise StaleGenerationError(str(error)) from error
            progress = offset > self._committed[one] or offset >= self._open[one].next_offset
            # A commit before the last letter that is there would have those up to it sent again.
            if progress and offset >= self._letters_to.get(one, 0):
                offsets[one] = offset
            if deadline is not None and time.monotonic() >= deadline:
                break
        if not offsets:
            return
        settled = {one: self._open[one].before(offset) for one, offset in offsets.items()}
        self._delivery([], [letter for dead, _ in settled.values() for letter in dead], offsets)
        self._committed.update(offsets)
        for one, offset in offsets.items():
            self._letters_to.pop(one, None)
            if offset >= self._open[one].next_offset:
                del self._open[one]
        for _, done in settled.values():
            for each in done:
                self._observer.committed(each)

    def abort(self) -> None:
        self._delivery.abort()
        self.drop(list(self._open))

    def drop(self, partitions: Collection[Partition]) -> None:
        for one in partitions:
            self._drop(one)
            self._letters_to.pop(one, None)

    def _drop(self, one: Partition) -> None:
        self._dataset.drop(one)
        self._open.pop(one, None)
        self._committed.pop(one, None)


def _commit_ahead(
    consumer: Consumer, committed: dict[Partition, int], positions: Mapping[Partition, int]
) -> None:
    """Commit positions beyond what is committed: only control records lie between."""
    ahead = {one: offset for one, offset in positions.items() if offset > committed.get(one, offset)}
    if ahead:
        consumer.commit(ahead)
        committed.update(ahead)


def rows_schema(scored: pa.Schema) -> pa.Schema:
    """The schema of Parquet rows: the record, its text, and what scoring adds.

    Args:
        scored: What the scorer gives: the added columns only, and the model's stamp as metadata.
    """
    return pa.schema([*_RECORD, *scored], scored.metadata)


def _rows(work: Work, places: list[int]) -> pa.RecordBatch:
    """The rows of some records of a batch."""
    records = [work.records[place] for place in places]
    scored = work.scored.take(pa.array(places, pa.int64()))
    columns: list[Any] = [
        [record.topic for record in records],
        [record.partition for record in records],
        [record.offset for record in records],
        [record.timestamp if record.timestamp >= 0 else None for record in records],
        [record.key for record in records],
        [list(record.headers) for record in records],
        [record.value for record in records],
        [work.texts[place] for place in places],
    ]
    arrays = [pa.array(column, one.type) for column, one in zip(columns, _RECORD, strict=True)]
    return pa.RecordBatch.from_arrays([*arrays, *scored.columns], schema=rows_schema(scored.schema))


def _counted(rows: pa.Table, labels: Iterable[str]) -> Committed:
    """What became of the records of some rows."""
    counts = dict.fromkeys(labels, 0)
    for count in rows.column(len(_RECORD)).value_counts().to_pylist():
        if count["values"] is not None:
            counts[count["values"]] = count["counts"]
    tombstones = rows.column("value").null_count
    return Committed(counts, len(rows) - sum(counts.values()) - tombstones, tombstones)


_RECORD = [
    pa.field("topic", pa.string()),
    pa.field("partition", pa.int32()),
    pa.field("offset", pa.int64()),
    pa.field("timestamp", pa.timestamp("ms", "UTC")),
    pa.field("key", pa.binary()),
    pa.field(
        "headers",  # a list, since a name may come twice
        pa.list_(pa.field("element", pa.struct([("name", pa.string()), ("value", pa.binary())]))),
    ),
    pa.field("value", pa.binary()),
    pa.field("text", pa.string()),
]


def summary(work: Work, refused: Sequence[DeadLetter]) -> Committed:
    """What became of a batch, those of its results counted as dead that the broker refused."""
    labels, tombstones = dict(work.tally.labels), work.tombstones
    unlabeled = work.tally.unlabeled - tombstones
    if refused:
        places = {id(record): place for place, record in enumerate(work.records)}
        for letter in refused:
            label = work.scored.column(0)[places[id(letter.record)]].as_py()
            if letter.record.value is None:
                tombstones -= 1
            elif label is None:
                unlabeled -= 1
            else:
                labels[label] -= 1
    return Committed(
        labels,
        unlabeled,
        tombstones,
        work.tally.truncated,
        _by_class([*work.dead, *refused]),
        score_seconds=work.seconds,
        batch_seconds=time.monotonic() - work.arrived,
        newest=work.newest,
        times=work.times,
        offsets=work.offsets,
        samples=work.samples(),
    )


def _by_class(letters: Sequence[DeadLetter]) -> dict[str, int]:
    return dict(Counter(type(letter.error).__name__ for letter in letters))
