"""Decide what is left to do for each file, and check that it can be done."""

from __future__ import annotations

import contextlib
import itertools
import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeAlias, TypeVar

import pyarrow as pa

from sentstream.dataset.distinct import Values
from sentstream.dataset.folders import folder_fields, folder_of
from sentstream.dataset.formats import api
from sentstream.dataset.formats.api import PARQUET, Layout, Piece, Source, total
from sentstream.dataset.formats.names import layout_of_name
from sentstream.dataset.formats.open import open_source
from sentstream.dataset.formats.write import check_writable_as, output_layout
from sentstream.dataset.jobs import Job, Jobs, name_below
from sentstream.dataset.manifest.ledger import Ledger, printable, tail_hash
from sentstream.dataset.manifest.records import Entry
from sentstream.dataset.manifest.shards import WHOLE, Shard
from sentstream.dataset.partitions import Partitions, check_distinct
from sentstream.dataset.plan import OnError, PlannedFile, Skipped, Totals
from sentstream.dataset.small_files import is_small
from sentstream.dataset.where import RowFilter, Selection
from sentstream.errors import (
    ColumnTypeError,
    InputError,
    OutputExistsError,
    ResumeError,
    naming,
)
from sentstream.packed import Packed
from sentstream.scorer import Scorer
from sentstream.scorer.tally import Tally
from sentstream.storage.ahead import ahead
from sentstream.storage.api import StoredFile
from sentstream.storage.held import HeldFiles, hold

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Inspected:
    """The result of inspecting a file; picklable.

    Attributes:
        columns: The schema of the file.
        schema: The schema of its output.
        layout: The layout of the output.
        pieces: All pieces of the file.
        rows: Number of rows of each piece; None if only known after reading to the end.
        where: The row filter; None to score all rows.
        folders: Columns from the file's folder names, added to the output.
        partitions: The partitioning of the output; None if it is not partitioned.
    """

    columns: pa.Schema
    schema: pa.Schema
    layout: Layout
    pieces: tuple[Piece, ...]
    rows: tuple[int | None, ...]
    where: RowFilter | None
    folders: Mapping[str, pa.Scalar]
    partitions: Partitions | None = None


