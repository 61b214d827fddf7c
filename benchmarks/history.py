"""The history of benchmark runs: one line of JSON per run, and what got worse on this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure


@dataclass(frozen=True)
class Change:
    """How a figure changed since it was last kept.

    Attributes:
        before: The earlier value.
        moved: The difference, in the figure's own unit.
        worse: Whether it got worse by more than the spread of either run; never if neither has a
            spread.
        commit: The commit that was measured then.
    """

    before: float
    moved: float
    worse: bool
    commit: str


def read(path: Path) -> list[dict[str, Any]]:
    """Read the kept runs, oldest first; a truncated line is skipped."""
    runs = []
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        try:
            run = json.loads(line)
        except ValueError:
            continue
        if isinstance(run, dict):
            runs.append(run)
    return runs


def append(path: Path, run: dict[str, Any]) -> None:
    """Append a run in one write."""
    cut = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * cut + json.dumps(run, ensure_ascii=False) + "\n")


def last(runs: Sequence[dict[str, Any]], run: dict[str, Any], name: str) -> dict[str, Any] | None:
    """Return the latest comparable run that has a figure of this name."""
    alike = ("machine", "quick", "data")
    for one in reversed(runs):
        if all(one.get(key) == run[key] for key in alike) and name in one.get("figures", {}):
            entry: dict[str, Any] = one
            return entry
    return None


def changes(
    runs: Sequence[dict[str, Any]], run: dict[str, Any], figures: Sequence[Figure]
) -> dict[str, Change]:
    """Return the change of each figure that was kept before."""
    found = {}
    for figure in figures:
        before = last(runs, run, figure.name)
        if before is not None:
            found[figure.name] = change(before["figures"][figure.name], figure, before.get("commit", ""))
    return found


def change(before: dict[str, Any], now: Figure, commit: str) -> Change:
    """Return how a figure changed."""
    moved = now.value - before["value"]
    spread = max(now.high - now.low, before["high"] - before["low"])
    worse = -moved if now.more else moved
    return Change(before["value"], moved, worse > spread > 0, commit)
