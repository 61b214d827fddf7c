"""The GPU benchmark, as far as it works without a GPU."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cuda_tools import Pretended

from benchmarks import cuda
from benchmarks.contenders import Files
from benchmarks.machine import machine
from sentstream.cuda.driver import Driver

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/tweets.parquet"


def test_missing_gpu_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cuda, "driver", lambda: Driver(0, "there is no NVIDIA driver"))
    assert cuda.main(["--quick"]) == 1
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "nothing to measure: there is no NVIDIA driver\n")


def test_single_contender() -> None:
    given = ["tweets-small", EXAMPLE, "300", "cpu", "64", "0"]
    command = [sys.executable, "-m", "benchmarks.cuda", "--inference", *map(str, given)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(run.stdout)
    assert found["rows"] == 300
    assert found["rows_per_second"] > 0
    assert found["placement"] == ""


def test_on_a_device(pretended: Pretended) -> None:
    found = cuda.inference("tweets-small", EXAMPLE, 300, "cuda", 64, 1)
    assert found["rows"] == 300
    assert "nodes on the CPU" in found["placement"]
    assert pretended.options[0]["device_id"] == "1"


def test_commands_match_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Files, "tweets", lambda self, rows: tmp_path / f"{rows}.parquet")
    commands = cuda.contenders(Files(tmp_path), "tweets", 1, 10)
    assert {name for one in cuda.comparisons("tweets") for name in (one.ours, one.theirs)} <= commands.keys()
    assert commands["score-cuda"][-4:] == ["--provider", "cuda", "--device", "1"]
    assert "--device" not in commands["score-cpu"]
    assert commands["inference-cuda-1024"][-2:] == ["1024", "1"]


def test_report_and_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "history.jsonl"
    speeds = {"cpu": 1e5, "cuda": 2e6}
    placement = "30 nodes on CUDA, 5 nodes on the CPU (shapes only)"

    def measured(command: list[str], *_: Any) -> dict[str, Any]:
        kind = "cuda" if "cuda" in command else "cpu"
        return {"rows_per_second": speeds[kind], "peak_mb": 500, "placement": placement}

    monkeypatch.setattr(cuda, "driver", lambda: Driver(1, None, ("NVIDIA Something",)))
    monkeypatch.setattr(cuda, "run", measured)
    monkeypatch.setattr(Files, "tweets", lambda self, rows: tmp_path / f"{rows}.parquet")
    assert cuda.main(["--history", str(path), "--rounds", "2"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("NVIDIA Something compared with ")
    assert placement in printed
    assert re.search(
        r"\| Parquet to Parquet: CUDA ÷ CPU \| 2,000,000 rows/s \| 100,000 rows/s \| \*\*20\.00", printed
    )
    (kept,) = map(json.loads, path.read_text("utf-8").splitlines())
    assert kept["machine"] == {**machine(), "gpu": "NVIDIA Something"}
    assert set(kept["figures"]) == {one.name for one in cuda.comparisons("tweets")}
