"""Where each partition is read from: what the group has committed, where that can still be trusted."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping

from sentstream.errors import KafkaError, TopicChangedError
from sentstream.kafka.clients.api import Consumer, Partition, StaleGenerationError, StartAt
from sentstream.kafka.sinks.api import Sink

_BEAT = 0.25  # seconds between looks at offsets that are pending
#: What to do about offsets that stay pending.
UNSETTLED = (
    "restart the instance that owns the transaction, with its --instance-id; if that does not help, end it "
    "with kafka-transactions.sh (find-hanging, abort): its results may then appear twice"
)


class Positions:
    """Moves a consumer to where its group is.

    Args:
        consumer: Is moved.
        sink: May know better than the group, and is told of partitions that are new.
        topics: What is read.
        start: Where to start in a partition that the group has no offset of.
        unbegun: The partitions that ``start`` is about. Any other without an offset was added to a topic
            that the group reads already, and is read from its beginning.
        identify: Tells for topics what their committed offsets are to carry, so that they are not taken for
            those of other topics of that name.
        settle: Ends our last transaction once more, for whoever was not told; whether that could be done.
        everywhere: Tells all partitions of the topics.
        budget: Seconds to wait for offsets that are pending.
        warn: Is given lines for the operator.

    Attributes:
        check_topics: Whether ``begin`` compares the topics with those that the offsets are of, since they
            may have been recreated.
        pending_since: When offsets were pending for too long the first time; None once they are known.
    """

    def __init__(
        self,
        consumer: Consumer,
        sink: Sink,
        *,
        topics: Collection[str],
        start: StartAt,
        unbegun: Collection[Partition],
        identify: Callable[[Collection[str]], Mapping[str, str]],
        settle: Callable[[], bool],
        everywhere: Callable[[], Collection[Partition]],
        budget: float,
        warn: Callable[[str], None],
    ) -> None:
        self._consumer, self._sink = consumer, sink
        self._topics, self._start, self._unbegun, self._identify = topics, start, unbegun, identify
        self._settle, self._everywhere = settle, everywhere
        self._budget, self._warn = budget, warn
        self.check_topics = True
        self.pending_since: float | None = None
        self._told_pending = False
        self._beginnings: dict[Partition, int] = {}  # to which deletions were told

    def begin(self, partitions: Collection[Partition]) -> None:
        """Find out where to read these partitions, and go there.

        Raises:
            StaleGenerationError: Offsets are pending, and none are known.
            TopicChangedError: The offsets are of another topic of that name.
            KafkaError: They are past the end of the topic.
        """
        committed = self._committed(partitions)
        if self.check_topics:
            self._check_origins(committed)
            self.check_topics = False
        new = [one for one in partitions if one not in committed]
        if new:
            first = self._consumer.offsets_at([one for one in new if one in self._unbegun], self._start)
            added = [one for one in new if one not in self._unbegun]
            first |= self._consumer.offsets_at(added, "earliest")
            begun = self._sink.begin(first)
            committed |= begun
            # Else, after a crash before the first commit, "latest" would be another place; where a sink
            # knows better, it does again.
            with contextlib.suppress(StaleGenerationError):
                self._consumer.commit({one: offset for one, offset in first.items() if begun[one] == offset})
        beginnings = self._consumer.beginning_offsets(partitions)
        ends = self._consumer.end_offsets(partitions)
        for one, offset in committed.items():
            if offset > ends[one]:
                raise KafkaError(
                    f"{one.topic}-{one.partition} ends at offset {ends[one]}, but the group has committed "
                    f"{offset}: the topic was recreated",
                    hint="choose another --group, or reset this one with kafka-consumer-groups",
                )
            if offset < beginnings[one]:
                self._tell_deleted(one, offset, beginnings[one])
                committed[one] = beginnings[one]
        self._consumer.seek(self._sink.start(committed, ends))

    def skip_deleted(self, partition: Partition, offset: int) -> bool:
        """Go on in a partition whose offset is no longer in the log; the others need not wait for it.

        Returns:
            Whether that was possible. If not, the offset is past the end, and ``begin`` finds out why.
        """
        beginning = self._consumer.beginning_offsets([partition])[partition]
        if beginning <= offset:
            self.check_topics = True
            return False
        self._tell_deleted(partition, offset, beginning)
        self._consumer.seek({partition: beginning})
        return True

    def settle_for_others(self) -> None:
        """End what may be pending of ours in partitions of others, who can only wait."""
        try:
            self._consumer.committed(self._everywhere())
        except StaleGenerationError:
            self._settle()

    def _check_origins(self, committed: Mapping[Partition, int]) -> None:
        """Check that committed offsets are of the topics that are there."""
        notes = self._identify(self._topics)
        for one, offset in committed.items():
            found, note = self._consumer.found.get(one, ""), notes.get(one.topic)
            if note is not None and found.startswith("sentstream ") and found != note:
                raise TopicChangedError(
                    f"the offset {offset} that the group has committed for {one.topic}-{one.partition} "
                    f"belongs to an earlier topic of that name ({found}), not to the current one ({note})",
                    hint="choose another --group, or reset this one with kafka-consumer-groups",
                )

    def _tell_deleted(self, partition: Partition, offset: int, beginning: int) -> None:
        if self._beginnings.get(partition) != beginning:  # until a commit has passed it, it is met again
            self._beginnings[partition] = beginning
            self._warn(
                f"{partition.topic}-{partition.partition}: offsets {offset} to {beginning - 1} were deleted "
                "before they were read (raise the topic's retention)"
            )

    def _committed(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Committed offsets, after transactions of others have ended.

        They may be pending for good (``ending``). If the transaction is our last one, it is ended once more.
        Where it is not known how, but what this instance has committed is, it goes on from there, and its
        next transaction ends the other; should the group have moved on, that is refused.
        """
        began = time.monotonic()
        settled = False
        while True:
            try:
                committed = dict(self._consumer.committed(partitions))
                break
            except StaleGenerationError as error:
                if not settled and (settled := self._settle()):
                    continue
                if time.monotonic() >= began + self._budget:
                    known = self._sink.committed
                    if not all(one in known for one in partitions):
                        self._tell_pending(error, began)
                        raise
                    self._warn(f"{error}; continuing from what this instance has committed")
                    committed = {one: known[one] for one in partitions}
                    break
                time.sleep(_BEAT)
        self.pending_since = None
        return committed

    def _tell_pending(self, error: StaleGenerationError, began: float) -> None:
        """Tell the operator, once, that offsets have been pending for longer than a session."""
        if self.pending_since is None:
            self.pending_since = began
        elif not self._told_pending and time.monotonic() - self.pending_since > 4 * self._budget:
            self._told_pending = True
            self._warn(f"{error}, and nothing ends it; {UNSETTLED}")
