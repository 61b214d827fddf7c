"""Split a file into blocks of whole lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from sentstream.errors import InputFormatError

BLOCK_BYTES: Final = 4 << 20
#: With a longer line, a file is assumed not to be JSON lines.
LONGEST_LINE: Final = 64 << 20
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Block:
    """Whole lines of a file.

    Attributes:
        data: Their bytes, including line ends.
        first: The number of the first line, from 1.
    """

    data: bytes
    first: int


def blocks(file: BinaryIO, name: str) -> Iterator[Block]:
    """Yield a file's lines in blocks of about 4 MiB; the last line gets a line feed if it has none.

    Raises:
        InputFormatError: A line is longer than 64 MiB.
    """
    rest: list[bytes] = []
    length = 0
    line = 1
    start = True
    while data := file.read(BLOCK_BYTES):
        if start:
            data, start = data.removeprefix(_BOM), False
        end = data.rfind(b"\n") + 1
        if not end:
            rest.append(data)
            length += len(data)
            if length > LONGEST_LINE:
                raise InputFormatError(
                    f"{name}, line {line:,}: longer than {LONGEST_LINE >> 20} MiB",
                    hint="JSON lines have one object per line; is this one large JSON document?",
                )
            continue
        whole = b"".join([*rest, data[:end]])
        rest, length = [data[end:]], len(data) - end
        yield Block(whole, line)
        line += whole.count(b"\n")
    if last := b"".join(rest):
        yield Block(last + b"\n", line)
