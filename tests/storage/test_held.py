"""Small files whose bytes are kept in memory."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from sentstream.errors import InputError
from sentstream.storage.held import HELD_BYTES, HeldFile, HeldFiles, hold
from sentstream.storage.local import LocalFile, local_file


def _file(folder: Path, name: str, size: int) -> LocalFile:
    path = folder / name
    path.write_bytes(b"x" * size)
    return local_file(path)


def test_small_file_is_kept_as_found(tmp_path: Path) -> None:
    file = _file(tmp_path, "a", 10)
    held = hold(file)
    assert isinstance(held, HeldFile)
    assert (held.name, held.size, held.tag, held.path) == (file.name, file.size, file.tag, file.path)
    os.unlink(file.location)
    assert held.open().read() == b"x" * 10
    with pytest.raises(InputError, match="disappeared"):
        held.check()


@pytest.mark.parametrize("size", [0, HELD_BYTES + 1])
def test_large_files_are_not_kept(tmp_path: Path, size: int) -> None:
    file = _file(tmp_path, "a", size)
    assert hold(file) is file


@pytest.mark.parametrize("size", [9, 11])
def test_changed_file_is_rejected(tmp_path: Path, size: int) -> None:
    file = _file(tmp_path, "a", 10)
    _file(tmp_path, "a", size)
    with pytest.raises(InputError, match="while it was read"):
        hold(file)


def test_pickle_excludes_the_bytes(tmp_path: Path) -> None:
    file = _file(tmp_path, "a", 10)
    assert pickle.loads(pickle.dumps(hold(file))) == file
    held = HeldFiles()
    held.keep(hold(file))
    elsewhere = pickle.loads(pickle.dumps(held))
    os.unlink(file.location)
    with pytest.raises(InputError):
        elsewhere.take(file)


def test_kept_files_are_bounded(tmp_path: Path) -> None:
    held = HeldFiles(25)
    files = [_file(tmp_path, name, 10) for name in "abc"]
    kept = [hold(file) for file in files]
    for one in kept:
        held.keep(one)
    assert [held.take(file) is one for file, one in zip(files, kept, strict=True)] == [True, True, False]
    assert held.take(files[0]) is not kept[0]
    held.keep(kept[2])  # now there is room
    assert held.take(files[2]) is kept[2]
