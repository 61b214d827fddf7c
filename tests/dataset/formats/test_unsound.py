"""Damaged or mislabeled files: a one-line error that says where and what to do."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import itertools
import lzma
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.ipc
import pyarrow.orc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentstream.dataset import open_source, read_piece
from sentstream.dataset.formats.api import Format
from sentstream.dataset.formats.csv import blocks as module
from sentstream.dataset.formats.csv.blocks import blocks
from sentstream.errors import InputFormatError, SentstreamError
from sentstream.storage.local import local_file
from sentstream.storage.stream import Stream

TABLE = pa.table({"id": [str(row) for row in range(5000)], "text": ["hi"] * 5000})
ROWS = b"id,text\n" + b"".join(b"%d,hi\n" % row for row in range(100_000))


def read(path: Path, format: Format | None = None) -> pa.Table:
    source = open_source(local_file(path), format)
    batches = itertools.chain.from_iterable(read_piece(piece, None, 1000) for piece in source.pieces())
    return pa.Table.from_batches(list(batches), source.schema)


def ipc() -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=1000)
    return sink.getvalue().to_pybytes()


def ipc_stream() -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=1000)
    return sink.getvalue().to_pybytes()


def orc() -> bytes:
    sink = pa.BufferOutputStream()
    pyarrow.orc.write_table(TABLE, sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.csv", b"", "a.csv is empty"),
        ("a.jsonl", b"", "a.jsonl is empty"),
        ("a.orc", b"", "a.orc is empty"),
        ("a.csv", b"\n\n", "no header line with column names.*id,text"),
        ("a.csv", b"id,text\n1,a\n2\n3,c\n", "a.csv, line 3: 1 field, but the header has 2"),
        ("a.csv", b'id,text\n"a\nb",x\n\n2\n3,c\n', "a.csv, line 5: 1 field,"),
        ("a.csv", ROWS + b"1,2,3\n" + ROWS, "a.csv, line 100,002: 3 fields"),
        ("a.csv", ROWS * 5 + b"1,2,3\n" + ROWS, "a.csv, line 500,006: 3 fields"),
        ("a.csv", b"id,text\n1,a\n2,\xe4h\n", "line 3 is not UTF-8: byte 0xe4 at byte 14 .*iconv"),
        (
            "a.csv",
            ROWS * 5 + b"1,\xe4\n",
            f"line 500,006 is not UTF-8: byte 0xe4 at byte {len(ROWS) * 5 + 2:,} ",
        ),
        ("a.csv", b'id,text\n1,a\n2,"abc\n3,b\n', "line 3: a quote is never closed"),
        ("a.csv", b'id,text\n1,5" pipe\n2,"abc', "line 3: a quote is never closed"),
        ("a.csv", "id,text\n".encode("utf-16"), "not UTF-8: it starts like UTF-16 .*iconv -f UTF-16"),
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\noid\n", "Git LFS .*git lfs pull"),
        ("a.csv", b"<!DOCTYPE html><html>", "is an HTML page, not CSV"),
        ("a.csv", lzma.compress(ROWS), "compressed with xz"),
        ("a.csv.gz", gzip.compress(ROWS)[:-9], "is truncated.*fetch or write it again"),
        ("a.csv.gz", gzip.compress(ROWS) + b"garbage", "is corrupt, or not all of it is gzip"),
        ("a.csv.bz2", bz2.compress(ROWS)[:-9], "is truncated"),
        ("a.txt", b"hello\nworld\n", "is text whose format cannot be detected .*--format csv"),
        ("a.bin", bytes(range(256)), "not in a supported format"),
        ("a.parquet", ROWS, "is CSV, not Parquet .*--format csv"),
        ("a.parquet", b'{"text":"a"}\n', "is JSON, not Parquet .*--format jsonl"),
        ("a.orc", b"hello\nworld\n", "is text, not ORC"),
        ("a.parquet.gz", gzip.compress(b"PAR1" + bytes(99)), "Parquet, compressed as a whole with gzip"),
        ("a.jsonl", b'[{"text":"a"}]', "is a JSON array.*jq -c"),
        ("a.jsonl", b'{"text":"a"}\n{"text":\n', "line 2 is not JSON: expecting value at character 9"),
        ("a.jsonl", b'{"text":"a"}\n\n"a"\n', "line 3 is text, not a JSON object"),
        ("a.jsonl", b'{"text":"a"} {"text":"b"}\n', "line 1: extra data after the object"),
        ("a.jsonl", b'{"text":"a"}{"x":{}\n}\n', "line 1: extra data after the object"),
        ("a.jsonl", b'{"text":"a"}\n{"text":"\xe4"}\n', "line 2 is not UTF-8: byte 0xe4"),
        ("a.jsonl", b'{"text":"a"}\n{"text":5}\n', "line 2: field 'text' holds a number"),
        ("a.json", b'{\n "text":"a"\n}\n', "line 1 is not JSON.*one object on many lines"),
        ("a.arrow", ipc()[:-100], "cannot be read as an Arrow IPC file"),
        ("a.arrows", ipc_stream()[:-20_000], "record batch [0-9]: ?.*|cannot be read as an Arrow IPC stream"),
        ("a.orc", orc()[:-10], "cannot be read as ORC"),
    ],
    ids=itertools.count(),
)
def test_errors_name_file_and_reason(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputFormatError, match=message) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "data", "format", "message"),
    [
        ("a.csv", ROWS, "parquet", "is CSV, not Parquet .*leave --format out"),
        ("a.csv", ROWS, "arrow", "is CSV, not an Arrow IPC file"),
        ("a.csv", ROWS, "arrow-stream", "is CSV, not an Arrow IPC stream"),
        ("a.orc", orc(), "csv", "is ORC, not CSV .*--format orc"),
        ("a.arrow", ipc(), "arrow-stream", "is an Arrow IPC file, not an Arrow IPC stream"),
        ("a.csv", ROWS, "jsonl", "line 1 is not JSON"),
    ],
    ids=itertools.count(),
)
def test_wrong_format(tmp_path: Path, name: str, data: bytes, format: Format, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputFormatError, match=message):
        read(tmp_path / name, format)


@given(index=st.integers(0, 10_000), byte=st.integers(0, 255), kind=st.sampled_from(["arrow", "arrows"]))
@settings(max_examples=200, deadline=None)
def test_flipped_byte_in_arrow(
    tmp_path_factory: pytest.TempPathFactory, index: int, byte: int, kind: str
) -> None:
    """An error, or as many rows as there are: never a crash."""
    data = bytearray(ipc() if kind == "arrow" else ipc_stream())
    data[index * len(data) // 10_001] = byte
    path = tmp_path_factory.getbasetemp() / f"flipped.{kind}"
    path.write_bytes(data)
    with contextlib.suppress(SentstreamError):
        read(path)


class TestCsvBlocks:
    """Cut anywhere, the rows are those of the whole."""

    @given(
        parts=st.lists(
            st.sampled_from(['"', '""', ",", "\n", "\r\n", "a", "b c", '"a"', '"x,y"', '"l\nm"', '5" ', "é"]),
            max_size=40,
        ),
        size=st.integers(1, 20),
    )
    @settings(max_examples=600, deadline=None)
    def test_blocks_match_pyarrow(self, parts: list[str], size: int) -> None:
        data = "".join(parts).encode()
        patched = pytest.MonkeyPatch()
        patched.setattr(module, "BLOCK_BYTES", size)
        try:
            found = [block.data for block in blocks(io.BytesIO(data), ",", "a.csv")]
        except InputFormatError:  # quotes that nothing closes
            return
        finally:
            patched.undo()
        assert b"".join(found) == data
        assert [row for block in found for row in _rows(block)] == _rows(data)


def _rows(data: bytes) -> list[str]:
    """Return the fields of the CSV rows, which may have any number of fields."""
    rows: list[str] = []

    def keep(row: pacsv.InvalidRow) -> str:
        rows.append(row.text)
        return "skip"

    if not data.strip(b"\r\n"):
        return rows
    options = pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=keep)
    # No row has as many columns, so the handler sees them all.
    pacsv.read_csv(
        pa.BufferReader(data),
        read_options=pacsv.ReadOptions(use_threads=False, column_names=[str(n) for n in range(99)]),
        parse_options=options,
    )
    return [row.rstrip("\r\n") for row in rows]


class TestStream:
    def test_beginning_can_be_reread(self) -> None:
        stream = Stream(io.BytesIO(b"abcdef"), "standard input")
        with stream.open() as first:
            assert first.read(3) == b"abc"
        with stream.open() as second:
            assert second.read() == b"abcdef"

    def test_beginning_cannot_be_reread_later(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sentstream.storage.stream.KEPT_BYTES", 10)
        stream = Stream(io.BytesIO(bytes(100_000)), "standard input")
        with stream.open() as first:
            assert len(first.read()) == 100_000
        with pytest.raises(SentstreamError, match="can be read only once"):
            stream.open()
