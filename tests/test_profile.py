"""The stage table: a thread's stages add up to its time, and nothing is measured unless requested."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentstream.cli import main
from sentstream.dataset import prepare, score_plan
from sentstream.profile import MAIN, READ, STAGES, WAITS, WRITE, Profile
from sentstream.session import usable_cpus


@pytest.fixture
def tweets(tmp_path: Path) -> Path:
    path = tmp_path / "tweets.parquet"
    texts = [f"such a good day number {row}" if row % 7 else None for row in range(9000)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=4000)
    return path


@pytest.mark.parametrize("threads", sorted({1, min(2, usable_cpus())}))
def test_stages_add_up_to_the_thread_time(tweets: Path, threads: int) -> None:
    with prepare([str(tweets)], threads=threads, batch_rows=1000) as plan:
        report = score_plan(plan, profile=True)
    found = report.profile
    assert found is not None
    assert set(found["threads"]) == {MAIN} | {f"sentstream_{n}" for n in range(threads) if threads > 1}
    for one in found["threads"].values():
        assert sum(one["wall"].values()) == pytest.approx(found["seconds"], rel=0.02, abs=0.01)
        assert all(seconds >= 0 for seconds in one["wall"].values())
    assert list(found["stages"]) == [name for name in (*STAGES, *WAITS) if name in found["stages"]]
    assert set(STAGES) <= set(found["stages"])
    assert sum(one["share"] for one in found["stages"].values()) == pytest.approx(1, abs=1e-4)
    assert sum(one["cpu_seconds"] for one in found["stages"].values()) <= found["cpu_seconds"] + 0.05
    with_text = sum(1 for row in range(9000) if row % 7)
    batches = found["batches"]
    assert 0 < batches["rows"] < with_text  # to this model all of them read alike
    assert batches["rows"] + batches["repeated"] == with_text
    assert sum(one["rows"] for one in batches["lengths"]) == batches["rows"]
    assert 0 < found["batches"]["fill"] <= 1


def test_no_profile_by_default(tweets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentstream.dataset.run.Profile", None)
    with prepare([str(tweets)]) as plan:
        report = score_plan(plan)
    assert report.profile is None
    assert "profile" not in report.to_dict()


def test_profile_during_a_run_is_an_error() -> None:
    with pytest.raises(ValueError, match="not over"):
        Profile().to_dict(1)


@pytest.mark.parametrize("threads", ["1", "2"])
def test_score_prints_the_profile(tweets: Path, threads: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(tweets), "--profile", "--threads", threads]) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = shown.err.splitlines()
    head = next(line for line in lines if line.startswith("stage"))
    assert ("worker 2, s" in head) == (min(int(threads), usable_cpus()) == 2)
    for stage in (READ, WRITE, "infer", "tokenize"):
        assert any(line.startswith(stage) for line in lines)
    assert main(["score", str(tweets), "--profile", "--json", "--overwrite"]) == 0
    assert set(json.loads(capsys.readouterr().out)["profile"]) == {
        "seconds",
        "cpu_seconds",
        "elsewhere",
        "stages",
        "threads",
        "batches",
    }
