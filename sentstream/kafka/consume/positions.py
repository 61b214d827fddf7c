"""Where to read each partition from: the group's committed offset, if it is still valid."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Mapping

from sentstream.errors import KafkaError, TopicChangedError
from sentstream.kafka.clients.api import Consumer, Partition, StaleGenerationError, StartAt
from sentstream.kafka.sinks.api import Sink

_BEAT = 0.25  # seconds between checks of pending offsets
#: The hint when offsets stay pending.
UNSETTLED = (
    "restart the instance that owns the transaction, with its --instance-id; if that does not help, end it "
    "with kafka-transactions.sh (find-hanging, abort): its results may then appear twice"
)


class Positions:
    """Moves a consumer to its group's offsets.

    Args:
        consumer: The consumer to move.
        sink: May override the group's offsets, and is told of new partitions.
        topics: The topics that are read.
        start: Where to start in a partition for which the group has no offset.
        without_offsets: The partitions that ``start`` applies to. Any other without an offset was added to a
            topic that the group already reads, and is read from its beginning.
        identify: Returns the metadata to commit with the offsets of each topic, so that they are not
            mistaken for those of another topic of the same name.
        settle: Ends our last transaction a second time; returns whether that could be done.
        everywhere: Returns all partitions of the topics.
        budget: Seconds to wait for pending offsets.
        warn: Receives messages for the operator.

    Attributes:
        check_topics: Whether ``begin`` checks that the offsets belong to the current topics, since these
            may have been recreated.
        pending_since: When offsets were first pending for too long; None once they are known.
    """

    def __init__(
        self,
        consumer: Consumer,
        sink: Sink,
        *,
        topics: Collection[str],
        start: StartAt,
        without_offsets: Collection[Partition],
        identify: Callable[[Collection[str]], Mapping[str, str]],
        settle: Callable[[], bool],
        everywhere: Callable[[], Collection[Partition]],
        budget: float,
        warn: Callable[[str], None],
    ) -> None:
        self._consumer, self._sink = consumer, sink
        self._topics, self._start, self._without_offsets, self._identify = (
            topics,
            start,
            without_offsets,
            identify,
        )
        self._settle, self._everywhere = settle, everywhere
        self._budget, self._warn = budget, warn
        self.check_topics = True
        self.pending_since: float | None = None
        self._warned_of_pending = False
        self._beginnings: dict[Partition, int] = {}  # up to which deletions were reported

    def begin(self, partitions: Collection[Partition]) -> None:
        """Find out where to read these partitions, and seek there.

        Raises:
            StaleGenerationError: Offsets are pending, and this instance does not know them.
            TopicChangedError: The offsets belong to another topic of the same name.
            KafkaError: An offset is past the end of its partition.
        """
        committed = self._committed(partitions)
        if self.check_topics:
            self._check_origins(committed)
            self.check_topics = False
        new = [one for one in partitions if one not in committed]
        if new:
            first = self._consumer.offsets_at(
                [one for one in new if one in self._without_offsets], self._start
            )
            added = [one for one in new if one not in self._without_offsets]
            first |= self._consumer.offsets_at(added, "earliest")
            begun = self._sink.begin(first)
            committed |= begun
            # Otherwise "latest" would be another offset after a crash before the first commit. An offset
            # that the sink overrides is not committed: the sink will override it again.
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
                self._warn_of_deleted(one, offset, beginnings[one])
                committed[one] = beginnings[one]
        self._consumer.seek(self._sink.start(committed, ends))

    def skip_deleted(self, partition: Partition, offset: int) -> bool:
        """Continue at the beginning of a partition whose offset is no longer in the log.

        Returns:
            Whether that was possible. If not, the offset is past the end, and ``begin`` finds out why.
        """
        beginning = self._consumer.beginning_offsets([partition])[partition]
        if beginning <= offset:
            self.check_topics = True
            return False
        self._warn_of_deleted(partition, offset, beginning)
        self._consumer.seek({partition: beginning})
        return True

    def settle_for_others(self) -> None:
        """End a transaction of ours that may be pending in partitions of other members, who can only wait."""
        try:
            self._consumer.committed(self._everywhere())
        except StaleGenerationError:
            self._settle()

    def _check_origins(self, committed: Mapping[Partition, int]) -> None:
        """Check that committed offsets belong to the current topics."""
        notes = self._identify(self._topics)
        for one, offset in committed.items():
            found, note = self._consumer.found.get(one, ""), notes.get(one.topic)
            if note is not None and found.startswith("sentstream ") and found != note:
                raise TopicChangedError(
                    f"the offset {offset} that the group has committed for {one.topic}-{one.partition} "
                    f"belongs to an earlier topic of that name ({found}), not to the current one ({note})",
                    hint="choose another --group, or reset this one with kafka-consumer-groups",
                )

    def _warn_of_deleted(self, partition: Partition, offset: int, beginning: int) -> None:
        if self._beginnings.get(partition) != beginning:  # seen again until a commit passes it
            self._beginnings[partition] = beginning
            self._warn(
                f"{partition.topic}-{partition.partition}: offsets {offset} to {beginning - 1} were deleted "
                "before they were read (raise the topic's retention)"
            )

    def _committed(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Return the committed offsets, after transactions of others have ended.

        Offsets may stay pending forever (see ``ending``). If the transaction is our last one, it is ended a
        second time. If its outcome is unknown, but this instance knows what it has committed, it continues
        from there, and its next transaction ends the other one; that is refused if the group has rebalanced.
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
                        self._warn_of_pending(error, began)
                        raise
                    self._warn(f"{error}; continuing from what this instance has committed")
                    committed = {one: known[one] for one in partitions}
                    break
                time.sleep(_BEAT)
        self.pending_since = None
        return committed

    def _warn_of_pending(self, error: StaleGenerationError, began: float) -> None:
        """Tell the operator, once, that offsets have been pending for more than four times ``budget``."""
        if self.pending_since is None:
            self.pending_since = began
        elif not self._warned_of_pending and time.monotonic() - self.pending_since > 4 * self._budget:
            self._warned_of_pending = True
            self._warn(f"{error}, and nothing ends it; {UNSETTLED}")
