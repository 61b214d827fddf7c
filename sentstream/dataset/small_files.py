"""Score many small files in one batch: on its own, each would cost more than its rows."""

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
#: A group ends when it reaches either of these.
_GROUP_ROWS: Final = 16_384
_GROUP_BYTES: Final = 8 << 20


@dataclass(frozen=True)
class Member:
    """A file in a group.

    Attributes:
        number: The number that came with its unit.
        unit: Its unit of work.
        input: The file as it was read.
        batches: Number of the group's batches that are from this file.
        left_out: Number of its rows that the filter excluded.
    """

    number: int
    unit: Unit
    input: Input
    batches: int
    left_out: int


class SmallFiles:
    """An iterable of groups of rows from small files, of a size that is scored efficiently.

    Args:
        scorer: The scorer that will score them.
        units: The files, with their numbers.
        skip: Called with an invalid file's number and error; by default such a file ends the iteration.
        held: Contents of the files, kept from their inspection.

    Attributes:
        members: The files of each group that was yielded and not yet taken.
        error: The error that ended the iteration, after all earlier groups.
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
        """Return the file as it was read, its rows to score, and the number of excluded rows."""
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
    """Return whether a file is small enough to be scored together with others.

    Args:
        size: Its size in bytes.
        rows: Its number of rows; None if only known after reading to the end.
        pieces: All of its pieces.
    """
    few = size <= SMALL_BYTES and (rows is None or rows <= SMALL_ROWS)
    return few and len(pieces) == 1 and not pieces[0].apart
