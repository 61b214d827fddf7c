"""The peak memory of a command, whoever runs it: Linux counts a parent's memory as its child's peak."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

#: Runs the command as the child of a small process, and prints its exit code and its peak in bytes.
_WATCH = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


def peak_memory(command: Sequence[str]) -> int:
    """Run a command to its end.

    Args:
        command: The command; it must succeed.

    Returns:
        Its peak resident size in bytes.
    """
    run = subprocess.run(
        [sys.executable, "-S", "-E", "-c", _WATCH, *command], capture_output=True, text=True, check=True
    )
    code, peak = map(int, run.stdout.split())
    assert code == 0, run.stderr
    return peak
