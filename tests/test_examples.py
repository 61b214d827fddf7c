"""The examples run, at a small size."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

from sentstream.dataset.preparation import score_files
from sentstream.drift.distribution import BINS, Distribution
from sentstream.kafka.watch.drift import Baseline, Drift
from sentstream.kafka.watch.events import Committed
from sentstream.kafka.watch.http import Server
from sentstream.kafka.watch.metrics import Metrics

ROOT = Path(__file__).resolve().parents[1]


def test_large_job(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "large_job.py", tmp_path, "--rows", "3000", "--files", "9"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made, *_, verified, agreed = done.stdout.splitlines()
    assert made.startswith("made 3,000 tweets in 9 folders: ")
    assert verified.startswith("9 outputs, 3,000 rows, ")
    assert verified.endswith("100 rows scored again: matches the manifest")
    assert agreed.startswith("DuckDB, pandas, polars agree: {'negative': ")
    assert len(list((tmp_path / "scored").glob("day=2026-09-0*/part-0.parquet"))) == 9


def ran(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """An example that was run."""
    command = [sys.executable, str(ROOT / "examples" / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


def test_rerun_of_a_scheduled_job_does_nothing(tmp_path: Path) -> None:
    day = tmp_path / "tweets" / "day=2026-09-01"
    day.mkdir(parents=True)
    shutil.copy(ROOT / "examples" / "tweets.parquet", day / "part-0.parquet")
    rows = pq.read_metadata(day / "part-0.parquet").num_rows

    def run() -> str:
        done = ran("scheduled_job.py", tmp_path, "2026-09-01")
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = run()
    (output,) = (tmp_path / "scored").rglob("part-0.parquet")
    made = output.stat().st_ino
    assert f"score: {{'rows': {rows}, 'done before': 0, " in first
    assert f"check: {{'outputs': 1, 'rows': {rows}}}" in first
    assert f"score: {{'rows': {rows}, 'done before': {rows}, " in run()
    assert output.stat().st_ino == made
    shutil.copy(day / "part-0.parquet", day / "late.parquet")
    assert f"score: {{'rows': {2 * rows}, 'done before': {rows}, " in run()
    assert "<h1>" in (tmp_path / "reports" / "2026-09-01.html").read_text("utf-8")

    with open(output, "r+b") as file:  # a disk that forgets
        file.seek(100)
        file.write(b"?" * 8)
    broken = ran("scheduled_job.py", tmp_path, "2026-09-01")
    assert broken.returncode != 0


def test_plot(tmp_path: Path) -> None:
    score_files(ROOT / "examples" / "tweets.parquet", tmp_path / "scored.parquet", provider="cpu")
    done = ran("plot.py", tmp_path / "scored.parquet", tmp_path / "plot.png")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("9 of 9 buckets (one per hour): ")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_drift_watcher() -> None:
    """With the metrics of ``consume`` for given texts."""

    def seen(good: int, bad: int) -> Distribution:
        scores = [0] * BINS
        scores[18], scores[12] = good, bad
        return Distribution({"bad": bad, "good": good}, tuple(scores), 0.9 * good + 0.6 * bad, good + bad, 0)

    metrics = Metrics({"model": "m"})
    drift = Drift(metrics.registry, 86_400.0, Baseline(seen(1_000, 1_000)))
    with Server(metrics, 0, host="127.0.0.1") as server:
        url = f"http://127.0.0.1:{server.port}/metrics"
        few = ran("watch_drift.py", url, "--times", "1")
        drift.committed(Committed({}, seen=seen(1_000, 1_000)))
        calm = ran("watch_drift.py", url, "--times", "2", "--every", "0")
        drift.committed(Committed({}, seen=seen(20_000, 0)))
        far = ran("watch_drift.py", url, "--every", "0")
    assert (few.returncode, few.stdout) == (0, "too few texts\n")
    assert calm.returncode == 0, calm.stderr
    assert calm.stdout.count("labels 0.000") == 2
    assert far.returncode == 1
    assert "drift of labels" in far.stderr
