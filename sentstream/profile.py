"""Time measurement of a run: wall and CPU seconds by stage, in each thread.

Each thread has a clock, which is always in exactly one stage: entering a stage ends the previous one. So the
stages of a thread, including waits, add up to its total time. A clock is read a few times per record batch
and twice per run of the graph, never per row.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

READ, TOKENIZE, LOOK_UP, BUCKET = "read", "tokenize", "look up", "bucket"
INFER, ATTACH, WRITE, OTHER = "infer", "attach", "write", "other"
#: The processing stages in order; ``OTHER`` opens files, checks schemas and passes batches on.
STAGES = (READ, TOKENIZE, LOOK_UP, BUCKET, INFER, ATTACH, WRITE, OTHER)
#: The main thread, which reads and writes, waits for a worker's result.
RESULT = "wait: result"
#: A worker waits for rows while the main thread reads; or while the main thread writes; or for another
#: worker's batch, since output is in order, or because no rows are left.
STARVED, BLOCKED, TURN = "wait: rows", "wait: write", "wait: turn"
WAITS = (RESULT, STARVED, BLOCKED, TURN)
#: The stage of a worker between batches; booked as one of the three above.
IDLE = "idle"

MAIN = "main"
_Any = TypeVar("_Any")


class _Seen(NamedTuple):
    """A clock's state as visible to other threads; replaced as a whole, so it is always consistent."""

    stage: str
    since: float
    reading: float
    writing: float

    def at(self, now: float) -> tuple[float, float]:
        """Total seconds of reading and writing until now."""
        open_ = max(0.0, now - self.since)
        return (
            self.reading + (open_ if self.stage == READ else 0),
            self.writing + (open_ if self.stage == WRITE else 0),
        )


@dataclass
class Runs:
    """Counts of graph runs on rows of one length.

    Attributes:
        runs: Number of runs.
        rows: Number of rows in them.
        room: Number of rows they had room for.
    """

    runs: int = 0
    rows: int = 0
    room: int = 0


class Clock:
    """The clock of one thread; no other thread changes it while the thread is alive.

    Args:
        driver: The clock of the main thread, which reads and writes; None for that thread's own clock.
        stage: The first stage.
        wall: The start of that stage, in ``time.perf_counter`` seconds.
        cpu: The thread's CPU seconds at that time.
    """

    def __init__(self, driver: Clock | None, stage: str, wall: float, cpu: float) -> None:
        self.wall: dict[str, float] = defaultdict(float)
        self.cpu: dict[str, float] = defaultdict(float)
        self.runs: dict[int, Runs] = defaultdict(Runs)
        #: Number of rows with tokens, whether the graph ran them or their results were reused.
        self.asked = 0
        self._driver = driver
        self._stage, self._since, self._cpu = stage, wall, cpu
        self._before = driver.seen.at(wall) if driver else (0.0, 0.0)
        self.seen: _Seen = _Seen(stage, wall, 0.0, 0.0)

    def enter(self, stage: str) -> None:
        """End the current stage and begin this one."""
        now, cpu = time.perf_counter(), time.thread_time()
        self._book(now, cpu - self._cpu)
        if stage == IDLE and self._driver:
            self._before = self._driver.seen.at(now)
        self._stage, self._since, self._cpu = stage, now, cpu
        if self._driver is None:
            self.seen = _Seen(stage, now, self.wall[READ], self.wall[WRITE])

    def rest(self) -> None:
        """End a batch: enter ``IDLE`` in a worker, ``OTHER`` in the main thread."""
        self.enter(IDLE if self._driver else OTHER)

    def _book(self, now: float, cpu: float) -> None:
        passed = now - self._since
        if self._stage == IDLE and self._driver:
            # What the main thread did in the meantime tells what this one waited for.
            reading, writing = (
                after - before for after, before in zip(self._driver.seen.at(now), self._before, strict=True)
            )
            starved = min(passed, max(0.0, reading))
            blocked = min(passed - starved, max(0.0, writing))
            self.wall[STARVED] += starved
            self.wall[BLOCKED] += blocked
            self.wall[TURN] += passed - starved - blocked
            self.cpu[TURN] += cpu
        else:
            self.wall[self._stage] += passed
            self.cpu[self._stage] += cpu

    def ran(self, length: int, rows: int, room: int) -> None:
        """Count a run of the graph.

        Args:
            length: Tokens per row.
            rows: Number of rows in the run.
            room: Maximum number of rows in a run of this length.
        """
        runs = self.runs[length]
        runs.runs += 1
        runs.rows += rows
        runs.room += room

    def moved(self) -> None:
        """Continue in a new thread of the same name, whose CPU seconds start at 0."""
        self._cpu = 0.0

    def close(self, now: float) -> None:
        """Book the current stage; the thread has ended or is the calling thread."""
        self._book(now, 0.0 if self._driver else time.thread_time() - self._cpu)


