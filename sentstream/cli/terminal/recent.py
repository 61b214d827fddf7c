"""Counts over the last seconds, for current rates and shares."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping


class Recent:
    """Counts by name over the last ``seconds``, in 60 slots."""

    _SLOTS = 60

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._clock, self._start, self._step = clock, clock(), seconds / self._SLOTS
        self._slots: deque[tuple[int, Counter[str]]] = deque()

    def add(self, counts: Mapping[str, int]) -> None:
        """Add these counts now."""
        slot = int(self._clock() / self._step)
        if not self._slots or self._slots[-1][0] != slot:
            self._slots.append((slot, Counter()))
            self._drop(slot)
        self._slots[-1][1].update(counts)

    def counts(self) -> Counter[str]:
        """The sum of the counts by name."""
        self._drop(int(self._clock() / self._step))
        sums: Counter[str] = Counter()
        for _, counts in self._slots:
            sums.update(counts)
        return sums

    def rate(self) -> float:
        """Counts per second; the first second counts as a whole one."""
        now = self._clock()
        oldest = max(self._start, (int(now / self._step) - self._SLOTS + 1) * self._step)
        return sum(self.counts().values()) / max(now - oldest, 1.0)

    def _drop(self, slot: int) -> None:
        while self._slots and self._slots[0][0] <= slot - self._SLOTS:
            self._slots.popleft()
