"""Scoring preserves every type, order, name and piece of metadata that pyarrow reads."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bundles import make_bundle

from sentstream.dataset import prepare, score_plan
from sentstream.errors import ColumnTypeError

DAY = dt.datetime(2026, 1, 2, 3, 4, 5)
ADDED = ["sentiment", "sentiment_score", "sentiment_prob_negative", "sentiment_prob_positive"]

CASES: list[tuple[pa.DataType, list[Any]]] = [
    (pa.string(), ["a", None]),
    (pa.large_string(), ["a", None]),
    (pa.string_view(), ["a", "longer than the twelve bytes of a view", None]),
    (pa.binary(), [b"\xff", None]),
    (pa.large_binary(), [b"a", None]),
    (pa.binary_view(), [b"a", b"x" * 30, None]),
    (pa.binary(3), [b"abc", None]),
    (pa.dictionary(pa.int8(), pa.string()), ["a", "b", "a", None]),
    (pa.dictionary(pa.int32(), pa.string(), ordered=True), ["b", "a", None]),
    (pa.dictionary(pa.int64(), pa.large_string()), ["b", "a", None]),
    (pa.dictionary(pa.int32(), pa.int64()), [7, None]),
    (pa.null(), [None, None]),
    (pa.bool_(), [True, None]),
    *(
        (kind, [1, None])
        for kind in (pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.uint32(), pa.uint64())
    ),
    (pa.float16(), [1.5, None]),
    (pa.float64(), [float("nan"), float("-inf"), None]),
    (pa.decimal32(5, 2), [Decimal("1.25"), None]),
    (pa.decimal128(38, 9), [Decimal("1.5"), None]),
    (pa.decimal256(70, 3), [Decimal("1.5"), None]),
    (pa.date32(), [DAY.date(), None]),
    (pa.date64(), [DAY.date(), None]),
    (pa.time32("s"), [DAY.time(), None]),
    (pa.time64("ns"), [DAY.time(), None]),
    (pa.timestamp("s"), [DAY, None]),
    (pa.timestamp("ns"), [DAY, None]),
    (pa.timestamp("us", "UTC"), [DAY, None]),
    (pa.timestamp("ns", "Asia/Kolkata"), [DAY, None]),
    (pa.duration("ms"), [dt.timedelta(seconds=1), None]),
    (pa.list_(pa.int32()), [[1, None], [], None]),
    (pa.list_(pa.field("odd", pa.int32(), nullable=False)), [[1], [], None]),
    (pa.large_list(pa.string()), [["a", None], None]),
    (pa.list_view(pa.int32()), [[1], None]),
    (pa.list_(pa.float32(), 2), [[1, 2], None]),
    (pa.list_(pa.dictionary(pa.int32(), pa.string())), [["a", "b"], None]),
    (pa.list_(pa.string_view()), [["a" * 20], None]),
    (pa.map_(pa.string(), pa.int32()), [[("a", 1)], [], None]),
    (
        pa.struct([("a", pa.int32()), ("b", pa.list_(pa.struct([("c", pa.string())])))]),
        [{"a": 1, "b": [{"c": "x"}]}, None],
    ),
    (pa.map_(pa.string(), pa.list_(pa.struct([("at", pa.timestamp("ms"))]))), [[("a", [{"at": DAY}])], None]),
    (pa.uuid(), [b"0123456789abcdef", None]),
    (pa.json_(), ['{"a": 1}', None]),
    (pa.bool8(), [1, None]),
    (pa.opaque(pa.int64(), "point", "somebody"), [1, None]),
    (pa.fixed_shape_tensor(pa.int32(), [2]), [[1, 2], None]),
]
EXTENSIONS: list[tuple[pa.DataType, list[Any]]] = [
    case for case in CASES if isinstance(case[0], pa.BaseExtensionType)
]


def nested(values: pa.Array) -> dict[str, pa.Array]:
    """Two values in every type that holds others."""
    return {
        "list": pa.ListArray.from_arrays([0, 2, 2], values),
        "large list": pa.LargeListArray.from_arrays([0, 0, 2], values),
        "list of one size": pa.FixedSizeListArray.from_arrays(values, 1),
        "list of lists": pa.ListArray.from_arrays([0, 1, 1], pa.ListArray.from_arrays([0, 2], values)),
        "struct": pa.StructArray.from_arrays([values], ["inside"]),
        "map": pa.MapArray.from_arrays([0, 2, 2], pa.array(["a", "b"]), values),
    }


@pytest.fixture(name="bundle", scope="module")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


def score(path: Path, bundle: str, **options: Any) -> pa.Table:
    output = path.with_name("out.parquet")
    with prepare(
        [str(path)], output=str(output), model=bundle, provider="cpu", overwrite=True, **options
    ) as plan:
        score_plan(plan)
    assert pq.read_schema(output).equals(plan.files[0].schema, check_metadata=True)
    return pq.ParquetFile(output, page_checksum_verification=True).read()


def column(kind: pa.DataType, values: list[Any]) -> pa.Array:
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, pa.array(values, kind.storage_type))
    return pa.array(values, kind)


def check(path: Path, bundle: str, **options: Any) -> pa.Table:
    """Score a file; all that pyarrow reads from it must be in the output, alike and in order."""
    given = pq.ParquetFile(path).read()
    scored = score(path, bundle, **options)
    assert scored.schema.names == [*given.schema.names, *ADDED]
    kept = scored.select(range(given.num_columns))
    for before, after in zip(given.schema, kept.schema, strict=True):
        assert after.equals(before, check_metadata=True)
        assert after.type == before.type
    for index in range(given.num_columns):
        assert kept.column(index).to_pylist().__repr__() == given.column(index).to_pylist().__repr__()
    metadata = dict(scored.schema.metadata)
    for key in (b"sentstream.model", b"sentstream.model_version", b"sentstream.model_digest"):
        assert metadata.pop(key)
    assert metadata == (given.schema.metadata or {})
    return scored


@pytest.mark.parametrize("arrow_schema", [True, False], ids=["by Arrow", "by others"])
@pytest.mark.parametrize(("kind", "values"), CASES, ids=[str(kind)[:40] for kind, _ in CASES])
def test_every_type(
    tmp_path: Path, bundle: str, kind: pa.DataType, values: list[Any], arrow_schema: bool
) -> None:
    fields = [
        pa.field("before", kind, metadata={"about": "this field"}),
        pa.field("text", pa.string(), nullable=False),
        pa.field("after", kind),
    ]
    given = column(kind, values * 5)
    table = pa.table(
        [given, pa.array([f"i love {row}" for row in range(len(given))]), given],
        schema=pa.schema(fields, metadata={"made by": "a test", "bytes": b"\xff\x00"}),
    )
    # pyarrow reads dictionaries inside of lists from one row group at a time only.
    group = 100 if "list<item: dictionary" in str(kind) else 4
    pq.write_table(table, tmp_path / "in.parquet", store_schema=arrow_schema, row_group_size=group)
    check(tmp_path / "in.parquet", bundle, batch_rows=3)


@pytest.mark.parametrize("arrow_schema", [True, False], ids=["by Arrow", "by others"])
@pytest.mark.parametrize(("kind", "values"), EXTENSIONS, ids=[str(kind)[:40] for kind, _ in EXTENSIONS])
def test_nested_extension_types(
    tmp_path: Path, bundle: str, kind: pa.DataType, values: list[Any], arrow_schema: bool
) -> None:
    table = pa.table({"text": ["i love it", "so bad"], **nested(column(kind, values))})
    pq.write_table(table, tmp_path / "in.parquet", store_schema=arrow_schema)
    check(tmp_path / "in.parquet", bundle)


def test_duckdb_lists_of_json_and_uuid(tmp_path: Path, bundle: str) -> None:
    duckdb.sql(
        f"""copy (select 'i love it' as text, ['{{"a": 1}}'::json, null] as documents, [uuid()] as ids,
        {{'id': uuid(), 'more': [uuid()]}} as struct, map {{'a': '[1]'::json}} as map)
        to '{tmp_path / "in.parquet"}'"""
    )
    check(tmp_path / "in.parquet", bundle)


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.null(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.int32(), pa.large_string()),
    ],
    ids=str,
)
def test_every_type_of_text(tmp_path: Path, bundle: str, kind: pa.DataType) -> None:
    texts = (
        [None] * 6
        if pa.types.is_null(kind)
        else ["i love you", None, "", " \t\n", "i hate you", "i love you"]
    )
    plain = pa.table({"text": pa.array(texts, pa.string())})
    pq.write_table(pa.table({"text": pa.array(texts, kind)}), tmp_path / "in.parquet", row_group_size=4)
    pq.write_table(plain, tmp_path / "plain.parquet")
    scored = check(tmp_path / "in.parquet", bundle)
    assert scored.select(ADDED).equals(score(tmp_path / "plain.parquet", bundle).select(ADDED))


def test_numbers_are_not_text(tmp_path: Path, bundle: str) -> None:
    pq.write_table(pa.table({"text": [7]}), tmp_path / "in.parquet")
    with pytest.raises(ColumnTypeError, match=r"in\.parquet: column 'text' is of type int64"):
        score(tmp_path / "in.parquet", bundle)


def test_unusual_names(tmp_path: Path, bundle: str) -> None:
    names = ["a.b", "", "ü😂", "a b", "text", "a", "TEXT", "list.element", 'quote"', "x\0y"[:1]]
    table = pa.table([pa.array([f"i love {name}", None]) for name in names], names=names)
    pq.write_table(table, tmp_path / "in.parquet")
    check(tmp_path / "in.parquet", bundle)


def test_dotted_and_nested_column_selection(tmp_path: Path, bundle: str) -> None:
    table = pa.table({"a": [{"b": 1}], "a.b": [2], "text": ["i love it"], "c": [3]})
    pq.write_table(table, tmp_path / "in.parquet")
    scored = score(tmp_path / "in.parquet", bundle, columns=["a.b", "a"])
    assert scored.schema.names == ["a.b", "a", *ADDED]
    assert scored.select(["a.b", "a"]).to_pylist() == [{"a.b": 2, "a": {"b": 1}}]


def test_duplicate_column_names_stay(tmp_path: Path, bundle: str) -> None:
    pq.write_table(pa.table([[1], ["hi"], [None]], names=["x", "text", "x"]), tmp_path / "in.parquet")
    check(tmp_path / "in.parquet", bundle)


@pytest.mark.parametrize("groups", [0, 1])
def test_no_rows(tmp_path: Path, bundle: str, groups: int) -> None:
    table = pa.table({"id": pa.array([], pa.int64()), "text": pa.array([], pa.string())})
    with pq.ParquetWriter(tmp_path / "in.parquet", table.schema) as writer:
        if groups:
            writer.write_table(table)
    assert check(tmp_path / "in.parquet", bundle).num_rows == 0


def test_dictionaries_differ_by_row_group(tmp_path: Path, bundle: str) -> None:
    kind = pa.dictionary(pa.int8(), pa.string())
    with pq.ParquetWriter(tmp_path / "in.parquet", pa.schema([("text", kind)])) as writer:
        for group in range(4):
            texts = pa.array([f"i love {group} {row}" for row in range(100)])
            writer.write_table(pa.table({"text": texts.dictionary_encode().cast(kind)}))
    scored = check(tmp_path / "in.parquet", bundle, batch_rows=64)
    assert scored.num_rows == 400


def test_invalid_utf8_is_unchanged(tmp_path: Path, bundle: str) -> None:
    raw = pa.array([b"i love you", b"i \xff\xfe hate", b"it is awful", None])
    text = pa.Array.from_buffers(pa.string(), 4, raw.buffers())
    pq.write_table(pa.table({"text": text}), tmp_path / "in.parquet")
    output = tmp_path / "out.parquet"
    with prepare([str(tmp_path / "in.parquet")], output=str(output), model=bundle, provider="cpu") as plan:
        score_plan(plan)
    scored = pq.read_table(output)
    assert scored["text"].chunk(0).view(pa.binary()).to_pylist() == raw.to_pylist()
    assert [label is None for label in scored["sentiment"].to_pylist()] == [False, False, False, True]


class TestOtherReaders:
    @pytest.fixture(name="output")
    def _output(self, tmp_path: Path, bundle: str) -> Path:
        frame = pd.DataFrame(
            {"id": range(5), "text": ["i love you", None, "", "so bad", "ok"]}, index=list("abcde")
        )
        frame.to_parquet(tmp_path / "in.parquet")
        check(tmp_path / "in.parquet", bundle)
        return tmp_path / "out.parquet"

    def test_pandas(self, output: Path) -> None:
        frame = pd.read_parquet(output)
        assert list(frame.index) == list("abcde")
        assert list(frame.columns) == ["id", "text", *ADDED]
        assert frame["sentiment"].isna().tolist() == [False, True, True, False, False]

    def test_pandas_without_its_index(self, tmp_path: Path, output: Path, bundle: str) -> None:
        assert output.exists()
        score(tmp_path / "in.parquet", bundle, columns=["id"])
        assert list(pd.read_parquet(output).columns) == ["id", *ADDED]

    def test_polars_and_duckdb(self, output: Path) -> None:
        expected = pq.read_table(output).to_pylist()
        assert pl.read_parquet(output).to_dicts() == expected
        rows = duckdb.sql(f"select sentiment, sentiment_score from read_parquet('{output}')").fetchall()
        assert rows == [(row["sentiment"], row["sentiment_score"]) for row in expected]


def test_parquet_settings(tmp_path: Path, bundle: str) -> None:
    pq.write_table(pa.table({"text": [f"i love {row}" for row in range(1000)]}), tmp_path / "in.parquet")
    score(tmp_path / "in.parquet", bundle, batch_rows=100)
    about = pq.ParquetFile(tmp_path / "out.parquet").metadata
    assert about.num_row_groups == 1
    columns = [about.row_group(0).column(index) for index in range(about.num_columns)]
    assert {one.compression for one in columns} == {"ZSTD"}
    dictionaries = {one.path_in_schema: one.has_dictionary_page for one in columns}
    assert dictionaries["sentiment"]
    assert not any(dictionaries[name] for name in ADDED[1:])