class Profile:
    """The clocks of a run; created in the main thread, which reads and writes."""

    def __init__(self) -> None:
        self._start, self._process = time.perf_counter(), time.process_time()
        self._main = Clock(None, OTHER, self._start, time.thread_time())
        self._clocks = {MAIN: self._main}
        self._here = threading.local()
        self._here.clock = self._main
        self._seconds: float | None = None
        self._cpu = 0.0

    def clock(self) -> Clock:
        """The clock of the calling thread."""
        clock: Clock | None = getattr(self._here, "clock", None)
        if clock is None:
            # A pool's threads have numbered names; the pool of the next file continues these clocks.
            name = threading.current_thread().name
            clock = self._clocks.get(name)
            if clock is None:
                clock = self._clocks[name] = Clock(self._main, IDLE, self._start, 0.0)
            else:
                clock.moved()
            self._here.clock = clock
        return clock

    def reading(self, items: Iterable[_Any]) -> Iterator[_Any]:
        """Pass items through, and count the time to get them as ``READ``."""
        clock = self.clock()
        source = iter(items)
        while True:
            clock.enter(READ)
            try:
                item = next(source)
            except StopIteration:
                return
            finally:
                clock.enter(OTHER)
            yield item

    def stop(self) -> None:
        """End the profile, after the run and its workers have ended."""
        now = time.perf_counter()
        for clock in self._clocks.values():
            clock.close(now)
        self._seconds, self._cpu = now - self._start, time.process_time() - self._process

    def to_dict(self, rows: int) -> dict[str, Any]:
        """Return the stage table as JSON-serializable data.

        Args:
            rows: Number of rows processed.

        Returns:
            ``seconds``; ``cpu_seconds`` of the process, and ``elsewhere``, those of threads without a clock;
            ``stages``, in order, with ``cpu_seconds``, their ``share`` of all stages' total and
            ``rows_per_cpu_second``; ``threads``, with ``wall`` and ``cpu`` seconds by stage; ``batches``, the
            runs of the graph, and the rows that were ``repeated`` and not run.

        Raises:
            ValueError: ``stop`` was not called.
        """
        if self._seconds is None:
            raise ValueError("the run is not over")
        names = [name for name in (*STAGES, *WAITS) if any(name in one.wall for one in self._clocks.values())]
        cpu = {name: sum(clock.cpu.get(name, 0.0) for clock in self._clocks.values()) for name in names}
        whole = sum(cpu.values())
        return {
            "seconds": round(self._seconds, 6),
            "cpu_seconds": round(self._cpu, 6),
            "elsewhere": round(max(0.0, self._cpu - whole), 6),
            "stages": {
                name: {
                    "cpu_seconds": round(seconds, 6),
                    "share": round(seconds / max(whole, 1e-9), 6),
                    "rows_per_cpu_second": round(rows / seconds, 1) if seconds > 0 else None,
                }
                for name, seconds in cpu.items()
            },
            "threads": {
                name: {
                    "wall": {stage: round(clock.wall[stage], 6) for stage in names if stage in clock.wall},
                    "cpu": {stage: round(clock.cpu[stage], 6) for stage in names if stage in clock.cpu},
                }
                for name, clock in self._clocks.items()
            },
            "batches": self._batches(),
        }

    def _batches(self) -> dict[str, Any]:
        lengths: dict[int, Runs] = defaultdict(Runs)
        for clock in self._clocks.values():
            for length, runs in clock.runs.items():
                lengths[length].runs += runs.runs
                lengths[length].rows += runs.rows
                lengths[length].room += runs.room
        rows = sum(runs.rows for runs in lengths.values())
        tokens = sum(length * runs.rows for length, runs in lengths.items())
        return {
            "runs": sum(runs.runs for runs in lengths.values()),
            "rows": rows,
            "repeated": sum(clock.asked for clock in self._clocks.values()) - rows,
            "tokens": tokens,
            "tokens_per_row": round(tokens / max(1, rows), 2),
            "fill": round(rows / max(1, sum(runs.room for runs in lengths.values())), 4),
            "lengths": [
                {
                    "tokens": length,
                    "runs": runs.runs,
                    "rows": runs.rows,
                    "fill": round(runs.rows / max(1, runs.room), 4),
                }
                for length, runs in sorted(lengths.items())
            ],
        }
