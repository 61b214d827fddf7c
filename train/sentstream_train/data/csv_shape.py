"""Detect a CSV file's encoding, delimiter, header and columns before its rows are read."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv as pa_csv

#: The columns of the official Sentiment140 file, which has no header (Go, Bhayani and Huang 2009, help page).
SENTIMENT140_COLUMNS = ("polarity", "id", "date", "query", "user", "text")

_HEAD_BYTES, _CHUNK_BYTES = 1 << 16, 4 << 20
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
#: A row of that file, with quotes as published, or saved again without quotes. Some copies have 1 for 4.
_ROW = (
    r'(?:"[0124]","\d+","[^"\n]*[^"\n\d][^"\n]*","[^"\n]*","[^"\n]*","'
    r"|[0124],\d{5,},\w{3} \w{3} +\d+ [\d:]{8} \w+ \d{4},[^,\n]*,[^,\n]*,)"
)
_SENTIMENT140_ROW, _SENTIMENT140 = re.compile(_ROW), re.compile(r"^" + _ROW, re.MULTILINE)
_FIRST_ROWS = 4096
#: Up to this many invalid bytes in an ASCII file are taken for damage; more mean another encoding.
_FEW_BROKEN = 3


@dataclass(frozen=True)
class CsvShape:
    """How to read a CSV file.

    Attributes:
        encoding: ``utf-8``, ``utf-16`` or ``latin-1``.
        mark: Bytes to skip before the first row: a byte-order mark.
        delimiter: ``,``, ``;`` or a tab.
        columns: Column names.
        header: Whether the first row is a header.
        sentiment140: Whether it has the columns of the official Sentiment140 file.
    """

    encoding: str
    mark: int
    delimiter: str
    columns: tuple[str, ...]
    header: bool
    sentiment140: bool


def look(stream: BinaryIO, delimiter: str | None) -> CsvShape | None:
    """Detect the shape of a CSV file.

    Args:
        stream: The file's decompressed bytes, from the start; read to the end unless the file is UTF-16.
        delimiter: The delimiter implied by the file's name, if any.

    Returns:
        The shape, or None if the file is empty or starts with an empty line.
    """
    data = stream.read(_HEAD_BYTES)
    mark, encoding = next(((len(mark), name) for mark, name in _MARKS if data.startswith(mark)), (0, ""))
    if encoding == "utf-16":
        mark = 0  # the decoder consumes the mark
        text = data.decode(encoding, "replace")
    else:
        sound, broken = _count(data[mark:], stream)
        encoding = "latin-1" if broken > max(sound, _FEW_BROKEN) else "utf-8"
        text = data[mark:].decode(encoding, "replace")
        if broken and _SENTIMENT140.search(text[:_FIRST_ROWS]):
            encoding = "latin-1"  # as it is published
            text = data[mark:].decode(encoding)
    lines = text.splitlines()
    if not lines or not lines[0].strip():
        return None
    second = lines[1] if len(lines) > 1 else ""
    if _SENTIMENT140_ROW.match(lines[0]):
        return CsvShape(encoding, mark, ",", SENTIMENT140_COLUMNS, header=False, sentiment140=True)
    delimiter = delimiter or max(",;\t", key=lambda one: (lines[0].count(one), one == ","))
    columns = _fields(lines[0], delimiter)
    official = len(columns) == len(SENTIMENT140_COLUMNS) and _SENTIMENT140_ROW.match(second) is not None
    names = SENTIMENT140_COLUMNS if official else columns
    return CsvShape(encoding, mark, delimiter, names, header=True, sentiment140=official)


def _count(data: bytes, stream: BinaryIO) -> tuple[int, int]:
    """Count non-ASCII characters that are valid UTF-8, and invalid sequences, to the end of a file.

    A file with a few invalid sequences is UTF-8. A file in another encoding, in which every accented letter
    is invalid, is read as Latin-1, in which every byte is valid.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    sound = broken = 0
    while data:
        if not data.isascii():
            text = decoder.decode(data)
            bad = max(0, text.count("\ufffd") - data.count(b"\xef\xbf\xbd"))
            sound, broken = sound + sum(not letter.isascii() for letter in text) - bad, broken + bad
        data = stream.read(_CHUNK_BYTES)
    return sound, broken


def _fields(line: str, delimiter: str) -> tuple[str, ...]:
    """The fields of a row, split as the CSV reader splits it."""
    data = line.encode("utf-8", "replace")
    table = pa_csv.read_csv(
        pa.BufferReader(data + b"\n" + data + b"\n"),
        parse_options=pa_csv.ParseOptions(delimiter=delimiter),
        read_options=pa_csv.ReadOptions(use_threads=False, autogenerate_column_names=True),
    )
    return tuple(str(column[0].as_py()) for column in table.columns)
