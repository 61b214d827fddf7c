"""Inspect very many inputs on a Ray cluster; on the driver, this would take longer than anything else."""

from __future__ import annotations

import dataclasses
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from sentstream.dataset.jobs import Job
from sentstream.dataset.planner import Inspected, Inspector, inspect_locally
from sentstream.engines.ray.cluster import RETRIES, RayCluster
from sentstream.errors import InputError, WorkerLostError, first_line
from sentstream.storage.local import absolute

#: Up to this number of files, this process is done before a worker has started.
_FEW: Final = 2000
#: Files per task, and tasks in flight per worker.
_EACH, _AHEAD = 500, 2


class RayInspector:
    """Inspects files on a cluster; call it with the inspection and the files.

    Args:
        cluster: The cluster.
    """

    def __init__(self, cluster: RayCluster) -> None:
        self._cluster = cluster

    def __call__(self, inspector: Inspector, jobs: Iterable[Job]) -> Iterator[Inspected | InputError]:
        """Yield the result for each file, in order; for a file that is not valid, the error.

        Raises:
            WorkerLostError: Workers die repeatedly.
        """
        rest = iter(jobs)
        first = list(itertools.islice(rest, _FEW + 1))
        if len(first) <= _FEW:
            yield from inspect_locally(inspector, first)
            return
        remote = self._cluster.remote(_inspect_task, max_retries=RETRIES)
        shared = self._cluster.put(inspector)
        waiting: deque[tuple[Any, Sequence[Job]]] = deque()
        parts = _parts(itertools.chain(first, rest))
        try:
            while True:
                for part in itertools.islice(parts, self._cluster.workers * _AHEAD - len(waiting)):
                    waiting.append((remote.remote(shared, [_seen(job) for job in part]), part))
                if not waiting:
                    return
                yield from self._take_result(*waiting[0])
                waiting.popleft()
        finally:
            for ref, _ in waiting:
                self._cluster.cancel(ref)

    def _take_result(self, ref: Any, jobs: Sequence[Job]) -> list[Inspected | InputError]:
        try:
            looked: list[Inspected | InputError] = self._cluster.get(ref)
        except self._cluster.lost() as error:
            raise WorkerLostError(
                f"the workers that inspected the inputs from {jobs[0].name} to {jobs[-1].name} died:"
                f" {first_line(error)}",
                hint="find the input that kills them with sentstream score --dry-run",
            ) from error
        return looked


def _parts(jobs: Iterator[Job]) -> Iterator[list[Job]]:
    """The files of each task."""
    while part := list(itertools.islice(jobs, _EACH)):
        yield part


def _seen(job: Job) -> Job:
    """The job as sent to a worker, with an absolute path."""
    return dataclasses.replace(job, source=absolute(job.source))


def _inspect_task(inspector: Inspector, jobs: Sequence[Job]) -> list[Inspected | InputError]:
    """Run a task; called in a worker. Equal schemas are shared, so that a pickle holds them once."""
    schemas: dict[Any, Any] = {}

    def shared(looked: Inspected) -> Inspected:
        columns, schema = (schemas.setdefault(one, one) for one in (looked.columns, looked.schema))
        return dataclasses.replace(looked, columns=columns, schema=schema)

    return [shared(one) if isinstance(one, Inspected) else one for one in inspect_locally(inspector, jobs)]
