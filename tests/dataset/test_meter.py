"""The number of finished bytes, reported while rows are processed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle
from data_sets import PIECES, stop

from sentstream.dataset import prepare, score_plan, small_files
from sentstream.dataset.formats import api


@pytest.fixture(name="bundle", scope="module")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_bundle(tmp_path_factory.mktemp("bundle") / "tiny", labels=("negative", "positive")))


def rows(count: int) -> pa.Table:
    return pa.table({"text": [f"so good {row}" for row in range(count)]})


def byte_progress(source: Path, output: Path, bundle: str, **options: Any) -> list[tuple[int, int]]:
    """Return the reported byte progress."""
    seen: list[tuple[int, int]] = []
    with prepare([str(source)], output=f"{output}/", model=bundle, batch_rows=100, **options) as planned:
        score_plan(planned, on_bytes=lambda done, total: seen.append((done, total)))
    return seen


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_progress_grows_across_files(tmp_path: Path, bundle: str, kind: str) -> None:
    (tmp_path / "in").mkdir()
    size = 0
    for name, count in (("a", 50), ("b", 20_000), ("c", 30_000)):
        path = tmp_path / "in" / f"{name}.{kind}"
        if kind == "csv":
            pacsv.write_csv(rows(count), path)
        else:
            pq.write_table(rows(count), path, row_group_size=1000)
        size += path.stat().st_size
    seen = byte_progress(tmp_path / "in", tmp_path / "out", bundle)
    assert {total for _, total in seen} == {size}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (size, size)
    if kind == "parquet":  # not only where files end; those of CSV are so small that they go together
        assert len({done for done, _ in seen}) > 4


def test_earlier_progress_is_excluded(tmp_path: Path, bundle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PIECES.items():
        monkeypatch.setattr(api, name, value)
    (tmp_path / "in").mkdir()
    pq.write_table(rows(400), tmp_path / "in" / "a.parquet", row_group_size=20)
    stop(tmp_path / "in", tmp_path / "out", bundle, 200)
    seen = byte_progress(tmp_path / "in", tmp_path / "out", bundle, resume=True)
    assert 0 < seen[-1][1] < (tmp_path / "in" / "a.parquet").stat().st_size * 0.8
    assert seen[-1][0] == seen[-1][1]


def test_skipped_file_counts_as_done(tmp_path: Path, bundle: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text('text\n"never closed')
    pacsv.write_csv(rows(9000), tmp_path / "in" / "b.csv")
    with prepare(
        [str(tmp_path / "in")], output=f"{tmp_path / 'out'}/", model=bundle, on_error="skip"
    ) as planned:
        seen: list[tuple[int, int]] = []
        report = score_plan(planned, on_bytes=lambda done, total: seen.append((done, total)))
    assert len(report.skipped) == 1
    assert seen[-1][0] == seen[-1][1]


def test_text_formats_report_while_reading(
    tmp_path: Path, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_files, "SMALL_BYTES", 0)
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        pacsv.write_csv(rows(20_000), tmp_path / "in" / f"{name}.csv")
    seen = byte_progress(tmp_path / "in", tmp_path / "out", bundle)
    done_bytes = [done for done, _ in seen]
    assert done_bytes == sorted(done_bytes)
    assert done_bytes[-1] == seen[-1][1]
