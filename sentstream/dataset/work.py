"""Score a piece, write its outputs, and make their manifest entry, on this machine or on a cluster."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Final, TypeAlias

import pyarrow as pa

from sentstream.dataset.formats.api import PARQUET, Layout, Piece, RowWriter
from sentstream.dataset.formats.parquet.assembly import Assembly
from sentstream.dataset.formats.parquet.settings import DEFAULTS, ParquetSettings
from sentstream.dataset.formats.write import open_writer
from sentstream.dataset.jobs import Job
from sentstream.dataset.manifest.commits import Commits
from sentstream.dataset.manifest.ledger import fingerprint, known, part_name, printable
from sentstream.dataset.manifest.records import Entry, Input, Written
from sentstream.dataset.outputs import Hashed, opened
from sentstream.dataset.partitions import Partitions, Scatter
from sentstream.dataset.pieces import score_piece
from sentstream.dataset.where import RowFilter
from sentstream.errors import InputError, OutputExistsError, OutputWriteError, naming
from sentstream.profile import OTHER, WRITE, Profile
from sentstream.scorer import Scored, Scorer
from sentstream.scorer.tally import Tally
from sentstream.storage.api import Storage

#: Called with the counts of newly scored rows, and the number of newly excluded rows.
OnRows: TypeAlias = Callable[[Tally, int], None]
_BLOCK: Final = 1 << 20


@dataclass(frozen=True)
class Settings:
    """Settings shared by all units of a run; picklable.

    Attributes:
        scorer: The scorer.
        threads: Number of scoring threads.
        batch_rows: Maximum rows per batch.
        parquet: How Parquet is written.
        may_replace: Whether an output may replace an existing one.
        may_repeat: Whether a unit may run more than once: then an existing output with the same bytes counts
            as its own, from a worker that was lost before it could report.
        guard: Called before each output gets its final name; raises if it must not.
    """

    scorer: Scorer
    threads: int
    batch_rows: int
    parquet: ParquetSettings = DEFAULTS
    may_replace: bool = False
    may_repeat: bool = False
    guard: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Unit:
    """A piece of a file, and where its rows go; picklable.

    Attributes:
        job: The file's input and output.
        piece: The piece to read.
        schema: The schema of the output.
        layout: The layout of the output.
        below: The output's name in the manifest; None without a manifest.
        parts: The directory for the piece's parts; None if the piece becomes complete outputs.
        storage: The storage for parts.
        small: Whether it is small enough to be scored together with others.
        where: The row filter; None to score all rows.
        folders: Columns from the file's folder names, added to the output.
        partitions: The partitioning of the output; None if it is not partitioned.
        rows: Number of rows of a whole file; None if only known after reading to the end, and for parts.
    """

    job: Job
    piece: Piece
    schema: pa.Schema
    layout: Layout
    below: str | None
    parts: str | None
    storage: Storage
    small: bool = False
    where: RowFilter | None = None
    folders: Mapping[str, pa.Scalar] = field(default_factory=dict)
    partitions: Partitions | None = None
    rows: int | None = None

    @property
    def name(self) -> str:
        """The input's name in messages."""
        return self.job.name

    @property
    def size(self) -> int:
        """Approximate number of bytes to read."""
        return self.piece.size


@dataclass(frozen=True)
class Encoded:
    """A small file that is scored and ready to be written.

    Attributes:
        unit: The whole file, and where it goes.
        entry: Its entry, without the size and hash of its output.
        data: The bytes of its output; None if the output is partitioned.
        rows: Its scored rows, if the output is partitioned.
    """

    unit: Unit
    entry: Entry
    data: memoryview | None
    rows: Sequence[Scored] = ()


@dataclass(frozen=True)
class PartsOfFile:
    """All parts of a large file's outputs; picklable.

    Attributes:
        job: The file's input and output.
        below: The output's name in the manifest.
        entries: The entry of each piece, in order.
        parts: The directory of the parts.
        storage: The storage of the parts.
        partitions: The partitioning of the output; None if it is not partitioned.
    """

    job: Job
    below: str
    entries: tuple[Entry, ...]
    parts: str
    storage: Storage
    partitions: Partitions | None = None

    @property
    def name(self) -> str:
        """The name of the output, or of all of them, in messages."""
        return self.job.shown_target if self.partitions is None else self.partitions.any

    @property
    def size(self) -> int:
        """Number of bytes to copy."""
        return sum(one.size for entry in self.entries for one in entry.written)

    @property
    def names(self) -> dict[str, list[str]]:
        """The names of each output's parts, in order, by the output's name in the manifest."""
        found: dict[str, list[str]] = {}
        for entry in self.entries:
            for one in entry.written:
                found.setdefault(one.name, []).append(part_name(self.parts, one.name, entry.first))
        return dict(sorted(found.items()))


