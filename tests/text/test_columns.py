"""Which column holds the text: at the top level, inside structs, as strings or as bytes."""

from __future__ import annotations

import pyarrow as pa
import pytest

from sentstream.errors import ColumnNotFoundError, ColumnTypeError
from sentstream.text.columns import field_names, find_column, find_field, find_text, text_of_bytes

DATA = pa.struct(
    [
        pa.field("text", pa.string()),
        pa.field("user", pa.struct([("name", pa.binary()), ("id", pa.int64())])),
        pa.field("odd.name", pa.string()),
    ]
)
SCHEMA = pa.schema([("id", pa.int64()), ("data", DATA)])


def batch() -> pa.RecordBatch:
    """Five rows; a struct, and then one inside of another, is null where its fields are not."""
    user = pa.StructArray.from_arrays(
        [pa.array([b"ann", b"bob", b"\xff", b"eve", None]), pa.array([1, 2, 3, 4, 5], pa.int64())],
        names=["name", "id"],
        mask=pa.array([False, False, False, True, False]),
    )
    data = pa.StructArray.from_arrays(
        [pa.array(["a", "b", "c", None, "e"]), user, pa.array(["z"] * 5)],
        fields=list(DATA),
        mask=pa.array([False, True, False, False, False]),
    )
    return pa.record_batch([pa.array(range(5)), data], SCHEMA)


class TestPaths:
    def test_struct_field_and_its_nulls(self) -> None:
        rows = batch()
        texts = find_text(SCHEMA, "data.text").texts(rows)
        assert texts.to_pylist() == ["a", None, "c", None, "e"]
        names = find_text(SCHEMA, "data.user.name")
        assert names.values(rows).to_pylist() == [b"ann", None, b"\xff", None, None]

    @pytest.mark.parametrize(("start", "count"), [(0, 0), (1, 3), (4, 1)])
    def test_slices(self, start: int, count: int) -> None:
        texts = find_text(SCHEMA, "data.text").texts(batch().slice(start, count))
        assert texts.to_pylist() == ["a", None, "c", None, "e"][start : start + count]

    def test_column_with_dots_in_its_name_takes_precedence(self) -> None:
        schema = SCHEMA.append(pa.field("data.text", pa.large_string()))
        assert find_text(schema, "data.text").path == (2,)
        assert find_text(SCHEMA, "data.text").path == (1, 0)

    def test_names_resolve(self) -> None:
        assert field_names(SCHEMA) == ["id", "data.text", "data.user.name", "data.user.id", "data.odd.name"]
        assert find_field(SCHEMA, "data.user.id").path == (1, 1, 1)

    @pytest.mark.parametrize(
        ("asked", "message"),
        [
            (
                "data.txt",
                "no column 'data.txt'; did you mean 'data.text'.*text columns: data.text, data.odd",
            ),
            ("dat.text", "no column 'dat.text'; did you mean 'data.text'"),
            ("data.text.more", "no column 'data.text.more'; did you mean 'data.text'"),
            ("data.", "no column 'data.'"),
            ("", "no column ''"),
            ("text", r"no column 'text'.*\(text columns: data.text, data.odd.name\)"),
        ],
    )
    def test_missing_column(self, asked: str, message: str) -> None:
        with pytest.raises(ColumnNotFoundError, match=message):
            find_text(SCHEMA, asked)

    def test_struct_error_suggests_its_text_fields(self) -> None:
        with pytest.raises(ColumnTypeError, match=r"'data' is of type struct, .*: data\.text, data\.odd"):
            find_text(SCHEMA, "data")
        with pytest.raises(ColumnTypeError, match=r"'data\.user\.id' is of type int64, not text"):
            find_text(SCHEMA, "data.user.id")

    def test_duplicate_columns(self) -> None:
        twice = pa.struct([pa.field("text", pa.string()), pa.field("text", pa.string())])
        with pytest.raises(ColumnNotFoundError, match=r"2 columns are named 'data\.text'"):
            find_text(pa.schema([("data", twice)]), "data.text")
        with pytest.raises(ColumnNotFoundError, match="2 columns are named 'data'"):
            find_text(pa.schema([("data", DATA), ("data", DATA)]), "data.text")

    def test_kept_columns_are_top_level(self) -> None:
        with pytest.raises(ColumnNotFoundError, match=r"no column 'data\.text'"):
            find_column(SCHEMA, "data.text")


class TestBytes:
    @pytest.mark.parametrize(
        ("kind", "text"),
        [
            (pa.binary(), pa.string()),
            (pa.large_binary(), pa.large_string()),
            (pa.binary_view(), pa.string_view()),
            (pa.dictionary(pa.int8(), pa.binary()), pa.dictionary(pa.int8(), pa.string())),
        ],
        ids=str,
    )
    def test_bytes_are_read_as_text(self, kind: pa.DataType, text: pa.DataType) -> None:
        rows = [b"caf\xc3\xa9", None, b"", b"a" * 40]
        column = pa.array(rows, pa.binary())
        column = column.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else column.cast(kind)
        read = text_of_bytes(column.slice(1))
        assert read.type == text
        assert read.to_pylist() == [None, "", "a" * 40]

    def test_fixed_size_binary_is_not_text(self) -> None:
        with pytest.raises(ColumnTypeError, match="fixed_size_binary"):
            find_text(pa.schema([("text", pa.binary(16))]), "text")
