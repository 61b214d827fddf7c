"""Assemble several Parquet files of one schema into one with the same row groups, byte for byte.

Nothing is decoded: the row groups are copied one after another, and the footer gets their new offsets. So
pieces of a large file can be scored in any order, on any machine, and still yield the same file.
"""

from __future__ import annotations

import os
from typing import BinaryIO, Final

from sentstream.dataset.formats.parquet.thrift import I64, LIST, Struct, Value, read_struct, write_struct

_MAGIC: Final = b"PAR1"
_TAIL: Final = 8  # bytes after the footer: its length, and the magic
#: Fields of parquet.thrift, by the struct they are in.
_NUM_ROWS, _ROW_GROUPS = 3, 4  # FileMetaData
_COLUMNS, _GROUP_OFFSET, _ORDINAL = 1, 5, 7  # RowGroup
_CHUNK_OFFSET, _METADATA = 2, 3  # ColumnChunk
_CHUNK_OFFSETS = 4, 6  # its page indices
_METADATA_OFFSETS = 9, 10, 11, 14  # ColumnMetaData: data pages, index pages, dictionary, bloom filter


class Assembly:
    """A Parquet file assembled from others.

    Args:
        out: The file to write to; it need not be seekable.
    """

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._whole: Struct = {}
        self._at = 0

    def add(self, part: BinaryIO) -> None:
        """Copy the row groups of a file.

        Args:
            part: The file, open and seekable, with the schema and the key-value metadata of the first one.

        Raises:
            ValueError: It is not a complete Parquet file.
            OSError: Reading or writing failed.
        """
        whole = self._whole
        footer, end = _footer(part)
        start = len(_MAGIC) if whole else 0
        _move(footer, self._at - start, len(whole[_ROW_GROUPS].data) if whole else 0)
        part.seek(start)
        _copy(part, self._out, end - start)
        self._at += end - start
        if whole:
            whole[_NUM_ROWS].data += footer[_NUM_ROWS].data
            groups, added = whole[_ROW_GROUPS], footer[_ROW_GROUPS]
            groups.item = groups.item or added.item
            groups.data += added.data
        else:
            self._whole = footer

    def close(self) -> None:
        """Write the footer.

        Raises:
            OSError: Writing failed.
        """
        data = write_struct(self._whole)
        self._out.write(data + len(data).to_bytes(4, "little") + _MAGIC)


def _footer(part: BinaryIO) -> tuple[Struct, int]:
    """Return a file's footer, and its offset."""
    size = part.seek(0, os.SEEK_END)
    part.seek(max(0, size - _TAIL))
    tail = part.read(_TAIL)
    start = size - _TAIL - int.from_bytes(tail[:4], "little")
    if tail[4:] != _MAGIC or start < len(_MAGIC):
        raise ValueError("not a complete Parquet file")
    part.seek(start)
    footer = read_struct(part.read(size - _TAIL - start))
    if footer.get(_NUM_ROWS, Value(0, 0)).kind != I64 or footer.get(_ROW_GROUPS, Value(0, 0)).kind != LIST:
        raise ValueError("not a Parquet footer")
    return footer, start


def _move(footer: Struct, shift: int, groups_before: int) -> None:
    """Update a footer for row groups that move ``shift`` bytes and follow ``groups_before`` others."""
    for number, group in enumerate(footer[_ROW_GROUPS].data, start=groups_before):
        _shift(group.data, (_GROUP_OFFSET,), shift)
        if _ORDINAL in group.data and number < 1 << 15:  # an i16
            group.data[_ORDINAL].data = number
        elif _ORDINAL in group.data:
            del group.data[_ORDINAL]  # optional, and no number for it
        for chunk in group.data[_COLUMNS].data:
            _shift(chunk.data, (_CHUNK_OFFSET, *_CHUNK_OFFSETS), shift)
            _shift(chunk.data[_METADATA].data, _METADATA_OFFSETS, shift)


def _shift(fields: Struct, offsets: tuple[int, ...], shift: int) -> None:
    for field in offsets:
        if field in fields and fields[field].data:  # 0 means that there is none
            fields[field].data += shift


def _copy(source: BinaryIO, out: BinaryIO, count: int) -> None:
    """Copy ``count`` bytes."""
    while count:
        block = source.read(min(count, 1 << 20))
        if not block:
            raise ValueError("a part ends before its footer")
        out.write(block)
        count -= len(block)