@dataclass(frozen=True)
class Inspector:
    """Opens files, and checks whether they can be scored; picklable.

    Attributes:
        scorer: The scorer that will score them.
        selection: Which of their rows to score.
        partition_by: Columns that name the output folders.
        root: The output directory; None if there is none.
        alone: Whether unfinished files cannot be resumed, as there is no manifest.
        far: Whether files are remote, so that several are requested at a time.
        held: Keeps the contents of small files until they are read.
    """

    scorer: Scorer
    selection: Selection
    partition_by: tuple[str, ...] = ()
    root: str | None = None
    alone: bool = False
    far: bool = False
    held: HeldFiles = field(default_factory=HeldFiles)
    #: The last layout and folders, with the input's and the output's schema.
    _last: list[tuple[tuple[Layout, list[pa.Field]], pa.Schema, pa.Schema]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    def __call__(self, job: Job) -> Inspected:
        """Inspect a file.

        Raises:
            InputError: It is invalid, or lacks a column.
            OutputWriteError: Its output cannot hold a column.
        """
        where = self.selection.of(job.placed, job.name)
        partitions = self.partitions(job)
        file = hold(job.source)
        source, layout = self._open(job, file, where, partitions)
        if where is not None and source.layout.format in ("csv", "tsv"):
            where = replace(where, untyped=True)
        folders = self._asked_folders(job, source)
        schema = self._schema(source, layout, folders, partitions)
        if where is not None:
            with naming(source.name):
                where.bind(source.schema)
        pieces = tuple(replace(piece, file=job.source) for piece in self._pieces(source, layout))
        rows = tuple(source.rows_of(piece) for piece in pieces)
        if is_small(file.size, rows[0], pieces):
            self.held.keep(file)
        return Inspected(source.schema, schema, layout, pieces, rows, where, folders, partitions)

    def partitions(self, job: Job) -> Partitions | None:
        """Return the partitioning of a file's rows; None if the output is not partitioned."""
        if not self.partition_by:
            return None
        assert self.root is not None
        assert job.output is not None
        below = name_below(job.storage, self.root, job.output)
        return Partitions.of(self.partition_by, job.placed, below, self.root)

    def piece_sizes(self, job: Job) -> list[int]:
        """Return the size in bytes of each piece of a file; only large files are opened."""
        if job.source.size > api.SMALL_FILE:
            with contextlib.suppress(InputError):  # reported when the file is inspected
                opened = self._open(job, job.source, None, self.partitions(job))
                return [piece.size for piece in self._pieces(*opened)]
        return [job.source.size]

    def _open(
        self, job: Job, file: StoredFile, where: RowFilter | None, partitions: Partitions | None
    ) -> tuple[Source, Layout]:
        """Open an input, and choose the layout of its output."""
        scorer = self.scorer
        added = [field.name for field in scorer.added_fields()]
        named = None if job.output is None else layout_of_name(job.output)
        wanted = job.output_format or (named.format if named is not None else None)
        # JSON lines that stay JSON lines are copied verbatim, with fields added at the end.
        whole = wanted in (None, "jsonl") and scorer.columns is None
        columns = None
        if whole or scorer.columns is not None:
            columns = [*(scorer.columns or ()), *scorer.text_columns, *(where.names if where else ())]
            if partitions is not None:
                columns += [name for name in partitions.wanted if name not in added]
        source = open_source(file, job.format, columns=columns, added=added if whole else None, view=job.view)
        return source, output_layout(source.layout, named, job.output_format)

    def _schema(
        self,
        source: Source,
        layout: Layout,
        folders: Mapping[str, pa.Scalar],
        partitions: Partitions | None,
    ) -> pa.Schema:
        """Return the schema of an output, after checking that it can be written."""
        same = layout, folder_fields(folders)
        for of, columns, schema in self._last if partitions is None else ():  # most files share a schema
            if of == same and columns.equals(source.schema, check_metadata=True):
                return schema
        schema = output_schema(self.scorer, source, folders)
        with naming(source.name):
            if partitions is not None:
                schema = partitions.schema(schema)
            added = [one.name for one in self.scorer.added_fields() if one.name in schema.names]
            check_writable_as(schema, layout, added)
        if partitions is None:
            self._last[:] = [(same, source.schema, schema)]
        return schema

    def _pieces(self, source: Source, layout: Layout) -> list[Piece]:
        """Return the pieces of a file: only Parquet can be assembled from parts without reading them."""
        alone = self.alone and self.partition_by  # no output may start before all rows are scored
        return source.pieces() if layout == PARQUET and not alone else [source.whole()]

    def _asked_folders(self, job: Job, source: Source) -> dict[str, pa.Scalar]:
        """Return the partition columns of a file's folders that ``--columns`` asks for."""
        asked = [name for name in self.scorer.columns or () if name not in source.schema.names]
        folders = self.selection.folders.of(job.placed) if asked else {}
        return {name: folders[name] for name in asked if name in folders}


#: Inspects many files, in order; for an invalid one it yields the error.
Inspect: TypeAlias = Callable[[Inspector, Iterable[Job]], Iterable[Inspected | InputError]]


def inspect_locally(inspector: Inspector, jobs: Iterable[Job]) -> Iterator[Inspected | InputError]:
    """Inspect files in this process."""

    def safely(job: Job) -> Inspected | InputError:
        try:
            return inspector(job)
        except InputError as error:
            return error

    return _each(safely, jobs, inspector.far)


class Planner:
    """Decides what is left to do for each file."""

    def __init__(
        self,
        inspector: Inspector,
        inspect: Inspect,
        ledger: Ledger | None,
        shard: Shard,
        overwrite: bool,
        resume: bool,
        on_error: OnError,
        same_schema: bool,
    ) -> None:
        self._inspector, self._inspect = inspector, inspect
        self._ledger, self._shard = ledger, shard
        self._overwrite, self._resume, self._on_error = overwrite, resume, on_error
        self._same_schema, self._partition_by = same_schema, inspector.partition_by
        #: Existing outputs, removed before the first one is written; and folders that hold outputs.
        self.replaced: list[str] = []
        self.folders: list[str] = []
        #: Number of rows of the largest file; None if only known after reading to the end.
        self.most_rows: int | None = 0
        #: The indices of the files that are not done.
        self.todo = array("q")
        self._rows: int | None = 0
        self._before, self._left_out_before, self._size = inspector.scorer.no_rows(), 0, 0
        self._first: tuple[str, pa.Schema] | None = None
        self._schemas: dict[pa.Schema, pa.Schema] = {}
        #: The last schema, and the equal one that all files share; avoids hashing schemas, which is slow.
        self._last: tuple[pa.Schema, pa.Schema] | None = None
        self._layouts: dict[Layout, Layout] = {}

    def plan(self, jobs: Jobs) -> tuple[Packed[PlannedFile], list[Skipped]]:
        """Return the files, with the pieces that this run has to do, and the invalid inputs."""
        files: Packed[PlannedFile] = Packed()
        skipped: list[Skipped] = []
        chosen, known_of = self._known_of(jobs)
        shares, ahead_of_them = itertools.tee(zip(_shares(jobs, chosen), known_of, strict=True))
        todo = (job for (job, _), known in ahead_of_them if isinstance(known, list))
        looked = iter(self._inspect(self._inspector, todo))
        for (job, mine), known in shares:
            if isinstance(known, int):
                files.append(self._counted(self._done(job, known)))
                continue
            try:
                if isinstance(known, InputError):
                    raise known
                looked_at = next(looked)
                if isinstance(looked_at, InputError):
                    raise looked_at
                file = self._counted(self._file(job, looked_at, known, mine))
                self.todo.append(len(files))
                files.append(file)
            except InputError as error:
                if self._on_error == "fail":
                    raise
                skipped.append(Skipped(job, error.message))
        return files, skipped

    @property
    def totals(self) -> Totals:
        """Totals of the planned files, counted meanwhile: going through millions again takes seconds."""
        return Totals(self._rows, self._before, self._left_out_before, self._size)

    def _counted(self, file: PlannedFile) -> PlannedFile:
        """Count the rows and bytes of a file."""
        if self.most_rows is None or self._rows is None or file.rows is None:
            self.most_rows = self._rows = None
        else:
            self.most_rows = max(self.most_rows, file.rows)
            self._rows += file.rows
        self._size += file.size
        return file

    def _count_before(self, entry: Entry) -> None:
        """Count the rows that an earlier run did."""
        self._before += Tally.from_dict(entry.tally)
        self._left_out_before += entry.left_out

    def _known_of(
        self, jobs: Jobs
    ) -> tuple[Packed[list[bool]] | None, Packed[list[Entry] | InputError | int]]:
        """Return which pieces of each file this shard has, and what is known of each of its ``_shares``.

        That is: the number of rows of a file that is done, the manifest's entries of a file to inspect, or
        why it is invalid.
        """
        existing = self._existing(jobs)
        recorded: Mapping[str, int] = {}
        if self._partition_by:
            self._check_directory(jobs, existing)
            if self._ledger is not None:
                recorded = {self._ledger.below(name): size for name, size in existing.items()}
        if self._overwrite:
            self.replaced = list(self._stale(jobs, existing))
        chosen = None if self._shard == WHOLE else self._chosen(jobs)

        def begun(share: tuple[Job, list[bool] | None]) -> list[Entry] | InputError | Entry:
            return self._begun(share[0], existing, recorded)

        def noted(known: list[Entry] | InputError | Entry) -> list[Entry] | InputError | int:
            if not isinstance(known, Entry):
                return known
            self._count_before(known)
            return known.rows + known.left_out  # its hashes take more memory than the rest of a planned file

        return chosen, Packed(map(noted, _each(begun, _shares(jobs, chosen), jobs.are_far)))

    def _chosen(self, jobs: Jobs) -> Packed[list[bool]]:
        """Return, for each file, which of its pieces this shard has."""
        sizes = Packed(_each(self._inspector.piece_sizes, jobs, jobs.are_far))
        mine = iter(self._shard.share(list(itertools.chain.from_iterable(sizes))))
        return Packed(list(itertools.islice(mine, len(of_file))) for of_file in sizes)

    def _existing(self, jobs: Jobs) -> dict[str, int]:
        """Return the existing outputs, with their sizes in bytes."""
        if jobs.directory is not None:
            if not jobs.storage.is_directory(jobs.directory):
                return {}
            found = jobs.storage.walk(jobs.directory)
            return {jobs.storage.join(jobs.directory, below): file.size for below, file in found}
        sizes = {}
        for job in jobs:
            if job.output is not None and not job.is_stream:
                file = job.storage.find(job.output)
                if file is not None:
                    sizes[job.output] = file.size
        return sizes

    def _check_directory(self, jobs: Jobs, existing: Mapping[str, int]) -> None:
        """Check that partitioned outputs can go to the output directory, whatever the rows' values.

        Raises:
            OutputExistsError: It has files that this run may not continue with, an input is inside it, or two
                inputs may have the same output.
        """
        root = jobs.directory
        assert root is not None
        for job in jobs:
            source = job.name if job.source.path is None else os.path.realpath(job.source.path)
            if source.startswith(jobs.storage.join(root, "")):
                raise OutputExistsError(
                    f"the input {job.name} is inside {root}", hint="choose another --output"
                )
        repeated = Values(jobs, lambda job: self._partitions(job).below).repeated()
        placed = ((job.name, self._partitions(job)) for job in jobs)
        check_distinct((name, one) for name, one in placed if one.below in repeated)
        begun = self._ledger is not None and self._ledger.done.header is not None
        self.folders = sorted({f"{folder_of(name)}" for name in existing})
        if not self._overwrite and not (begun and (self._resume or self._shard != WHOLE)) and existing:
            raise self._taken(f"{root} already has files, such as {min(existing)}")

    def _partitions(self, job: Job) -> Partitions:
        """Return the partitioning of a file's rows; the output must be partitioned."""
        partitions = self._inspector.partitions(job)
        assert partitions is not None
        return partitions

    def _stale(self, jobs: Jobs, existing: Mapping[str, int]) -> Iterator[str]:
        """Yield outputs of earlier runs in partition folders, whose rows would duplicate the new ones."""
        forgotten = frozenset() if self._ledger is None else self._ledger.forgotten
        if not forgotten and not self._partition_by:
            return
        targets = {job.output for job in jobs}
        expected: dict[str, list[Partitions]] = {}
        for one in map(self._partitions, jobs if self._partition_by else ()):
            expected.setdefault(one.below, []).append(one)
        depth = len(self._partition_by)
        for name in existing:
            assert jobs.directory is not None
            below = name_below(jobs.storage, jobs.directory, name)
            same = expected.get("/".join(below.split("/")[depth:]), ())
            if name not in targets and (
                printable(below) in forgotten or any(one.may_be(below) for one in same)
            ):
                yield name

    def _begun(
        self, job: Job, existing: Mapping[str, int], recorded: Mapping[str, int]
    ) -> list[Entry] | InputError | Entry:
        """Return what the manifest has of a file to inspect, its entry if it is done, or why it is invalid.

        Args:
            job: The file.
            existing: Existing outputs, with their sizes in bytes.
            recorded: The same by their names in the manifest; empty if outputs are not partitioned.
        """
        known = self._known(job)
        partitions = self._inspector.partitions(job)
        whole = tuple(entry for entry in known if entry.state == "done")
        taken = bool(whole) if partitions is not None else job.output in existing
        if taken and not self._overwrite:
            self._check_taken(job)
        try:
            for entry in known:
                self._check_input(job, entry)
        except InputError as error:
            return error
        if whole and (
            existing.get(job.output or "") == whole[0].size
            if whole[0].files is None
            else all(recorded.get(one.name) == one.size for one in whole[0].files)
        ):
            return whole[0]
        return known

    def _done(self, job: Job, rows: int) -> PlannedFile:
        """Return the plan of a file that is done."""
        partitions = self._inspector.partitions(job)
        return PlannedFile(job, rows, None, PARQUET, (), (), rows, partitions=partitions)

    def _file(self, job: Job, looked: Inspected, known: list[Entry], mine: list[bool] | None) -> PlannedFile:
        """Return what is left to do for a file."""
        if self._same_schema:
            self._compare(job.name, looked.columns)
        # Use the file as it was found, even if another process inspected it.
        pieces = tuple(
            piece if piece.file is job.source else replace(piece, file=job.source) for piece in looked.pieces
        )
        chosen = [True] * len(pieces) if mine is None else mine
        wanted = pieces if mine is None else tuple(itertools.compress(pieces, chosen))
        parts = {(entry.first, entry.stop): entry for entry in known if entry.state == "part"}
        before = tuple(
            parts[piece.first, piece.stop] for piece in wanted if (piece.first, piece.stop) in parts
        )
        if before and not self._resume:
            raise OutputExistsError(
                f"{job.shown_target} is partly done",
                hint="continue with --resume, choose another name, or start over with --overwrite",
            )
        for entry in before:
            self._count_before(entry)
        return PlannedFile(
            job,
            total(itertools.compress(looked.rows, chosen)),
            self._shared(looked.schema),
            self._layouts.setdefault(looked.layout, looked.layout),
            tuple(piece for piece in wanted if (piece.first, piece.stop) not in parts) if parts else wanted,
            pieces,
            sum(entry.rows + entry.left_out for entry in before),
            looked.where,
            looked.folders,
            looked.partitions,
        )

    def _shared(self, schema: pa.Schema) -> pa.Schema:
        """Return a schema, or an equal one of an earlier file."""
        if self._last is None or schema is not self._last[0]:
            self._last = schema, self._schemas.setdefault(schema, schema)
        return self._last[1]

    def _known(self, job: Job) -> list[Entry]:
        """Return the manifest's entries for an output, if this run continues earlier work."""
        if self._ledger is None or self._overwrite or job.output is None:
            return []
        done, below = self._ledger.done, self._ledger.below(job.output)
        entry = done.files.get(below)
        known = [entry] if entry is not None and entry.state == "done" else []
        known += done.parts.get(below, {}).values()
        return known

    def _check_taken(self, job: Job) -> None:
        """Check that this run may continue with an existing output."""
        ledger = self._ledger
        if not (self._resume and ledger is not None and ledger.done.header is not None):
            raise self._taken(f"{job.shown_target} already exists")

    def _taken(self, description: str) -> OutputExistsError:
        """Return the error for outputs that this run may not continue with."""
        begun = self._ledger is not None and self._ledger.done.header is not None
        if begun and not self._resume:
            hint = "continue with --resume, choose another name, or start over with --overwrite"
        elif self._resume:
            hint = "it has no manifest: choose another name, or give --overwrite instead of --resume"
        else:
            hint = "choose another name, or give --overwrite"
        return OutputExistsError(description, hint=hint)

    def _check_input(self, job: Job, entry: Entry) -> None:
        """Check that an input has not changed since it was scored."""
        file, then = job.source, entry.input
        change = None
        if file.size != then.size:
            change = f"it has {file.size:,} bytes and had {then.size:,}"
        elif file.tag != then.tag:
            change = "it was modified later"
        elif tail_hash(file) != then.tail:
            change = "its last bytes differ"
        if change:
            raise ResumeError(
                f"{job.name} changed after it was scored: {change}",
                hint="restore it, choose another --output, or start over with --overwrite",
            )

    def _compare(self, name: str, schema: pa.Schema) -> None:
        """Check that a file has the same schema as the first one."""
        if self._first is None:
            self._first = name, schema
        elif not schema.equals(self._first[1]):
            raise ColumnTypeError(
                f"{name} and {self._first[0]} have different columns: {_difference(schema, self._first[1])}",
                hint="give --columns, convert one of them, or leave out --same-schema",
            )


def output_schema(
    scorer: Scorer, source: Source, folders: Mapping[str, pa.Scalar] = MappingProxyType({})
) -> pa.Schema:
    """Return the schema of a file's output; errors name the file.

    Args:
        scorer: The scorer.
        source: The file.
        folders: Columns from its folder names, one value each, added to its rows.

    Raises:
        InputError: As ``Scorer.output_schema``.
    """
    with naming(source.name):
        return scorer.output_schema(
            pa.schema([*source.schema, *folder_fields(folders)], source.schema.metadata)
        )


def _shares(jobs: Jobs, chosen: Iterable[list[bool]] | None) -> Iterator[tuple[Job, list[bool] | None]]:
    """Yield the files that a shard has a share in, and which pieces it has; None for all."""
    if chosen is None:
        yield from ((job, None) for job in jobs)
    else:
        yield from ((job, mine) for job, mine in zip(jobs, chosen, strict=True) if any(mine))


def _each(function: Callable[[_Item], _Result], items: Iterable[_Item], remote: bool) -> Iterator[_Result]:
    """Map a function over items; for remote files, several calls run at a time."""
    return ahead(function, items) if remote else map(function, items)


def _difference(schema: pa.Schema, other: pa.Schema) -> str:
    """Describe the first column in which two schemas differ."""
    for field_ in schema:
        index = other.get_field_index(field_.name)
        if index < 0:
            return f"{field_.name!r} is only in the first"
        if not other.field(index).type.equals(field_.type):
            return f"{field_.name!r} is {field_.type} and {other.field(index).type}"
    for field_ in other:
        if schema.get_field_index(field_.name) < 0:
            return f"{field_.name!r} is only in the second"
    return "their order differs"
