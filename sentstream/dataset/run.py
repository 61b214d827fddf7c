"""Score a plan file by file and piece by piece, and record finished work in the manifest."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import BinaryIO, TypeAlias

from sentstream.dataset.folders import folder_of
from sentstream.dataset.formats.api import STREAMED, Piece
from sentstream.dataset.formats.parquet.assembly import Assembly
from sentstream.dataset.manifest.commits import Commits
from sentstream.dataset.manifest.ledger import known
from sentstream.dataset.manifest.records import Entry
from sentstream.dataset.manifest.shards import WHOLE
from sentstream.dataset.meter import Meter, Metered, OnBytes
from sentstream.dataset.outputs import opened
from sentstream.dataset.plan import OnFile, Plan, PlannedFile, Progress, Skipped
from sentstream.dataset.report import NodeShare, Report
from sentstream.dataset.small_files import Finished, Numbered, groups_of, score_group
from sentstream.dataset.work import (
    Encoded,
    PartsOfFile,
    Settings,
    Unit,
    assemble,
    score_into,
    score_unit,
    write_encoded,
)
from sentstream.errors import InputError, OutputBusyError
from sentstream.packed import Packed
from sentstream.profile import OTHER, WRITE, Profile
from sentstream.scorer.in_order import in_order
from sentstream.scorer.tally import Tally
from sentstream.storage.api import Storage
from sentstream.storage.connect import limiting_retries

#: Does all the work of a run elsewhere; returns each node's share.
Drive: TypeAlias = "Callable[[Run], list[NodeShare]]"


def score_plan(
    plan: Plan,
    progress: Progress | None = None,
    on_file: OnFile | None = None,
    on_bytes: OnBytes | None = None,
    *,
    profile: bool = False,
    drive: Drive | None = None,
) -> Report:
    """Score every file of a plan that is not done yet. An output gets its final name when it is complete.

    Args:
        plan: The work to do.
        progress: Called as rows are scored.
        on_file: Called when a file is started.
        on_bytes: Called as bytes of the inputs are processed.
        profile: Whether to report how long each stage takes.
        drive: Runs the work elsewhere; by default this process does it.

    Raises:
        InputError: A file is corrupt. The outputs of earlier files are kept.
        OutputError: An output cannot be written, or another run is writing to it.
    """
    return Run(plan, progress, on_file, on_bytes, Profile() if profile else None).run(drive)


class Run:
    """One run of a plan.

    Attributes:
        plan: The work to do.
        ledger: The manifest; None if there is none.
        settings: The settings that all units share.
    """

    def __init__(
        self,
        plan: Plan,
        progress: Progress | None,
        on_file: OnFile | None,
        on_bytes: OnBytes | None,
        watch: Profile | None,
    ) -> None:
        self.plan, self._watch = plan, watch
        self.ledger = plan.ledger
        self._progress: Progress = progress or (lambda done, total: None)
        self._on_file: OnFile = on_file or (lambda name, number, count: None)
        self._before = plan.before
        self._tally = self._before
        self._left_out = plan.totals.left_out_before
        self._total = plan.rows
        self._skipped = list(plan.skipped)
        #: Partition folders that outputs were written to.
        self._folders: set[str] = set()
        self.settings = Settings(
            plan.scorer,
            plan.model.threads,
            plan.batch_rows,
            plan.parquet,
            # Leftovers of an interrupted run are ours.
            may_replace=plan.overwrite or plan.resume,
        )
        self._meter = Meter(plan.totals.size, on_bytes or (lambda done, total: None))

    def run(self, drive: Drive | None = None) -> Report:
        """Run the plan, here or through ``drive``."""
        plan, ledger = self.plan, self.ledger
        start = time.perf_counter()
        self._clean()
        shares: list[NodeShare] = []
        with contextlib.ExitStack() as stack:
            stack.enter_context(limiting_retries())
            if ledger is not None:
                stack.enter_context(ledger.writing(fresh=plan.overwrite, replaced=plan.replaced))
            else:
                for name in plan.replaced:
                    plan.files[0].job.storage.remove(name)
            commits = stack.enter_context(Commits(self._append, None if ledger is None else ledger.keep))
            self._progress(self._tally.rows + self._left_out, self._total)
            for skipped in self._skipped:
                self._write_down(skipped)
            if drive is None:
                self._score(commits)
            else:
                shares = drive(self)
                self._clean(self._folders)  # drafts of lost workers
            commits.drain()
            pending = self._finish(commits)
        seconds = time.perf_counter() - start
        profile = None
        if self._watch:
            self._watch.stop()
            profile = self._watch.to_dict(self._tally.rows - self._before.rows)
        return Report(
            self._tally, self._before, seconds, plan, self._skipped, pending, self._left_out, profile, shares
        )

    # For drivers, and for the run itself.

    def unit(self, file: PlannedFile, piece: Piece) -> Unit:
        """Return the unit of work for a piece of a file."""
        ledger, job = self.ledger, file.job
        assert file.schema is not None
        has_parts = ledger is not None and len(file.pieces) > 1
        return Unit(
            job,
            piece,
            file.schema,
            file.layout,
            None if ledger is None else ledger.below(job.shown_target),
            ledger.parts if ledger is not None and has_parts else None,
            job.storage if ledger is None else ledger.storage,
            file.is_small,
            file.where,
            file.folders,
            file.partitions,
            file.rows if len(file.pieces) == 1 else None,
        )

    def parts(self, file: PlannedFile) -> PartsOfFile | None:
        """Return the parts of a large output if all exist and it is not yet assembled."""
        ledger, job = self.ledger, file.job
        if ledger is None or len(file.pieces) < 2:
            return None
        below = ledger.below(job.shown_target)
        finished = ledger.done.parts.get(below, {})
        if any(
            piece.first not in finished or finished[piece.first].stop != piece.stop for piece in file.pieces
        ):
            return None
        entries = tuple(finished[piece.first] for piece in file.pieces)
        return PartsOfFile(job, below, entries, ledger.parts, ledger.storage, file.partitions)

    def done(self, entries: Sequence[Entry]) -> None:
        """Record outputs and parts that have their final names, and count their rows.

        Raises:
            OutputWriteError: They cannot be recorded.
        """
        self._append(entries)
        for entry in entries:
            self.count(Tally.from_dict(entry.tally), entry.left_out)

    def assembled(self, file: PartsOfFile, entry: Entry) -> None:
        """Record an assembled output, and remove its parts.

        Raises:
            OutputWriteError: It cannot be recorded, or a part cannot be removed.
        """
        self._append([entry])
        _remove(file)

    def uncount(self, entries: Sequence[Entry]) -> None:
        """Subtract parts that were counted, because their file is skipped after all."""
        for entry in entries:
            self._tally -= Tally.from_dict(entry.tally)
            self._left_out -= entry.left_out

    def count(self, tally: Tally, left_out: int) -> None:
        """Count rows that are done, and report progress."""
        self._tally += tally
        self._left_out += left_out
        self._meter.rows(tally.rows + left_out)
        self._progress(self._tally.rows + self._left_out, self._total)

    def begin(self, number: int, name: str) -> None:
        """Report that a file is started or continued: its number, from 1, and its name in messages."""
        self._on_file(name, number, len(self.plan.files))

    def skip(self, file: PlannedFile, error: InputError) -> None:
        """Skip an invalid input.

        Raises:
            InputError: Invalid inputs end the run.
        """
        if self.plan.on_error == "fail":
            raise error
        if self._total is not None and file.rows is not None:
            self._total -= file.rows
        skipped = Skipped(file.job, error.message)
        self._skipped.append(skipped)
        self._write_down(skipped)

    def _append(self, entries: Sequence[Entry]) -> None:
        if self.ledger is not None:
            self.ledger.append(entries)
            join, root = self.ledger.storage.join, self.ledger.root
            written = (one for entry in entries for one in entry.files or ())
            self._folders.update(folder_of(join(root, one.name)) for one in written)

    def _clean(self, folders: Iterable[str] = ()) -> None:
        """Remove the drafts of killed processes.

        Args:
            folders: Folders to search, in addition to those that existed before the run.
        """
        outputs: dict[Storage, Packed[str]] = {}
        for _, file in self.plan.unfinished():
            if file.job.output is not None and not file.job.is_stream:
                outputs.setdefault(file.job.storage, Packed()).append(file.job.output)
        for storage, names in outputs.items():
            if self.plan.partition_by:  # all outputs are in one directory
                for folder in (*self.plan.folders, *folders):
                    names.append(folder)
            storage.clean(names)

    def _score(self, commits: Commits) -> None:
        """Score all files in this process."""
        for small, files in itertools.groupby(self.plan.unfinished(), self._is_small):
            if small:
                self._small_files(files, commits)
            else:
                self._large_files(files, commits)

    def _is_small(self, numbered: tuple[int, PlannedFile]) -> bool:
        """Return whether a file is scored together with others."""
        return self.ledger is not None and len(self.plan.files) > 1 and numbered[1].is_small

    def _large_files(self, files: Iterable[tuple[int, PlannedFile]], commits: Commits) -> None:
        """Score files one by one, batch by batch."""
        for number, file in files:
            self.begin(number, file.job.name)
            if number < len(self.plan.files) and not self.plan.files[number].is_done:
                self.plan.files[number].job.source.prefetch()
            before = self._tally, self._left_out
            self._meter.begin(file.size, None if file.rows is None else file.rows - file.rows_before)
            try:
                self._file(file, commits)
            except InputError as error:
                if self.plan.on_error == "fail":
                    raise
                self._tally, self._left_out = before
                self.skip(file, error)
            self._meter.end()

    def _small_files(self, files: Iterable[tuple[int, PlannedFile]], commits: Commits) -> None:
        """Score many files at a time, and write each to its own output."""
        plan = self.plan
        units = ((number, self.unit(file, file.pieces[0])) for number, file in files)

        def score(group: list[Numbered], profile: Profile | None) -> list[Finished]:
            return score_group(group, self.settings, plan.held, profile)

        clock = self._watch.clock() if self._watch else None
        finished = in_order(groups_of(units), score, plan.model.threads, self._watch)
        with contextlib.closing(finished):
            for one in itertools.chain.from_iterable(finished):
                self.begin(one.number, one.unit.name)
                if clock:
                    clock.enter(WRITE)
                if isinstance(one.result, Encoded):
                    entry = write_encoded(one.result, self.settings, commits)
                    self._meter.begin(one.unit.size, None)
                    self.count(Tally.from_dict(entry.tally), entry.left_out)
                    self._meter.end()
                elif isinstance(one.result, InputError):
                    self._skip_number(one.number, one.result)
                else:
                    raise one.result
                if clock:
                    clock.enter(OTHER)

    def _skip_number(self, number: int, error: InputError) -> None:
        file = self.plan.files[number - 1]
        self.skip(file, error)
        self._meter.begin(file.size, file.rows)
        self._meter.end()

    def _write_down(self, skipped: Skipped) -> None:
        if self.ledger is not None and skipped.job.output is not None:
            source = known(skipped.job.source)
            entry = Entry("skipped", self.ledger.below(skipped.job.output), source, reason=skipped.reason)
            self.ledger.append([entry])

    def _file(self, file: PlannedFile, commits: Commits) -> None:
        """Score the remaining pieces of a file."""
        if self.ledger is None and file.partitions is None:
            with opened(file.job, overwrite=self.settings.may_replace) as out:
                self._stream(file, out)
            return
        for piece in file.todo:
            score_unit(self._metered(file, piece), self.settings, commits, self.count, self._watch)
        if len(file.pieces) > 1:
            commits.drain()
            self._assemble(file, commits)

    def _metered(self, file: PlannedFile, piece: Piece) -> Unit:
        """Return a piece's unit; its bytes are metered if its rows are unknown and it is read in order."""
        if file.rows is None and piece.size > 0 and piece.layout.format in STREAMED:
            piece = replace(piece, file=Metered(piece.file, self._meter))
        return self.unit(file, piece)

    def _stream(self, file: PlannedFile, out: BinaryIO) -> None:
        """Score a file to an output for which no parts are kept."""
        if len(file.pieces) == 1:
            score_into(out, self._metered(file, file.pieces[0]), self.settings, self.count, self._watch)
            return
        assembly = Assembly(out)
        for piece in file.pieces:
            with tempfile.TemporaryFile(prefix=".sentstream-") as part:
                score_into(part, self.unit(file, piece), self.settings, self.count, self._watch)
                assembly.add(part)
        assembly.close()

    def _assemble(self, file: PlannedFile, commits: Commits) -> None:
        """Assemble the parts of a large file, if all exist."""
        parts = self.parts(file)
        if parts is None:
            return
        assemble(parts, self.settings, commits)
        commits.drain()
        _remove(parts)

    def _finish(self, commits: Commits) -> int:
        """Finish the manifest if all work is done; return the number of pending files."""
        plan, ledger = self.plan, self.ledger
        if ledger is None:
            return 0
        if plan.shard != WHOLE:
            ledger.reload()  # the last shard to end assembles shared files and finishes the manifest
            for _, file in plan.unfinished():
                if len(file.pieces) > 1 and ledger.below(file.job.shown_target) not in ledger.done.files:
                    self._assemble(file, commits)
            pending = sum(name not in ledger.done.files for name in plan.outputs)
            if pending:
                return pending
            with (
                contextlib.suppress(OutputBusyError),
                ledger.alone(),
            ):  # if it is locked, another shard that has just ended does it
                ledger.finish()
            return 0
        if plan.keep:
            ledger.finish()
        elif not self._skipped:
            ledger.forget()
        return 0


def _remove(file: PartsOfFile) -> None:
    for part in itertools.chain.from_iterable(file.names.values()):
        file.storage.remove(part)
