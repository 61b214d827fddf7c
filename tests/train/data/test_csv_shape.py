"""CSV files found in practice: read, or one line that says what was found and which option reads it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from sentstream.errors import ColumnNotFoundError, DataError, SentstreamError
from sentstream_train.data.csv_shape import look
from sentstream_train.data.labeled import read_labeled

TEXTS = [
    "caf\u00e9 so na\u00efve & sad :(",
    "I love \u00a35",
    "one\ntwo",
    'she said "hi"',
    "a, b; c\td",
    "back\\slash",
]
OFFICIAL = [
    ["04"[n % 2], str(1467810000 + n), "Mon Apr 06 22:19:45 PDT 2009", "NO_QUERY", f"u{n}", text]
    for n, text in enumerate(TEXTS)
]
PLAIN = [[row[5], row[0]] for row in OFFICIAL]


def table(
    rows: list[list[str]], header: list[str] | None = None, delimiter: str = ",", quoting: int = csv.QUOTE_ALL
) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, quoting=quoting, lineterminator="\n")  # type: ignore[arg-type]
    writer.writerows([header, *rows] if header else rows)
    return buffer.getvalue()


SHAPES: dict[str, bytes] = {
    "as published": table(OFFICIAL).encode("latin-1"),
    "in UTF-8": table(OFFICIAL).encode(),
    "with a byte-order mark": b"\xef\xbb\xbf" + table(OFFICIAL).encode(),
    "a mark before Latin-1": b"\xef\xbb\xbf" + table(OFFICIAL).encode("latin-1"),
    "in UTF-16": table(OFFICIAL).encode("utf-16"),
    "without quotes": table(OFFICIAL, quoting=csv.QUOTE_MINIMAL).encode("latin-1"),
    "under a header of pandas": table(OFFICIAL, [str(n) for n in range(6)]).encode("latin-1"),
    "under Kaggle's header": table(OFFICIAL, ["target", "ids", "date", "flag", "user", "text"]).encode(),
    "0 and 1": table([[{"4": "1"}.get(row[0], row[0]), *row[1:]] for row in OFFICIAL]).encode("latin-1"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_official_file_in_every_shape(name: str, tmp_path: Path) -> None:
    (tmp_path / "tweets.csv").write_bytes(SHAPES[name])
    data = read_labeled(tmp_path / "tweets.csv")
    assert data.text.to_pylist() == TEXTS
    assert [data.labels[label] for label in data.label] == ["negative", "positive"] * 3
    assert data.sources[0].broken == 0


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_other_files(delimiter: str, encoding: str, tmp_path: Path) -> None:
    data = table(PLAIN, ["text", "label"], delimiter, csv.QUOTE_MINIMAL).encode(encoding)
    (tmp_path / "tweets.csv").write_bytes(data)
    found = read_labeled(tmp_path / "tweets.csv")
    assert found.labels == ("0", "4")
    # So few broken bytes may be a mishap, and are mended as one.
    few = encoding == "latin-1"
    assert found.text.to_pylist()[2 * few :] == TEXTS[2 * few :]
    assert found.sources[0].broken == 2 * few


def test_whole_latin_1_file(tmp_path: Path) -> None:
    (tmp_path / "tweets.csv").write_bytes(table(PLAIN * 5, ["text", "label"]).encode("latin-1"))
    assert read_labeled(tmp_path / "tweets.csv").text.to_pylist() == TEXTS * 5


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["0", "1"], ("0", "1")),
        (["0.0", "1.0"], ("0", "1")),
        (["-1", "0", "1"], ("-1", "0", "1")),
        (["-1.0", "1.0"], ("-1", "1")),
        (["Positive", " positive", "Negative ", "NEUTRAL"], ("negative", "neutral", "positive")),
        (["0.5", "Joy", "joy"], ("0.5", "Joy", "joy")),
    ],
)
def test_label_meanings(given: list[str], expected: tuple[str, ...], tmp_path: Path) -> None:
    rows = [[f"text {n}", label] for n, label in enumerate(given)]
    (tmp_path / "tweets.csv").write_text(table(rows, ["text", "label"]))
    assert read_labeled(tmp_path / "tweets.csv").labels == expected


@pytest.mark.parametrize(
    ("header", "hint"),
    [
        (["text", "sentiment"], "name it with --label-column sentiment"),
        (["tweet", "label"], "name it with --text-column tweet"),
        (["clean_text", "category"], "name it with --text-column clean_text"),
    ],
)
def test_unknown_column_names_are_listed(header: list[str], hint: str, tmp_path: Path) -> None:
    (tmp_path / "tweets.csv").write_text(table(PLAIN, header))
    with pytest.raises(ColumnNotFoundError) as caught:
        read_labeled(tmp_path / "tweets.csv")
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"text,label\n", "no rows"),
        (SHAPES["0 and 1"] + SHAPES["as published"], "both polarity 1 and 4"),
    ],
)
def test_unreadable_files_give_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "tweets.csv").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_labeled(tmp_path / "tweets.csv")
    assert isinstance(caught.value, SentstreamError)
    assert "\n" not in str(caught.value)


def test_quotes_inside_words_are_literal(tmp_path: Path) -> None:
    (tmp_path / "tweets.csv").write_text('text,label\ntweet is "fun,pos\nplain,neg\n')
    assert read_labeled(tmp_path / "tweets.csv").text.to_pylist() == ['tweet is "fun', "plain"]


def test_encoding_comes_from_the_whole_file() -> None:
    """Its first part is ASCII, in which all three are the same."""
    data = b"text,label\n" + b"plain,x\n" * 20_000
    for tail, encoding in (("caf\u00e9,x\n".encode() * 9, "utf-8"), (b"caf\xe9,x\n" * 9, "latin-1")):
        shape = look(io.BytesIO(data + tail), None)
        assert shape is not None
        assert shape.encoding == encoding
