"""The outcome of the last transaction of a transactional.id, if it is certain.

A broker may be killed after it has decided a transaction but before it has notified all partitions. After a
restart it may consider the transaction ended without notifying them (Kafka 4.3.1 skips partitions whose
leader it does not know yet). The group's offsets are then pending until the same producer id ends another
transaction with them, which decides both. So it must end the same way, or rows are lost or duplicated. If
the outcome is unknown, no such transaction is made. And no transaction begins before the offsets of the last
one are known (``Delivery``): its abort would drop them.

The outcome is known from the transactions of this process, and from what the coordinator reports
(DescribeTransactions, KIP-664) before a new producer starts, which makes it forget.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Described(NamedTuple):
    """What the coordinator reports about a transactional.id.

    Attributes:
        state: Kafka's name of the state, such as ``CompleteCommit``.
        producer: The producer id.
        epoch: Its epoch, which each new producer raises.
        carries: Whether the transaction that is open or being ended includes offsets of a group.
    """

    state: str
    producer: int
    epoch: int
    carries: bool

    @property
    def identity(self) -> tuple[int, int]:
        """The producer's id and epoch."""
        return self.producer, self.epoch

    @property
    def is_aborted(self) -> bool:
        """Whether the transaction was or is being aborted."""
        return self.state in ("PrepareEpochFence", "PrepareAbort", "CompleteAbort")

    @property
    def is_at_rest(self) -> bool:
        """Whether no transaction is open or being ended."""
        return self.state in ("Empty", "CompleteCommit", "CompleteAbort")


class Ending:
    """Tracks the outcome of the last transaction that included offsets.

    A commit always includes them (``Delivery``), so the state CompleteCommit is proof. CompleteAbort is
    not: an abort before the offsets were added does not affect what an earlier commit has left pending.

    Attributes:
        committed: Whether it was committed; None if not certain.
        is_latest: Whether it was the last transaction of all, so that ending it again ends its records too.
        identity: Our producer id and epoch at the coordinator; None if not known.
    """

    def __init__(self) -> None:
        self.committed: bool | None = None
        self.is_latest = False
        self.identity: tuple[int, int] | None = None
        self._carries: Literal["no", "perhaps", "yes"] | None = None  # the open transaction; None without one
        self._found: Described | None = None
        self._starting = False  # a producer is starting, or its start has failed

    def begun(self) -> None:
        """Note that a transaction has begun."""
        self._carries = "no"

    def adding(self) -> None:
        """Note that offsets are being added; until ``added`` it is unknown whether they are."""
        self._carries = "perhaps"

    def added(self) -> None:
        """Note that offsets have been added."""
        self._carries = "yes"

    def ended(self, *, committed: bool) -> None:
        """Note that the coordinator has acknowledged the end of our transaction."""
        if self._carries == "yes":
            self.committed, self.is_latest = committed, True
        elif self._carries is not None:
            self.is_latest = False
            if self._carries == "perhaps":
                self.committed = None
        self._carries = None

    def look(self, found: Described | None) -> None:
        """Note what the coordinator reports before a new producer starts.

        Args:
            found: The report; None if it has none, or may not be asked.
        """
        is_ours = found is not None and (found.identity == self.identity or self._is_start(found))
        self._found, self._starting = found, True
        if found is None:
            self.committed = None
        elif found.state in ("PrepareCommit", "CompleteCommit"):
            self.committed, self.is_latest = True, True
        elif found.state in ("Ongoing", "PrepareAbort") and found.carries:  # the new producer aborts it
            self.committed, self.is_latest = False, True
        elif is_ours and found.state == "CompleteAbort":
            self.ended(committed=False)
        elif is_ours and found.state == "Ongoing":
            self.is_latest = False
        elif not is_ours or found.state != "Empty":
            self.committed = None
        self._carries = None

    def renewed(self, identity: tuple[int, int] | None) -> None:
        """Note that this is our producer now; with another id, the old transaction cannot be ended again.

        The epoch may have been raised more than once, since a start is repeated if the answer is lost. If
        another process with our transactional.id ran in between, all partitions were notified of the end of
        its transactions, unless a second broker died meanwhile.
        """
        before = self._found
        if (
            before is None
            or identity is None
            or identity[0] != before.producer
            or identity[1] < _started(before)
        ):
            self.committed = None
        self.identity, self._starting = identity, False

    def _is_start(self, found: Described) -> bool:
        """Return whether the report shows only the effects of our failed start of a producer."""
        before = self._found
        if not self._starting or before is None or found.producer != before.producer:
            return False
        return (
            found == before
            or (found.state == "Empty" and found.epoch >= _started(before))
            or (
                found.state == "CompleteAbort"
                and before.state == "Ongoing"
                and found.epoch == before.epoch + 1
            )
        )


def _started(before: Described) -> int:
    """Return the lowest epoch after a start; aborting an open transaction first raises it once more."""
    return before.epoch + (2 if before.state == "Ongoing" else 1)