def score_unit(
    unit: Unit, settings: Settings, commits: Commits, on_rows: OnRows, profile: Profile | None = None
) -> Entry:
    """Score a piece, and return its entry, which is recorded when its outputs have their final names.

    Args:
        unit: The piece, and where it goes.
        settings: Settings shared by all units.
        commits: Gives outputs their final names.
        on_rows: Called as rows are done.
        profile: Records how long each stage takes.

    Raises:
        InputError: The file is invalid.
        OutputError: This output, or an earlier one, cannot be written.
    """
    if unit.partitions is not None:
        with Scatter(unit.partitions) as scatter:
            tally, left_out = _score(scatter, unit, settings, on_rows, profile)
            return _gather(scatter, unit, settings, commits, _entry(unit, tally, left_out))
    with contextlib.ExitStack() as stack:
        out = stack.enter_context(_output(unit, settings))
        tally, left_out = score_into(out.binary, unit, settings, on_rows, profile)
        entry = _of_one(_entry(unit, tally, left_out), out)
        commits.add(stack.pop_all(), entry)
    return entry


def score_into(
    out: BinaryIO, unit: Unit, settings: Settings, on_rows: OnRows, profile: Profile | None = None
) -> tuple[Tally, int]:
    """Score a piece into a file; return the counts of its rows, and how many were excluded.

    Args:
        out: The file; it need not be seekable.
        unit: The piece.
        settings: Settings shared by all units.
        on_rows: Called as rows are done.
        profile: Records how long each stage takes.

    Raises:
        InputError: The file is invalid.
        OutputError: The output cannot be written.
    """
    with naming(unit.name):
        writing = _writer(out, unit, settings)
    with writing as writer:
        return _score(writer, unit, settings, on_rows, profile)


def encode_unit(
    unit: Unit, input: Input, settings: Settings, scored: Sequence[Scored], left_out: int
) -> Encoded:
    """Encode the output of a small file whose rows are all scored; nothing is written yet.

    Args:
        unit: The whole file, and where it goes.
        input: The file as it was read.
        settings: Settings shared by all units.
        scored: Its scored rows.
        left_out: How many of its rows were excluded.

    Raises:
        InputError: The file has changed since it was found.
        OutputWriteError: Its rows cannot be written in this format.
    """
    tallies = [one.tally for one in scored] or [settings.scorer.no_rows()]
    unit.job.source.check()
    entry = _entry(unit, sum(tallies[1:], tallies[0]), left_out, input)
    if unit.partitions is not None:
        return Encoded(unit, entry, None, scored)
    return Encoded(unit, entry, _in_memory(unit, settings, scored))


def write_encoded(encoded: Encoded, settings: Settings, commits: Commits) -> Entry:
    """Write the output of a small file.

    Args:
        encoded: The output.
        settings: Settings shared by all units.
        commits: Gives outputs their final names.

    Returns:
        An entry with the counts of its rows; ``commits`` records the one with sizes and hashes.

    Raises:
        OutputError: This output, or an earlier one, cannot be written.
    """
    unit, entry, data = encoded.unit, encoded.entry, encoded.data
    if unit.partitions is not None:
        with Scatter(unit.partitions) as scatter:
            _write(scatter, unit, encoded.rows)
            return _gather(scatter, unit, settings, commits, entry)
    assert data is not None

    def write() -> Entry:
        with _output(unit, settings) as out:
            out.write(data)
        return _of_one(entry, out)

    commits.write(write, len(data))
    return entry


def _in_memory(unit: Unit, settings: Settings, scored: Sequence[Scored]) -> memoryview:
    """Return a small output's bytes, collected in memory because writers make many small writes."""
    # pyarrow writes to its own kind of file without taking the GIL.
    data = pa.BufferOutputStream() if unit.layout == PARQUET else io.BytesIO()
    with naming(unit.name), _writer(data, unit, settings) as writer:
        for one in scored:
            writer.write(one.batch)
    return memoryview(data.getvalue()) if unit.layout == PARQUET else data.getbuffer()


def assemble(file: PartsOfFile, settings: Settings, commits: Commits) -> Entry:
    """Assemble the parts of a large file, and return the entry.

    Raises:
        InputError: The input has changed since it was found.
        OutputError: A part cannot be read, or the output cannot be written.
    """
    tally = sum((Tally.from_dict(entry.tally) for entry in file.entries), settings.scorer.no_rows())
    whole = _entry(file, tally, sum(entry.left_out for entry in file.entries))
    closing, files = [], []
    for name, parts in file.names.items():
        rows = sum(one.rows for entry in file.entries for one in entry.written if one.name == name)
        with contextlib.ExitStack() as stack:
            out = stack.enter_context(_output(file, settings, name))
            assembly = Assembly(out.binary)
            for part in parts:
                _add_part(assembly, file.storage, part)
            assembly.close()
            closing.append(commits.close(stack.pop_all()))
        files.append(Written(name, rows, out.size, out.sha256))
    if file.partitions is None:
        (one,) = files
        whole = replace(whole, size=one.size, sha256=one.sha256)
    else:
        whole = replace(whole, files=tuple(files))
    commits.add_together(closing, whole)
    return whole


