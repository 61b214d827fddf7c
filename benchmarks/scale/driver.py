"""A simulation of a driver, a thousand workers and a million pieces: how long it takes, and what is redone.

All randomness comes from one seed: two simulations with the same arguments give identical results.

The driver hands out tasks of one or more pieces, one after another; handing one out occupies it for a moment.
A worker that fails loses its unfinished task, and it or a replacement comes back later. Once all tasks are
handed out, idle workers take copies of late ones, and the copy that ends first counts: an output gets its
name only when it is complete, so a second one does no harm.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

_HOUR = 3600.0
_LATE = 1.5  # times the expected duration, after which a task gets a copy


@dataclass(frozen=True)
class Job:
    """What is simulated. Times in seconds.

    Attributes:
        pieces: Number of pieces.
        workers: Number of workers, with one core each.
        piece: Average time of a piece on a core, with its requests.
        spread: Standard deviation of the logarithm of a piece's time.
        per_task: Pieces per task.
        dispatch: The driver's own time per task.
        failures: Failures per worker and hour.
        back: Time until a failed worker is replaced.
        slow: The share of workers that are slow.
        slowness: How many times as long a slow one takes.
        copies: Whether late tasks are run twice at the end.
        driver_fails: When the driver dies, as a share of the time without failures; None: never.
        driver_back: Time until it is restarted, without reading the manifest.
        rescan: The driver's time per finished piece when it resumes.
        seed: The seed of all randomness.
    """

    pieces: int = 1_000_000
    workers: int = 1_000
    piece: float = 1.0
    spread: float = 0.3
    per_task: int = 1
    dispatch: float = 0.0
    failures: float = 0.0
    back: float = 120.0
    slow: float = 0.0
    slowness: float = 1.0
    copies: bool = True
    driver_fails: float | None = None
    driver_back: float = 60.0
    rescan: float = 0.0
    seed: int = 0

    @property
    def ideal(self) -> float:
        """Seconds if no worker failed, waited or was slow."""
        return self.pieces * self.piece / self.workers


@dataclass(frozen=True)
class Result:
    """The outcome of a simulation.

    Attributes:
        seconds: From the first piece to the last.
        ideal: Seconds if no worker failed, waited or was slow.
        lost: Core-seconds of work that was cut off.
        twice: Core-seconds of work on tasks that another worker finished first.
        work: Core-seconds of work that counts.
        failures: Number of worker failures.
        tail: Seconds at the end in which a worker was idle for lack of tasks.
    """

    seconds: float
    ideal: float
    lost: float
    twice: float
    work: float
    failures: int
    tail: float

    @property
    def longer(self) -> float:
        """How much longer it took than the ideal, as a share."""
        return self.seconds / self.ideal - 1

    @property
    def redone(self) -> float:
        """Work that did not count, as a share of work that did."""
        return (self.lost + self.twice) / self.work

    def to_dict(self) -> dict[str, Any]:
        """Return the result ready for JSON."""
        return {**asdict(self), "longer": self.longer, "redone": self.redone}


class _Task:
    """Pieces that are handed out together. ``runs`` are the workers that run it."""

    __slots__ = ("done", "runs", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds  # on a worker that is not slow
        self.runs: list[int] = []
        self.done = False


def simulate(job: Job) -> Result:
    """Simulate a job to its end."""
    return _Simulation(job).run()


class _Simulation:
    def __init__(self, job: Job) -> None:
        self._job, self._chance = job, random.Random(job.seed)
        slow = round(job.slow * job.workers)
        self._slowness = [job.slowness if worker < slow else 1.0 for worker in range(job.workers)]
        self._chance.shuffle(self._slowness)
        self._fresh = self._tasks()
        self._again: deque[_Task] = deque()
        self._left = math.ceil(job.pieces / job.per_task)
        self._has: list[tuple[_Task, float] | None] = [None] * job.workers
        self._turn = [0] * job.workers  # number of the worker's current task; older events are stale
        self._idle: set[int] = set()
        self._running: deque[_Task] = deque()  # in starting order; some are done
        self._events: list[tuple[float, str, int, int]] = []
        self._driver = 0.0  # when it is free again
        self._lost = self._twice = self._work = 0.0
        self._failed = 0
        self._first_idle: float | None = None

    def _tasks(self) -> Iterator[_Task]:
        """Yield tasks of pieces with log-normal times around the given mean."""
        job, left = self._job, self._job.pieces
        middle = math.log(job.piece) - job.spread**2 / 2
        while left > 0:
            count = min(job.per_task, left)
            left -= count
            yield _Task(sum(self._chance.lognormvariate(middle, job.spread) for _ in range(count)))

    def run(self) -> Result:
        job, events = self._job, self._events
        for worker in range(job.workers):
            self._may_fail(0.0, worker)
            self._give(0.0, worker)
        if job.driver_fails is not None:
            heapq.heappush(events, (job.driver_fails * job.ideal, "driver", -1, 0))
        now = 0.0
        while self._left:
            now, kind, worker, turn = heapq.heappop(events)
            if kind == "done":
                if turn == self._turn[worker]:
                    self._finish(now, worker)
            elif kind == "fails":
                self._fail(now, worker)
            elif kind == "look":
                if worker in self._idle:
                    self._idle.discard(worker)
                    self._give(now, worker)
            elif kind == "back":
                self._may_fail(now, worker)
                self._give(now, worker)
            else:
                self._restart(now)
        for _, began in filter(None, self._has):
            self._twice += max(0.0, now - began)
        tail = 0.0 if self._first_idle is None else now - self._first_idle
        return Result(now, job.ideal, self._lost, self._twice, self._work, self._failed, tail)

    def _may_fail(self, now: float, worker: int) -> None:
        if self._job.failures:
            after = self._chance.expovariate(self._job.failures / _HOUR)
            heapq.heappush(self._events, (now + after, "fails", worker, 0))

    def _give(self, now: float, worker: int) -> None:
        """Hand a worker its next task: a lost one, a fresh one, or a copy."""
        task = self._again.popleft() if self._again else next(self._fresh, None)
        if task is None:
            self._first_idle = now if self._first_idle is None else self._first_idle
            task = self._oldest(now, worker) if self._job.copies else None
            if task is None:
                self._idle.add(worker)
                return
        else:
            self._running.append(task)
        self._driver = max(self._driver, now) + self._job.dispatch
        began = self._driver
        task.runs.append(worker)
        self._has[worker] = task, began
        self._turn[worker] += 1
        ends = began + task.seconds * self._slowness[worker]
        heapq.heappush(self._events, (ends, "done", worker, self._turn[worker]))

    def _oldest(self, now: float, worker: int) -> _Task | None:
        """Return the longest-running task without a copy, if it is late; else schedule another look."""
        running = self._running
        while running and (running[0].done or len(running[0].runs) != 1):
            running.popleft()
        if not running:
            return None
        (other,) = running[0].runs
        has = self._has[other]
        assert has is not None
        usual = self._job.piece * self._job.per_task
        due = has[1] + _LATE * usual
        if now >= due:
            return running.popleft()
        heapq.heappush(self._events, (max(due, now + usual / 10), "look", worker, 0))
        return None

    def _finish(self, now: float, worker: int) -> None:
        task, began = self._take(worker)
        self._work += now - began
        task.done = True
        self._left -= 1
        for other in list(task.runs):
            _, since = self._take(other)
            self._twice += max(0.0, now - since)
            self._give(now, other)
        self._give(now, worker)

    def _take(self, worker: int) -> tuple[_Task, float]:
        """Take a worker's task away from it."""
        has = self._has[worker]
        assert has is not None
        self._has[worker] = None
        self._turn[worker] += 1
        has[0].runs.remove(worker)
        return has

    def _drop(self, now: float, worker: int) -> None:
        """Cut off a worker's task; it is redone, unless another worker runs it."""
        if self._has[worker] is not None:
            task, began = self._take(worker)
            self._lost += max(0.0, now - began)
            if not task.runs:
                self._again.append(task)

    def _fail(self, now: float, worker: int) -> None:
        self._failed += 1
        self._drop(now, worker)
        self._idle.discard(worker)
        heapq.heappush(self._events, (now + self._job.back, "back", worker, 0))
        while self._again and self._idle:
            self._give(now, self._idle.pop())

    def _restart(self, now: float) -> None:
        """The driver dies, and all running tasks with it; a new one reads what is done and resumes."""
        done = self._job.pieces - self._left * self._job.per_task
        self._driver = now + self._job.driver_back + self._job.rescan * max(0, done)
        had = [worker for worker, has in enumerate(self._has) if has is not None]
        for worker in had:
            self._drop(now, worker)
        for worker in had:
            self._give(now, worker)
