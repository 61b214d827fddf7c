"""Other people's files and models: what is accepted is right, and what is refused gets one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from effort import LONG

ROOT = Path(__file__).resolve().parents[1]


def table(*arguments: str) -> list[list[str]]:
    """The cells of a table of ``tools/cases.py``; skips where the cases are not at hand."""
    cases = Path(os.environ.get("SENTSTREAM_CASES", ROOT.parent / "shared" / "cases"))
    if not cases.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{cases} does not exist")
        pytest.skip(f"{cases} does not exist")
    command = [sys.executable, "tools/cases.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in done.stdout.splitlines()[2:]]


def test_real_world_csv_files() -> None:
    found = {(row[0], row[1]): row[2:] for row in table("csv")}
    assert found["official.csv", ""] == ["60", "negative 30, positive 30", "as written"]
    assert found["caps.csv", "--label-column sentiment"] == found["official.csv", ""]
    assert "12 of them nan" in found["nan_text.csv", ""][2]
    assert found["empty.csv", ""][0].startswith("refused: empty.csv is empty")
    assert len({name for name, _ in found}) >= 20


@pytest.mark.slow
@pytest.mark.skipif(not LONG, reason="some ten minutes: make test-long")
def test_tutorial_models() -> None:
    pytest.importorskip("tensorflow")
    found = {row[0]: row[2] for row in table("models")}  # of each model, what came of it in the end
    accepted = {name for name, way in found.items() if not way.startswith("refused")}
    assert {"stack_rnn_nomask.keras", "cnn_lstm.keras", "functional.keras", "tv_inside.keras"} <= accepted
    assert {
        "lambda.keras",
        "custom.keras",
        "mixed.keras",
        "logits.keras",
        "old.h5",
    } <= found.keys() - accepted
