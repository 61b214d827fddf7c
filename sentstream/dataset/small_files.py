"""Read, score and encode many small files in one step: on its own, each would cost more than its rows.

A thread does all of it for a group of files, because a file takes many short steps, and threads that hand
them to each other would mostly wait for the interpreter lock.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import pyarrow as pa

from sentstream.dataset.formats.api import Piece
from sentstream.dataset.manifest.ledger import fingerprint
from sentstream.dataset.manifest.records import Input
from sentstream.dataset.pieces import read_rows
from sentstream.dataset.work import Encoded, Settings, Unit, encode_unit
from sentstream.errors import InputError, OutputError
from sentstream.profile import READ, WRITE, Profile
from sentstream.storage.held import HeldFiles

#: Files up to these sizes are scored together with others.
SMALL_ROWS: Final = 8192
SMALL_BYTES: Final = 2 << 20
#: A group ends when it reaches either of these: rows, or bytes to read.
_GROUP_ROWS: Final = 32_768
_GROUP_BYTES: Final = 2 << 20
#: Bytes per row, if the number of rows is only known after reading.
_ROW_BYTES: Final = 100
#: Rows of a group are scored before there is more of them in memory, unless a single file has more.
_TOGETHER_BYTES: Final = 8 << 20

#: A file's number, from 1, and its unit of work.
Numbered: TypeAlias = "tuple[int, Unit]"


@dataclass(frozen=True)
class Finished:
    """The result of a small file.

    Attributes:
        number: The number that came with its unit.
        unit: Its unit of work.
        result: Its output, or why there is none: the file is invalid, or its rows cannot be written.
    """

    number: int
    unit: Unit
    result: Encoded | InputError | OutputError


@dataclass(frozen=True)
class _Rows:
    """The rows of a file to score."""

    input: Input
    batches: list[pa.RecordBatch]
    left_out: int


def groups_of(units: Iterable[Numbered]) -> Iterator[list[Numbered]]:
    """Yield the files in groups of a size that is scored efficiently."""
    group: list[Numbered] = []
    rows = size = 0
    for numbered in units:
        group.append(numbered)
        unit = numbered[1]
        rows += unit.size // _ROW_BYTES if unit.rows is None else unit.rows
        size += unit.size
        if rows >= _GROUP_ROWS or size >= _GROUP_BYTES:
            yield group
            group, rows, size = [], 0, 0
    if group:
        yield group


def score_group(
    group: Sequence[Numbered],
    settings: Settings,
    held: HeldFiles | None = None,
    profile: Profile | None = None,
) -> list[Finished]:
    """Read, score and encode small files; thread-safe.

    Args:
        group: The files, with their numbers.
        settings: Settings shared by all units.
        held: Contents of the files, kept from their inspection.
        profile: Records how long each stage takes.

    Returns:
        The result of each file, in order.
    """
    clock = profile.clock() if profile else None
    held = held or HeldFiles(0)
    finished: list[Finished] = []
    read: list[tuple[Numbered, _Rows | InputError]] = []
    count = size = 0
    for numbered, following in itertools.zip_longest(group, group[1:]):
        if clock:
            clock.enter(READ)
        if following is not None:
            held.prefetch(following[1].piece.file)
        try:
            rows = _read(numbered[1], settings, held)
        except InputError as error:
            read.append((numbered, error))
            continue
        read.append((numbered, rows))
        count += sum(map(len, rows.batches))
        size += sum(batch.nbytes for batch in rows.batches)
        if count >= _GROUP_ROWS or size >= _TOGETHER_BYTES:
            finished += _score(read, settings, profile)
            read, count, size = [], 0, 0
    if read:
        finished += _score(read, settings, profile)
    if clock:
        clock.rest()
    return finished


def _read(unit: Unit, settings: Settings, held: HeldFiles) -> _Rows:
    """Read the rows of a file to score."""
    left_out = 0

    def leave_out(count: int) -> None:
        nonlocal left_out
        left_out += count

    file = held.take(unit.piece.file)
    batches = read_rows(
        settings.scorer,
        replace(unit.piece, file=file),
        batch_rows=_GROUP_ROWS,
        where=unit.where,
        folders=unit.folders,
        left_out=leave_out,
    )
    return _Rows(fingerprint(file), list(batches), left_out)


def _score(
    read: Sequence[tuple[Numbered, _Rows | InputError]], settings: Settings, profile: Profile | None
) -> Iterator[Finished]:
    """Score rows of files together, and yield the result of each file."""
    together = [batch for _, rows in read if isinstance(rows, _Rows) for batch in rows.batches]
    scored = iter(settings.scorer.score_together(together, profile))
    if profile:
        profile.clock().enter(WRITE)
    for (number, unit), rows in read:
        result: Encoded | InputError | OutputError
        if isinstance(rows, InputError):
            result = rows
        else:
            of_file = [*itertools.islice(scored, len(rows.batches))]
            try:
                result = encode_unit(unit, rows.input, settings, of_file, rows.left_out)
            except (InputError, OutputError) as error:
                result = error
        yield Finished(number, unit, result)


def is_small(size: int, rows: int | None, pieces: Sequence[Piece]) -> bool:
    """Return whether a file is small enough to be scored together with others.

    Args:
        size: Its size in bytes.
        rows: Its number of rows; None if only known after reading to the end.
        pieces: All of its pieces.
    """
    few = size <= SMALL_BYTES and (rows is None or rows <= SMALL_ROWS)
    return few and len(pieces) == 1 and not pieces[0].apart
