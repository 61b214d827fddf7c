"""Count how often files are opened, by Python or C++, as the kernel reports it (inotify(7))."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

_OPEN, _IS_DIRECTORY, _OVERFLOW = 0x20, 0x40000000, 0x4000
_HEAD = struct.Struct("iIII")


@contextlib.contextmanager
def counted_opens(directory: Path) -> Iterator[Counter[str]]:
    """Count the opens of each file of a directory, by name, until the block ends."""
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux tells who opens a file")
    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert handle >= 0, os.strerror(ctypes.get_errno())
    counts: Counter[str] = Counter()
    try:
        watch = libc.inotify_add_watch(handle, os.fsencode(directory), _OPEN)
        assert watch >= 0, os.strerror(ctypes.get_errno())
        yield counts
        with contextlib.suppress(BlockingIOError):
            while True:
                _count(os.read(handle, 1 << 16), counts)
    finally:
        os.close(handle)


def _count(data: bytes, counts: Counter[str]) -> None:
    offset = 0
    while offset < len(data):
        _, mask, _, length = _HEAD.unpack_from(data, offset)
        offset += _HEAD.size
        assert not mask & _OVERFLOW, "more was opened than the system keeps count of"
        if not mask & _IS_DIRECTORY:
            counts[os.fsdecode(data[offset : offset + length].rstrip(b"\0"))] += 1
        offset += length
