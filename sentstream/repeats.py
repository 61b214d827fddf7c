"""Score repeated texts once: retweets, slogans, the same advertisement a thousand times.

A row with the same token ids as an earlier one has the same probabilities, to the bit (see ``session``), so
the earlier result is reused. Rows are compared id by id; a hash only selects the slot. Rows arrive grouped by
length, and each length has its own table, in which a hash maps to one slot. The first time a row occurs, its
slot stores only the hash; the second time it stores the row and its result; from the third time on, that
result is reused. So memory is bounded, and frequent repeats are found.

A lookup costs up to a twentieth of scoring with the small model, so when few rows repeat, it is done only for
one batch in eight.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Ids: TypeAlias = npt.NDArray[np.int32]
Places: TypeAlias = npt.NDArray[np.intp]
Probabilities: TypeAlias = npt.NDArray[np.float32]

#: Slots per length, and the maximum length: at most 18 MB with two ids per token.
_SLOTS, _LONGEST = 1024, 64
#: Fewer rows of a length are run without a lookup.
_FEWEST = 32
#: The number of rows between decisions; the share of repeated rows from which all batches are looked up;
#: and below that share, the number of batches of which one is looked up.
_WINDOW, _WORTH, _SAMPLE = 16_384, 1 / 8, 8
#: A random odd factor for each position in a row: the hash is the sum of products, in 64 bits. It need not
#: be secret: texts made to collide only slow down their own lookups.
_FACTORS = np.random.default_rng(0x5E57).integers(0, 2**63, _LONGEST, np.uint64) * np.uint64(2) + np.uint64(1)
_SHIFT = np.uint64(64 - (_SLOTS - 1).bit_length())


@dataclass(frozen=True)
class _Table:
    """The slots for one length.

    Attributes:
        keys: The hash of the last row in each slot.
        whole: Whether the slot also stores the row.
        ids: The row's ids, for each input.
        found: The row's probabilities.
    """

    keys: npt.NDArray[np.uint64]
    whole: npt.NDArray[np.bool_]
    ids: dict[str, Ids]
    found: Probabilities

    @classmethod
    def empty(cls, inputs: Mapping[str, Ids], length: int, classes: int) -> _Table:
        return cls(
            np.zeros(_SLOTS, np.uint64),
            np.zeros(_SLOTS, np.bool_),
            {name: np.empty((_SLOTS, length), np.int32) for name in inputs},
            np.empty((_SLOTS, classes), np.float32),
        )


class Repeats:
    """A cache of recently scored rows. It is thread-safe.

    Args:
        classes: Number of probabilities per row.
    """

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._tables: dict[int, _Table] = {}
        self._lock = Lock()
        self._all, self._turn = True, 0
        self._rows = self._saved = 0

    def is_useful(self) -> bool:
        """Whether to look up the rows of the next batch."""
        self._turn += 1
        return self._all or self._turn % _SAMPLE == 0

    def once(
        self, inputs: Mapping[str, Ids], run: Callable[[Mapping[str, Ids]], Probabilities]
    ) -> Probabilities:
        """Return the probabilities of rows of one length.

        Args:
            inputs: ``int32[rows, length]`` for each input of the graph.
            run: Computes the probabilities of such rows.

        Returns:
            ``float32[rows, classes]``, the same bits as ``run(inputs)``.
        """
        words = inputs["words"]
        rows, length = words.shape
        if length > _LONGEST or rows < _FEWEST:
            return run(inputs)
        keys = words.astype(np.uint64) @ _FACTORS[:length]
        result = np.empty((rows, self._classes), np.float32)
        rest = self._recall(keys, inputs, result)
        firsts, inverse = _distinct(keys[rest])
        left, wanted = rest, rest[firsts]
        if len(wanted) < len(left) and not _same(inputs, left, wanted[inverse]):
            wanted, inverse = left, np.arange(len(left))  # two texts share a hash
        self._count(rows, rows - len(wanted))
        if len(wanted) == rows:
            result = run(inputs)
            self._keep(keys, inputs, result)
        elif len(wanted):
            fresh = {name: ids[wanted] for name, ids in inputs.items()}
            probabilities = run(fresh)
            self._keep(keys[wanted], fresh, probabilities)
            result[left] = probabilities[inverse]
        return result

    def _count(self, rows: int, saved: int) -> None:
        """Record how many rows were saved, and decide whether lookups are worth it."""
        with self._lock:
            self._rows, self._saved = self._rows + rows, self._saved + saved
            if self._rows >= _WINDOW:
                self._all = self._saved >= _WORTH * self._rows
                self._rows = self._saved = 0

    def _recall(
        self, keys: npt.NDArray[np.uint64], inputs: Mapping[str, Ids], result: Probabilities
    ) -> Places:
        """Fill in known results; return the indices of the other rows."""
        length = inputs["words"].shape[1]
        with self._lock:
            table = self._tables.get(length)
            if table is None:
                self._tables[length] = _Table.empty(inputs, length, self._classes)
                return np.arange(len(keys))
            slots = _slots(keys)
            known = (table.keys[slots] == keys) & table.whole[slots]
            positions = known.nonzero()[0]
            if len(positions):
                slots = slots[positions]
                for name, ids in inputs.items():
                    known[positions] &= (table.ids[name][slots] == ids[positions]).all(axis=1)
                result[positions] = table.found[slots]  # if it is a different text, overwritten later
        rest: Places = (~known).nonzero()[0]
        return rest

    def _keep(
        self, keys: npt.NDArray[np.uint64], inputs: Mapping[str, Ids], probabilities: Probabilities
    ) -> None:
        """Store the hashes of rows, and also the rows whose hash was already stored."""
        slots = _slots(keys)
        with self._lock:
            table = self._tables[inputs["words"].shape[1]]
            again = table.keys[slots] == keys
            table.keys[slots], table.whole[slots] = keys, False
            positions = again.nonzero()[0]
            if len(positions):
                slots = slots[positions]  # no duplicates: repeats within these rows were removed before
                table.keys[slots], table.whole[slots], table.found[slots] = (
                    keys[positions],
                    True,
                    probabilities[positions],
                )
                for name, ids in inputs.items():
                    table.ids[name][slots] = ids[positions]


def _slots(keys: npt.NDArray[np.uint64]) -> Places:
    return (keys >> _SHIFT).astype(np.intp)


def _distinct(keys: npt.NDArray[np.uint64]) -> tuple[Places, Places]:
    """The first index of each distinct key, and the number of the distinct key for each key."""
    _, firsts, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return firsts, inverse


def _same(inputs: Mapping[str, Ids], some: Places, others: Places) -> bool:
    """Whether some rows have the same ids as others."""
    return all(np.array_equal(ids[some], ids[others]) for ids in inputs.values())
