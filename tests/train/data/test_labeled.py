"""Reading labeled data: the official CSV, any CSV, TSV or Parquet, and errors in them."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sentstream.errors import (
    ColumnNotFoundError,
    ColumnTypeError,
    DataError,
    InputFormatError,
    InputNotFoundError,
    UsageError,
)
from sentstream_train.data.files import find_files
from sentstream_train.data.labeled import LabeledData, order_labels, read_labeled, sha256_of

OFFICIAL = [
    ("0", "11", "Mon Apr 06 22:19:45 PDT 2009", "NO_QUERY", "ann", "missed the bus, again"),
    ("4", "12", "Mon Apr 06 22:19:49 PDT 2009", "NO_QUERY", "bob", 'she said "yes" &amp; smiled'),
    ("2", "13", "Mon Apr 06 22:19:53 PDT 2009", "kindle2", "ann", "two\nlines"),
    ("4", "14", "Mon Apr 06 22:20:00 PDT 2009", "NO_QUERY", "eve", "caf\xe9 \xa31 \x85"),
]


def official(path: Path, rows: Sequence[Sequence[str]] = OFFICIAL, newline: str = "\n") -> Path:
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator=newline).writerows(rows)
    path.write_bytes(out.getvalue().encode("latin-1"))
    return path


def parquet(path: Path, **columns: pa.Array) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def names(data: LabeledData) -> list[str]:
    return [data.labels[index] for index in data.label]


class TestOfficialFile:
    def test_reads_the_whole_file(self, tmp_path: Path) -> None:
        data = read_labeled(official(tmp_path / "training.csv"))
        assert data.labels == ("negative", "neutral", "positive")
        assert data.label.dtype == np.int32
        assert names(data) == ["negative", "positive", "neutral", "positive"]
        assert data.text.type == pa.string()
        assert data.text.to_pylist() == [row[5] for row in OFFICIAL]
        assert data.user is not None
        assert data.user.to_pylist() == ["ann", "bob", "ann", "eve"]
        assert data.row.tolist() == [0, 1, 2, 3]
        assert len(data) == 4

    @pytest.mark.parametrize("name", ["noemoticon", "x.csv", "training.1600000.processed.noemoticon.csv"])
    def test_detected_by_shape_not_name(self, tmp_path: Path, name: str) -> None:
        assert len(read_labeled(official(tmp_path / name))) == 4

    def test_windows_line_ends(self, tmp_path: Path) -> None:
        data = read_labeled(official(tmp_path / "a.csv", newline="\r\n"))
        assert data.text[0].as_py() == OFFICIAL[0][5]

    def test_column_may_have_the_documented_name(self, tmp_path: Path) -> None:
        data = read_labeled(official(tmp_path / "a.csv"), label_column="polarity", text_column="text")
        assert names(data)[0] == "negative"

    def test_another_column_can_be_the_label(self, tmp_path: Path) -> None:
        data = read_labeled(official(tmp_path / "a.csv"), label_column="query")
        assert data.labels == ("NO_QUERY", "kindle2")

    def test_unknown_column_is_named_with_the_nearest(self, tmp_path: Path) -> None:
        with pytest.raises(ColumnNotFoundError, match="'texts'; did you mean 'text'"):
            read_labeled(official(tmp_path / "a.csv"), text_column="texts")

    def test_unknown_polarity_names_its_row(self, tmp_path: Path) -> None:
        rows = [*OFFICIAL, ("3", *OFFICIAL[0][1:])]
        with pytest.raises(DataError, match=r"row 5: polarity '3'"):
            read_labeled(official(tmp_path / "a.csv", rows))

    def test_short_row_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"a.csv row 5: 2 fields instead of 6") as caught:
            read_labeled(official(tmp_path / "a.csv", [*OFFICIAL, ("0", "1")]))
        assert "\n" not in str(caught.value)

    def test_rows_across_many_blocks(self, tmp_path: Path) -> None:
        # 12 MB: three blocks, and line breaks inside the fields at their edges.
        rows = [(*OFFICIAL[i % 4][:5], f"{i}\n{'word ' * 20}") for i in range(100_000)]
        data = read_labeled(official(tmp_path / "big.csv", rows))
        assert len(data) == 100_000
        firsts = [int(text.split("\n")[0]) for text in data.text.to_pylist()]
        assert firsts == list(range(100_000))
        assert names(data)[:4] * 25_000 == names(data)

    def test_all_latin_1_bytes(self, tmp_path: Path) -> None:
        text = "".join(chr(code) for code in range(1, 256) if chr(code) not in '\r"')
        data = read_labeled(official(tmp_path / "a.csv", [(*OFFICIAL[0][:5], text), OFFICIAL[1]]))
        assert data.text[0].as_py() == text


class TestCsv:
    def test_header_quotes_and_line_breaks(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text('id,label,text\n1,good,"a, ""b""\nc"\n2,bad,d\n3, good ,\n', "utf-8")
        data = read_labeled(path)
        assert data.labels == ("bad", "good")
        assert data.text.to_pylist() == ['a, "b"\nc', "d", ""]
        assert names(data) == ["good", "bad", "good"]
        assert data.user is None

    def test_text_that_reads_null_is_text(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("text,label\nnull,NA\nNaN,x\n007,x\n", "utf-8")
        data = read_labeled(path)
        assert data.text.to_pylist() == ["null", "NaN", "007"]
        assert data.labels == ("NA", "x")

    def test_byte_order_mark(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_bytes("\ufefftext,label\nhé,x\n".encode())
        assert read_labeled(path).text.to_pylist() == ["hé"]

    def test_tsv(self, tmp_path: Path) -> None:
        path = tmp_path / "a.tsv"
        path.write_text("label\ttext\nx\ta, b\ny\tc\n", "utf-8")
        assert read_labeled(path).text.to_pylist() == ["a, b", "c"]

    @pytest.mark.parametrize("name", ["a.csv.gz", "a.tsv.gz"])
    def test_gzip(self, tmp_path: Path, name: str) -> None:
        mark = "\t" if "tsv" in name else ","
        path = tmp_path / name
        path.write_bytes(gzip.compress(f"label{mark}text\nx{mark}a\n".encode()))
        assert read_labeled(path).text.to_pylist() == ["a"]

    def test_invalid_utf8_is_repaired_and_counted(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_bytes(b"text,label\nok,x\ncaf\xe9,x\n" + "\ufffd,x\n".encode())
        data = read_labeled(path)
        assert data.text.to_pylist() == ["ok", "caf\ufffd", "\ufffd"]
        assert data.sources[0].broken == 1

    def test_unlabeled_rows_are_omitted_and_counted(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text('text,label\na,x\nb,\nc,"  "\nd,y\n', "utf-8")
        data = read_labeled(path)
        assert data.text.to_pylist() == ["a", "d"]
        assert data.row.tolist() == [0, 3]
        assert (data.sources[0].rows, data.sources[0].rows_used, data.sources[0].without_label) == (4, 2, 2)

    def test_ragged_row(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("text,label\na,x\nb,y,z\n", "utf-8")
        with pytest.raises(DataError, match=r"row 3: 3 fields instead of 2"):
            read_labeled(path)

    def test_unclosed_quote(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text('text,label\na,x\n"b,y\n' + "c,z\n" * 100, "utf-8")
        with pytest.raises(DataError):
            read_labeled(path)

    def test_duplicate_columns(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("text,label,text\na,x,b\n", "utf-8")
        with pytest.raises(DataError, match="2 columns named 'text'"):
            read_labeled(path)

    @pytest.mark.parametrize("content", [b"", b"\n\n", b"text,label\n", b'"text,label\n', b"\xff\xfet\0"])
    def test_empty_file(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "a.csv"
        path.write_bytes(content)
        with pytest.raises((DataError, ColumnNotFoundError)) as caught:
            read_labeled(path)
        assert "a.csv" in str(caught.value)

    def test_missing_columns(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("tweet,sentiment\na,x\n", "utf-8")
        with pytest.raises(ColumnNotFoundError, match="it has tweet, sentiment"):
            read_labeled(path)
        with pytest.raises(ColumnNotFoundError, match="--user-column"):
            read_labeled(path, text_column="tweet", label_column="sentiment", user_column="who")
        assert len(read_labeled(path, text_column="tweet", label_column="sentiment")) == 1

    def test_one_column_cannot_have_two_roles(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("text,label\na,x\n", "utf-8")
        with pytest.raises(UsageError):
            read_labeled(path, label_column="text")

    def test_non_label_column(self, tmp_path: Path) -> None:
        path = tmp_path / "a.csv"
        path.write_text("text,label\n" + "".join(f"a,{i}\n" for i in range(2000)), "utf-8")
        with pytest.raises(DataError, match="distinct values"):
            read_labeled(path)

    @settings(max_examples=40, deadline=None)
    @given(
        rows=st.lists(
            st.tuples(
                st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r")),
                st.sampled_from("abc"),
            ),
            min_size=1,
            max_size=20,
        )
    )
    def test_csv_round_trip(
        self, tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
    ) -> None:
        path = tmp_path_factory.mktemp("csv") / "a.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *rows])
        data = read_labeled(path)
        assert data.text.to_pylist() == [text for text, _ in rows]
        assert names(data) == [label for _, label in rows]


class TestParquet:
    @pytest.mark.parametrize(
        "kind",
        [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())],
        ids=str,
    )
    def test_text_types(self, tmp_path: Path, kind: pa.DataType) -> None:
        texts = pa.array(["a", None, "", "ñ 🎉"], pa.string()).cast(kind)
        labels = pa.array(["y", "x", "x", "y"]).cast(kind)
        data = read_labeled(parquet(tmp_path / "a.parquet", text=texts, label=labels))
        assert data.text.type == pa.string()
        assert data.text.to_pylist() == ["a", None, "", "ñ 🎉"]
        assert names(data) == ["y", "x", "x", "y"]

    def test_bytes_and_struct_fields(self, tmp_path: Path) -> None:
        text, label = pa.array([b"a", b"caf\xe9", None]), pa.array([b"x", b"y", b"x"])
        user = pa.StructArray.from_arrays([pa.array([b"ann", None, b"bob"])], names=["name"])
        data = pa.StructArray.from_arrays(
            [text, label, user], names=["text", "label", "user"], mask=pa.array([True, False, False])
        )
        path = parquet(tmp_path / "a.parquet", text=text, label=label, data=data, user=user)
        flat = read_labeled(path)
        assert flat.text.to_pylist() == ["a", "caf\ufffd", None]
        assert names(flat) == ["x", "y", "x"]
        assert (flat.sources[0].broken, flat.user) == (1, None)
        nested = read_labeled(
            path, text_column="data.text", label_column="data.label", user_column="data.user.name"
        )
        assert nested.text.to_pylist() == ["caf\ufffd", None]
        assert names(nested) == ["y", "x"]
        assert nested.user is not None
        assert nested.user.to_pylist() == [None, "bob"]
        with pytest.raises(ColumnNotFoundError, match=r"no column 'data\.txt'; did you mean 'data\.text'"):
            read_labeled(path, text_column="data.txt")

    @pytest.mark.parametrize("kind", [pa.int8(), pa.uint64(), pa.float64()], ids=str)
    def test_numbers_as_labels(self, tmp_path: Path, kind: pa.DataType) -> None:
        labels = pa.array([4, 0, None, 10]).cast(kind)
        data = read_labeled(parquet(tmp_path / "a.parquet", text=pa.array(list("abcd")), label=labels))
        assert names(data) == ["4", "0", "10"]
        assert data.row.tolist() == [0, 1, 3]

    def test_nan_is_not_a_label(self, tmp_path: Path) -> None:
        labels = pa.array([1.0, float("nan")])
        data = read_labeled(parquet(tmp_path / "a.parquet", text=pa.array(["a", "b"]), label=labels))
        assert names(data) == ["1"]

    @pytest.mark.parametrize("labels", [pa.array([0.5]), pa.array([[1]]), pa.array([b"x"], pa.binary(1))])
    def test_labels_of_the_wrong_type(self, tmp_path: Path, labels: pa.Array) -> None:
        with pytest.raises(ColumnTypeError, match="label column"):
            read_labeled(parquet(tmp_path / "a.parquet", text=pa.array(["a"]), label=labels))

    def test_text_of_the_wrong_type(self, tmp_path: Path) -> None:
        with pytest.raises(ColumnTypeError, match="int64, not text"):
            read_labeled(parquet(tmp_path / "a.parquet", text=pa.array([1]), label=pa.array(["x"])))

    def test_user_types(self, tmp_path: Path) -> None:
        users = pa.array([7, None, 8])
        path = parquet(
            tmp_path / "a.parquet", text=pa.array(list("abc")), label=pa.array(list("xyx")), user=users
        )
        data = read_labeled(path)
        assert data.user is not None
        assert data.user.to_pylist() == ["7", None, "8"]

    def test_invalid_utf8(self, tmp_path: Path) -> None:
        bad = pa.array([b"ok", b"\xff\xfe!", None]).cast(pa.string(), safe=False)
        path = parquet(tmp_path / "a.parquet", text=bad, label=pa.array(["x", "y", "x"]))
        data = read_labeled(path)
        assert data.text.to_pylist() == ["ok", "\ufffd\ufffd!", None]
        assert data.sources[0].broken == 1
        data.text.validate(full=True)

    def test_not_parquet(self, tmp_path: Path) -> None:
        path = tmp_path / "a.parquet"
        path.write_text("text,label\na,x\n")
        with pytest.raises(InputFormatError, match="not a Parquet file"):
            read_labeled(path)

    def test_truncated(self, tmp_path: Path) -> None:
        path = parquet(tmp_path / "a.parquet", text=pa.array(["a"]), label=pa.array(["x"]))
        path.write_bytes(path.read_bytes()[:-9])
        with pytest.raises(InputFormatError) as caught:
            read_labeled(path)
        assert "\n" not in str(caught.value)

    def test_flipped_byte_in_a_page(self, tmp_path: Path) -> None:
        table = pa.table({"text": [f"some words {i}" for i in range(1000)], "label": ["x", "y"] * 500})
        path = tmp_path / "a.parquet"
        pq.write_table(table, path, write_page_checksum=True, use_dictionary=False)
        data = bytearray(path.read_bytes())
        data[300] ^= 0x40
        path.write_bytes(data)
        with pytest.raises(InputFormatError, match="corrupt"):
            read_labeled(path)


class TestUnusualFiles:
    def test_unsupported_format_is_named(self, tmp_path: Path) -> None:
        table = pa.table({"text": ["a"], "label": ["x"]})
        with (
            pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file,
            pa.ipc.new_file(file, table.schema) as writer,
        ):
            writer.write_table(table)
        (tmp_path / "a.json").write_text('[{"text": "a", "label": "x"}]')
        for name, what in (("a.arrow", "an Arrow IPC"), ("a.json", "JSON")):
            with pytest.raises(InputFormatError, match=f"is {what}.*, not Parquet or CSV.*convert it: "):
                read_labeled(tmp_path / name)

    @pytest.mark.parametrize("name", [b"caf\xe9.parquet", b"caf\xe9.csv", b"caf\xe9.csv.gz"])
    def test_name_that_is_not_utf_8(self, tmp_path: Path, name: bytes) -> None:
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        try:
            path.touch()
        except OSError:
            pytest.skip("this file system knows UTF-8 names only")
        rows = b"text,label\nhi,x\n"
        if path.suffix == ".parquet":
            parquet(tmp_path / "a.parquet", text=pa.array(["hi"]), label=pa.array(["x"])).rename(path)
        else:
            path.write_bytes(gzip.compress(rows) if path.suffix == ".gz" else rows)
        data = read_labeled(tmp_path)
        assert data.text.to_pylist() == ["hi"]
        assert data.sources[0].name == name.decode("utf-8", "replace")

    def test_dangling_link(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").symlink_to("nowhere")
        for path in (tmp_path, tmp_path / "a.csv", tmp_path / "*.csv"):
            with pytest.raises(InputNotFoundError, match=r"a\.csv is a link to nowhere"):
                find_files(path)
        with pytest.raises(InputNotFoundError, match="is a URI"):
            find_files("s3://bucket/a.csv")


class TestSeveralFiles:
    def files(self, folder: Path) -> tuple[Path, Path]:
        first = parquet(
            folder / "1.parquet", text=pa.array(["a", "b"]), label=pa.array(["positive", "neutral"])
        )
        second = folder / "2.csv"
        second.write_text("text,label,user\nc,negative,eve\nd,positive,\n", "utf-8")
        return first, second

    def test_files_in_given_order(self, tmp_path: Path) -> None:
        first, second = self.files(tmp_path)
        data = read_labeled([second, first])
        assert data.text.to_pylist() == ["c", "d", "a", "b"]
        assert data.labels == ("negative", "neutral", "positive")
        assert names(data) == ["negative", "positive", "positive", "neutral"]
        assert data.user is not None
        assert data.user.to_pylist() == ["eve", None, None, None]
        assert data.row.tolist() == [0, 1, 2, 3]
        assert [source.name for source in data.sources] == ["2.csv", "1.parquet"]

    def test_globs_directories_and_repeats(self, tmp_path: Path) -> None:
        first, second = self.files(tmp_path)
        (tmp_path / "notes.txt").write_text("not data")
        (tmp_path / ".hidden.csv").write_text("not data")
        assert find_files(tmp_path) == [first, second]
        assert find_files(str(tmp_path / "*.csv")) == [second]
        assert find_files([second, tmp_path, str(tmp_path / "[12].*")]) == [second, first]

    def test_file_with_glob_characters_in_its_name(self, tmp_path: Path) -> None:
        path = tmp_path / "a[1].csv"
        path.write_text("text,label\na,x\n")
        assert find_files(path) == [path]

    @pytest.mark.parametrize("given", ["none.csv", "*.csv", "."])
    def test_missing_files(self, tmp_path: Path, given: str) -> None:
        with pytest.raises(InputNotFoundError):
            find_files(tmp_path / given)
        with pytest.raises(InputNotFoundError):
            find_files([])

    def test_sources_describe_what_was_read(self, tmp_path: Path) -> None:
        first, second = self.files(tmp_path)
        data = read_labeled([first, second], labels=["positive", "negative"])
        assert data.labels == ("positive", "negative")
        assert data.label.tolist() == [0, 1, 0]
        assert data.row.tolist() == [0, 2, 3]
        one, two = data.sources
        assert (one.rows, one.rows_used, one.other_labels) == (2, 1, (("neutral", 1),))
        assert (two.rows, two.rows_used, two.other_labels) == (2, 2, ())
        assert one.sha256 == hashlib.sha256(first.read_bytes()).hexdigest() == sha256_of(first)
        assert one.to_dict()["other_labels"] == {"neutral": 1}

    def test_missing_labels(self, tmp_path: Path) -> None:
        self.files(tmp_path)
        with pytest.raises(DataError, match="with one of the labels joy"):
            read_labeled(tmp_path, labels=["joy"])
        assert read_labeled(tmp_path, labels=["joy", "neutral"]).label.tolist() == [1]
        for bad in ([], ["a", "a"]):
            with pytest.raises(UsageError):
                read_labeled(tmp_path, labels=bad)

    def test_unlabeled_only_on_request_and_not_mixed(self, tmp_path: Path) -> None:
        plain = parquet(tmp_path / "plain.parquet", text=pa.array(["a", "b"]))
        with pytest.raises(ColumnNotFoundError):
            read_labeled(plain)
        data = read_labeled(plain, unlabeled_ok=True)
        assert data.labels == ()
        assert data.label.tolist() == [-1, -1]
        with pytest.raises(ColumnNotFoundError):
            read_labeled(plain, label_column="sentiment", unlabeled_ok=True)
        self.files(tmp_path)
        with pytest.raises(DataError, match="label column"):
            read_labeled(tmp_path, unlabeled_ok=True)

    def test_take(self, tmp_path: Path) -> None:
        first, second = self.files(tmp_path)
        data = read_labeled([first, second]).take(np.array([3, 1]))
        assert data.text.to_pylist() == ["d", "b"]
        assert names(data) == ["positive", "neutral"]
        assert data.row.tolist() == [3, 1]
        assert data.user is not None
        assert data.user.to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("given", "ordered"),
    [
        (["positive", "negative"], ("negative", "positive")),
        (["positive", "neutral", "negative"], ("negative", "neutral", "positive")),
        (["positive", "mixed"], ("mixed", "positive")),
        (["10", "9", "9"], ("10", "9")),
    ],
)
def test_label_order(given: list[str], ordered: tuple[str, ...]) -> None:
    assert order_labels(given) == ordered


@pytest.mark.skipif(
    not Path(os.environ.get("SENTSTREAM_DATA", "../shared/data")).is_dir() and os.environ.get("CI") != "true",
    reason="the data folder (SENTSTREAM_DATA) is not here",
)
def test_official_test_set() -> None:
    folder = Path(os.environ.get("SENTSTREAM_DATA", "../shared/data"))
    data = read_labeled(folder / "sentiment140/test.parquet")
    assert np.bincount(data.label).tolist() == [177, 139, 182]
    two = read_labeled(folder / "sentiment140/test.parquet", labels=["negative", "positive"])
    assert len(two) == 359
