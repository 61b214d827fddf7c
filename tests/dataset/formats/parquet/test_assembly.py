"""Parts are merged into one file, and the same rows give the same bytes."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from typing import BinaryIO

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentstream.dataset.formats.parquet import writer as module
from sentstream.dataset.formats.parquet.assembly import Assembly
from sentstream.dataset.formats.parquet.settings import ParquetSettings
from sentstream.dataset.formats.parquet.thrift import read_struct, write_struct
from sentstream.dataset.formats.parquet.writer import Writer

ROWS = pa.table(
    {
        "id": range(240),
        "text": [None if row % 7 == 0 else "é" * (row % 50) for row in range(240)],
        "list": [[str(row)] * (row % 4) for row in range(240)],
        "struct": [{"x": row / 3, "y": row % 2 == 0} for row in range(240)],
        "map": pa.array([[("k", row)] for row in range(240)], pa.map_(pa.string(), pa.int64())),
        "pair": pa.array([[row, None] for row in range(240)], pa.list_(pa.int16(), 2)),
    }
).replace_schema_metadata({"who": "a test"})


def assemble(parts: Sequence[BinaryIO], out: BinaryIO) -> None:
    assembly = Assembly(out)
    for part in parts:
        assembly.add(part)
    assembly.close()


def parquet(table: pa.Table, group: int = 100, **options: object) -> io.BytesIO:
    out = io.BytesIO()
    with pq.ParquetWriter(out, table.schema, write_page_checksum=True, **options) as writer:
        if len(table):
            writer.write_table(table, row_group_size=group)
    return out


class TestAssembly:
    @settings(deadline=None, max_examples=30)
    @given(st.lists(st.integers(0, 240), max_size=5), st.sampled_from([40, 100, 1000]), st.booleans())
    def test_any_parts_assemble_to_the_whole(self, cuts: list[int], group: int, page_index: bool) -> None:
        edges = [0, *sorted(cuts), 240]
        parts = [
            parquet(ROWS.slice(start, stop - start), group, write_page_index=page_index)
            for start, stop in itertools.pairwise(edges)
        ]
        out = io.BytesIO()
        assemble(parts, out)
        table = pq.read_table(out, page_checksum_verification=True)
        assert table.equals(pq.read_table(parquet(ROWS)), check_metadata=True)
        about = pq.read_metadata(out)
        assert about.num_row_groups == sum(pq.read_metadata(part).num_row_groups for part in parts)

    def test_other_readers_agree(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        path = tmp_path_factory.mktemp("out") / "whole.parquet"
        with path.open("wb") as out:
            assemble([parquet(ROWS.slice(at, 80)) for at in (0, 80, 160)], out)
        wanted = sum(range(151, 240))
        assert duckdb.sql(f"SELECT sum(id) FROM '{path}' WHERE id > 150").fetchall() == [(wanted,)]
        columns = pl.scan_parquet(path).filter(pl.col("id") > 150).select(pl.col("id").sum())
        assert columns.collect().item() == wanted

    @pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1\xff\xff\xff\x7fPAR1", b"PAR1\1\0\0\0\0\0\0\0PAR1"])
    def test_invalid_part(self, data: bytes) -> None:
        with pytest.raises(ValueError, match=r"Parquet|Thrift"):
            assemble([io.BytesIO(data)], io.BytesIO())


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_footer_round_trip(data: bytes) -> None:
    try:
        fields = read_struct(data)
    except ValueError:
        return
    again = write_struct(fields)
    assert read_struct(again) == fields


class TestSameBytes:
    def written(self, batches: Sequence[pa.RecordBatch], rows: int) -> bytes:
        out = io.BytesIO()
        with Writer(out, ROWS.schema, settings=ParquetSettings(rows)) as writer:
            for batch in batches:
                writer.write(batch)
        return out.getvalue()

    @settings(deadline=None, max_examples=30)
    @given(st.lists(st.integers(0, 240), max_size=9), st.sampled_from([70, 100, 10_000]), st.data())
    def test_same_bytes_for_any_split(self, cuts: list[int], rows: int, data: st.DataObject) -> None:
        size = data.draw(st.sampled_from([600, 3000, 1 << 20]))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "GROUP_BYTES", size)
            edges = [0, *sorted(cuts), 240]
            (whole,) = ROWS.combine_chunks().to_batches()
            parts = [whole.slice(start, stop - start) for start, stop in itertools.pairwise(edges)]
            written = self.written(parts, rows)
            assert written == self.written([whole], rows)
        assert pq.read_table(io.BytesIO(written)).to_pylist() == ROWS.to_pylist()
        groups = pq.read_metadata(io.BytesIO(written)).num_row_groups
        assert (groups == 1) == (size == 1 << 20 and rows == 10_000)
