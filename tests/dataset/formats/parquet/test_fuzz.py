"""Corrupt Parquet: an error that says where, or correct rows. Never a crash, a hang or shifted rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from bundles import make_bundle
from effort import LONG

ROOT = Path(__file__).resolve().parents[2]
ERRORS = {"InputFormatError", "InputError", "ColumnNotFoundError", "ColumnTypeError", "ColumnClashError"}


def fuzz(folder: Path, step: int, codec: str, version: str, checksums: bool) -> Counter[str]:
    """Return the outcomes of the copies, from a separate process, because a copy may crash it."""
    bundle = make_bundle(folder / "tiny")
    worker = Path(__file__).with_name("fuzz_worker.py")
    run = subprocess.run(
        [
            sys.executable,
            str(worker),
            str(bundle),
            str(folder),
            str(step),
            codec,
            version,
            str(int(checksums)),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "train")])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    at = (folder / "at").read_text() if (folder / "at").exists() else "the start"
    assert run.returncode == 0, f"ended with {run.returncode} at {at}: {run.stderr[-2000:]}"
    result = json.loads(run.stdout)
    found = Counter[str](result["found"])
    assert not found["shift"], result["examples"]["shift"]
    assert not found["count"], result["examples"]["count"]
    return found


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_page_checksums_detect_every_wrong_byte(tmp_path: Path, codec: str) -> None:
    found = fuzz(tmp_path, 131, codec, "1.0", True)
    assert found.keys() <= {*ERRORS, "same", "schema"}
    assert found["InputFormatError"] > found["same"]


def test_without_checksums_rows_do_not_shift(tmp_path: Path) -> None:
    found = fuzz(tmp_path, 131, "snappy", "2.0", False)
    assert found.keys() <= {*ERRORS, "same", "schema", "values", "broken UTF-8 in a column that nobody reads"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("codec", "version", "checksums"),
    [("none", "1.0", True), ("zstd", "2.0", True), ("none", "1.0", False), ("gzip", "2.0", False)],
)
def test_many_bytes(tmp_path: Path, codec: str, version: str, checksums: bool) -> None:
    found = fuzz(tmp_path, 7 if LONG else 41, codec, version, checksums)
    allowed = {*ERRORS, "same", "schema"}
    if not checksums:
        allowed |= {"values", "broken UTF-8 in a column that nobody reads"}
    assert found.keys() <= allowed
