"""Read the page headers of a column chunk: number of values, size, and encoding of each page.

pyarrow describes only whole chunks, as stated in the footer. A page's header is what readers decode by, so it
can be trusted. Headers are Thrift structs in the compact protocol:
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

#: Values of parquet.thrift's ``Encoding``.
PLAIN, PLAIN_DICTIONARY, DELTA_LENGTH, DELTA_BYTES, RLE_DICTIONARY = 0, 2, 6, 7, 8
DICTIONARY_ENCODINGS: Final = (PLAIN_DICTIONARY, RLE_DICTIONARY)

#: Fields of ``PageHeader``, and of the three structs in it.
_SIZE, _STORED_SIZE, _DATA, _DICTIONARY, _DATA_V2 = 2, 3, 5, 7, 8
_VALUES, _ENCODING, _ENCODING_V2 = 1, 2, 4
#: Bytes read for a header at first, and the maximum size of a header, as in pyarrow.
_HEADER, _LONGEST_HEADER = 512, 16 << 20


@dataclass(frozen=True)
class Page:
    """One page of a column chunk.

    Attributes:
        values: Number of values including nulls; for a data page of a flat column, its number of rows.
        size: Uncompressed size in bytes.
        encoding: One of parquet.thrift's encodings.
        is_dictionary: Whether it is the chunk's dictionary page.
    """

    values: int
    size: int
    encoding: int
    is_dictionary: bool = False


def read_pages(file: BinaryIO, start: int, size: int) -> Iterator[Page]:
    """Yield the dictionary page, if there is one, and the data pages of a column chunk, in order.

    Args:
        file: The Parquet file.
        start: The offset of the chunk.
        size: The chunk's size in bytes.

    Raises:
        ValueError: A page header is invalid.
    """
    end = start + size
    while start < end:
        header, length = _read_header(file, start, end)
        try:
            start += length + _natural(header[_STORED_SIZE])
            if _DICTIONARY in header:
                fields, encoding = header[_DICTIONARY], _ENCODING
            elif _DATA_V2 in header:
                fields, encoding = header[_DATA_V2], _ENCODING_V2
            elif _DATA in header:
                fields, encoding = header[_DATA], _ENCODING
            else:  # an index page, which readers skip
                continue
            yield Page(
                _natural(fields[_VALUES]), _natural(header[_SIZE]), fields[encoding], _DICTIONARY in header
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"the page header at byte {start:,} lacks field {error}") from error


def _natural(number: Any) -> int:
    if not isinstance(number, int) or number < 0:
        raise ValueError(f"a page header has {number!r} as a count")
    return number


def _read_header(file: BinaryIO, start: int, end: int) -> tuple[dict[int, Any], int]:
    """Return a header's fields and its length in bytes; headers with statistics may be long."""
    length = _HEADER
    while True:
        file.seek(start)
        data = file.read(min(length, end - start))
        try:
            return _struct(data, 0)
        except IndexError:
            if len(data) < length or length >= _LONGEST_HEADER:
                raise ValueError(f"no page header at byte {start:,}") from None
            length *= 16


def _struct(data: bytes, offset: int, depth: int = 0) -> tuple[dict[int, Any], int]:
    """Return a struct's fields by id, and its end; IndexError if the data ends before.

    Strings are skipped; types that page headers never have raise ValueError.
    """
    if depth > 4:
        raise ValueError("a page header is nested too deeply")
    fields: dict[int, Any] = {}
    field = 0
    while True:
        head, offset = data[offset], offset + 1
        if not head:
            return fields, offset
        delta, kind = head >> 4, head & 15
        if delta:
            field += delta
        else:
            field, offset = _integer(data, offset)
        if kind in (1, 2):  # true, false
            fields[field] = kind == 1
        elif kind == 3:
            fields[field], offset = data[offset], offset + 1
        elif kind in (4, 5, 6):
            fields[field], offset = _integer(data, offset)
        elif kind == 8:  # a string
            length, offset = _varint(data, offset)
            offset += length
        elif kind == 12:
            fields[field], offset = _struct(data, offset, depth + 1)
        else:
            raise ValueError(f"a page header has a field of type {kind}")


def _integer(data: bytes, offset: int) -> tuple[int, int]:
    number, offset = _varint(data, offset)
    return (number >> 1) ^ -(number & 1), offset


def _varint(data: bytes, offset: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte, offset = data[offset], offset + 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, offset
        shift += 7
        if shift > 63:
            raise ValueError("a page header has an unterminated number")
