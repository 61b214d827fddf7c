"""Process a stream of record batches in several threads, in order and in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import pyarrow as pa

from sentstream.profile import OTHER, RESULT, Clock, Profile
from sentstream.session import usable_cpus

Item = TypeVar("Item", bound="pa.RecordBatch | Sequence[pa.RecordBatch]")
Result = TypeVar("Result")

#: Batches queued ahead, so that no thread is idle while the consumer of the results writes a row group.
_AHEAD = 2
#: Maximum total size of the batches in flight, if there are several: rows may be large.
_UNDER_WAY_BYTES = 64 << 20


def in_order(
    items: Iterable[Item],
    work: Callable[[Item, Profile | None], Result],
    threads: int,
    profile: Profile | None = None,
) -> Iterator[Result]:
    """Apply a function to batches, or groups of batches, and yield the results in the same order.

    At most ``threads + 3`` items are in flight at a time, and large items only up to 64 MiB in total, so
    memory is bounded even if the results are consumed slowly.

    Args:
        items: The batches, or groups of batches.
        work: The function.
        threads: 1 uses the calling thread; higher values use extra threads, up to one per CPU.
        profile: Collects how long each stage takes, including reading from ``items``.

    Raises:
        Exception: Any error that ``items`` or ``work`` raises.
    """
    clock = profile.clock() if profile else None
    if profile:
        items = profile.reading(items)
    if threads == 1:
        yield from (work(item, profile) for item in items)
        return
    waiting: deque[Future[Result]] = deque()
    sizes: deque[int] = deque()
    # More threads than CPUs would take more memory without saving time.
    threads = min(threads, usable_cpus())
    pool = ThreadPoolExecutor(threads, "sentstream")
    try:
        for item in items:
            waiting.append(pool.submit(work, item, profile))
            sizes.append(_bytes_of(item))
            del item
            while len(waiting) > threads + _AHEAD or (len(waiting) > 1 and sum(sizes) > _UNDER_WAY_BYTES):
                sizes.popleft()
                yield _result(waiting, clock)
        while waiting:
            yield _result(waiting, clock)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _bytes_of(item: pa.RecordBatch | Sequence[pa.RecordBatch]) -> int:
    return sum(batch.nbytes for batch in ([item] if isinstance(item, pa.RecordBatch) else item))


def _result(waiting: deque[Future[Result]], clock: Clock | None) -> Result:
    """Wait for the next result."""
    if clock:
        clock.enter(RESULT)
    scored = waiting.popleft().result()
    if clock:
        clock.enter(OTHER)
    return scored
