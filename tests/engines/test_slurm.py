"""The Slurm array of examples/cluster: its tasks together write what one process writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentstream.cli import main

SCRIPT = Path(__file__).resolve().parents[2] / "examples/cluster/slurm/score.sh"


def submit(number: int, count: int, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a task of an array as Slurm does."""
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "SLURM_ARRAY_TASK_ID": str(number),
        "SLURM_ARRAY_TASK_MIN": "1",
        "SLURM_ARRAY_TASK_MAX": str(count),
        "SLURM_ARRAY_TASK_COUNT": str(count),
        "SLURM_CPUS_PER_TASK": "1",
        **more,
    }
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.slow
def test_array_job(tmp_path: Path) -> None:
    source, options = tmp_path / "in", ("--model", "tweets-small", "--provider", "cpu")
    source.mkdir()
    for number in range(5):
        pq.write_table(pa.table({"text": [f"good {number}", "bad", None]}), source / f"{number}.parquet")
    assert main(["score", str(source), "-o", f"{tmp_path / 'one'}/", *options]) == 0
    for number in (3, 1, 2, 2):
        run = submit(number, 3, str(source), str(tmp_path / "many"), *options)
        assert run.returncode == 0, run.stderr
    one, many = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "one", tmp_path / "many")
    )
    assert one == many


def test_array_job_with_gaps(tmp_path: Path) -> None:
    run = submit(1, 3, str(tmp_path), str(tmp_path / "out"), SLURM_ARRAY_TASK_COUNT="2")
    assert run.returncode == 2
    assert "without gaps" in run.stderr
