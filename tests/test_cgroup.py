"""Control groups: which limits of a container or service are found, in trees as Linux has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from sentstream.cgroup import cpu_quota, memory_limit

NONE_V1 = "9223372036854771712"
MIB = 2**20

Tree = Callable[[Mapping[str, str]], tuple[Path, Path]]


@pytest.fixture(name="tree")
def _tree(tmp_path: Path) -> Tree:
    """A file system of control groups; ``own`` is this process's list of its groups."""

    def build(files: Mapping[str, str]) -> tuple[Path, Path]:
        root = tmp_path / "cgroup"
        root.mkdir()
        for name, text in files.items():
            path = tmp_path / "own" if name == "own" else root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
        return root, tmp_path / "own"

    return build


class TestVersion2:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("50000 100000", 0.5),
            ("100000 100000", 1.0),
            ("350000 100000", 3.5),
            ("max 100000", None),
            ("", None),
            ("nonsense", None),
            ("1 2 3", None),
            ("100000 0", None),
            ("0 100000", None),
        ],
    )
    def test_container_quota(self, tree: Tree, text: str, expected: float | None) -> None:
        assert cpu_quota(*tree({"own": "0::/", "cpu.max": text})) == expected

    @pytest.mark.parametrize(("text", "expected"), [("536870912", 512 * MIB), ("max", None), ("", None)])
    def test_container_memory(self, tree: Tree, text: str, expected: int | None) -> None:
        assert memory_limit(*tree({"own": "0::/", "memory.max": text})) == expected

    def test_service_is_limited_by_its_group_and_its_parents(self, tree: Tree) -> None:
        place = tree(
            {
                "own": "0::/system.slice/tweets.service/worker",
                "system.slice/cpu.max": "400000 100000",
                "system.slice/memory.max": str(900 * MIB),
                "system.slice/tweets.service/cpu.max": "150000 100000",
                "system.slice/tweets.service/memory.max": "max",
                "system.slice/tweets.service/worker/cpu.max": "max 100000",
                "system.slice/other.service/cpu.max": "1000 100000",
            }
        )
        assert cpu_quota(*place) == 1.5
        assert memory_limit(*place) == 900 * MIB

    def test_group_outside_the_mount(self, tree: Tree) -> None:
        """In its own namespace, a process may have been moved out of the topmost visible group."""
        assert cpu_quota(*tree({"own": "0::/../elsewhere", "cpu.max": "50000 100000"})) == 0.5


class TestVersion1:
    def test_container(self, tree: Tree) -> None:
        """Its own group is mounted as the topmost; the list still has the name that it has outside."""
        place = tree(
            {
                "own": "4:memory:/docker/0a1b\n3:cpu,cpuacct:/docker/0a1b\n1:name=systemd:/docker/0a1b",
                "cpu/cpu.cfs_quota_us": "50000",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": str(256 * MIB),
            }
        )
        assert cpu_quota(*place) == 0.5
        assert memory_limit(*place) == 256 * MIB

    def test_nested_group(self, tree: Tree) -> None:
        place = tree(
            {
                "own": "2:memory:/jobs/7\n1:cpu:/jobs/7",
                "cpu/cpu.cfs_quota_us": "-1",
                "cpu/cpu.cfs_period_us": "100000",
                "cpu/jobs/7/cpu.cfs_quota_us": "250000",
                "cpu/jobs/7/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": NONE_V1,
                "memory/jobs/memory.limit_in_bytes": str(2 * MIB),
                "memory/jobs/7/memory.limit_in_bytes": str(3 * MIB),
            }
        )
        assert cpu_quota(*place) == 2.5
        assert memory_limit(*place) == 2 * MIB

    def test_without_limits(self, tree: Tree) -> None:
        place = tree(
            {
                "own": "2:memory:/\n1:cpu:/\n0::/",
                "cpu/cpu.cfs_quota_us": "-1",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": NONE_V1,
                "unified/cgroup.procs": "1",
            }
        )
        assert cpu_quota(*place) is None
        assert memory_limit(*place) is None


class TestNoControlGroups:
    def test_missing_directory(self, tmp_path: Path) -> None:
        nowhere = tmp_path / "sys", tmp_path / "proc"
        assert cpu_quota(*nowhere) is None
        assert memory_limit(*nowhere) is None

    def test_invalid_group_list(self, tree: Tree) -> None:
        assert cpu_quota(*tree({"own": "what\n\n:::\n9", "cpu.max": "200000 100000"})) == 2

    def test_this_machine(self) -> None:
        quota, limit = cpu_quota(), memory_limit()
        assert quota is None or quota > 0
        assert limit is None or limit > 0
