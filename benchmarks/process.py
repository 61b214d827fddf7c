"""Run a contender as a separate process, and read its resource usage from the system."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.machine import ROOT


class ContenderFailed(Exception):
    """A contender exited with an error, or printed no JSON."""


def run(command: Sequence[str], env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run one contender in the project's folder.

    Args:
        command: A command that prints one JSON object.
        env: Environment variables for it alone.

    Returns:
        Its JSON, plus ``cpu`` (seconds) and ``peak_mb`` (peak memory of its largest process, 10⁶ bytes).

    Raises:
        ContenderFailed: With the last line of its stderr.
    """
    with tempfile.TemporaryFile() as captured:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=captured, cwd=ROOT, env={**os.environ, **(env or {})}
        )
        assert process.stdout is not None
        with process.stdout as pipe:
            output = pipe.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        captured.seek(0)
        lines = captured.read().decode("utf-8", "replace").strip().splitlines()
    if process.returncode:
        raise ContenderFailed(lines[-1] if lines else f"exit code {process.returncode}")
    try:
        figures: dict[str, Any] = json.loads(output)
    except ValueError as error:
        raise ContenderFailed(f"no JSON: {output[:100]!r}") from error
    figures["cpu"] = usage.ru_utime + usage.ru_stime
    figures["peak_mb"] = usage.ru_maxrss * 1024 / 1e6
    return figures
