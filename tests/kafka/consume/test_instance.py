"""Instances of a group on one machine have different names, and keep them across restarts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest

from sentstream.kafka.consume.instance import claimed_name

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such locks")


@pytest.fixture(name="state", autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    return tmp_path / "state" / "sentstream"


def once(cluster: str = "here:9092", group: str = "sentstream") -> str:
    with claimed_name(cluster, group) as name:
        return name


def test_restart_reuses_its_name(state: Path) -> None:
    assert once() == once()
    assert [path.stat().st_mode & 0o777 for path in state.iterdir()] == [0o600]
    assert state.stat().st_mode & 0o777 == 0o700


def test_name_is_a_valid_kafka_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: f"böse maschine.{'x' * 80}")
    assert re.fullmatch(r"b-se-maschine-x{26}-[0-9a-f]{12}", once())


def test_concurrent_instances_keep_different_names() -> None:
    with ExitStack() as stack:
        first = [stack.enter_context(claimed_name("here:9092", "g")) for _ in range(3)]
        assert len(set(first)) == 3
    with ExitStack() as stack:
        assert [stack.enter_context(claimed_name("here:9092", "g")) for _ in range(3)] == first


def test_lowest_free_name_is_used() -> None:
    with claimed_name("here:9092", "g") as first:
        with claimed_name("here:9092", "g") as second, claimed_name("here:9092", "g"):
            pass
        assert once(group="g") == second != first


def test_names_are_per_cluster_and_group() -> None:
    names = {once(), once(group="other"), once(cluster="there:9092"), once("a", "bc"), once("ab", "c")}
    assert len(names) == 5


def test_killed_instance_frees_its_name(state: Path) -> None:
    script = (
        "import os\nfrom sentstream.kafka.consume.instance import claimed_name\n"
        "with claimed_name('here:9092', 'g') as name:\n print(name, flush=True)\n os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == -9
    assert done.stdout.strip() == once(group="g")


@pytest.mark.parametrize("content", [b"", b"half-a-na", b"\xff\xfe"])
def test_incomplete_name_file_is_replaced(state: Path, content: bytes) -> None:
    name = once()
    (path,) = state.iterdir()
    path.write_bytes(content)
    assert once() == once() != name
    assert path.read_bytes().endswith(b"\n")


def test_unwritable_home_is_tolerated(state: Path, tmp_path: Path) -> None:
    state.parent.parent.mkdir(exist_ok=True)
    state.parent.write_text("a file where the directory should be")
    assert once() == once()
    (directory,) = (tmp_path / "tmp").iterdir()
    assert directory.name == f"sentstream-{os.getuid()}"
    assert directory.stat().st_mode & 0o777 == 0o700


def test_without_a_directory_names_are_temporary(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.parent.write_text("a file")
    monkeypatch.setattr(tempfile, "tempdir", str(state.parent))
    assert once() != once()


def test_full_disk_gives_a_temporary_name() -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        assert once() != once()
    assert once() == once()


def test_foreign_link_is_not_followed(state: Path, tmp_path: Path) -> None:
    once()
    (path,) = state.iterdir()
    precious = tmp_path / "precious"
    precious.write_text("precious")
    path.unlink()
    path.symlink_to(precious)
    once()
    assert precious.read_text() == "precious"
