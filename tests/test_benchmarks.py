"""The history and the tables of benchmarks; and that the command works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.figures import Figure
from benchmarks.history import append, changes, read
from benchmarks.table import FELL, table

ROOT = Path(__file__).resolve().parents[1]


def figure(value: float, *, low: float | None = None, high: float | None = None, more: bool = True) -> Figure:
    low, high = value if low is None else low, value if high is None else high
    return Figure("keras", "ours ÷ Keras", value, low, high, "ratio", 4.0, more, 80_000.0, 8_000.0)


def run_of(one: Figure, **other: Any) -> dict[str, Any]:
    kept = {"machine": "m", "quick": False, "data": True, "commit": "abc", "figures": {one.name: one.kept()}}
    return {**kept, **other}


def test_truncated_line_does_not_lose_the_others(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    append(path, {"figures": {}, "commit": "ä"})
    path.write_text(path.read_text("utf-8") + '{"figures": {', encoding="utf-8")
    append(path, {"commit": "b"})
    assert [one["commit"] for one in read(path)] == ["ä", "b"]
    assert read(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("now", "more", "worse"),
    [
        (figure(9.0, low=8.8, high=9.2), True, True),
        (figure(9.9, low=9.0, high=10.1), True, False),
        (figure(11.0, low=10.9, high=11.1), True, False),
        (figure(11.0, low=10.9, high=11.1, more=False), False, True),
    ],
    ids=["below the spread", "within it", "better", "more is worse"],
)
def test_regressions_beyond_the_spread_are_marked(now: Figure, more: bool, worse: bool) -> None:
    before = figure(10.0, low=9.8, high=10.2, more=more)
    found = changes([run_of(before)], run_of(now), [now])
    assert found["keras"].worse is worse
    assert (FELL in list(table([now], found))[-1]) is worse


@pytest.mark.parametrize("other", [{"machine": "another"}, {"quick": True}, {"data": False}])
def test_only_runs_of_the_same_kind_are_compared(other: dict[str, Any]) -> None:
    now = figure(1.0)
    assert changes([run_of(figure(10.0), **other)], run_of(now), [now]) == {}


def test_table_marks_missed_targets() -> None:
    lines = list(table([figure(3.0, low=2.5, high=3.5), figure(5.0)], {}))
    assert lines[2] == (
        "| ours ÷ Keras | 80,000 rows/s | 8,000 rows/s | **3.00** | 2.50 – 3.50 | ≥ 4.00 missed |  |"
    )
    assert "missed" not in lines[3]


@pytest.mark.slow
def test_quick_run() -> None:
    command = [sys.executable, "benchmarks/run.py", "--quick", "--only", "threads", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found["figures"]) == {"threads"}
    assert 0.3 < found["figures"]["threads"]["value"] < 4
