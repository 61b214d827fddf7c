"""The Parquet reader: order, batch sizes, memory, and inconsistent footers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sentstream.dataset import Piece, open_source, read_piece
from sentstream.errors import InputError, InputFormatError, InputNotFoundError
from sentstream.storage.local import local_file

ROOT = Path(__file__).resolve().parents[2]


def write(path: Path, table: pa.Table, group: int = 1 << 20, **options: object) -> Path:
    pq.write_table(table, path, row_group_size=group, **options)
    return path


def numbered(rows: int) -> pa.Table:
    return pa.table({"id": pa.array(range(rows)), "text": [f"tweet {row}" for row in range(rows)]})


def read(path: Path, batch_rows: int, columns: list[str] | None = None) -> list[pa.RecordBatch]:
    return [
        batch
        for piece in open_source(local_file(path)).pieces()
        for batch in read_piece(piece, columns, batch_rows)
    ]


class TestOrderAndSize:
    @pytest.mark.parametrize("group", [1, 7, 100, 1000])
    @pytest.mark.parametrize("batch_rows", [1, 9, 64, 5000])
    def test_rows_are_in_order_and_batches_bounded(self, tmp_path: Path, group: int, batch_rows: int) -> None:
        batches = read(write(tmp_path / "a.parquet", numbered(500), group), batch_rows)
        assert [row for batch in batches for row in batch["id"].to_pylist()] == list(range(500))
        assert max(map(len, batches)) <= batch_rows

    @pytest.mark.parametrize("rows", [1, 2, 300, 1024, 1025])
    @pytest.mark.parametrize("other", [None, "lists", "codes"])
    def test_first_row_is_read_ahead(self, tmp_path: Path, rows: int, other: str | None) -> None:
        """The footer's column metadata decides whether the first row can be inspected."""
        table = numbered(rows)
        if other == "lists":
            table = table.append_column("other", pa.array([[row, None] for row in range(rows)]))
        if other == "codes":
            table = table.append_column("other", table["text"].dictionary_encode())
        path = write(tmp_path / "a.parquet", table, data_page_size=64)
        for batch_rows in (1, 100, 5000):
            batches = read(path, batch_rows)
            assert pa.Table.from_batches(batches).cast(table.schema).equals(table)
            assert len(batches) == -(-rows // batch_rows)

    def test_small_row_groups_are_combined(self, tmp_path: Path) -> None:
        batches = read(write(tmp_path / "a.parquet", numbered(500), 5), 100)
        assert [len(batch) for batch in batches] == [100] * 5

    @pytest.mark.parametrize(
        ("rows", "batch_rows", "workers", "expected"),
        [
            (100, 33, 1, [25, 25, 25, 25]),
            (100, 33, 3, [17, 17, 17, 17, 17, 15]),
            (90, 30, 3, [30, 30, 30]),
            (60, 40, 8, [15, 15, 15, 15]),
            (60, 60, 8, [60]),
            (1, 60, 8, [1]),
        ],
    )
    def test_large_row_groups_are_split_evenly(
        self, tmp_path: Path, rows: int, batch_rows: int, workers: int, expected: list[int]
    ) -> None:
        path = write(tmp_path / "a.parquet", numbered(rows), rows)
        batches = list(read_piece(Piece(local_file(path), 0, 1), None, batch_rows, workers))
        assert [len(batch) for batch in batches] == expected
        assert [row for batch in batches for row in batch["id"].to_pylist()] == list(range(rows))

    def test_large_rows_make_small_batches(self, tmp_path: Path) -> None:
        table = pa.table({"text": [f"{row}" + "y" * 1_000_000 for row in range(64)]})
        path = write(tmp_path / "a.parquet", table, use_dictionary=False, compression="zstd")
        batches = read(path, 1000)
        assert max(batch.nbytes for batch in batches) < 20_000_000
        assert sum(map(len, batches)) == 64

    def test_piece_has_its_row_groups(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.parquet", numbered(50), 10)
        rows = [
            row
            for batch in read_piece(Piece(local_file(path), 1, 3), None, 100)
            for row in batch["id"].to_pylist()
        ]
        assert rows == list(range(10, 30))

    def test_no_rows_and_no_row_groups(self, tmp_path: Path) -> None:
        empty = write(tmp_path / "a.parquet", numbered(0))
        assert sum(map(len, read(empty, 10))) == 0
        with pq.ParquetWriter(tmp_path / "b.parquet", numbered(0).schema):
            pass
        source = open_source(local_file(tmp_path / "b.parquet"))
        assert source.rows == ()
        assert read(tmp_path / "b.parquet", 10) == []

    def test_only_needed_columns_are_read(self, tmp_path: Path) -> None:
        (batch,) = read(write(tmp_path / "a.parquet", numbered(5)), 10, ["text"])
        assert batch.schema.names == ["text"]


class TestDictionaries:
    def test_narrow_dictionary_keeps_row_groups_apart(self, tmp_path: Path) -> None:
        kind = pa.dictionary(pa.int8(), pa.string())
        with pq.ParquetWriter(tmp_path / "a.parquet", pa.schema([("text", kind)])) as writer:
            for group in range(3):
                values = pa.array([f"{group} {row}" for row in range(100)]).dictionary_encode().cast(kind)
                writer.write_table(pa.table({"text": values}))
        (piece,) = open_source(local_file(tmp_path / "a.parquet")).pieces()
        assert [(run.first, run.stop) for run in piece.runs()] == [(0, 1), (1, 2), (2, 3)]
        texts = [text for batch in read(tmp_path / "a.parquet", 30) for text in batch["text"].to_pylist()]
        assert texts == [f"{group} {row}" for group in range(3) for row in range(100)]

    def test_nested_narrow_dictionary_is_detected(self, tmp_path: Path) -> None:
        kind = pa.list_(pa.struct([("a", pa.dictionary(pa.int16(), pa.string()))]))
        table = pa.table({"text": ["a", "b"], "deep": pa.array([[{"a": "x"}], None], kind)})
        (piece,) = open_source(local_file(write(tmp_path / "a.parquet", table, 1))).pieces()
        assert len(piece.runs()) == 2

    def test_wide_dictionary_does_not(self, tmp_path: Path) -> None:
        table = pa.table({"text": pa.array(["a", "b"] * 10).dictionary_encode()})
        (piece,) = open_source(local_file(write(tmp_path / "a.parquet", table, 5))).pieces()
        assert piece.runs() == [piece]


class TestUntrustedStatistics:
    """Some writers get them wrong: polars before 1.45, pyarrow before 5, parquet-mr, arrow-go and others."""

    @pytest.mark.parametrize("wrong", [0, 7, 9, 63, -1, -64])
    @pytest.mark.parametrize("version", ["1.0", "2.0"])
    def test_null_counts(self, tmp_path: Path, wrong: int, version: Any) -> None:
        texts = [None if row % 8 == 7 else f"t{row:03}" for row in range(64)]
        path = write(tmp_path / "a.parquet", pa.table({"text": texts}), data_page_version=version)
        patch_footer(path, null_count(8), null_count(wrong))
        assert pq.read_metadata(path).row_group(0).column(0).statistics.null_count == wrong
        (batch,) = read(path, 64)
        assert batch["text"].to_pylist() == texts

    def test_minimum_and_maximum(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.parquet", numbered(20))
        patch_footer(path, b"tweet 9", b"aaaaaa!")
        patch_footer(path, b"tweet 0", b"zzzzzz!")
        assert pq.read_metadata(path).row_group(0).column(1).statistics.max == "aaaaaa!"
        (batch,) = read(path, 64)
        assert batch["text"].to_pylist() == [f"tweet {row}" for row in range(20)]

    def test_polars_statistics(self, tmp_path: Path) -> None:
        texts = [None if row % 3 == 0 else f"tweet {row}" for row in range(60_000)]
        pl.DataFrame({"text": texts}).write_parquet(
            tmp_path / "a.parquet", row_group_size=60_000, data_page_size=8_000
        )
        assert [
            text for batch in read(tmp_path / "a.parquet", 9000) for text in batch["text"].to_pylist()
        ] == texts

    def test_polars_1_44_statistics(self) -> None:
        path = ROOT.parent / "shared/cases/files/01_polars_1_44_2.parquet"
        if not path.exists():
            pytest.skip("the file is not here")
        about = pq.read_metadata(path)
        expected = pq.ParquetFile(path).read()
        found = pa.Table.from_batches(read(path, 1000))
        assert found.equals(expected)
        statistics = [about.row_group(0).column(index).statistics for index in range(about.num_columns)]
        nulls = [column.null_count for column in expected.columns]
        assert any(one.null_count != count for one, count in zip(statistics, nulls, strict=True))


def null_count(count: int) -> bytes:
    """The first field of the statistics where they begin with it, in Thrift's compact protocol."""
    zigzag = (count << 1) ^ (count >> 63)
    return bytes([0x36, zigzag])


def patch_footer(path: Path, old: bytes, new: bytes) -> None:
    """Replace bytes in a file's footer, of which there are as many."""
    data = path.read_bytes()
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    assert old in data[start:]
    path.write_bytes(data[:start] + data[start:].replace(old, new))


class TestUnreadable:
    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(InputNotFoundError, match="nope"):
            open_source(local_file(tmp_path / "nope.parquet"))

    def test_directory(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="is not a regular file"):
            open_source(local_file(tmp_path))

    def test_pipe(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InputError, match="from the end"):
            open_source(local_file(tmp_path / "pipe"))

    @pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1PAR1", b"id,text\n1,hi\n" * 100, b"\0" * 4096])
    def test_not_parquet(self, tmp_path: Path, data: bytes) -> None:
        path = tmp_path / "a.parquet"
        path.write_bytes(data)
        with pytest.raises(InputFormatError, match=r"a\.parquet") as caught:
            open_source(local_file(path))
        assert caught.value.exit_code == 11
        assert "\n" not in str(caught.value)

    def test_truncated_file(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.parquet", numbered(500))
        path.write_bytes(path.read_bytes()[:-10])
        with pytest.raises(InputFormatError):
            open_source(local_file(path))

    def test_flipped_byte_error_names_file_and_row_group(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.parquet", numbered(500), 100, write_page_checksum=True, compression="none")
        data = bytearray(path.read_bytes())
        data[data.index(b"tweet 250")] ^= 1
        path.write_bytes(data)
        with pytest.raises(InputFormatError, match=r"a\.parquet, row group 2 .*CRC") as caught:
            read(path, 64)
        assert caught.value.hint

    def test_file_shrinks_while_being_read(self, tmp_path: Path) -> None:
        path = write(
            tmp_path / "a.parquet", numbered(300_000), 1000, compression="none", use_dictionary=False
        )
        batches = read_piece(open_source(local_file(path)).pieces()[0], None, 1000)
        assert len(next(batches)) == 1000
        with path.open("r+b") as file:
            file.truncate(100_000)
        with pytest.raises(InputError, match="shrank from"):
            list(batches)

    def test_dictionary_indices_out_of_range(self, tmp_path: Path) -> None:
        table = pa.table({"text": pa.array([f"v{row % 4}" for row in range(64)]).dictionary_encode()})
        path = write(tmp_path / "a.parquet", table, compression="none")
        data = bytearray(path.read_bytes())
        packed = bytes([0b11100100]) * 8  # the indices 0, 1, 2, 3, in two bits each
        place = data.index(packed)
        data[data.index(b"v3") - 4] = 0xFF  # the last value's length: it cannot be read
        assert place
        path.write_bytes(data)
        with pytest.raises(InputFormatError):
            read(path, 64)
