"""Run a plan on a Ray cluster: its pieces become tasks of Ray core, small pieces grouped.

Ray places tasks, and retries those whose worker or machine was lost. This module adds three things: at most
as many tasks as workers are in flight; work that kills its workers is found and named; and slow tasks at the
end, which may hang on a slow machine, are also run elsewhere, and the first result counts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sentstream.dataset.formats.api import Piece
from sentstream.dataset.manifest.records import Entry
from sentstream.dataset.report import NodeShare
from sentstream.dataset.work import PartsOfFile, Settings
from sentstream.engines.ray.cluster import RETRIES, RayCluster
from sentstream.engines.tasks import into_tasks
from sentstream.engines.worker import Guard, Result, Work, check_visibility, run_task
from sentstream.errors import InputError, OutputWriteError, WorkerLostError, first_line
from sentstream.storage.local import absolute
from sentstream.storage.names import is_uri
from sentstream.storage.whole_file import make_directory

if TYPE_CHECKING:
    from sentstream.dataset.plan import PlannedFile
    from sentstream.dataset.run import Run

#: Maximum seconds that the loop waits for a task to end before it checks for slow ones.
_LOOK: Final = 1.0
#: A task is slow if it takes this many times as long as the longest task so far, and at least these seconds.
_SLOW, _SLOW_SECONDS = 2.0, 10.0
_LOWER = "fewer workers (--workers) or smaller batches (--batch-rows)"


@dataclasses.dataclass(frozen=True, slots=True)
class _Todo:
    """A piece to score, and the number of its file, from 1."""

    number: int
    piece: Piece


@dataclasses.dataclass(frozen=True, slots=True)
class _Whole:
    """A large output whose parts are complete, to be assembled."""

    number: int
    parts: PartsOfFile


@dataclasses.dataclass
class _Task:
    """A task in flight, perhaps twice.

    Attributes:
        items: Its items.
        work: The items as sent to workers.
        since: When it was last sent.
        refs: Ray's references to its results.
    """

    items: Sequence[_Todo | _Whole]
    work: list[Work]
    since: float
    refs: list[Any]


class RayDrive:
    """Executes a run on a cluster; call it with the run.

    Args:
        cluster: The cluster.
    """

    def __init__(self, cluster: RayCluster) -> None:
        self._cluster = cluster
        #: Waiting tasks; those of pieces are ranges of indices into ``_numbers`` and ``_pieces``.
        self._waiting: deque[range | list[_Todo | _Whole]] = deque()
        self._numbers, self._pieces = array("q"), array("q")
        self._tasks: dict[Any, _Task] = {}
        self._longest = 0.0
        self._shares: dict[str, NodeShare] = {}
        self._processes: dict[str, set[int]] = {}
        self._skipped: set[int] = set()
        #: Large files whose assembly was queued: several last parts may come at once.
        self._assembled: set[int] = set()
        #: The entries of finished parts, for large files that are not yet complete.
        self._parts: dict[int, list[Entry]] = {}

    def __call__(self, run: Run) -> list[NodeShare]:
        """Do all remaining work of the run.

        Raises:
            InputError: An input is not valid, and invalid inputs are not skipped.
            OutputError: An output cannot be written.
            ClusterError: A machine does not see the inputs, outputs or model, or workers die repeatedly.
        """
        ledger = run.ledger
        assert ledger is not None
        guard = Guard(ledger.storage, ledger.journal)
        self._run, self._remote = run, self._cluster.remote(_do, max_retries=RETRIES)
        self._check_visibility(guard)
        ledger.keep()  # workers give outputs their final names before the manifest has an entry
        settings = dataclasses.replace(run.settings, threads=1, may_repeat=True, guard=guard)
        self._settings = self._cluster.put(settings)
        self._plan()
        with self._directories():
            try:
                while self._waiting or self._tasks:
                    self._send()
                    self._take(self._cluster.wait(list(self._tasks), _LOOK))
            except BaseException:
                self._cluster.leave()
                raise
        return sorted(self._shares.values(), key=lambda share: share.node)

    def _check_visibility(self, guard: Guard) -> None:
        """Check, before any work, that every machine sees the inputs, the output and the model."""
        files = (file.job.source for _, file in self._run.plan.unfinished())
        first = next(files, None)
        last = deque(files, maxlen=1)
        ends = [] if first is None else [absolute(first), *map(absolute, last)]
        model = self._run.plan.model
        shown = self._run.plan.ledger.outputs if self._run.plan.ledger is not None else ""
        self._cluster.run_on_each_node(_check, model.source, model.digest, ends, guard, shown)

    @contextlib.contextmanager
    def _directories(self) -> Iterator[None]:
        """Create the directories of all outputs, and at the end remove those that are empty.

        If workers created them, a worker that fails would remove its directory while another writes there.
        """
        names = {
            os.path.dirname(file.job.output) if file.partitions is None else file.partitions.root
            for _, file in self._run.plan.unfinished()
            if file.job.output is not None and not is_uri(file.job.output)
        }
        ledger = self._run.ledger
        if names and ledger is not None:
            names.add(ledger.parts)
        created: list[Path] = []
        try:
            for name in sorted(names):
                created += self._create_directory(name)
            yield
        finally:
            for directory in sorted(created, reverse=True):
                with contextlib.suppress(OSError):  # it is not empty, as expected
                    directory.rmdir()

    def _create_directory(self, name: str) -> list[Path]:
        try:
            return make_directory(Path(name))
        except OSError as error:
            raise OutputWriteError(f"{name} cannot be created: {error.strerror or error}") from error

    def _plan(self) -> None:
        """Group all remaining work into tasks."""
        sizes = array("q")
        for number, file in self._run.plan.unfinished():
            for index, piece in enumerate(file.todo):
                self._numbers.append(number)
                self._pieces.append(index)
                sizes.append(piece.size)
            if not file.todo:
                self._assemble(number)
        self._waiting.extend(into_tasks(sizes, self._cluster.workers))

    def _items(self, task: range | list[_Todo | _Whole]) -> list[_Todo | _Whole]:
        """The items of a task, without those skipped in the meantime."""
        if isinstance(task, list):
            return [item for item in task if item.number not in self._skipped]
        return [
            _Todo(number, self._file(number).todo[self._pieces[index]])
            for index in task
            if (number := self._numbers[index]) not in self._skipped
        ]

    def _assemble(self, number: int) -> None:
        """Queue the assembly of a large output, once, if all its parts are complete."""
        parts = None if number in self._assembled else self._run.parts(self._file(number))
        if parts is not None:
            self._assembled.add(number)
            self._waiting.appendleft([_Whole(number, parts)])

    def _file(self, number: int) -> PlannedFile:
        return self._run.plan.files[number - 1]

    # Sending.

    def _send(self) -> None:
        """Send tasks until all workers are busy; if none are left, send slow ones a second time."""
        free = self._cluster.workers - len(self._tasks)
        while free > 0 and self._waiting:
            items = self._items(self._waiting.popleft())
            if not items:
                continue
            self._submit(_Task(items, [self._work(item) for item in items], 0.0, []))
            free -= 1
        if free > 0:
            now = time.monotonic()
            slow = max(_SLOW * self._longest, _SLOW_SECONDS)
            for task in {id(task): task for task in self._tasks.values()}.values():
                if free > 0 and len(task.refs) == 1 and now - task.since > slow:
                    self._submit(task)
                    free -= 1

    def _work(self, item: _Todo | _Whole) -> Work:
        """The item as sent to a worker, with absolute paths."""
        file = self._file(item.number)
        source = absolute(file.job.source)
        job = dataclasses.replace(file.job, source=source)
        if isinstance(item, _Whole):
            return dataclasses.replace(item.parts, job=job)
        piece = dataclasses.replace(item.piece, file=source)
        return dataclasses.replace(self._run.unit(file, piece), job=job)

    def _submit(self, task: _Task) -> None:
        ref = self._remote.remote(task.work, self._settings)
        task.since = time.monotonic()
        task.refs.append(ref)
        self._tasks[ref] = task

    # Receiving.

    def _take(self, ready: Sequence[Any]) -> None:
        """Record finished work, all at once, and handle failures."""
        entries: list[Entry] = []
        ended: list[tuple[_Task, Result]] = []
        try:
            for ref in ready:
                if ref not in self._tasks:  # the result of its twin was just taken
                    continue
                task = self._tasks[ref]
                result = self._result(ref, task)
                if result is None:
                    continue
                self._drop(task)
                ended.append((task, result))
                scored = [
                    entry
                    for item, entry in zip(task.items, result.entries, strict=True)
                    if entry is not None and isinstance(item, _Todo)
                ]
                entries += scored
                self._count(result, sum(entry.rows for entry in scored))
                if result.error is not None:
                    raise result.error
        finally:
            self._run.done(entries)
        for task, result in ended:
            self._follow(task, result)

    def _result(self, ref: Any, task: _Task) -> Result | None:
        """The result of a task; None if its worker was lost."""
        lost = self._cluster.lost()
        try:
            result: Result = self._cluster.get(ref)
        except lost as error:
            del self._tasks[ref]
            task.refs.remove(ref)
            if not task.refs:  # no twin is in flight
                self._lost(task, error)
            return None
        return result

    def _lost(self, task: _Task, error: Exception) -> None:
        """Handle a task whose workers died each time: find the item that kills them."""
        if len(task.items) > 1:
            self._waiting.extendleft([item] for item in task.items)
            return
        (item,) = task.items
        file = self._file(item.number)
        if self._cluster.is_out_of_memory(error):
            raise WorkerLostError(
                f"{file.job.name}: Ray killed its workers {RETRIES + 1} times because memory ran out",
                hint=f"use {_LOWER}",
            ) from error
        message = f"{file.job.name}: the workers that scored it died {RETRIES + 1} times"
        if self._run.plan.on_error == "skip" and isinstance(item, _Todo):
            self._skip(item.number, InputError(message))
            return
        raise WorkerLostError(
            f"{message}: {first_line(error)}",
            hint=f"skip it with --on-error skip; if memory ran out (see dmesg), use {_LOWER}",
        ) from error

    def _drop(self, task: _Task) -> None:
        """Forget a task that has ended, and stop its twin."""
        self._longest = max(self._longest, time.monotonic() - task.since)
        for ref in task.refs:
            del self._tasks[ref]
            if len(task.refs) > 1:
                self._cluster.cancel(ref)

    def _count(self, result: Result, rows: int) -> None:
        node, process = result.process
        processes = self._processes.setdefault(node, set())
        processes.add(process)
        old = self._shares.get(node, NodeShare(node, 0, 0, 0.0))
        seconds = old.seconds + result.seconds
        self._shares[node] = NodeShare(node, old.rows + rows, len(processes), seconds)

    def _follow(self, task: _Task, result: Result) -> None:
        """Handle the result of a task: assemble files, skip inputs."""
        for item, entry in zip(task.items, result.entries, strict=True):
            if entry is None:
                continue
            if isinstance(item, _Whole):
                self._run.assembled(item.parts, entry)
                self._parts.pop(item.number, None)
            elif entry.state == "part":
                self._parts.setdefault(item.number, []).append(entry)
                self._assemble(item.number)
        for index, error in result.unsound:
            self._skip(task.items[index].number, error)
        self._run.begin(task.items[-1].number, task.work[-1].job.name)

    def _skip(self, number: int, error: InputError) -> None:
        """Skip an input, and undo the counts of its parts."""
        if number not in self._skipped:
            self._run.skip(self._file(number), error)
            self._skipped.add(number)
        self._run.uncount(self._parts.pop(number, ()))


def _do(work: list[Work], settings: Settings) -> Result:
    """Run a task; called in a worker."""
    from sentstream.engines.ray.cluster import this_node

    return run_task(work, settings, this_node())


def _check(source: str, digest: str, files: list[Any], guard: Guard, outputs: str) -> None:
    """Check that a machine sees what it must; called in a worker on each machine."""
    from sentstream.engines.ray.cluster import this_node
    from sentstream.engines.worker import check_model

    node = this_node()
    check_model(source, digest, node)
    check_visibility(files, guard, outputs, node)
