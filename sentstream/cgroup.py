"""What a container or a service may use: the limits of Linux control groups, version 1 and 2.

The group of this process counts, and each around it. Inside a container its own group is usually the
topmost that can be seen; where systemd limits a service, it is one further down.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
#: Version 1 writes the largest number it knows, rounded down to a page, where there is no limit.
_NO_LIMIT = 2**60


def cpu_quota(root: Path = ROOT, own: Path = OWN) -> float | None:
    """CPUs whose time this process may take, such as 0.5, or None without a limit.

    Args:
        root: Where control groups are mounted.
        own: The list of groups that this process is in.
    """
    quotas = []
    for group in _groups("cpu", root, own):
        text = _read(group / "cpu.max") or " ".join(
            _read(group / f"cpu.cfs_{part}_us") for part in ("quota", "period")
        )
        with contextlib.suppress(ValueError):  # "max" is no number: no quota
            quota, period = map(int, text.split())
            if quota > 0 and period > 0:  # version 1 says -1 for none
                quotas.append(quota / period)
    return min(quotas, default=None)


def memory_limit(root: Path = ROOT, own: Path = OWN) -> int | None:
    """Bytes of memory that this process may take, or None without a limit.

    Args:
        root: Where control groups are mounted.
        own: The list of groups that this process is in.
    """
    limits = []
    for group in _groups("memory", root, own):
        with contextlib.suppress(ValueError):
            limit = int(_read(group / "memory.max") or _read(group / "memory.limit_in_bytes"))
            if limit < _NO_LIMIT:
                limits.append(limit)
    return min(limits, default=None)


def _groups(controller: str, root: Path, own: Path) -> Iterator[Path]:
    """The directories of this process's groups and of those around them, of either version."""
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
