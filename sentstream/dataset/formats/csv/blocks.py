"""Split a file into blocks of whole rows, by the same rules as pyarrow's CSV reader.

A line end inside quotes does not end a row. Quotes count only at the start of a field; inside an unquoted
field they are ordinary characters. So whether a line end is inside quotes follows from the number of quotes
before it, provided that every other quote starts a field or is the second of a doubled one; if not, a slower
method goes from field to field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt

from sentstream.errors import InputFormatError

BLOCK_BYTES: Final = 4 << 20
#: With a longer row, a quote is assumed to be unclosed.
LONGEST_ROW: Final = 64 << 20
_QUOTE, _NEWLINE, _RETURN = b'"\n\r'
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Block:
    """Whole rows of a file.

    Attributes:
        data: Their bytes.
        line: The number of the first line, from 1.
        byte: The offset of the first byte in the file.
    """

    data: bytes
    line: int
    byte: int


def blocks(file: BinaryIO, delimiter: str, name: str) -> Iterator[Block]:
    """Yield a file's rows in blocks of about 4 MiB, without a byte order mark.

    Raises:
        InputFormatError: A quote is not closed, or a row is longer than 64 MiB.
    """
    rest = b""
    line, byte = 1, 0
    while data := file.read(BLOCK_BYTES):
        if not byte and not rest and data.startswith(_BOM):
            data, byte = data[len(_BOM) :], len(_BOM)
        rest += data
        end = _end(rest, delimiter)
        if end:
            yield Block(rest[:end], line, byte)
            line += rest.count(b"\n", 0, end)
            byte += end
            rest = rest[end:]
        elif len(rest) > LONGEST_ROW:
            raise InputFormatError(
                f"{name}, line {line:,}: a row of more than {LONGEST_ROW >> 20} MiB",
                hint="is a quote never closed, or is the file not CSV?",
            )
    if rest:
        opened = _open_quote(rest, delimiter)
        if opened is not None:
            line += rest.count(b"\n", 0, opened)
            raise InputFormatError(
                f"{name}, line {line:,}: a quote is never closed",
                hint='is the file truncated? Inside quotes, write a quote twice: ""',
            )
        yield Block(rest, line, byte)


def _end(data: bytes, delimiter: str) -> int:
    """Return the end of the last whole row; 0 if there is none."""
    if b'"' not in data:
        end = data.rfind(b"\n") + 1
        if not end and b"\r" in data[:-1]:  # files from classic Mac OS
            end = data.rindex(b"\r", 0, -1) + 1
        return end
    quotes = _quotes(data, delimiter)
    if quotes is None:
        return _slow_end(data, delimiter)[0]
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw == _NEWLINE)
    if not len(ends):
        ends = np.flatnonzero(raw[:-1] == _RETURN)
    outside = np.flatnonzero(np.searchsorted(quotes, ends) % 2 == 0)
    return int(ends[outside[-1]]) + 1 if len(outside) else 0


def _open_quote(data: bytes, delimiter: str) -> int | None:
    """Return the offset of a quote that is not closed; None if there is none."""
    if b'"' not in data:
        return None
    quotes = _quotes(data, delimiter)
    if quotes is not None:
        return int(quotes[-1]) if len(quotes) % 2 else None
    return _slow_end(data, delimiter)[1]


def _quotes(data: bytes, delimiter: str) -> npt.NDArray[np.int64] | None:
    """Return the offsets of quotes, if every other one, from the first, is an opening quote; else None."""
    raw = np.frombuffer(data, np.uint8)
    quotes = np.flatnonzero(raw == _QUOTE)
    opening = quotes[::2]
    before = raw[np.maximum(opening - 1, 0)]
    begins = (before == ord(delimiter)) | (before == _NEWLINE) | (before == _RETURN) | (opening == 0)
    second = np.zeros(len(opening), bool)
    second[1:] = opening[1:] == quotes[1::2][: len(opening) - 1] + 1
    return quotes if (begins | second).all() else None


def _slow_end(data: bytes, delimiter: str) -> tuple[int, int | None]:
    """Return the end of the last whole row, and the offset of a quote that is not closed."""
    mark = re.escape(delimiter.encode())
    field = re.compile(
        rb'(?:"((?:[^"]|"")*)(?:("(?!"))[^%(mark)b\r\n]*)?|[^%(mark)b\r\n]*)(%(mark)b|\r\n?|\n|$)'
        % {b"mark": mark}
    )
    at = end = 0
    while at < len(data):
        match = field.match(data, at)
        if match is None or (match[1] is not None and match[2] is None):
            return end, at
        at = match.end()
        if match[3] in (b"\n", b"\r\n") or (match[3] == b"\r" and at < len(data)):
            end = at
        elif not match[3]:
            break
    return end, None
