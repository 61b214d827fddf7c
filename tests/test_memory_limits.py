"""Too little memory or address space: its own error class and code, and no more reserved than needed."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle

from sentstream import Model
from sentstream.bundle import load_bundle
from sentstream.cli import main
from sentstream.dataset.formats.parquet.opening import translating_errors
from sentstream.errors import BundleGraphError, OutOfMemoryError, SentstreamError, is_out_of_memory

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(name="bundle")
def _bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "tiny")


def test_loading_a_bundle_takes_bounded_memory() -> None:
    load_bundle("tweets-small")  # imports take some, too
    tracemalloc.start()
    try:
        size = load_bundle("tweets-small").size
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * size


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is one of Linux")
@pytest.mark.parametrize("limit", [2_000_000, 3_000_000, 4_000_000])  # KiB, as `ulimit -v` takes them
def test_too_little_address_space_is_reported(tmp_path: Path, limit: int) -> None:
    """Whether it is enough depends on the machine: libraries reserve some for each of its CPUs."""
    pq.write_table(pa.table({"text": ["I love it", None]}), tmp_path / "in.parquet")
    words = [
        "score",
        tmp_path / "in.parquet",
        "--model",
        "tweets-small",
        "--output",
        tmp_path / "out.parquet",
    ]
    run = subprocess.run(
        ["sh", "-c", f'ulimit -v {limit} && exec "$@"', "sh", sys.executable, "-m", "sentstream", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert run.returncode in (0, OutOfMemoryError.exit_code), run.stderr
    assert (tmp_path / "out.parquet").exists() == (run.returncode == 0)


@pytest.mark.parametrize(
    ("error", "lack"),
    [
        (MemoryError(), True),
        (pa.ArrowMemoryError("malloc of size 42 failed"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer"), True),
        (RuntimeError("can't start new thread"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (ImportError("mtrand.so: failed to map segment from shared object"), True),
        (ImportError("mtrand.so: failed to map segment from shared object: Operation not permitted"), False),
        (ValueError("no text"), False),
        (SentstreamError("a column named 'out of memory'"), False),
        (None, False),
    ],
)
def test_which_errors_mean_out_of_memory(error: BaseException | None, lack: bool) -> None:
    assert is_out_of_memory(error) is lack


def test_out_of_memory_has_a_hint() -> None:
    error = OutOfMemoryError("too little")
    assert isinstance(error, MemoryError)
    assert "--batch-rows" in str(error)


def test_file_too_large_for_memory_is_not_called_corrupt() -> None:
    with pytest.raises(OutOfMemoryError, match=r"in\.parquet cannot be read: not enough memory"):  # noqa: SIM117
        with translating_errors("in.parquet"):
            raise pa.ArrowMemoryError("malloc of size 42 failed")


def test_out_of_memory_in_a_run(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model.load(bundle, threads=1)

    def lacks(feed: Any) -> Any:
        raise RuntimeError("Non-zero status code: std::bad_alloc")

    monkeypatch.setattr(model.session, "_run", lacks)
    with pytest.raises(OutOfMemoryError, match="ONNX Runtime does not have enough memory for"):
        model.score(["I love it", "bad day"])


def test_broken_graph_is_still_broken(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no such operator")

    monkeypatch.setattr("sentstream.session.create", fails)
    with pytest.raises(BundleGraphError):
        Model.load(bundle, provider="cpu")


def test_out_of_memory_elsewhere(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def lacks(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("sentstream.bundle.load_bundle", lacks)
    assert main(["models", "show", "tweets"]) == 41
    err = capsys.readouterr().err
    assert err.startswith("sentstream: error: out of memory: MemoryError (raise the limit")
    assert err.count("\n") == 1
