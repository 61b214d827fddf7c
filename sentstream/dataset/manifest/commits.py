"""Outputs on their way to their names, while the next ones are scored."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from types import TracebackType
from typing import Final

from sentstream.dataset.manifest.records import Entry
from sentstream.storage.connect import hurry

#: Waiting for a disk or a store takes no CPU, and many waits at once take hardly longer than one.
_AT_ONCE: Final = 8
_UNDER_WAY: Final = 16
#: What is not written yet is in memory, and no more of it than this, unless a single output is larger.
_UNDER_WAY_BYTES: Final = 16 << 20
#: Entries are written down together, as soon as they tell of so many rows, or are so many: each time takes a
#: sync. A kill before that costs the scoring of these rows again.
_ROWS: Final = 16_384
_ENTRIES: Final = 64


class Commits:
    """Gives outputs their names in the background, and then writes that down; a context manager.

    Nothing is written down before it is durable; of small outputs, many at a time. When the block raises,
    what is under way is still ended, and written down: it is whole.

    Args:
        write_down: Is given the entries of outputs that have their names.
        early: Is called before an output gets its name of which an entry will tell only later.
    """

    def __init__(
        self, write_down: Callable[[list[Entry]], None], early: Callable[[], None] | None = None
    ) -> None:
        self._tell, self._early = write_down, early
        self._pool = ThreadPoolExecutor(_AT_ONCE, "commit")
        #: What is under way, each with its bytes in memory, and the sum of those.
        self._under_way: dict[Future[Entry | None], int] = {}
        self._bytes = 0
        self._done: SimpleQueue[Future[Entry | None]] = SimpleQueue()
        self._failed: list[BaseException] = []
        self._ended: list[Entry] = []

    def add(self, output: contextlib.ExitStack, entry: Entry) -> None:
        """Close an output, which is written to its end, and write down the entry about it.

        Args:
            output: Its open contexts.
            entry: What it came to.

        Raises:
            OutputError: This output, or one before, cannot be given its name.
        """
        self._add(self._pool.submit(_close, output, entry))

    def write(self, write: Callable[[], Entry], size: int) -> None:
        """Write an output from its first byte to its name, and write down the entry about it.

        Args:
            write: Does that, in another thread, and returns the entry.
            size: Bytes that it holds in memory until then.

        Raises:
            OutputError: This output, or one before, cannot be written.
        """
        self._add(self._pool.submit(write), size)

    def close(self, output: contextlib.ExitStack) -> Future[Entry | None]:
        """Close one of several outputs that one entry is about.

        Args:
            output: Its open contexts.

        Returns:
            What ``add_together`` is to wait for.

        Raises:
            OutputError: An output before cannot be given its name.
        """
        if self._early is not None:
            self._early()
        closing = self._pool.submit(_close, output, None)
        self._add(closing)
        return closing

    def add_together(self, closing: Sequence[Future[Entry | None]], entry: Entry) -> None:
        """Write down an entry once all of its outputs are closed.

        Args:
            closing: What ``close`` gave for each of them.
            entry: What they came to.

        Raises:
            OutputError: One of them, or one before, cannot be given its name.
        """
        self._add(self._pool.submit(_await, closing, entry))  # those before it have begun

    def _add(self, closing: Future[Entry | None], size: int = 0) -> None:
        self._under_way[closing] = size
        self._bytes += size
        closing.add_done_callback(self._done.put)
        while len(self._under_way) >= _UNDER_WAY or self._bytes > _UNDER_WAY_BYTES:
            self._take()
        while not self._done.empty():
            self._take()
        self._write_down()

    def drain(self) -> None:
        """Wait until all have their names, and that is written down.

        Raises:
            OutputError: One cannot be given its name.
        """
        while self._under_way:
            self._take()
        self._write_down(most=0)

    def _take(self) -> None:
        """Take what has ended next, or wait for it."""
        closed = self._done.get()
        self._bytes -= self._under_way.pop(closed)
        error = closed.exception()
        if error is not None:
            self._failed.append(error)
        elif (entry := closed.result()) is not None:
            self._ended.append(entry)

    def _write_down(self, most: int = _ENTRIES) -> None:
        """Write down what has ended, if it is more than so many entries, or many rows, or one failed."""
        rows = sum(entry.rows + entry.left_out for entry in self._ended)
        if len(self._ended) > most or rows >= _ROWS or self._failed:
            entries, self._ended = self._ended, []
            self._tell(entries)
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
                if not issubclass(kind, Exception):  # Ctrl-C, which does not wait for a network that is gone
                    hurry()
                with contextlib.suppress(Exception):  # the first error is the one to tell
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
