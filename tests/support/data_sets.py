"""Complete and interrupted runs over data sets, and what they leave on disk."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sentstream.dataset import Report, prepare, score_plan
from sentstream.dataset.manifest.records import read_records

#: Settings of ``formats.api`` that split small files into pieces.
PIECES = {"SMALL_FILE": 0, "PIECE_ROWS": 40}


def run(inputs: Path, output: Path, bundle: str, **options: Any) -> Report:
    with prepare([str(inputs)], output=f"{output}/", model=bundle, **options) as plan:
        return score_plan(plan)


def tree(directory: Path) -> dict[str, bytes]:
    """Return all files of a directory, with their bytes."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def entries(output: Path) -> dict[str, str]:
    """Return the state of each output in the manifest."""
    path = output / "_sentstream" / "manifest.jsonl"
    _, found = read_records(path.read_bytes(), str(path), whole=True)
    return {entry.output: entry.state for entry in found}


def kill_loop(inputs: Path, output: Path, whole: Path, bundle: str, **settings: Any) -> int:
    """Score with many kills; return their number."""
    options = {"output": f"{output}/", "model": bundle, "resume": True, **settings.pop("options", {})}
    config = {"inputs": [str(inputs)], "options": options, "whole": str(whole), "seed": 1, **settings}
    script = Path(__file__).with_name("kill_loop.py")
    done = subprocess.run(
        [sys.executable, script, json.dumps(config)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout)["killed"])


class Stopped(Exception):
    """Raised in the middle of a run."""


def stop_at(rows: int) -> Callable[[int, int], None]:
    """Return a progress callback that stops the run after ``rows`` rows."""

    def progress(done: int, total: int) -> None:
        if done >= rows:
            raise Stopped

    return progress


def stop(inputs: Path, output: Path, bundle: str, rows: int, **options: Any) -> None:
    """Run until ``rows`` rows are done, then stop."""
    with prepare([str(inputs)], output=f"{output}/", model=bundle, **options) as plan, pytest.raises(Stopped):
        score_plan(plan, stop_at(rows))
