"""A disk of a few blocks that can fill up and be enlarged."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """A file system in memory.

    Attributes:
        path: Where it is mounted.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def resize(self, size: int) -> None:
        """Change its size in bytes."""
        subprocess.run(["mount", "-o", f"remount,size={size}", self.path], check=True)

    @property
    def free(self) -> int:
        """Number of free bytes."""
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize


@contextmanager
def small_disk(path: Path, size: int) -> Iterator[SmallDisk]:
    """Mount one, which needs root; otherwise the test is skipped, or fails with ``CI=true``."""
    path.mkdir()
    reason = "" if shutil.which("mount") else "there is no mount"
    if not reason:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path],
            capture_output=True,
            text=True,
            check=False,
        )
        reason = done.stderr.strip()
    if reason:
        if os.environ.get("CI") == "true":
            pytest.fail(f"no small disk: {reason}", pytrace=False)
        pytest.skip(f"no small disk, which only root may mount: {reason}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
