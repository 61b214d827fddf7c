"""How the last transaction of a transactional.id was ended, as far as that is proved.

A broker that is killed after it has decided a transaction and before all partitions are told may, when it
starts again, take the transaction for ended without telling them (Kafka 4.3.1 skips partitions whose leader
it does not know yet). The group's offsets are pending then until the same producer id ends another
transaction with them, and that one decides about both. So it must end in the same way, or rows are lost or
doubled; who does not know the way leaves it alone.

What is known comes from the transactions of this process, and from what the coordinator says
(DescribeTransactions, KIP-664) before it is told of a new producer, which makes it forget.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Described(NamedTuple):
    """What the coordinator says of a transactional.id.

    Attributes:
        state: Kafka's name of the state, as ``CompleteCommit``.
        producer: The producer id.
        epoch: Its epoch, which each new producer raises.
        carries: Whether offsets of a group are in the transaction that is open or being ended.
    """

    state: str
    producer: int
    epoch: int
    carries: bool

    @property
    def who(self) -> tuple[int, int]:
        """Which producer it is about: its id and epoch."""
        return self.producer, self.epoch

    @property
    def is_aborted(self) -> bool:
        """Whether the transaction was aborted, or is being so."""
        return self.state in ("PrepareEpochFence", "PrepareAbort", "CompleteAbort")

    @property
    def is_at_rest(self) -> bool:
        """Whether there is no transaction that is open or being ended."""
        return self.state in ("Empty", "CompleteCommit", "CompleteAbort")


class Ending:
    """How the last transaction that carried offsets was ended.

    A commit always carries them (``Delivery``), so of the coordinator's word CompleteCommit is a proof.
    CompleteAbort is none: an abort before the offsets were added leaves alone what an earlier commit
    has left pending.

    Attributes:
        committed: Whether it was committed; None where that is not proved.
        is_latest: Whether it was the last transaction of all, so that what it wrote ends with it.
        who: Which producer we are to the coordinator, id and epoch; None where that is not known.
    """

    def __init__(self) -> None:
        self.committed: bool | None = None
        self.is_latest = False
        self.who: tuple[int, int] | None = None
        self._carries: Literal["no", "perhaps", "yes"] | None = None  # the open transaction; None without one
        self._found: Described | None = None
        self._starting = False  # a producer, which has perhaps come to nothing

    def begun(self) -> None:
        """A transaction has begun."""
        self._carries = "no"

    def adding(self) -> None:
        """Offsets are being added; until it is known that they are, nobody can tell."""
        self._carries = "perhaps"

    def added(self) -> None:
        """Offsets have been added."""
        self._carries = "yes"

    def ended(self, *, committed: bool) -> None:
        """The coordinator has acknowledged how our transaction ends."""
        if self._carries == "yes":
            self.committed, self.is_latest = committed, True
        elif self._carries is not None:
            self.is_latest = False
            if self._carries == "perhaps":
                self.committed = None
        self._carries = None

    def look(self, found: Described | None) -> None:
        """Take note of what the coordinator says before it is told of a new producer.

        Args:
            found: Its word; None where it has none, or may not be asked.
        """
        ours = found is not None and (found.who == self.who or self._is_start(found))
        self._found, self._starting = found, True
        if found is None:
            self.committed = None
        elif found.state in ("PrepareCommit", "CompleteCommit"):
            self.committed, self.is_latest = True, True
        elif found.state in ("Ongoing", "PrepareAbort") and found.carries:  # the new producer aborts it
            self.committed, self.is_latest = False, True
        elif ours and found.state == "CompleteAbort":
            self.ended(committed=False)
        elif ours and found.state == "Ongoing":
            self.is_latest = False
        elif not ours or found.state != "Empty":
            self.committed = None
        self._carries = None

    def renewed(self, who: tuple[int, int] | None) -> None:
        """We are this producer now, which must have the same id: with another, nothing can be ended.

        Its epoch may have been raised more than once, since a start is asked for again where the answer is
        lost. Had another process with our transactional.id been at work in between, all would have been told
        of the end of its transactions, or a second broker would have had to die meanwhile.
        """
        before = self._found
        if before is None or who is None or who[0] != before.producer or who[1] < _started(before):
            self.committed = None
        self.who, self._starting = who, False

    def _is_start(self, found: Described) -> bool:
        """Whether what was found is what a start that came to nothing has left, and no more."""
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
    """The least epoch after a start: it is raised once more where something has to be aborted first."""
    return before.epoch + (2 if before.state == "Ongoing" else 1)
