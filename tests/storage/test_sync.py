"""A directory sync that several threads wait for."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from processes import wait_until

from sentstream.errors import OutputWriteError
from sentstream.storage import sync


def test_concurrent_syncs_share_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = 0
    begun, go_on = threading.Event(), threading.Event()

    def fsync(handle: int) -> None:
        nonlocal runs
        runs += 1
        begun.set()
        assert go_on.wait(600)

    monkeypatch.setattr(os, "fsync", fsync)
    threads = [threading.Thread(target=sync.sync_directory, args=(tmp_path,)) for _ in range(9)]
    threads[0].start()
    assert begun.wait(600)
    for thread in threads[1:]:
        thread.start()
    try:
        wait_until(lambda: sync._turns[str(tmp_path)].users == 9)
    finally:
        go_on.set()
    for thread in threads:
        thread.join()
    assert runs == 2
    assert not sync._turns


def test_each_caller_gets_its_error(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            sync.sync_directory(tmp_path / "none")
    sync.sync_directory(tmp_path)
    assert not sync._turns


def test_deferred_syncs_that_failed_are_still_due(tmp_path: Path) -> None:
    """An entry that waits for another directory must not be recorded after the first failure."""
    syncs = sync.DeferredSyncs()
    for name in "a", "b":
        syncs.add(str(tmp_path / name))
    for _ in range(2):
        with pytest.raises(OutputWriteError, match="a cannot be written"):
            syncs.sync()
    (tmp_path / "a").mkdir()
    with pytest.raises(OutputWriteError, match="b cannot be written"):
        syncs.sync()
