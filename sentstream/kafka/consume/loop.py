"""The consume loop: poll, score, deliver, commit.

One thread polls and delivers, another scores, so that a batch is scored while the previous one is sent.
Batches are delivered in the order in which they were read, and only delivery moves an offset. All failures
in between are handled the same way: drop the batches in flight and read again from the committed offsets
(``_rewind``).
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotDone
from dataclasses import dataclass

from sentstream.errors import BrokerUnreachableError, KafkaError
from sentstream.kafka.clients.api import (
    Consumer,
    Partition,
    PositionLostError,
    StaleGenerationError,
    UnacknowledgedError,
    UnreadableRecordError,
)
from sentstream.kafka.clients.patience import Patience
from sentstream.kafka.consume.positions import UNSETTLED, Positions
from sentstream.kafka.scoring.work import Item, Unreadable, Work, Worker
from sentstream.kafka.sinks.api import Sink
from sentstream.kafka.watch.events import Observer, Rebalance

_AHEAD = 2  # batches in flight: one is delivered, one is scored
_BEAT = 0.25  # seconds between checks of the clock, signals and the group
_TICK = 1.0  # seconds between lag reports
_FIGURES = 3.0  # seconds to wait for a figure that is only reported
_SLOW = 0.5  # seconds of scoring after which fetching is paused, and polling only keeps the membership
_MOST_STALE = 100  # consecutive aborts, without a commit in between, after which the loop gives up


@dataclass(frozen=True)
class Until:
    """When to stop; by default never.

    Attributes:
        ends: Stop when the group has committed these offsets.
        messages: Stop after this many records.
        seconds: Stop after this many seconds.
    """

    ends: Mapping[Partition, int] | None = None
    messages: int | None = None
    seconds: float | None = None


class Loop:
    """The consume loop; it is also the listener of its consumer's rebalances.

    Args:
        consumer: The consumer, not subscribed yet.
        sink: The destination of the results.
        worker: Decodes and scores.
        observer: Is notified of events.
        positions: Moves the consumer to the group's offsets.
        topics: The topics to read.
        max_batch: Maximum records per batch.
        linger: Seconds to wait for a batch to fill, from its first record on.
        budget: Seconds that a rebalance may wait for batches in flight.
        until: When to stop.
        patience: How long to continue without a broker, and whether a stop was requested.
        warn: Receives messages for the operator.
    """

    def __init__(
        self,
        consumer: Consumer,
        sink: Sink,
        worker: Worker,
        observer: Observer,
        positions: Positions,
        *,
        topics: Collection[str],
        max_batch: int,
        linger: float,
        budget: float,
        until: Until,
        patience: Patience,
        warn: Callable[[str], None],
    ) -> None:
        self._consumer, self._sink, self._worker, self._observer = consumer, sink, worker, observer
        self._positions, self._topics = positions, topics
        self._max_batch, self._linger, self._budget = max_batch, linger, budget
        self._until, self._patience, self._warn = until, patience, warn
        self._gathered: list[Item] = []
        self._in_progress: deque[tuple[Future[Work], list[Item]]] = deque()
        self._paused = self._must_rewind = self._away = False
        self._check_pending = True  # a broker may have left offsets pending, also those of other members
        self._stale = 0
        self._delivered = 0
        self._next_tick = self._next_report = self._next_ask = 0.0

    def run(self) -> None:
        """Run until told to stop (``Patience.stop``), then finish the batches in flight and commit.

        Raises:
            BrokerUnreachableError: No broker for too long, or none to finish with.
            KafkaError: It cannot continue for another reason: fenced, not allowed, a dead letter refused.
            OutputError: A file cannot be written.
        """
        began = time.monotonic()
        self._pool = ThreadPoolExecutor(1, "sentstream-score")
        try:
            try:
                self._consumer.subscribe(list(self._topics), self)
            except BrokerUnreachableError:
                if not self._patience.stopping:
                    raise
            while not self._done(began):
                self._step()
            self._gathered = []
            if self._must_rewind:
                self._drop_all()
            self._guarded(self._drain, last=True)
            self._guarded(self._sink.finish, last=True)
            self._report_lags()
        except BaseException:
            self._in_progress.clear()
            with contextlib.suppress(Exception):
                self._sink.abort()
            raise
        finally:
            self._pool.shutdown(wait=True, cancel_futures=True)

    # Steps

    def _done(self, began: float) -> bool:
        if self._patience.stopping:
            return True
        until = self._until
        if until.seconds is not None and time.monotonic() - began >= until.seconds:
            return True
        if until.messages is not None and self._delivered >= until.messages:
            return True
        nothing_waits = not self._in_progress and not self._gathered
        return until.ends is not None and nothing_waits and self._is_at(until.ends)

    def _is_at(self, ends: Mapping[Partition, int]) -> bool:
        """Return whether the whole group has committed these offsets.

        Until then no member stops, since another may die and leave work.
        """
        positions = self._consumer.positions()
        if self._must_rewind or any(offset < ends.get(one, 0) for one, offset in positions.items()):
            return False
        if len(positions) < len(ends):  # others have the rest: limit how often the broker is asked
            if time.monotonic() < self._next_ask:
                return False
            self._next_ask = time.monotonic() + _TICK
        done = False

        def ask() -> None:
            nonlocal done
            self._sink.finish()
            self._sink.idle(positions)
            committed = {**self._consumer.committed(list(ends)), **self._sink.committed}
            done = all(committed.get(one, 0) >= end for one, end in ends.items() if end > 0)

        self._guarded(ask)
        return done

    def _step(self) -> None:
        self._guarded(self._advance)
        if self._patience.in_outage and not self._away:
            self._away = True
            self._warn(f"no broker answers; retrying for {self._patience.seconds:g} s")
        if not self._waits_for_tick():
            self._next_tick = time.monotonic() + _TICK
            self._guarded(self._tick)

    def _waits_for_tick(self) -> bool:
        return time.monotonic() < self._next_tick

    def _guarded(self, action: Callable[[], None], *, last: bool = False) -> None:
        """Run an action; if the group has rebalanced or no broker answers, abort and read again.

        Args:
            action: The action.
            last: Whether this is the last action, so that nothing would try again.
        """
        began = time.monotonic()
        try:
            action()
        except (BrokerUnreachableError, UnacknowledgedError) as error:
            self._ride_out(error, began, last)
        except StaleGenerationError as error:
            self._stale += 1
            if self._stale >= _MOST_STALE:
                if self._positions.pending_since is not None:
                    raise KafkaError(f"this keeps happening: {error}", hint=UNSETTLED) from error
                raise KafkaError(
                    f"{self._stale} transactions in a row were aborted; the last: {error}",
                    hint="raise max.poll.interval.ms or session.timeout.ms, or lower --max-batch",
                ) from error
            self._start_over(str(error))

    def _ride_out(self, error: KafkaError, began: float, last: bool) -> None:
        """Start over after an action that no broker answered, unless the outage has lasted too long."""
        self._check_pending = True
        asked = self._patience.stopping
        too_long = self._patience.failed(began, delivering=isinstance(error, UnacknowledgedError))
        if too_long or last:
            self._patience.give_up()
            raise BrokerUnreachableError(
                f"{error.message}; what was not committed is read again on the next run"
                if asked
                else f"no broker for {self._patience.seconds:g} s: {error.message}",
                hint="check that the brokers are running"
                if asked
                else "check that the brokers are running, or raise --retry-for",
            ) from error
        self._start_over(error.message)

    def _start_over(self, reason: str) -> None:
        """Abort uncommitted work; its records are read again."""
        if not self._must_rewind:
            self._observer.aborted(reason)
        self._must_rewind = True
        self._sink.abort()

    def _answered(self, *, delivered: bool = False) -> None:
        lasted = self._patience.answered(delivered=delivered)
        if lasted is not None and self._away:
            self._away = False
            self._warn(f"brokers answer again, after {lasted:.0f} s")

    def _advance(self) -> None:
        """Read a batch and start scoring it; deliver the oldest batch in flight."""
        if self._check_pending:  # first: a member that waits for it may keep us from joining the group
            self._positions.settle_for_others()
            self._check_pending = False
        if self._must_rewind:
            self._rewind()
        if self._paused:
            self._consumer.resume()
            self._paused = False
        limit = self._room()
        self._gather(limit)
        fresh = bool(self._gathered) and limit > 0
        if fresh:
            # More records may have arrived while fetching was paused.
            items, self._gathered = self._gathered[:limit], self._gathered[limit:]
            self._in_progress.append((self._pool.submit(self._worker, items, self._arrived), items))
        if self._in_progress and (not fresh or len(self._in_progress) >= _AHEAD):
            self._await_scoring()
            self._deliver_oldest(None)

    def _room(self) -> int:
        """Return how many records the next batch may have."""
        if self._until.messages is None:
            return self._max_batch
        under_way = sum(len(items) for _, items in self._in_progress)
        return min(self._max_batch, self._until.messages - self._delivered - under_way)

    def _gather(self, limit: int) -> None:
        """Poll until the batch is full or ``linger`` has passed; with work in flight, do not wait."""
        wait = 0.0 if self._in_progress else _BEAT
        while len(self._gathered) < limit and not self._patience.stopping:
            nothing_yet = not self._gathered
            self._poll(max(0.0, wait), limit - len(self._gathered))
            if not self._gathered:
                return
            if nothing_yet:
                self._arrived = time.monotonic()
            if self._in_progress:
                return
            wait = self._arrived + self._linger - time.monotonic()
            if wait <= 0:
                return

    def _poll(self, seconds: float, limit: int) -> None:
        """Poll, and add the records to those gathered, which a rebalance during the poll may change."""
        try:
            records = self._consumer.poll(seconds, limit)
        except UnreadableRecordError as error:
            partition, offset, following = error.partition, error.offset, error.next_offset
            records = [Unreadable(*partition, offset, following, error.reason)]
            self._consumer.seek({partition: following})
        except PositionLostError as error:
            records = []
            if not self._positions.skip_deleted(error.partition, error.offset):
                self._must_rewind = True
        if self._must_rewind:  # the records are read again
            self._gathered = []
        else:
            self._gathered.extend(records)

    def _await_scoring(self) -> None:
        """Wait until the oldest batch is scored; if that takes long, poll to remain a group member."""
        patience = _SLOW
        while self._in_progress:  # a rebalance may clear it during the wait
            try:
                self._in_progress[0][0].result(timeout=patience)
                return
            except NotDone:
                if not self._paused:
                    self._consumer.pause()
                    self._paused = True
                self._poll(0.0, self._max_batch)  # records that arrive despite the pause are kept
                if time.monotonic() >= self._next_report:
                    self._report_lags()
                patience = _BEAT

    def _deliver_oldest(self, timeout: float | None) -> None:
        """Deliver the oldest batch. Raises ``NotDone`` if it is not scored within ``timeout`` seconds."""
        if self._in_progress:
            future, items = self._in_progress[0]
            work = future.result(timeout=timeout)
            self._sink.take(work)
            self._in_progress.popleft()
            self._delivered += len(items)
            self._stale = 0
            self._answered(delivered=True)

    def _drop_all(self) -> None:
        """Drop the batches in flight, which may be committed already; only the group's offsets tell.

        Raises:
            BrokerUnreachableError: A batch was in flight, and there is no broker to ask.
        """
        dropped = bool(self._in_progress)
        self._forget()
        if dropped and self._patience.in_outage:
            self._patience.give_up()
            raise BrokerUnreachableError(
                "no broker answers; what was not committed is read again on the next run",
                hint="check that the brokers are running",
            )

    def _drain(self) -> None:
        while self._in_progress:
            self._await_scoring()
            self._deliver_oldest(None)

    def _tick(self) -> None:
        self._sink.tick()
        if not self._must_rewind:
            with contextlib.suppress(StaleGenerationError):  # the next delivery will notice
                self._sink.idle(self._idle_positions())
        self._report_lags()

    def _idle_positions(self) -> dict[Partition, int]:
        """Return the positions of partitions that have no records in flight."""
        batches = [*(items for _, items in self._in_progress), self._gathered]
        busy = {(item.topic, item.partition) for items in batches for item in items}
        return {one: offset for one, offset in self._consumer.positions().items() if one not in busy}

    def _report_lags(self) -> None:
        """Report the lags if the broker can tell; failing to is no reason to stop."""
        self._next_report = time.monotonic() + _TICK
        owned = self._consumer.assignment()
        committed = self._sink.committed
        try:
            ends = self._consumer.end_offsets(owned, _FIGURES) if owned else {}
        except KafkaError:
            if self._patience.stopping:
                self._patience.give_up()
            return
        if owned:
            behind = self._in_progress or self._gathered or self._must_rewind
            self._answered(delivered=not behind and all(committed.get(one) == ends[one] for one in owned))
        self._observer.lags(
            {one: max(0, end - committed[one]) for one, end in ends.items() if one in committed}
        )

    # Rebalance callbacks, called from within ``poll``

    def assigned(self, partitions: Collection[Partition]) -> None:
        """Move to the group's offsets in new partitions."""
        owned = self._consumer.assignment() | set(partitions)
        if partitions:
            self._positions.check_topics = True
            self._positions.begin(partitions)
        if partitions or not owned:
            self._observer.rebalanced("assigned", partitions, owned)

    def revoked(self, partitions: Collection[Partition]) -> None:
        """Finish the batches in flight if there is time, otherwise drop them."""
        deadline = time.monotonic() + self._budget
        try:
            while self._in_progress and not self._must_rewind:
                self._deliver_oldest(max(0.0, deadline - time.monotonic()))
            self._sink.finish(partitions)
        except (NotDone, StaleGenerationError, BrokerUnreachableError, UnacknowledgedError) as error:
            self._observer.aborted(str(error) or "scoring took longer than the rebalance timeout")
            self._sink.abort()
            self._must_rewind = True
        self._leave("revoked", partitions)

    def lost(self, partitions: Collection[Partition]) -> None:
        """Drop the batches in flight."""
        self._check_pending = True
        if self._in_progress:
            self._must_rewind = True
        self._leave("lost", partitions)

    def _leave(self, kind: Rebalance, partitions: Collection[Partition]) -> None:
        gone = set(partitions)
        self._gathered = [item for item in self._gathered if (item.topic, item.partition) not in gone]
        self._sink.drop(partitions)
        if self._must_rewind:
            self._forget()
        self._observer.rebalanced(kind, partitions, self._consumer.assignment() - gone)

    # Offsets

    def _forget(self) -> None:
        for future, _ in self._in_progress:
            future.cancel()
        self._in_progress.clear()
        self._gathered = []

    def _rewind(self) -> None:
        """Drop the batches in flight and seek to the committed offsets, so that no record is skipped."""
        self._forget()
        owned = self._consumer.assignment()
        if owned:
            try:
                self._positions.begin(owned)
            except StaleGenerationError:  # it may take long: remain a member, and let others join
                if not self._paused:
                    self._consumer.pause()
                    self._paused = True
                self._poll(0.0, self._max_batch)
                raise
            self._answered()
        self._must_rewind = False
