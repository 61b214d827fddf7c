"""Memory is bounded by the decompressed size of rows, whatever a few bytes of a file expand to."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle
from peak_memory import peak_memory

from sentstream.dataset import Piece, open_source, read_piece
from sentstream.storage.local import local_file

MOST = 600_000_000
ROWS = 12_000
WORDS = [" ".join(f"word{(7 * word + row) % 900} so good" for word in range(3000)) for row in range(5)]
KB = ["so bad " + str(row) + "y" * 40_000 for row in range(5)]
Written = Callable[[Callable[[Path], None]], Path]
MB = ["so bad " + str(row) + "y" * 1_000_000 for row in range(20)]


def repeated(values: list[str], rows: int, before: int = 0) -> pa.DictionaryArray:
    """The values in turn, after so many short ones."""
    indices = [len(values)] * before + [row % len(values) for row in range(rows)]
    return pa.DictionaryArray.from_arrays(pa.array(indices, pa.int32()), pa.array([*values, "i love it"]))


def write(path: Path, table: pa.Table, **options: object) -> None:
    """As from writers that store no Arrow schema: dictionaries are read as plain strings."""
    pq.write_table(table, path, **{"store_schema": False, "compression": "zstd", **options})


def texts(rows: int) -> pa.Array:
    return pa.repeat("i love you", rows)


def other_column(path: Path) -> None:
    write(path, pa.table({"text": texts(ROWS), "body": repeated(KB, ROWS)}))


def several_columns(path: Path) -> None:
    body = repeated(MB, 700)
    write(path, pa.table({"text": texts(700), "a": body, "b": body, "c": body}))


def many_groups(path: Path) -> None:
    write(path, pa.table({"text": repeated(KB, ROWS)}), row_group_size=900)


def dictionary_type(path: Path) -> None:
    """Batches are small, and the texts in them long."""
    pq.write_table(pa.table({"text": repeated(WORDS, ROWS)}), path, compression="zstd")


def many_words(path: Path) -> None:
    write(path, pa.table({"text": repeated(WORDS, ROWS)}))


def small_before_huge(path: Path) -> None:
    write(path, pa.table({"text": repeated(MB, 1500, before=60_000)}))


def delta(path: Path) -> None:
    body = pa.concat_arrays([pa.repeat(value, ROWS // 5) for value in KB])
    write(
        path,
        pa.table({"text": texts(ROWS), "body": body}),
        use_dictionary=False,
        column_encoding={"text": "PLAIN", "body": "DELTA_BYTE_ARRAY"},
    )


def in_lists(path: Path) -> None:
    lists = pa.ListArray.from_arrays(pa.array(range(ROWS + 1), pa.int32()), repeated(KB, ROWS))
    write(path, pa.table({"text": texts(ROWS), "bodies": lists}))


def in_structs(path: Path) -> None:
    body = pa.StructArray.from_arrays([repeated(KB, ROWS)], ["html"])
    write(path, pa.table({"text": texts(ROWS), "body": body}))


def long_lists_of_numbers(path: Path) -> None:
    numbers = pa.repeat(pa.scalar(7, pa.int64()), 125_000 * 900)
    lists = pa.ListArray.from_arrays(pa.array(range(0, len(numbers) + 1, 125_000), pa.int32()), numbers)
    write(path, pa.table({"text": texts(900), "numbers": lists}))


@pytest.fixture(name="written", scope="module")
def _written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Writes each file once."""
    folder = tmp_path_factory.mktemp("files")

    def write_once(make: Callable[[Path], None]) -> Path:
        path = folder / f"{make.__name__}.parquet"
        if not path.exists():
            make(path)
        return path

    return write_once


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "threads"),
    [
        (other_column, 16),
        (several_columns, 2),
        (many_groups, 16),
        (dictionary_type, 2),
        (dictionary_type, 16),
        (many_words, 16),
        (small_before_huge, 1),
        (small_before_huge, 16),
        (delta, 16),
        (in_lists, 2),
        (in_structs, 8),
        (long_lists_of_numbers, 2),
    ],
)
def test_small_file_with_large_rows(
    tmp_path: Path, written: Written, make: Callable[[Path], None], threads: int
) -> None:
    file = written(make)
    assert file.stat().st_size < 1_000_000
    command = [sys.executable, "-m", "sentstream", "score", str(file)]
    command += ["--output", os.devnull, "--provider", "cpu", "--threads", str(threads)]
    assert peak_memory([*command, "--model", str(make_bundle(tmp_path / "tiny"))]) < MOST


@pytest.mark.parametrize("make", [other_column, small_before_huge, delta, in_lists, long_lists_of_numbers])
def test_batches_are_bounded_in_memory(written: Written, make: Callable[[Path], None]) -> None:
    file = written(make)
    (rows,) = open_source(local_file(file)).rows
    sizes = [(len(batch), batch.nbytes) for batch in read_piece(Piece(local_file(file), 0, 1), None, 9000)]
    assert sum(count for count, _ in sizes) == rows
    assert max(size for _, size in sizes) < 20_000_000


def test_omitted_column_costs_nothing(written: Written) -> None:
    batches = list(read_piece(Piece(local_file(written(other_column)), 0, 1), ["text"], 8000))
    assert [len(batch) for batch in batches] == [6000] * 2
