"""Local files that appear and disappear while they are listed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sentstream.errors import InputNotFoundError
from sentstream.storage.local import LocalStorage


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a", "b", "c", "below/d", "other/e"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def test_files_removed_meanwhile_are_skipped(tree: Path) -> None:
    """In a directory where drafts and leases come and go."""
    walk = LocalStorage().walk(str(tree), hidden=True)
    assert next(walk)[0] == "a"
    (tree / "b").unlink()
    shutil.rmtree(tree / "below")
    assert [name for name, _ in walk] == ["c", "other/e"]


def test_removed_input_is_reported(tree: Path) -> None:
    walk = LocalStorage().walk(str(tree))
    assert next(walk)[0] == "a"
    (tree / "b").unlink()
    with pytest.raises(InputNotFoundError, match="b"):
        list(walk)