def _score(
    writer: RowWriter, unit: Unit, settings: Settings, on_rows: OnRows, profile: Profile | None
) -> tuple[Tally, int]:
    """Score a piece; return the counts of its rows, and how many were excluded."""
    scorer, none = settings.scorer, settings.scorer.no_rows()
    left_out = 0

    def leave_out(rows: int) -> None:
        nonlocal left_out
        left_out += rows
        on_rows(none, rows)

    clock = profile.clock() if profile else None
    total = none
    for run in unit.piece.runs():
        stream = score_piece(
            scorer,
            run,
            threads=settings.threads,
            batch_rows=settings.batch_rows,
            profile=profile,
            where=unit.where,
            folders=unit.folders,
            left_out=leave_out,
        )
        with contextlib.closing(stream):
            for scored in stream:
                if clock:
                    clock.enter(WRITE)
                _write(writer, unit, [scored])
                if clock:
                    clock.enter(OTHER)
                total += scored.tally
                on_rows(scored.tally, 0)
        if clock:
            clock.enter(WRITE)
        with naming(unit.name):
            writer.end_group()
    if clock:
        clock.enter(OTHER)
    return total, left_out


def _gather(scatter: Scatter, unit: Unit, settings: Settings, commits: Commits, entry: Entry) -> Entry:
    """Write the rows of each folder to its output, or to a part of it."""
    assert unit.partitions is not None
    closing, files = [], []
    for folders, rows in scatter.folders.items():
        name = printable(unit.partitions.name(folders))
        with contextlib.ExitStack() as stack:
            out = stack.enter_context(_output(unit, settings, name))
            with naming(unit.name), _writer(out.binary, unit, settings) as writer:
                scatter.copy(folders, writer)
            closing.append(commits.close(stack.pop_all()))
        files.append(Written(name, rows, out.size, out.sha256))
    entry = replace(entry, files=tuple(files))
    commits.add_together(closing, entry)
    return entry


def _writer(
    out: BinaryIO | pa.NativeFile, unit: Unit, settings: Settings
) -> AbstractContextManager[RowWriter]:
    """Open the writer of an output, or of a part of it."""
    added = [one.name for one in settings.scorer.added_fields() if one.name in unit.schema.names]
    return open_writer(out, unit.schema, unit.layout, added, settings.parquet)


def _write(writer: RowWriter, unit: Unit, scored: Sequence[Scored]) -> None:
    with naming(unit.name):
        for one in scored:
            writer.write(one.batch)


@contextlib.contextmanager
def _output(unit: Unit | PartsOfFile, settings: Settings, name: str | None = None) -> Iterator[Hashed]:
    """Open a file that becomes an output, or a part of one, when the block ends.

    Args:
        unit: The unit that the output belongs to.
        settings: Settings shared by all units.
        name: The output's name in the manifest, if the unit has several.
    """
    # For an output of parts, an existing file was checked when its parts were started.
    replaces = settings.may_replace or isinstance(unit, PartsOfFile)
    target = unit.job.output
    if unit.partitions is not None and name is not None:
        target = unit.partitions.output(unit.job.storage, name)
    out: Hashed | None = None
    try:
        with _created(unit, target, replaces, name) as file:
            out = Hashed(file)
            yield out
            settings.guard()
    except OutputExistsError:
        if out is None or not settings.may_repeat or not _holds(unit.job.storage, target, out):
            raise


def _created(
    unit: Unit | PartsOfFile, target: str | None, replaces: bool, name: str | None
) -> AbstractContextManager[BinaryIO]:
    if isinstance(unit, Unit) and unit.parts is not None:
        part = part_name(unit.parts, name or unit.below or "", unit.piece.first)
        return unit.storage.create(part, overwrite=True)
    if unit.partitions is not None:
        assert target is not None
        return unit.job.storage.create(target, overwrite=replaces)
    return opened(unit.job, overwrite=replaces)


def _holds(storage: Storage, name: str | None, out: Hashed) -> bool:
    """Return whether the existing output has the bytes that were just written."""
    stored = None if name is None else storage.find(name)
    if stored is None or stored.size != out.size:
        return False
    digest = hashlib.sha256()
    with stored.open() as data:
        while block := data.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest() == out.sha256


def _entry(unit: Unit | PartsOfFile, tally: Tally, left_out: int, input: Input | None = None) -> Entry:
    """Return an entry with the counts of rows, without the outputs' sizes and hashes."""
    source = unit.job.source
    entry = Entry(
        "done",
        unit.below or "",
        input or (known(source) if unit.below is None else fingerprint(source)),
        rows=tally.rows,
        tally=tally.to_dict(),
        left_out=left_out,
    )
    if isinstance(unit, PartsOfFile) or unit.parts is None:
        return entry
    return replace(entry, state="part", first=unit.piece.first, stop=unit.piece.stop)


def _of_one(entry: Entry, out: Hashed) -> Entry:
    return replace(entry, size=out.size, sha256=out.sha256)


def _add_part(assembly: Assembly, storage: Storage, name: str) -> None:
    part = storage.find(name)
    try:
        if part is None:
            raise ValueError("it is missing")
        with part.open() as data:
            assembly.add(data)
    except (ValueError, InputError) as error:
        raise OutputWriteError(
            f"{name}, a part of an output, cannot be read: {error}", hint="start over with --overwrite"
        ) from error
