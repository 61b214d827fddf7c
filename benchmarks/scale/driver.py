"""A driver, a thousand workers and a million pieces, simulated: how long it takes, and what is done twice.

Every event is drawn from one seed: two simulations with the same arguments are the same to the last digit.

The driver hands out tasks, of a piece or some, one after another; handing one out takes it a moment, in which
nobody else gets one. A worker that fails loses what it had of its task, and comes back, or another in its
place. When all tasks are handed out, idle workers take copies of those that are late, and the first of the
two counts: outputs get their names whole, so a second one does no harm.
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
_LATE = 1.5  # times of what a task should take, after which it gets a copy


@dataclass(frozen=True)
class Job:
    """What is simulated. Times in seconds.

    Attributes:
        pieces: How many pieces.
        workers: How many workers, of one core each.
        piece: A piece's time on a core, on average, and its requests.
        spread: Of a piece's time: the standard deviation of its logarithm.
        per_task: Pieces that are handed out together.
        dispatch: The driver's own time for a task.
        failures: Failures of a worker, an hour.
        back: Until a worker that failed is replaced.
        slow: The share of workers that are slow.
        slowness: How many times as long a slow one takes.
        copies: Whether tasks that run at the end are run twice.
        driver_fails: When the driver dies, as a share of the time without failures; None: never.
        driver_back: Until it has been started anew, beside what it reads of the manifest.
        rescan: The driver's time, when it goes on, for a piece that is done.
        seed: Of all chance.
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
        """Seconds if nobody failed, waited or was slow."""
        return self.pieces * self.piece / self.workers


@dataclass(frozen=True)
class Result:
    """What came of it.

    Attributes:
        seconds: From the first piece to the last.
        ideal: What it would take if nobody failed, waited or was slow.
        lost: Core-seconds of work that was cut off.
        twice: Core-seconds of copies and of tasks whose copy was first.
        work: Core-seconds of work that counts.
        failures: How many workers failed.
        tail: Seconds at the end in which a worker was idle for want of tasks.
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
        """How much longer it took than it had to, as a share."""
        return self.seconds / self.ideal - 1

    @property
    def redone(self) -> float:
        """Work that did not count, as a share of what did."""
        return (self.lost + self.twice) / self.work

    def to_dict(self) -> dict[str, Any]:
        """The same, ready for JSON."""
        return {**asdict(self), "longer": self.longer, "redone": self.redone}


class _Task:
    """Some pieces that are handed out together. ``runs`` are the workers that have it."""

    __slots__ = ("done", "runs", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds  # on a worker that is not slow
        self.runs: list[int] = []
        self.done = False


def simulate(job: Job) -> Result:
    """Play a job to its end."""
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
        self._turn = [0] * job.workers  # which of a worker's tasks an event is about
        self._idle: set[int] = set()
        self._running: deque[_Task] = deque()  # in the order in which they began; some are done
        self._events: list[tuple[float, str, int, int]] = []
        self._driver = 0.0  # when it is free
        self._lost = self._twice = self._work = 0.0
        self._failed = 0
        self._first_idle: float | None = None

    def _tasks(self) -> Iterator[_Task]:
        """Tasks of pieces whose times are log-normal, with the mean that is asked for."""
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
        """Hand a worker its next task: one that was lost, a fresh one, or a copy."""
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
        """The task that has run longest and has no copy, if it is late; else look again when it will be."""
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
        """What a worker has, which it has no more."""
        has = self._has[worker]
        assert has is not None
        self._has[worker] = None
        self._turn[worker] += 1
        has[0].runs.remove(worker)
        return has

    def _drop(self, now: float, worker: int) -> None:
        """Cut off what a worker does; it is done again, unless another does it."""
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
        """The driver is gone, and its tasks with it; a new one reads what is done, and goes on."""
        done = self._job.pieces - self._left * self._job.per_task
        self._driver = now + self._job.driver_back + self._job.rescan * max(0, done)
        had = [worker for worker, has in enumerate(self._has) if has is not None]
        for worker in had:
            self._drop(now, worker)
        for worker in had:
            self._give(now, worker)
