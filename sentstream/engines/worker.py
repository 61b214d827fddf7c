"""The work of a cluster's worker, independent of the engine: units in, manifest entries out.

The worker gives each output its final name once it is complete. A unit may be done twice, by a worker that
was presumed lost and by its replacement: both write the same bytes under the same name. Only the driver
writes to the manifest. If its journal is gone, the run has ended or was restarted, and the worker gives no
more files their final names.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pyarrow as pa

from sentstream.bundle import load_bundle
from sentstream.dataset.manifest.commits import Commits
from sentstream.dataset.manifest.records import Entry
from sentstream.dataset.small_files import groups_of, score_group
from sentstream.dataset.work import PartsOfFile, Settings, Unit, assemble, score_unit, write_encoded
from sentstream.errors import (
    BundleNotFoundError,
    ClusterPathError,
    ClusterVersionError,
    InputError,
    OutOfMemoryError,
    OutputBusyError,
    OutputError,
    SentstreamError,
    is_out_of_memory,
    naming,
)
from sentstream.scorer.tally import Tally
from sentstream.storage.api import Storage, StoredFile

#: Seconds to wait for the output directory to become visible, and between two checks.
_PATIENCE, _AGAIN = 60.0, 0.5
#: An item of a task.
Work: TypeAlias = "Unit | PartsOfFile"


@dataclass(frozen=True)
class Guard:
    """Keeps a worker that outlived its run from giving files their final names. It can be pickled.

    Attributes:
        storage: The storage of the outputs.
        journal: Name of the run's journal.
    """

    storage: Storage
    journal: str

    def __call__(self) -> None:
        """Check that the run is still active.

        Raises:
            OutputBusyError: Its journal is gone.
        """
        if self.storage.find(self.journal) is None:
            raise OutputBusyError(f"the run with the journal {self.journal} has ended")


@dataclass(frozen=True)
class Result:
    """The result of a task.

    Attributes:
        entries: The manifest entry of each unit; None if it failed.
        unsound: The indices of units whose inputs are not valid, with the errors.
        error: The error that ended the task early, such as an output that cannot be written.
        process: The machine's name and the process id.
        seconds: Elapsed time.
    """

    entries: list[Entry | None]
    unsound: list[tuple[int, InputError]]
    error: SentstreamError | None
    process: tuple[str, int]
    seconds: float


def run_task(work: Sequence[Work], settings: Settings, node: str) -> Result:
    """Process some units in one thread.

    Args:
        work: The units.
        settings: The settings that all units share.
        node: Name of this machine.
    """
    start = time.perf_counter()
    pa.set_cpu_count(1)
    index_of = {_key(unit): index for index, unit in enumerate(work)}
    done: list[Entry] = []
    unsound: list[tuple[int, InputError]] = []
    error: SentstreamError | None = None

    def skip(index: int, error: InputError) -> None:
        unsound.append((index, error))

    try:
        with Commits(done.extend) as commits:
            for small, units in itertools.groupby(enumerate(work), lambda one: _is_small(one[1])):
                (_small if small else _large)([*units], settings, commits, skip)
    except SentstreamError as caught:
        error = caught
    except Exception as caught:
        if not is_out_of_memory(caught):
            raise
        error = OutOfMemoryError(f"out of memory on {node}: {type(caught).__name__} {caught}".rstrip())
    entries: list[Entry | None] = [None] * len(work)
    for entry in done:
        entries[index_of[entry.output, entry.first, entry.stop]] = entry
    return Result(entries, unsound, error, (node, os.getpid()), time.perf_counter() - start)


def check_model(source: str, digest: str, node: str) -> None:
    """Check that this machine has the same model as the driver, byte for byte.

    Args:
        source: The model's name or path.
        digest: The digest of the driver's model.
        node: Name of this machine.

    Raises:
        ClusterPathError: The model does not exist here.
        ClusterVersionError: The model here is different.
    """
    try:
        with naming(f"on {node}"):
            found = load_bundle(source).digest
    except BundleNotFoundError as error:
        raise ClusterPathError(
            f"on {node}: there is no model {source}",
            hint="put it at the same path on every machine (a shared file system), or use a model that ships",
        ) from error
    if found != digest:
        raise ClusterVersionError(
            f"on {node}: the model {source} is {found}, but {digest} on the driver",
            hint="put the same files on every machine",
        )


def check_visibility(
    files: Sequence[StoredFile], guard: Guard, output: str, node: str, patience: float = _PATIENCE
) -> None:
    """Check that this machine sees the same inputs and outputs as the driver.

    Args:
        files: Some of the inputs.
        guard: The run's guard.
        output: The output location, for messages.
        node: Name of this machine.
        patience: Seconds to wait until files that the driver has just written are visible, since network file
            systems cache directory entries.

    Raises:
        ClusterPathError: It does not.
        StorageError: An object store does not respond, or rejects the credentials.
    """
    for file in files:
        try:
            file.check()
        except InputError as error:
            raise _unseen(error.message, node) from error
    deadline = time.monotonic() + patience
    while True:
        try:
            return guard()
        except OutputBusyError as error:
            if time.monotonic() > deadline:
                raise _unseen(f"{output} is not the directory that the driver writes to", node) from error
            time.sleep(_AGAIN)


def _unseen(description: str, node: str) -> ClusterPathError:
    return ClusterPathError(
        f"on {node}: {description}",
        hint="every machine must see the same inputs and outputs: use a shared file system, s3://, gs:// …",
    )


def _small(
    units: Sequence[tuple[int, Work]],
    settings: Settings,
    commits: Commits,
    skip: Callable[[int, InputError], None],
) -> None:
    """Score small files together, and write each one separately."""
    small = ((index, unit) for index, unit in units if isinstance(unit, Unit))
    for one in itertools.chain.from_iterable(score_group(group, settings) for group in groups_of(small)):
        if isinstance(one.result, InputError):
            skip(one.number, one.result)
        elif isinstance(one.result, OutputError):
            raise one.result
        else:
            write_encoded(one.result, settings, commits)


def _large(
    units: Sequence[tuple[int, Work]],
    settings: Settings,
    commits: Commits,
    skip: Callable[[int, InputError], None],
) -> None:
    """Score pieces one by one, and assemble files from their parts."""
    for index, unit in units:
        try:
            if isinstance(unit, PartsOfFile):
                assemble(unit, settings, commits)
            else:
                score_unit(unit, settings, commits, _ignore)
        except InputError as error:
            skip(index, error)


def _ignore(tally: Tally, left_out: int) -> None:
    """Progress is reported when a task is done."""


def _is_small(unit: Work) -> bool:
    return isinstance(unit, Unit) and unit.small


def _key(unit: Work) -> tuple[str, int, int]:
    """The key that matches a unit with its entry."""
    below = unit.below or ""
    if isinstance(unit, PartsOfFile) or unit.parts is None:
        return below, 0, 0
    return below, unit.piece.first, unit.piece.stop
