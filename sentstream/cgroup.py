"""CPU and memory limits of a container or service: Linux control groups, version 1 and 2.

The limits of this process's group and of all its ancestors apply. Inside a container, its own group is
usually the topmost visible one; a service that systemd limits is in a group further down.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
#: Without a limit, version 1 reports the largest possible number, rounded down to a page.
_NO_LIMIT = 2**60


def cpu_quota(root: Path = ROOT, own: Path = OWN) -> float | None:
    """The CPU time limit in CPUs, such as 0.5; None if there is none.

    Args:
        root: The mount point of the control groups.
        own: The file that lists this process's groups.
    """
    quotas = []
    for group in _groups("cpu", root, own):
        text = _read(group / "cpu.max") or " ".join(
            _read(group / f"cpu.cfs_{part}_us") for part in ("quota", "period")
        )
        with contextlib.suppress(ValueError):  # "max" means no quota
            quota, period = map(int, text.split())
            if quota > 0 and period > 0:  # in version 1, -1 means no quota
                quotas.append(quota / period)
    return min(quotas, default=None)


def memory_limit(root: Path = ROOT, own: Path = OWN) -> int | None:
    """The memory limit in bytes; None if there is none.

    Args:
        root: The mount point of the control groups.
        own: The file that lists this process's groups.
    """
    limits = []
    for group in _groups("memory", root, own):
        with contextlib.suppress(ValueError):
            limit = int(_read(group / "memory.max") or _read(group / "memory.limit_in_bytes"))
            if limit < _NO_LIMIT:
                limits.append(limit)
    return min(limits, default=None)


def _groups(controller: str, root: Path, own: Path) -> Iterator[Path]:
    """The directories of this process's groups and their ancestors, for both versions."""
    paths: dict[str, str] = {}
    for line in _read(own).splitlines():  # 4:cpu,cpuacct:/docker/0a1b, or 0::/user.slice in version 2
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        paths.update(dict.fromkeys(names.split(","), path))
    for name, top in (("", root), (controller, root / controller)):
        own_group = PurePosixPath(paths.get(name, "/"))
        for group in (own_group, *own_group.parents):
            yield top / str(group).lstrip("/")


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
