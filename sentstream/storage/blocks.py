"""A block cache for remote files, so that nothing is fetched twice.

Parquet readers jump to the footer, to page headers and from column to column, with a handle for each.
Whatever they ask for, the file is fetched in blocks; sequential reads use longer requests, each sent while
the last one's data is processed. Fetched blocks are in an unnamed temporary file that all handles share:
memory holds only pending requests.
"""

from __future__ import annotations

import io
import os
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import IO, Any, TypeAlias

from sentstream.errors import InputError

#: Returns the bytes from the first offset up to, not including, the second.
Fetch: TypeAlias = Callable[[int, int], bytes]

BLOCK = 1 << 20
#: Maximum number of blocks per request.
MOST_AT_ONCE = 8
#: Maximum number of blocks kept per file: a large row group, which readers go through column by column.
MOST_KEPT = 1024
#: Number of files kept after their last handle is closed, since they are soon opened again; and of files that
#: were prefetched and are not open yet, since each of many threads prefetches its next one.
_FILES, _AWAITED = 4, 64


class Blocks:
    """The blocks of one file, for any number of handles and threads.

    Args:
        name: The file's name in messages.
        size: Its size in bytes.
        fetch: Fetches bytes; called in other threads.
        most: Maximum number of blocks to keep.
    """

    def __init__(self, name: str, size: int, fetch: Fetch, *, limit: int = MOST_KEPT) -> None:
        self._name, self._size, self._fetch = name, size, fetch
        self._count = -(-size // BLOCK)
        self._most = limit
        self._lock = threading.Lock()
        self._file: IO[bytes] | None = None
        #: The position of each block in the temporary file, least recently read first.
        self._slots: OrderedDict[int, int] = OrderedDict()
        self._coming: dict[int, Future[None]] = {}
        #: For each block, the length in blocks of the request for it.
        self._lengths: dict[int, int] = {}
        self._closed = False
        self.handles = 0
        #: Whether it was prefetched and not opened since.
        self.is_awaited = False

    def read(self, offset: int, size: int) -> bytes:
        """Read some bytes; fewer at the end of the file.

        Raises:
            SentstreamError: From ``fetch``; or there is no disk space for a copy.
        """
        stop = min(offset + size, self._size)
        parts = []
        while offset < stop:
            block, within = divmod(offset, BLOCK)
            part = self._read(block, within, min(stop - offset, BLOCK - within))
            parts.append(part)
            offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def prefetch(self) -> None:
        """Start fetching what readers need first: the end, with the footer, and the beginning."""
        with self._lock:
            for block, length in ((self._count - 1, 1), (0, MOST_AT_ONCE)):
                if block >= 0 and not self._is_here(block):
                    self._request(block, length)

    def close(self) -> None:
        """Drop all blocks."""
        with self._lock:
            self._closed = True
            self._slots.clear()
            if self._file is not None:
                self._file.close()
                self._file = None

    def _is_here(self, block: int) -> bool:
        return block in self._slots or block in self._coming

    def _read(self, block: int, within: int, size: int) -> bytes:
        while True:
            with self._lock:
                slot = self._slots.get(block)
                if slot is None and block not in self._coming:
                    # For sequential reads, each request is twice as long as the last.
                    self._request(block, 2 * self._lengths[block - 1] if self._is_here(block - 1) else 1)
                self._read_ahead(block)
                if slot is not None:
                    assert self._file is not None
                    self._slots.move_to_end(block)
                    self._file.seek(slot * BLOCK + within)
                    return self._file.read(size)
                coming = self._coming[block]
            coming.result()  # signal handlers can run meanwhile

    def _read_ahead(self, block: int) -> None:
        """In sequential reads, send the next request as soon as the last one's data is read."""
        length = self._lengths.get(block, 1)
        if length == 1:
            return
        after = block + 1
        while after <= block + length and self._is_here(after):
            after += 1
        if after <= block + length and after < self._count:
            self._request(after, 2 * length)

    def _request(self, first: int, length: int) -> None:
        """Fetch blocks in another thread, up to the next one that is already here."""
        stop = first + 1
        while stop < min(first + min(length, MOST_AT_ONCE), self._count) and not self._is_here(stop):
            stop += 1
        done: Future[None] = Future()
        for block in range(first, stop):
            self._coming[block] = done
            self._lengths[block] = min(length, MOST_AT_ONCE)
        threading.Thread(target=self._load, args=(first, stop, done), name="fetch", daemon=True).start()

    def _load(self, first: int, stop: int, done: Future[None]) -> None:
        error: BaseException | None = None
        try:
            data = memoryview(self._fetch(first * BLOCK, min(stop * BLOCK, self._size)))
            with self._lock:
                for block in range(first, stop if not self._closed else first):
                    self._keep(block, data[(block - first) * BLOCK :][:BLOCK])
        except BaseException as caught:
            error = caught
        with self._lock:
            for block in range(first, stop):
                del self._coming[block]
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def _keep(self, block: int, data: memoryview) -> None:
        """Write a block to the temporary file, if necessary over the least recently read one."""
        while True:
            if len(self._slots) < self._most:
                slot = len(self._slots)
            else:
                _, slot = self._slots.popitem(last=False)
            try:
                if self._file is None:
                    self._file = tempfile.TemporaryFile(prefix=".sentstream-", buffering=0)  # noqa: SIM115
                    weakref.finalize(self, self._file.close)
                self._file.seek(slot * BLOCK)
                _write_all(self._file, data)
            except OSError as error:
                if slot < 2 * MOST_AT_ONCE:  # the minimum to work with
                    raise InputError(
                        f"{self._name} cannot be fetched to {tempfile.gettempdir()}:"
                        f" {error.strerror or error}",
                        hint="set TMPDIR to a directory with enough space",
                    ) from error
                self._most = len(self._slots)
                continue
            self._slots[block] = slot
            return


def _write_all(file: IO[bytes], data: memoryview) -> None:
    """Write all data: a raw file may accept less per call."""
    while data:
        data = data[file.write(data) :]


class Handle(io.RawIOBase):
    """A seekable file that is read through the block cache.

    Args:
        blocks: The file's blocks.
        size: Its size in bytes.
        on_close: Called when the handle is closed.
    """

    def __init__(self, blocks: Blocks, size: int, on_close: Callable[[], None]) -> None:
        super().__init__()
        self._blocks, self._size, self._on_close = blocks, size, on_close
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise OSError(22, "Invalid argument")
        self._at = start + offset
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            size = max(0, self._size - self._at)
        data = self._blocks.read(self._at, size)
        self._at += len(data)
        return data

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return self.read()

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._on_close()


class BlockStore:
    """The block caches of all files of this process.

    Args:
        files: Number of files to keep after their last handle is closed.
    """

    def __init__(self, files: int = _FILES) -> None:
        self._most = files
        self._lock = threading.Lock()
        self._files: OrderedDict[Hashable, Blocks] = OrderedDict()

    def open(self, identity: Hashable, name: str, size: int, fetch: Fetch) -> Handle:
        """Open a handle at the first byte of a file; handles with the same identity share blocks."""
        blocks = self._get(identity, name, size, fetch, 1)
        return Handle(blocks, size, lambda: self._release_blocks(blocks))

    def prefetch(self, identity: Hashable, name: str, size: int, fetch: Fetch) -> None:
        """Start fetching what readers of a file need first."""
        self._get(identity, name, size, fetch, 0).prefetch()

    def _get(self, identity: Hashable, name: str, size: int, fetch: Fetch, handles: int) -> Blocks:
        with self._lock:
            blocks = self._files.get(identity)
            if blocks is None:
                blocks = self._files[identity] = Blocks(name, size, fetch)
            self._files.move_to_end(identity)
            blocks.handles += handles
            blocks.is_awaited = not blocks.handles
        self._trim()
        return blocks

    def _release_blocks(self, blocks: Blocks) -> None:
        with self._lock:
            blocks.handles -= 1
        self._trim()

    def _trim(self) -> None:
        with self._lock:
            unused: tuple[list[Hashable], list[Hashable]] = [], []
            for identity, blocks in self._files.items():
                if not blocks.handles:
                    unused[blocks.is_awaited].append(identity)
            gone = [
                self._files.pop(identity)
                for some, most in zip(unused, (self._most, _AWAITED), strict=True)
                for identity in some[: max(0, len(some) - most)]
            ]
        for blocks in gone:
            blocks.close()


#: The cache of this process.
BLOCKS = BlockStore()
