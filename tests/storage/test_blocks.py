"""Block reads of a remote file give its bytes, in any order, and fetch each block once."""

from __future__ import annotations

import io
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentstream.errors import InputError
from sentstream.storage import blocks as module
from sentstream.storage.blocks import Blocks, BlockStore, Handle

SIZE = 1000
DATA = random.Random(0).randbytes(SIZE)


class Remote:
    """A file, and the ranges fetched from it."""

    def __init__(self) -> None:
        self.requests: list[tuple[int, int]] = []

    def fetch(self, start: int, stop: int) -> bytes:
        self.requests.append((start, stop))
        return DATA[start:stop]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 16)


def handle(remote: Remote, limit: int = 1024) -> Handle:
    blocks = Blocks("far.parquet", SIZE, remote.fetch, limit=limit)
    return Handle(blocks, SIZE, blocks.close)


@settings(max_examples=60, deadline=None)
@given(
    reads=st.lists(st.tuples(st.integers(0, SIZE + 20), st.integers(0, 300)), max_size=40),
    limit=st.sampled_from([16, 20, 1024]),
)
def test_reads_in_any_order(reads: list[tuple[int, int]], limit: int) -> None:
    remote = Remote()
    with handle(remote, limit) as file:
        for at, size in reads:
            file.seek(at)
            assert file.read(size) == DATA[at : at + size]
            assert file.tell() == at + len(DATA[at : at + size])
    if limit == 1024:
        fetched = [index for start, stop in remote.requests for index in range(start, stop)]
        assert len(fetched) == len(set(fetched))


def test_sequential_requests_grow() -> None:
    remote = Remote()
    with handle(remote) as file:
        assert b"".join(iter(lambda: file.read(7), b"")) == DATA
    lengths = [stop - start for start, stop in sorted(remote.requests)]
    assert lengths[:4] == [16, 32, 64, 128]
    assert max(lengths) == 8 * 16
    assert sum(lengths) == SIZE


def test_seek_fetches_only_nearby_blocks() -> None:
    remote = Remote()
    with handle(remote) as file:
        file.seek(-8, os.SEEK_END)
        assert file.read(8) == DATA[-8:]
    assert remote.requests == [(992, 1000)]


def test_many_threads() -> None:
    remote = Remote()
    with handle(remote, 16) as file:
        blocks = file._blocks

        def read(seed: int) -> bool:
            at = random.Random(seed).randrange(SIZE)
            return blocks.read(at, 50) == DATA[at : at + 50]

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(read, range(400)))


def test_failed_block_is_fetched_again() -> None:
    failing = threading.Event()
    failing.set()
    remote = Remote()

    def fetch(start: int, stop: int) -> bytes:
        if failing.is_set():
            raise InputError("far.parquet changed while it was read")
        return remote.fetch(start, stop)

    blocks = Blocks("far.parquet", SIZE, fetch)
    for _ in range(2):
        with pytest.raises(InputError, match="changed"):
            blocks.read(0, 10)
    failing.clear()
    assert blocks.read(0, 10) == DATA[:10]
    blocks.close()


def test_full_disk_caches_fewer_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_write_all", _limited(20 * 16))
    with handle(Remote()) as file:
        assert file.read() == DATA
        file.seek(0)
        assert file.read() == DATA
    monkeypatch.setattr(module, "_write_all", _limited(16))
    with (
        handle(Remote()) as file,
        pytest.raises(InputError, match=r"cannot be fetched.*No space.*TMPDIR"),
    ):
        file.read()


def _limited(room: int):  # type: ignore[no-untyped-def]
    """A file system with a limited number of bytes."""

    def write(file: io.FileIO, data: memoryview) -> None:
        if file.tell() + len(data) > room:
            raise OSError(28, os.strerror(28))
        file.write(data)

    return write


def test_handles_of_one_file_share_its_blocks() -> None:
    remote, store = Remote(), BlockStore(files=1)
    with store.open("a", "a", SIZE, remote.fetch) as one, store.open("a", "a", SIZE, remote.fetch) as two:
        assert one.read(16) == two.read(16) == DATA[:16]
    with store.open("a", "a", SIZE, remote.fetch) as again:  # closed a moment ago
        assert again.read(16) == DATA[:16]
    assert remote.requests == [(0, 16)]
    for name in ("b", "c"):
        store.open(name, name, SIZE, remote.fetch).close()
    assert list(store._files) == ["c"]


def test_prefetching() -> None:
    remote, store = Remote(), BlockStore()
    store.prefetch("a", "a", SIZE, remote.fetch)
    with store.open("a", "a", SIZE, remote.fetch) as file:
        assert file.read(100) == DATA[:100]
        file.seek(-4, os.SEEK_END)
        assert file.read(4) == DATA[-4:]
    assert {(0, 128), (992, 1000)} <= set(remote.requests)


def test_files_that_many_threads_prefetch_are_kept_until_they_are_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_AWAITED", 8)
    remotes, store = {name: Remote() for name in "abcdefgh"}, BlockStore(files=1)
    for name, remote in remotes.items():
        store.prefetch(name, name, 100, remote.fetch)
    for name, remote in remotes.items():
        with store.open(name, name, 100, remote.fetch) as file:
            assert file.read(100) == DATA[:100]
        fetched = [index for start, stop in remote.requests for index in range(start, stop)]
        assert sorted(fetched) == list(range(100))
    assert list(store._files) == ["h"]
    for name in "ijklmnopq":
        store.prefetch(name, name, 100, Remote().fetch)
    assert list(store._files) == [*"hjklmnopq"]


def test_arrow_reads_and_gets_errors() -> None:
    with handle(Remote()) as file:
        assert pa.PythonFile(file).read() == DATA

    def fetch(start: int, stop: int) -> bytes:
        raise InputError("far.parquet disappeared while it was read")

    blocks = Blocks("far.parquet", SIZE, fetch)
    with pytest.raises(InputError, match="disappeared"):
        pa.PythonFile(Handle(blocks, SIZE, blocks.close)).read()
