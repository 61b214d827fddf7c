"""Process a stream of items in several threads, in order and in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from sentstream.profile import OTHER, RESULT, Clock, Profile
from sentstream.session import usable_cpus

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Items queued ahead, so that no thread is idle while the consumer of the results writes a row group.
_AHEAD = 2
#: Maximum total size of the items in flight, if there are several: rows may be large.
_UNDER_WAY_BYTES = 64 << 20


def in_order(
    items: Iterable[Item],
    work: Callable[[Item, Profile | None], Result],
    threads: int,
    profile: Profile | None = None,
    size_of: Callable[[Item], int] = lambda item: 0,
) -> Generator[Result, None, None]:
    """Apply a function to items, and yield the results in the same order.

    At most ``threads + 3`` items are in flight at a time, and large items only up to 64 MiB in total, so
    memory is bounded even if the results are consumed slowly.

    Args:
        items: The items, such as record batches.
        work: The function.
        threads: 1 uses the calling thread; higher values use extra threads, up to one per CPU.
        profile: Collects how long each stage takes, including reading from ``items``.
        size_of: Returns the size of an item in bytes; by default items take no memory worth counting.

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
            sizes.append(size_of(item))
            del item
            while len(waiting) > threads + _AHEAD or (len(waiting) > 1 and sum(sizes) > _UNDER_WAY_BYTES):
                sizes.popleft()
                yield _result(waiting, clock)
        while waiting:
            yield _result(waiting, clock)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _result(waiting: deque[Future[Result]], clock: Clock | None) -> Result:
    """Wait for the next result."""
    if clock:
        clock.enter(RESULT)
    scored = waiting.popleft().result()
    if clock:
        clock.enter(OTHER)
    return scored
