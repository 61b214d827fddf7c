"""A plan on a Ray cluster: its pieces as tasks of Ray core, several small ones a task.

Ray places tasks, and runs those again whose workers or machines it lost. What is added here: no more tasks
than workers at a time; work that kills its workers is found and named; the last tasks under way, of which one
may hang on a slow machine, are run a second time elsewhere, and whichever ends first counts.
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
from sentstream.engines.worker import Guard, Result, Work, check_sight, do
from sentstream.errors import InputError, OutputWriteError, WorkerLostError, first_line
from sentstream.storage.local import absolute
from sentstream.storage.names import is_uri
from sentstream.storage.whole_file import make_directory

if TYPE_CHECKING:
    from sentstream.dataset.plan import PlannedFile
    from sentstream.dataset.run import Run

#: Seconds after which the loop looks around though nothing has ended.
_LOOK: Final = 1.0
#: A task hangs when it takes so many times as long as the longest one before it, and so many seconds.
_SLOW, _SLOW_SECONDS = 2.0, 10.0
_LOWER = "fewer workers (--workers) or smaller batches (--batch-rows)"


@dataclasses.dataclass(frozen=True, slots=True)
class _Todo:
    """A piece that is to be scored: its file, by its number from 1, and the piece."""

    number: int
    piece: Piece


@dataclasses.dataclass(frozen=True, slots=True)
class _Whole:
    """A large output whose parts are there."""

    number: int
    parts: PartsOfFile


@dataclasses.dataclass
class _Task:
    """Some work that is under way, perhaps twice.

    Attributes:
        items: What it is made of.
        work: The same as workers get it.
        since: When it was sent last.
        refs: What Ray will put its results in.
    """

    items: Sequence[_Todo | _Whole]
    work: list[Work]
    since: float
    refs: list[Any]


class RayDrive:
    """Has the work of a run done by a cluster; called with the run.

    Args:
        cluster: The cluster.
    """

    def __init__(self, cluster: RayCluster) -> None:
        self._cluster = cluster
        #: Tasks that wait, those of pieces as places in what is to be done.
        self._waiting: deque[range | list[_Todo | _Whole]] = deque()
        self._numbers, self._pieces = array("q"), array("q")
        self._tasks: dict[Any, _Task] = {}
        self._longest = 0.0
        self._shares: dict[str, NodeShare] = {}
        self._processes: dict[str, set[int]] = {}
        self._skipped: set[int] = set()
        #: What was counted of the parts of large files that are not whole.
        self._parts: dict[int, list[Entry]] = {}

    def __call__(self, run: Run) -> list[NodeShare]:
        """Do all that is left to do.

        Raises:
            InputError: An input is not sound, and such ones are not to be skipped.
            OutputError: An output cannot be written.
            ClusterError: A machine does not see what it must, or workers die again and again.
        """
        ledger = run.ledger
        assert ledger is not None
        guard = Guard(ledger.storage, ledger.journal)
        self._run, self._remote = run, self._cluster.remote(_do, max_retries=RETRIES)
        self._look(guard)
        ledger.keep()  # workers give outputs their names before an entry tells of them
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

    def _look(self, guard: Guard) -> None:
        """Find out before any work whether every machine sees the inputs, the output and the model."""
        files = (file.job.source for file in self._run.plan.files if not file.is_done)
        first = next(files, None)
        last = deque(files, maxlen=1)
        ends = [] if first is None else [absolute(first), *map(absolute, last)]
        model = self._run.plan.model
        shown = self._run.plan.ledger.outputs if self._run.plan.ledger is not None else ""
        self._cluster.everywhere(_check, model.source, model.digest, ends, guard, shown)

    @contextlib.contextmanager
    def _directories(self) -> Iterator[None]:
        """Make the directories of all outputs, and remove at the end those that nothing came to.

        A worker that fails would remove what it has made, while another one writes there.
        """
        names = {
            os.path.dirname(file.job.output) if file.partitions is None else file.partitions.root
            for file in self._run.plan.files
            if not file.is_done and file.job.output is not None and not is_uri(file.job.output)
        }
        ledger = self._run.ledger
        if names and ledger is not None:
            names.add(ledger.parts)
        made: list[Path] = []
        try:
            for name in sorted(names):
                made += self._made(name)
            yield
        finally:
            for directory in sorted(made, reverse=True):
                with contextlib.suppress(OSError):  # there is something in it, as there should be
                    directory.rmdir()

    def _made(self, name: str) -> list[Path]:
        try:
            return make_directory(Path(name))
        except OSError as error:
            raise OutputWriteError(f"{name} cannot be created: {error.strerror or error}") from error

    def _plan(self) -> None:
        """Everything that is to be done, in tasks."""
        sizes = array("q")
        for number, file in enumerate(self._run.plan.files, start=1):
            if file.is_done:
                continue
            for place, piece in enumerate(file.todo):
                self._numbers.append(number)
                self._pieces.append(place)
                sizes.append(piece.size)
            if not file.todo:
                self._assemble(number)
        self._waiting.extend(into_tasks(sizes, self._cluster.workers))

    def _items(self, task: range | list[_Todo | _Whole]) -> list[_Todo | _Whole]:
        """What a task is made of, but for what was skipped meanwhile."""
        if isinstance(task, list):
            return [item for item in task if item.number not in self._skipped]
        return [
            _Todo(number, self._file(number).todo[self._pieces[place]])
            for place in task
            if (number := self._numbers[place]) not in self._skipped
        ]

    def _assemble(self, number: int) -> None:
        """Have a large output put together, if its parts are all there."""
        parts = self._run.parts(self._file(number))
        if parts is not None:
            self._waiting.appendleft([_Whole(number, parts)])

    def _file(self, number: int) -> PlannedFile:
        return self._run.plan.files[number - 1]

    # What is sent.

    def _send(self) -> None:
        """As many tasks as there are workers; where none wait, those that hang once more."""
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
        """The same for a process elsewhere."""
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

    # What comes back.

    def _take(self, ready: Sequence[Any]) -> None:
        """Write down what has been done, all at once, and see to what has not."""
        entries: list[Entry] = []
        ended: list[tuple[_Task, Result]] = []
        try:
            for ref in ready:
                if ref not in self._tasks:  # its twin came with it
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
        """What a task came to; None where it did not come to its end."""
        lost = self._cluster.lost()
        try:
            result: Result = self._cluster.get(ref)
        except lost as error:
            del self._tasks[ref]
            task.refs.remove(ref)
            if not task.refs:  # no twin is under way
                self._lost(task, error)
            return None
        return result

    def _lost(self, task: _Task, error: Exception) -> None:
        """A task whose workers died, each time: what of it kills them?"""
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
        said = f"{file.job.name}: the workers that scored it died {RETRIES + 1} times"
        if self._run.plan.on_error == "skip" and isinstance(item, _Todo):
            self._skip(item.number, InputError(said))
            return
        raise WorkerLostError(
            f"{said}: {first_line(error)}",
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
        """What comes of the end of a task: files to put together, inputs to skip."""
        for item, entry in zip(task.items, result.entries, strict=True):
            if entry is None:
                continue
            if isinstance(item, _Whole):
                self._run.assembled(item.parts, entry)
                self._parts.pop(item.number, None)
            elif entry.state == "part":
                self._parts.setdefault(item.number, []).append(entry)
                self._assemble(item.number)
        for place, error in result.unsound:
            self._skip(task.items[place].number, error)
        self._run.begin(task.items[-1].number, task.work[-1].job.name)

    def _skip(self, number: int, error: InputError) -> None:
        """Leave out an input, and do not count what was done of it."""
        if number not in self._skipped:
            self._run.skip(self._file(number), error)
            self._skipped.add(number)
        self._run.uncount(self._parts.pop(number, ()))


def _do(work: list[Work], settings: Settings) -> Result:
    """A task, in a worker."""
    from sentstream.engines.ray.cluster import this_node

    return do(work, settings, this_node())


def _check(source: str, digest: str, files: list[Any], guard: Guard, outputs: str) -> None:
    """What every machine must see, in a worker of each."""
    from sentstream.engines.ray.cluster import this_node
    from sentstream.engines.worker import check_model

    node = this_node()
    check_model(source, digest, node)
    check_sight(files, guard, outputs, node)
