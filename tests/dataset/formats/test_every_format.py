"""Every input with every output format: the same rows in the same order, the same labels bit for bit."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from bundles import make_bundle
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sentstream.dataset import open_source, prepare, read_piece, score_plan
from sentstream.dataset.formats.api import FORMATS, STREAMED, Codec, Format, Layout
from sentstream.dataset.formats.names import ENDINGS
from sentstream.dataset.formats.write import open_writer
from sentstream.errors import ColumnClashError, OutputWriteError, UsageError
from sentstream.storage.local import local_file

ADDED = ["sentiment", "sentiment_score", "sentiment_prob_negative", "sentiment_prob_positive"]
CODECS: tuple[Codec, ...] = ("gzip", "zstd", "bz2")
TEXTS = [
    "i love you",
    'a "quote", a comma; a | bar\tand a tab',
    "two\nlines\r\nand more",
    "",
    None,
    " ",
    "NA",
    "007",
    "größe 😂 \u2028 \\ back\\slash",
    '"',
    ",",
    "\ufeffmark",
]


@pytest.fixture(name="bundle", scope="module")
def _bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


def write(path: Path, table: pa.Table, layout: Layout, rows: int = 5) -> Path:
    with path.open("wb") as file, open_writer(file, table.schema, layout, ()) as writer:
        for batch in table.to_batches(max_chunksize=rows):
            writer.write(batch)
    return path


def read(path: Path, format: Format | None = None, batch_rows: int = 1000) -> pa.Table:
    source = open_source(local_file(path), format)
    batches = itertools.chain.from_iterable(read_piece(piece, None, batch_rows) for piece in source.pieces())
    return pa.Table.from_batches(list(batches), source.schema)


def layout(format: Format, codec: Codec | None = None) -> Layout:
    return Layout(format, codec, "\t" if format == "tsv" else ",")


def score(source: Path, target: Path, bundle: str, **options: Any) -> None:
    with prepare(
        [str(source)], output=str(target), model=bundle, provider="cpu", threads=1, **options
    ) as plan:
        score_plan(plan)


@pytest.mark.parametrize("given", FORMATS)
@pytest.mark.parametrize("wanted", FORMATS)
def test_same_rows_and_bits(tmp_path: Path, bundle: str, given: Format, wanted: Format) -> None:
    table = pa.table({"id": [str(row) for row in range(len(TEXTS))], "text": TEXTS})
    source = write(tmp_path / f"a{ENDINGS[given][0]}", table, layout(given))
    target = tmp_path / f"b{ENDINGS[wanted][0]}"
    score(source, target, bundle)
    plain = tmp_path / "plain.parquet"
    score(write(tmp_path / "c.parquet", table, layout("parquet")), plain, bundle)
    scored, expected = read(target), read(plain)
    assert scored.column_names == ["id", "text", *ADDED]
    assert (
        scored.select(["id", "text", "sentiment"]).to_pylist()
        == expected.select(["id", "text", "sentiment"]).to_pylist()
    )
    for name in ADDED[1:]:
        column = scored.column(name)
        if pa.types.is_string(column.type) or pa.types.is_float64(column.type):
            column = column.cast(pa.float32())  # text, or what JSON's numbers are
        assert column.equals(expected.column(name)), name


@pytest.mark.parametrize("format", sorted(STREAMED))
@pytest.mark.parametrize("codec", CODECS)
def test_compressed_file(tmp_path: Path, format: Format, codec: Codec) -> None:
    table = pa.table({"id": [str(row) for row in range(len(TEXTS))], "text": TEXTS})
    path = write(tmp_path / "told by its content", table, layout(format, codec))
    found = read(path, None if format != "tsv" else "tsv")
    assert found.to_pylist() == table.to_pylist()
    twice = tmp_path / "two parts"
    if format != "arrow-stream":
        twice.write_bytes(path.read_bytes() * 2)
        rows = read(twice, format).to_pylist()
        header = [] if format == "jsonl" else [{"id": "id", "text": "text"}]
        assert rows == [*table.to_pylist(), *header, *table.to_pylist()]


@pytest.mark.parametrize("format", ["parquet", "arrow", "orc"])
def test_internally_compressed_formats_are_not_compressed_again(
    tmp_path: Path, bundle: str, format: Format
) -> None:
    source = write(tmp_path / "a.parquet", pa.table({"text": ["hi"]}), layout("parquet"))
    with pytest.raises(UsageError, match="is compressed internally"):
        score(source, tmp_path / f"b{ENDINGS[format][0]}.gz", bundle)
    assert not list(tmp_path.glob("b*"))


TYPES: list[tuple[pa.DataType, Any, str, object, pa.DataType]] = [
    (pa.int64(), 2**63 - 1, "9223372036854775807", 2**63 - 1, pa.int64()),
    (pa.uint64(), 2**64 - 1, "18446744073709551615", 2**64 - 1, pa.decimal128(20, 0)),
    (pa.uint8(), 7, "7", 7, pa.int16()),
    (pa.float32(), 0.1, "0.1", 0.1, pa.float32()),
    (pa.float64(), float("inf"), "inf", None, pa.float64()),
    (pa.float64(), 0.1, "0.1", 0.1, pa.float64()),
    (pa.bool_(), True, "true", True, pa.bool_()),
    (pa.date32(), 0, "1970-01-01", "1970-01-01", pa.date32()),
    (pa.timestamp("ms"), 1, "1970-01-01T00:00:00.001", "1970-01-01T00:00:00.001", pa.timestamp("ns")),
    (
        *(pa.timestamp("s", "Asia/Kolkata"), 0, "1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z"),
        pa.timestamp("ns", "UTC"),
    ),
    (pa.time32("s"), 1, "00:00:01", "00:00:01", pa.string()),
    (pa.duration("s"), 5, "5", 5, pa.int64()),
    (pa.binary(), b"\xff", "/w==", "/w==", pa.binary()),
    (pa.list_(pa.int32()), [1, None], "[1,null]", [1, None], pa.list_(pa.int32())),
    (pa.struct({"a": pa.string()}), {"a": "b"}, '{"a":"b"}', {"a": "b"}, pa.struct({"a": pa.string()})),
    (pa.dictionary(pa.int8(), pa.string()), "x", "x", "x", pa.string()),
    (pa.large_string(), "x", "x", "x", pa.string()),
    (pa.string_view(), "x", "x", "x", pa.string()),
]


@pytest.mark.parametrize(("kind", "value", "csv", "json", "orc"), TYPES, ids=lambda one: str(one)[:30])
def test_types(
    tmp_path: Path, kind: pa.DataType, value: Any, csv: str, json: object, orc: pa.DataType
) -> None:
    """The table of docs/formats.md."""
    if pa.types.is_dictionary(kind):
        column = pa.array([value, None]).dictionary_encode().cast(kind)
    else:
        column = pa.array([value, None], kind)
    table = pa.table({"x": column, "n": ["a", "b"]})
    texts = read(write(tmp_path / "a.csv", table, layout("csv"))).column("x")
    assert (texts.type, texts.to_pylist()) == (pa.string(), [csv, None])
    values = read(write(tmp_path / "a.jsonl", table, layout("jsonl"))).column("x").to_pylist()
    expected = float(json) if kind == pa.uint64() and isinstance(json, int) else json
    assert values == [expected, None]
    for format in ("arrow", "arrow-stream", "parquet"):
        path = write(tmp_path / f"a.{format}", table, layout(format))
        same = read(path)
        if format != "parquet":
            assert same.schema.equals(table.schema)
            assert same.column("x").to_pylist() == table.column("x").to_pylist()
    column = read(write(tmp_path / "a.orc", table, layout("orc"))).column("x")
    assert column.type == orc


class TestDictionaries:
    """Of Arrow IPC: each batch may have another."""

    @staticmethod
    def batches(*values: Sequence[str]) -> list[pa.RecordBatch]:
        schema = pa.schema({"text": pa.dictionary(pa.int8(), pa.string())})
        return [
            pa.RecordBatch.from_arrays(
                [pa.array(some).dictionary_encode().cast(schema.field(0).type)], schema=schema
            )
            for some in values
        ]

    @pytest.mark.parametrize("deltas", [False, True])
    def test_dictionaries_in_a_stream(self, tmp_path: Path, bundle: str, deltas: bool) -> None:
        batches = self.batches(["a", "b"], ["a", "b", "c"], ["d", "a"])
        path = tmp_path / "a.arrows"
        options = pa.ipc.IpcWriteOptions(compression="lz4", emit_dictionary_deltas=deltas)
        with pa.ipc.new_stream(path, batches[0].schema, options=options) as writer:
            for batch in batches:
                writer.write_batch(batch)
        for ending in (".arrows", ".arrow", ".parquet", ".csv", ".jsonl", ".orc"):
            score(path, tmp_path / f"b{ending}", bundle)
            assert read(tmp_path / f"b{ending}").column("text").to_pylist() == list("ababcda"), ending

    def test_growing_dictionaries_in_a_file(self, tmp_path: Path, bundle: str) -> None:
        batches = self.batches([str(row) for row in range(100)], [str(row) for row in range(100, 200)])
        path = tmp_path / "a.arrows"
        with pa.ipc.new_stream(path, batches[0].schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
        with pytest.raises(OutputWriteError, match="choose another --output-format"):
            score(path, tmp_path / "b.arrow", bundle)
        assert not (tmp_path / "b.arrow").exists()
        score(path, tmp_path / "b.arrows", bundle)
        assert read(tmp_path / "b.arrows").column("text").to_pylist() == [str(row) for row in range(200)]

    def test_large_batches_are_cut(self, tmp_path: Path) -> None:
        table = pa.table({"text": [str(row) for row in range(10_000)]})
        path = write(tmp_path / "a.arrow", table, layout("arrow"), rows=10_000)
        (piece,) = open_source(local_file(path)).pieces()
        batches = list(read_piece(piece, None, 300))
        assert max(map(len, batches)) <= 300
        assert pa.Table.from_batches(batches).equals(table)


values = st.one_of(
    st.none(),
    st.sampled_from(["", " ", '"', '""', "\n", "\r", "\r\n", ",", "\t", "NULL", "null", "NaN", "-0", "1e5"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)
rows_of_two = st.lists(st.tuples(values, values), max_size=40)


class TestRowsNeverShift:
    @given(rows=rows_of_two, format=st.sampled_from(["csv", "tsv", "jsonl"]), size=st.integers(1, 7))
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_text_formats(
        self, tmp_path: Path, rows: list[tuple[Any, Any]], format: Format, size: int
    ) -> None:
        columns = [pa.array([row[index] for row in rows], pa.string()) for index in range(2)]
        table = pa.table(dict(zip(["text", "b"], columns, strict=True)))
        path = write(tmp_path / f"a.{format}", table, layout(format), size)
        if not rows and format == "jsonl":
            assert path.read_bytes() == b""
            return
        assert read(path, format, size).to_pylist() == table.to_pylist()

    @given(
        rows=st.lists(
            st.tuples(
                st.text(st.characters(exclude_categories=["Cs"]), max_size=9) | st.none(),
                st.sampled_from(["", " ", "\t", "  "]),
                st.sampled_from(["\n", "\r\n", "\n\n", " \n", "\n \n"]),
                st.sampled_from(
                    ['"id":12345678901234567890', '"id":1.50', '"text":"other"', '"x":{"text":3}']
                ),
                st.sampled_from(["", '"\\ud800"', '"\\ud83d\\ude02"']),
            ),
            min_size=1,
            max_size=30,
        )
    )
    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_json_lines_are_unchanged(self, tmp_path: Path, bundle: str, rows: list[tuple[Any, ...]]) -> None:
        import json

        lines = []
        for text, space, _, other, odd in rows:
            more = f',"odd":{odd}' if odd else ""
            lines.append(
                f'{{{space}{other}{more}, "text":{space}{json.dumps(text, ensure_ascii=False)}{space}}}'
            )
        path = tmp_path / "a.jsonl"
        ends = [row[2] for row in rows]
        path.write_bytes("".join(line + end for line, end in zip(lines, ends, strict=True)).encode())
        score(path, tmp_path / "b.jsonl", bundle, overwrite=True)
        written = (tmp_path / "b.jsonl").read_text("utf-8").split("\n")
        assert written.pop() == ""
        assert len(written) == len(lines)
        for line, out, row in zip(lines, written, rows, strict=True):
            assert out.startswith(line.removesuffix("}").rstrip() + ',"sentiment":')
            assert json.loads(out)["text"] == row[0]
        plain = pa.table({"text": pa.array([row[0] for row in rows], pa.string())})
        score(
            write(tmp_path / "c.parquet", plain, layout("parquet")),
            tmp_path / "d.parquet",
            bundle,
            overwrite=True,
        )
        labels = [json.loads(out)["sentiment"] for out in written]
        assert labels == read(tmp_path / "d.parquet").column("sentiment").to_pylist()


class TestNames:
    @pytest.mark.parametrize(
        ("name", "output_format", "scored"),
        [
            ("x.csv", None, "x.scored.csv"),
            ("x.csv.gz", None, "x.scored.csv.gz"),
            ("x.CSV", None, "x.scored.CSV"),
            ("x.jsonl.zst", "csv", "x.scored.csv.zst"),
            ("x.csv.bz2", "parquet", "x.scored.parquet"),
            ("x.ndjson", None, "x.scored.ndjson"),
            ("x.feather", None, "x.scored.feather"),
            ("x", None, "x.scored.csv"),
            ("x.v1", "orc", "x.v1.scored.orc"),
        ],
    )
    def test_output_next_to_input(
        self, tmp_path: Path, bundle: str, name: str, output_format: Format | None, scored: str
    ) -> None:
        from sentstream.dataset.formats.names import layout_of_name

        named = layout_of_name(name) or layout("csv")
        path = write(tmp_path / name, pa.table({"id": ["1"], "text": ["hi"]}), named)
        given = "csv" if "." not in name or name.endswith("v1") else None
        with prepare(
            [str(path)], model=bundle, provider="cpu", format=given, output_format=output_format
        ) as plan:
            score_plan(plan)
        assert {one.name for one in tmp_path.iterdir()} == {name, scored}
        assert read(tmp_path / scored).column("text").to_pylist() == ["hi"]

    def test_directory(self, tmp_path: Path, bundle: str) -> None:
        table = pa.table({"id": ["1"], "text": ["hi"]})
        names = {"a.csv": "csv", "B.JSONL": "jsonl", "c.parquet": "parquet", "d.Feather": "arrow", "e": "orc"}
        (tmp_path / "in").mkdir()
        for name, format in names.items():
            write(tmp_path / "in" / name, table, layout(format))  # type: ignore[arg-type]
        (tmp_path / "in" / "info.json").write_text('{\n "rows": 5\n}\n')
        lines: list[str] = []
        with prepare([str(tmp_path / "in")], model=bundle, provider="cpu", warn=lines.append) as plan:
            score_plan(plan)
        assert {one.name for one in (tmp_path / "in.scored").iterdir()} == {*names, "_sentstream"}
        assert "info.json" in lines[0]
        for name, format in names.items():
            path = tmp_path / "in.scored" / name
            assert open_source(local_file(path)).layout.format == format
            assert read(path).column("text").to_pylist() == ["hi"]

    def test_directory_in_one_format(self, tmp_path: Path, bundle: str) -> None:
        (tmp_path / "in").mkdir()
        table = pa.table({"text": ["hi"], "id": ["1"]})
        write(tmp_path / "in" / "a.csv.gz", table, layout("csv", "gzip"))
        write(tmp_path / "in" / "b.parquet", table, layout("parquet"))
        with prepare([str(tmp_path / "in")], model=bundle, provider="cpu", output_format="jsonl") as plan:
            score_plan(plan)
        assert {one.name for one in (tmp_path / "in.scored").iterdir()} == {
            *("a.jsonl.gz", "b.jsonl", "_sentstream")
        }


class TestCsvToCsv:
    def test_fields_are_unchanged(self, tmp_path: Path, bundle: str) -> None:
        path = tmp_path / "a.csv"
        text = '\ufeffid;text;"a;b"\r\n007;1.0;NA\r\n;"";" x"\r\n"q""q";"two\nlines";null\r\n'
        path.write_bytes(text.encode())
        score(path, tmp_path / "b.csv", bundle, prefix="s")
        lines = (tmp_path / "b.csv").read_text("utf-8")
        assert lines.startswith('id;text;"a;b";s;s_score')
        assert "\n007;1.0;NA;" in lines
        assert '\n;""; x;;;;\n' in lines
        assert '\n"q""q";"two\nlines";null;' in lines

    def test_own_text_column(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("text\nhi\n\nyou\n")
        assert read(path).column("text").to_pylist() == ["hi", None, "you"]


class TestJson:
    def test_columns_from_all_lines(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        lines = '{"a":1,"d":"2026-01-01"}\n{"b":{"c":[1,2.5]},"a":null}\n{"e":[],"a":2.5,"b":null}\n'
        path.write_text(lines)
        table = read(path)
        assert table.schema == pa.schema(
            {
                "a": pa.float64(),
                "d": pa.string(),
                "b": pa.struct({"c": pa.list_(pa.float64())}),
                "e": pa.list_(pa.null()),
            }
        )
        assert table.column("d").to_pylist() == ["2026-01-01", None, None]

    def test_nested_text(self, tmp_path: Path, bundle: str) -> None:
        path = tmp_path / "a.jsonl"
        path.write_text('{"data":{"text":"hi","n":1},"id":1}\n{"data":null}\n{"data":{"n":"other"}}\n')
        score(path, tmp_path / "b.jsonl", bundle, text_column="data.text")
        lines = (tmp_path / "b.jsonl").read_text().splitlines()
        assert lines[0].startswith('{"data":{"text":"hi","n":1},"id":1,"sentiment":"')
        assert lines[2].startswith('{"data":{"n":"other"},"sentiment":null')

    def test_clash_at_the_start(self, tmp_path: Path, bundle: str) -> None:
        path = tmp_path / "a.jsonl"
        path.write_text('{"text":"hi"}\n{"text":"hi","sentiment_score":null}\n')
        with pytest.raises(ColumnClashError, match="sentiment_score"):
            score(path, tmp_path / "b.jsonl", bundle)

    @pytest.mark.parametrize("name", ["sentiment", "s\\u0065ntiment"])
    def test_clash_later(self, tmp_path: Path, bundle: str, name: str) -> None:
        path = tmp_path / "a.jsonl"
        rows = 400_000
        path.write_text('{"text":"hi"}\n' * rows + f'{{"text":"hi","x":{{"sentiment":1}}}}\n{{"{name}":1}}\n')
        with pytest.raises(
            ColumnClashError, match=f"a.jsonl: the object in row {rows + 2:,} already has a field"
        ):
            score(path, tmp_path / "b.jsonl", bundle)
        assert not (tmp_path / "b.jsonl").exists()


def test_failed_writer_writes_no_end(tmp_path: Path) -> None:
    """Half of a file must not look complete."""
    batch = pa.record_batch({"text": ["hi"] * 1000})
    for format in FORMATS:
        for codec in (None, *CODECS) if format in STREAMED else (None,):
            file = io.BytesIO()
            with (  # noqa: PT012
                pytest.raises(KeyError),
                open_writer(file, batch.schema, layout(format, codec), ()) as writer,
            ):
                writer.write(batch)
                raise KeyError
            if format in ("parquet", "arrow", "orc") or codec is not None:
                path = tmp_path / "cut"
                path.write_bytes(file.getvalue())
                with pytest.raises(Exception, match=r"cut"):
                    read(path, format)


def test_probabilities_read_back_exactly(tmp_path: Path) -> None:
    """The shortest text of a float32 that is the same float32."""
    import numpy as np

    random = np.random.default_rng(0)
    floats = pa.array(random.random(20_000, np.float32) ** random.integers(1, 9, 20_000).astype(np.float32))
    table = pa.table({"p": floats, "n": ["x"] * len(floats)})
    for format in ("csv", "jsonl"):
        back = read(write(tmp_path / f"a.{format}", table, layout(format), 4096)).column("p")
        assert pc.all(pc.equal(back.cast(pa.float32()), floats)).as_py()
