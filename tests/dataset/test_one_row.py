"""One row of a file, by its position."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentstream.cli import main
from sentstream.dataset.one_row import read_text
from sentstream.errors import ColumnNotFoundError, UsageError

TEXTS = [f"text {row}" if row % 7 else None for row in range(1_000)]


@pytest.fixture(name="files")
def _files(tmp_path: Path) -> list[Path]:
    """The same rows in formats that know how many they are, and in one that does not."""
    table = pa.table({"text": pa.array(TEXTS, pa.string()), "id": range(1_000)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=90)
    lines = [json.dumps({"text": text, "id": row}) for row, text in enumerate(TEXTS)]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), "utf-8")
    return [tmp_path / "a.parquet", tmp_path / "a.jsonl"]


@pytest.mark.parametrize("row", [0, 1, 89, 90, 637, 999])
def test_row_is_found_in_its_row_group(row: int, files: list[Path]) -> None:
    assert [read_text(str(file), row) for file in files] == [TEXTS[row]] * 2


def test_missing_row(files: list[Path], tmp_path: Path) -> None:
    for file in files:
        with pytest.raises(UsageError, match="has no row 1,000: it has 1,000"):
            read_text(str(file), 1_000)
        with pytest.raises(ColumnNotFoundError, match="no column 'tweet'"):
            read_text(str(file), 0, "tweet")
    with pytest.raises(UsageError, match="is 2 files"):
        read_text(str(tmp_path), 0)


def test_row_is_explained(files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", str(files[0]), "--row", "90", "--row", "0", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["tweets"]
    assert (first["text"], second["label"]) == (TEXTS[90], None)
    assert main(["explain", str(files[0]), "x", "--row", "1"]) == 2
    assert "--row needs exactly one file" in capsys.readouterr().err
