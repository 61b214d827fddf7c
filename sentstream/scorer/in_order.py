"""Work on a stream of record batches in several threads, in order and within bounded memory."""

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

#: Batches that wait for a thread, so that none is idle while whoever takes the results writes a row group.
_AHEAD = 2
#: What the batches under way hold, but for the last: a few large rows are as much as many small ones.
_UNDER_WAY_BYTES = 64 << 20


def in_order(
    items: Iterable[Item],
    work: Callable[[Item, Profile | None], Result],
    threads: int,
    profile: Profile | None = None,
) -> Iterator[Result]:
    """Work on batches, or on groups of them, as they come; the results in the same order.

    No more than ``threads + 3`` items are under way at a time, and of large ones no more than hold 64 MiB
    together, so memory stays bounded however slowly the results are taken.

    Args:
        items: The batches, or groups of them.
        work: What is done with each.
        threads: 1 is the calling thread; more are threads beside it, up to one for each CPU.
        profile: Where to tell what the time went into, that of ``items`` with it.

    Raises:
        Exception: Whatever ``items`` and ``work`` raise.
    """
    clock = profile.clock() if profile else None
    if profile:
        items = profile.reading(items)
    if threads == 1:
        yield from (work(item, profile) for item in items)
        return
    waiting: deque[Future[Result]] = deque()
    sizes: deque[int] = deque()
    # More threads than CPUs would take memory, and no less time.
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
    """The next one, as soon as it is there."""
    if clock:
        clock.enter(RESULT)
    scored = waiting.popleft().result()
    if clock:
        clock.enter(OTHER)
    return scored
