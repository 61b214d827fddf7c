"""``--row-group-rows`` and ``--compression``."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle

from sentstream.dataset import prepare, score_plan
from sentstream.dataset.formats.parquet.settings import CODECS, parquet_settings
from sentstream.dataset.formats.parquet.writer import Writer
from sentstream.errors import UsageError

TABLE = pa.table({"id": range(1000), "text": [f"tweet {number}" for number in range(1000)]})


def written(rows: int | None, compression: str | None) -> io.BytesIO:
    out = io.BytesIO()
    with Writer(out, TABLE.schema, settings=parquet_settings(rows, compression)) as writer:
        for batch in TABLE.to_batches(77):
            writer.write(batch)
    return out


@pytest.mark.parametrize("codec", [*CODECS, "zstd:22", "gzip:9", "brotli:0", "ZSTD:3"])
def test_codecs(codec: str) -> None:
    out = written(300, codec)
    metadata = pq.read_metadata(out)
    assert [metadata.row_group(group).num_rows for group in range(4)] == [300, 300, 300, 100]
    name = codec.partition(":")[0].upper().replace("NONE", "UNCOMPRESSED")
    assert metadata.row_group(0).column(1).compression == name
    assert pq.read_table(out).equals(TABLE)


def test_compression_levels_matter() -> None:
    assert len(written(None, "zstd:19").getvalue()) < len(written(None, "none").getvalue())
    assert written(None, None).getvalue() == written(131_072, "zstd:1").getvalue()


@pytest.mark.parametrize("wrong", ["lzo", "", "zstd:", "zstd:99", "zstd:-1", "snappy:1", "none:1", "gzip:x"])
def test_invalid_settings(wrong: str) -> None:
    with pytest.raises(UsageError):
        parquet_settings(None, wrong)


def test_small_files_use_the_settings(tmp_path: Path) -> None:
    """These are scored together."""
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        pq.write_table(TABLE, tmp_path / "in" / f"{name}.parquet")
    bundle = str(make_bundle(tmp_path / "tiny"))
    settings: dict[str, Any] = {"row_group_rows": 300, "compression": "snappy"}
    with prepare([str(tmp_path / "in")], model=bundle, provider="cpu", **settings) as plan:
        score_plan(plan)
    for name in ("a", "b"):
        metadata = pq.read_metadata(tmp_path / "in.scored" / f"{name}.parquet")
        assert metadata.num_row_groups == 4
        assert metadata.row_group(0).column(0).compression == "SNAPPY"


def test_settings_need_parquet_output(tmp_path: Path) -> None:
    source, target = tmp_path / "a.parquet", tmp_path / "a.csv"
    pq.write_table(TABLE, source)
    options: dict[str, Any] = {
        "model": str(make_bundle(tmp_path / "tiny")),
        "provider": "cpu",
        "compression": "snappy",
    }
    with (
        pytest.raises(UsageError, match="apply only to Parquet"),
        prepare([str(source)], output=str(target), **options),
    ):
        pass
