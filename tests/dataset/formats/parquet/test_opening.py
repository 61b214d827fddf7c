"""Errors for files that are not Parquet, or of an unreadable kind, with hints that work."""

from __future__ import annotations

import base64
import bz2
import gzip
import json
import lzma
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as encryption
import pytest

from sentstream.dataset.formats.parquet.reader import open_source, read_piece
from sentstream.errors import InputFormatError
from sentstream.storage.local import local_file

ROWS = pa.table({"id": [1, 2], "text": ["I love it, really", "two\nlines"]})


def packed(write: Callable[[Path], object], pack: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    """Write to a file, then compress it."""

    def write_packed(path: Path) -> None:
        write(path)
        path.write_bytes(pack(path.read_bytes()))

    return write_packed


def csv(path: Path) -> None:
    path.write_text(pl.DataFrame(ROWS).write_csv())


def tsv(path: Path) -> None:
    path.write_text(pl.DataFrame(ROWS).write_csv(separator="\t"))


def rows_of_json(path: Path) -> None:
    pl.DataFrame(ROWS).write_ndjson(path)


def array_of_json(path: Path) -> None:
    path.write_text(json.dumps(ROWS.to_pylist(), indent=1))


def stream(path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, ROWS.schema) as writer:
        writer.write_table(ROWS)


def feather(path: Path) -> None:
    pyarrow.feather.write_feather(ROWS, path)


def orc(path: Path) -> None:
    pyarrow.orc.write_table(ROWS, path)


def parquet(path: Path) -> None:
    pq.write_table(ROWS, path)


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, "zstd", asbytes=True))


class TestConverted:
    """The hint is a command that makes a file that can be scored."""

    @pytest.mark.parametrize(
        ("name", "write", "what"),
        [
            ("a.csv", csv, "CSV"),
            ('it\'s "quoted" $HOME.csv', csv, "CSV"),
            ("a.parquet", csv, "CSV"),
            ("a.tsv", tsv, "tab-separated text"),
            ("a.jsonl", rows_of_json, "JSON"),
            ("a.json", array_of_json, "JSON"),
            ("a.feather", feather, "an Arrow IPC"),
            ("a.arrows", stream, "an Arrow IPC stream"),
            ("a.orc", orc, "ORC"),
            ("a.csv.gz", packed(csv, gzip.compress), "CSV, compressed with gzip"),
            ("a.csv.bz2", packed(csv, bz2.compress), "CSV, compressed with bzip2"),
            ("a.csv.zst", packed(csv, zstd), "CSV, compressed with zstd"),
            ("a.json.gz", packed(array_of_json, gzip.compress), "JSON, compressed with gzip"),
            ("a.parquet.gz", packed(parquet, gzip.compress), "compressed with gzip"),
            ("a.parquet.xz", packed(parquet, lzma.compress), "compressed with xz"),
        ],
    )
    def test_hinted_command_converts_the_file(
        self, tmp_path: Path, name: str, write: Callable[[Path], object], what: str
    ) -> None:
        path = tmp_path / name
        write(path)
        with pytest.raises(InputFormatError) as caught:
            open_source(local_file(path))
        assert caught.value.message == f"{path} is {what}, not Parquet" or what.startswith("an Arrow")
        assert what in caught.value.message
        assert caught.value.hint is not None
        _, _, command = caught.value.hint.partition(" it: ")
        if not shutil.which(command.split()[0]):
            pytest.skip(f"{command.split()[0]} is not installed")
        subprocess.run(command, shell=True, check=True)
        (made,) = set(tmp_path.iterdir()) - {path}
        assert pq.read_table(made).to_pylist() == ROWS.to_pylist()

    def test_avro(self, tmp_path: Path) -> None:
        path = tmp_path / "a.avro"
        pl.DataFrame(ROWS).write_avro(path)
        with pytest.raises(InputFormatError, match="is Avro, not Parquet") as caught:
            open_source(local_file(path))
        assert caught.value.hint is not None
        exec(caught.value.hint.partition(": ")[2], {"pl": pl})
        assert pq.read_table(tmp_path / "a.parquet").to_pylist() == ROWS.to_pylist()


