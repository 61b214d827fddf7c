"""Complete outputs in the background while the next ones are scored."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import Final

from sentstream.dataset.manifest.records import Entry
from sentstream.storage.connect import give_up_soon
from sentstream.storage.sync import DeferredSyncs

#: Waiting for a disk or a store takes no CPU, and many concurrent waits take hardly longer than one.
_AT_ONCE: Final = 8
_UNDER_WAY: Final = 16
#: Maximum number of bytes in memory that are not written yet, unless a single output is larger.
_UNDER_WAY_BYTES: Final = 16 << 20
#: Entries are recorded in groups of about so many rows or entries, since each write takes a sync. After a
#: kill before that, these rows are scored again.
_ROWS: Final = 16_384
_ENTRIES: Final = 64


class Commits:
    """Gives outputs their final names in the background, and then records them; a context manager.

    Outputs are recorded only when durable; small ones in groups. If the block raises, pending outputs are
    still completed and recorded.

    Args:
        write_down: Records the entries of outputs that have their final names.
        early: Called before an output gets its name long before its entry is recorded.
    """

    def __init__(
        self, write_down: Callable[[list[Entry]], None], early: Callable[[], None] | None = None
    ) -> None:
        self._on_recorded, self._early = write_down, early
        #: Names are made durable together, just before their entries are recorded.
        self._syncs = DeferredSyncs()
        self._pool = ThreadPoolExecutor(_AT_ONCE, "commit")
        #: Pending outputs, each with its bytes in memory; and the total of those bytes.
        self._in_progress: dict[Future[Entry | None], int] = {}
        self._bytes = 0
        self._done: SimpleQueue[Future[Entry | None]] = SimpleQueue()
        self._failed: list[BaseException] = []
        self._ended: list[Entry] = []
        self._ended_rows = 0

    def add(self, output: contextlib.ExitStack, entry: Entry) -> None:
        """Close a fully written output, and record its entry.

        Args:
            output: Its open contexts.
            entry: Its entry.

        Raises:
            OutputError: This output, or an earlier one, cannot be completed.
        """
        self._add(self._pool.submit(self._complete, partial(_close, output, entry)))

    def write(self, write: Callable[[], Entry], size: int) -> None:
        """Write a complete output in another thread, and record its entry.

        Args:
            write: Writes it, and returns the entry.
            size: Number of bytes that it holds in memory until then.

        Raises:
            OutputError: This output, or an earlier one, cannot be written.
        """
        self._add(self._pool.submit(self._complete, write), size)

    def close(self, output: contextlib.ExitStack) -> Future[Entry | None]:
        """Close one of several outputs that share an entry.

        Args:
            output: Its open contexts.

        Returns:
            A future for ``add_together`` to wait for.

        Raises:
            OutputError: An earlier output cannot be completed.
        """
        if self._early is not None:
            self._early()
        closing = self._pool.submit(self._complete, partial(_close, output, None))
        self._add(closing)
        return closing

    def add_together(self, closing: Sequence[Future[Entry | None]], entry: Entry) -> None:
        """Record an entry once all of its outputs are closed.

        Args:
            closing: The futures from ``close``.
            entry: Their entry.

        Raises:
            OutputError: One of them, or an earlier output, cannot be completed.
        """
        self._add(self._pool.submit(_await, closing, entry))  # cannot deadlock: those before it have started

    def _complete(self, work: Callable[[], Entry | None]) -> Entry | None:
        """Give outputs their final names, in a thread of the pool."""
        with self._syncs.collecting():
            return work()

    def _add(self, closing: Future[Entry | None], size: int = 0) -> None:
        self._in_progress[closing] = size
        self._bytes += size
        closing.add_done_callback(self._done.put)
        while len(self._in_progress) >= _UNDER_WAY or self._bytes > _UNDER_WAY_BYTES:
            self._take()
        while not self._done.empty():
            self._take()
        self._write_down()

    def drain(self) -> None:
        """Wait until all outputs have their final names and are recorded.

        Raises:
            OutputError: One cannot be completed.
        """
        while self._in_progress:
            self._take()
        self._write_down(limit=0)

    def _take(self) -> None:
        """Take the next pending output that has ended, waiting for it if necessary."""
        closed = self._done.get()
        self._bytes -= self._in_progress.pop(closed)
        error = closed.exception()
        if error is not None:
            self._failed.append(error)
        elif (entry := closed.result()) is not None:
            self._ended.append(entry)
            self._ended_rows += entry.rows + entry.left_out

    def _write_down(self, limit: int = _ENTRIES) -> None:
        """Record ended outputs if there are more than ``limit`` entries, or many rows, or one failed."""
        if len(self._ended) > limit or self._ended_rows >= _ROWS or self._failed:
            entries, self._ended, self._ended_rows = self._ended, [], 0
            self._syncs.sync()
            self._on_recorded(entries)
        if self._failed:
            failed, self._failed = self._failed, []
            raise failed[0]

    def __enter__(self) -> Commits:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.drain()
            else:
                if not issubclass(kind, Exception):  # Ctrl-C does not wait for a lost network
                    give_up_soon()
                with contextlib.suppress(Exception):  # report the first error
                    self.drain()
        finally:
            self._pool.shutdown()


def _close(output: contextlib.ExitStack, entry: Entry | None) -> Entry | None:
    output.close()
    return entry


def _await(closing: Sequence[Future[Entry | None]], entry: Entry) -> Entry:
    for one in closing:
        one.result()
    return entry
