"""Many small files in a batch: alone, each would cost more than its rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa

from sentstream.dataset.formats.api import Piece
from sentstream.dataset.manifest.ledger import fingerprint
from sentstream.dataset.manifest.records import Input
from sentstream.dataset.pieces import read_rows
from sentstream.dataset.work import Unit
from sentstream.errors import InputError
from sentstream.scorer import Scorer
from sentstream.storage.held import HeldFiles

#: Files up to these sizes are scored together with others.
SMALL_ROWS: Final = 8192
SMALL_BYTES: Final = 2 << 20
#: Together up to this.
_GROUP_ROWS: Final = 16_384
_GROUP_BYTES: Final = 8 << 20


@dataclass(frozen=True)
class Member:
    """A file in a group.

    Attributes:
        number: Which one it is of all.
        unit: The file.
        input: The file as it was read.
        batches: How many of the group's batches are its own.
        left_out: How many of its rows are not to be scored.
    """

    number: int
    unit: Unit
    input: Input
    batches: int
    left_out: int


class SmallFiles:
    """Groups of the rows of small files, each as long as is quickly scored.

    Args:
        scorer: What will score them.
        units: The files, with their numbers.
        skip: Is told the number of one that is not sound, and why; by default that ends it.
        held: What was kept of the files when they were looked into.

    Attributes:
        members: For each group that was handed out and not taken, the files that it is made of.
        error: What ended it, after all groups before.
    """

    def __init__(
        self,
        scorer: Scorer,
        units: Iterable[tuple[int, Unit]],
        skip: Callable[[int, InputError], None] | None = None,
        held: HeldFiles | None = None,
    ) -> None:
        self._scorer, self._units, self._skip = scorer, units, skip
        self._held = held or HeldFiles(0)
        self.members: deque[list[Member]] = deque()
        self.error: InputError | None = None

    def __iter__(self) -> Iterator[list[pa.RecordBatch]]:
        group: list[pa.RecordBatch] = []
        members: list[Member] = []
        rows = size = 0
        units = iter(self._units)
        following = next(units, None)
        while following is not None:
            (number, unit), following = following, next(units, None)
            if following is not None:
                self._held.prefetch(following[1].piece.file)
            try:
                input, batches, left_out = self._read(unit)
            except InputError as error:
                if self._skip is None:
                    self.error = error
                    break
                self._skip(number, error)
                continue
            members.append(Member(number, unit, input, len(batches), left_out))
            group += batches
            rows += sum(map(len, batches))
            size += sum(batch.nbytes for batch in batches)
            if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
                self.members.append(members)
                yield group
                group, members, rows, size = [], [], 0, 0
        if members:
            self.members.append(members)
            yield group

    def _read(self, unit: Unit) -> tuple[Input, list[pa.RecordBatch], int]:
        """A file as it was read, its rows that are to be scored, and how many are not."""
        left_out = 0

        def leave_out(count: int) -> None:
            nonlocal left_out
            left_out += count

        file = self._held.take(unit.piece.file)
        batches = read_rows(
            self._scorer,
            replace(unit.piece, file=file),
            batch_rows=_GROUP_ROWS,
            where=unit.where,
            folders=unit.folders,
            left_out=leave_out,
        )
        return fingerprint(file), list(batches), left_out


def is_small(size: int, rows: int | None, pieces: Sequence[Piece]) -> bool:
    """Whether a file is better scored together with others: alone, it would cost more than its rows.

    Args:
        size: Its bytes.
        rows: Its rows; None if only known after reading to the end.
        pieces: All of its pieces.
    """
    few = size <= SMALL_BYTES and (rows is None or rows <= SMALL_ROWS)
    return few and len(pieces) == 1 and not pieces[0].apart