class TestRecognized:
    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"<!DOCTYPE html><html><body>Sign in</body>", "is an HTML page, not Parquet .*login"),
            (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "is XML, not Parquet"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", r"Git LFS .*git lfs pull"),
            (b"PK\x03\x04" + bytes(40), "Excel workbook, not Parquet"),
            (b"just some words", "is text, not Parquet"),
            (bytes(range(256)), "is not a Parquet file"),
            (b"PAR1" + bytes(100), "is truncated"),
        ],
    )
    def test_format_is_recognized(self, tmp_path: Path, data: bytes, message: str) -> None:
        (tmp_path / "a.parquet").write_bytes(data)
        with pytest.raises(InputFormatError, match=message):
            open_source(local_file(tmp_path / "a.parquet"))

    def test_standard_input_is_named(self, tmp_path: Path) -> None:
        csv(tmp_path / "stdin.parquet")
        with pytest.raises(InputFormatError, match="standard input is CSV") as caught:
            open_source(local_file(tmp_path / "stdin.parquet", "standard input"))
        assert str(tmp_path) not in str(caught.value.hint).partition(" -c ")[2]


class Keys(encryption.KmsClient):  # type: ignore[misc]
    """Keeps keys as they are."""

    def __init__(self, _: encryption.KmsConnectionConfig) -> None:
        super().__init__()

    def wrap_key(self, key: bytes, _: str) -> bytes:
        return base64.b64encode(key)

    def unwrap_key(self, key: bytes, _: str) -> bytes:
        return base64.b64decode(key)


class TestEncrypted:
    def write(self, path: Path, *, plain_footer: bool) -> Path:
        """A file whose column ``id`` is encrypted."""
        config = encryption.EncryptionConfiguration(
            footer_key="footer", column_keys={"column": ["id"]}, plaintext_footer=plain_footer
        )
        factory = encryption.CryptoFactory(Keys)
        properties = factory.file_encryption_properties(encryption.KmsConnectionConfig(), config)
        with pq.ParquetWriter(path, ROWS.schema, encryption_properties=properties) as writer:
            writer.write_table(ROWS)
        return path

    def test_encrypted_footer(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "a.parquet", plain_footer=False)
        with pytest.raises(InputFormatError, match=r"is encrypted, .*not support .decrypt it"):
            open_source(local_file(path))

    def test_encrypted_column_can_be_omitted(self, tmp_path: Path) -> None:
        (piece,) = open_source(local_file(self.write(tmp_path / "a.parquet", plain_footer=True))).pieces()
        with pytest.raises(InputFormatError, match=r"row group 0 has encrypted columns.*--columns"):
            list(read_piece(piece, None, 100))
        assert pa.Table.from_batches(read_piece(piece, ["text"], 100)) == ROWS.select(["text"])


class TestUnusualParquet:
    def test_name_that_is_not_utf_8(self, tmp_path: Path) -> None:
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.parquet"))
        try:
            path.touch()
        except OSError:
            pytest.skip("this file system knows UTF-8 names only")
        with path.open("wb") as file:
            pq.write_table(ROWS, file)
        source = open_source(local_file(path))
        assert pa.Table.from_batches(read_piece(source.pieces()[0], None, 100)) == ROWS

    def test_unknown_arrow_schema_is_ignored(self, tmp_path: Path) -> None:
        frame = pl.DataFrame({"text": ["I love it"], "i": [1]}).with_columns(pl.col("i").cast(pl.Int128))
        frame.write_parquet(tmp_path / "a.parquet")
        source = open_source(local_file(tmp_path / "a.parquet"))
        assert source.schema == pa.schema([("text", pa.string()), ("i", pa.binary(16))])
        assert not source.schema.metadata
        (batch,) = read_piece(source.pieces()[0], None, 100)
        assert batch.to_pylist() == [{"text": "I love it", "i": (1).to_bytes(16, "little")}]

    def test_map_with_nullable_keys(self, tmp_path: Path) -> None:
        """Presto and Trino declare them so (the Parquet format wants them required)."""
        path, made = tmp_path / "in.parquet", tmp_path / "out.parquet"
        table = pa.table({"text": ["a"], "m": pa.array([[]], pa.map_(pa.string(), pa.int64()))})
        pq.write_table(table, path, store_schema=False)
        data = bytearray(path.read_bytes())
        key = data.rindex(b"\x25\x00\x18\x03key")  # repetition: required
        data[key + 1] = 2
        path.write_bytes(data)
        with pytest.raises(InputFormatError, match="map whose keys may be null") as caught:
            open_source(local_file(path))
        assert caught.value.hint is not None
        query = caught.value.hint.partition(": ")[2]
        with duckdb.connect() as connection:
            connection.execute(query.replace("in.parquet", str(path)).replace("out.parquet", str(made)))
        assert open_source(local_file(made)).rows == (1,)
