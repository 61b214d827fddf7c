"""Write results to Parquet files, whose names, not the offsets in Kafka, determine what is done."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sentstream.drift.distribution import Distribution
from sentstream.kafka.clients.api import Consumer, Partition, StaleGenerationError
from sentstream.kafka.dead_letters.letter import DeadLetter
from sentstream.kafka.scoring.work import Work
from sentstream.kafka.sinks.api import commit_ahead
from sentstream.kafka.sinks.dataset import Dataset, Superseded
from sentstream.kafka.sinks.delivery import Delivery
from sentstream.kafka.sinks.provenance import Provenance
from sentstream.kafka.sinks.rows import counted, rows_of
from sentstream.kafka.sinks.summary import by_class
from sentstream.kafka.watch.events import Committed, Observer

_MOST_DEAD = 1000  # dead letters of a partition that may wait for its files
_STEP = 1.0  # seconds that closing files may block the loop


@dataclass
class _Open:
    """A partition's records that were taken but not committed.

    Attributes:
        next_offset: The offset after all of them.
        dead: Their dead letters.
        done: The offset after each batch, and the event to report for it.
    """

    next_offset: int
    dead: list[DeadLetter] = field(default_factory=list)
    done: list[tuple[int, Committed]] = field(default_factory=list)

    def before(self, offset: int) -> tuple[list[DeadLetter], list[Committed]]:
        """Remove and return the dead letters and batches before an offset."""
        dead = [letter for letter in self.dead if letter.record.offset < offset]
        done = [one for end, one in self.done if end <= offset]
        self.dead = [letter for letter in self.dead if letter.record.offset >= offset]
        self.done = [(end, one) for end, one in self.done if end > offset]
        return dead, done


class ParquetSink:
    """Writes results to Parquet files, whose names, not the offsets in Kafka, determine what is done.

    A partition's records are a fixed sequence, its files in a directory are consecutive ranges of it, and a
    name is given only once. So two writers of a partition cannot duplicate a row. Offsets are committed after
    files are named, in one transaction with the dead letters. If a run ends between naming and commit, the
    records in between are read again, for their dead letters. If the group's offsets are gone, the files tell
    where to continue, and the dead letter topic which letters exist.

    Args:
        dataset: The files.
        provenance: Checks that the files belong to the topics that are read.
        delivery: Sends dead letters and commits offsets.
        consumer: The consumer whose offsets are committed.
        observer: Is notified of commits.
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
        self._letters_to: dict[Partition, int] = {}  # earlier letters exist, though nothing is committed

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
        indices: dict[Partition, list[int]] = {}
        for index, record in enumerate(work.records):
            indices.setdefault(Partition(record.topic, record.partition), []).append(index)
        now = time.monotonic()
        # Known only for the whole batch: reported with its first partition.
        truncated, samples, seen = work.tally.truncated, work.samples(), work.seen
        for one, next_offset in work.offsets.items():
            rows = rows_of(work, indices.get(one, []))
            try:
                added = self._dataset.append(one, rows, next_offset, self._committed[one])
            except Superseded as error:
                raise StaleGenerationError(str(error)) from error
            taken = [work.records[index] for index in indices.get(one, [])]
            taken += [letter.record for letter in dead.get(one, [])]
            done = replace(
                counted(added, work.tally.labels),
                truncated=truncated,
                dead=by_class(dead.get(one, [])),
                replicas=len(rows) - len(added) + sent.get(one, 0),
                score_seconds=work.seconds / len(work.offsets),
                batch_seconds=now - work.arrived,
                newest=work.newest,
                times=np.array([record.timestamp for record in taken], np.int64),
                offsets={one: next_offset},
                samples=samples,
                seen=seen,
            )
            truncated, samples, seen = 0, [], Distribution()
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
        commit_ahead(self._consumer, self._committed, done)

    def finish(self, partitions: Collection[Partition] | None = None) -> None:
        self._close([one for one in self._open if partitions is None or one in partitions], None)

    def _close(self, partitions: Sequence[Partition], deadline: float | None) -> None:
        """Close files until a deadline, and commit the offsets before which all rows are durable."""
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
            # After a commit before the last existing letter, those in between would be sent again.
            if progress and offset >= self._letters_to.get(one, 0):
                offsets[one] = offset
            if deadline is not None and time.monotonic() >= deadline:
                break
        if not offsets:
            return
        settled = {one: self._open[one].before(offset) for one, offset in offsets.items()}
        try:
            self._delivery([], [letter for dead, _ in settled.values() for letter in dead], offsets)
        except BaseException:
            if self._delivery.committing:
                for one in offsets:
                    self._committed.pop(one, None)
            raise
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
