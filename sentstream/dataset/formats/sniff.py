"""Detect a file's layout from its first bytes and its name."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Final

import pyarrow as pa

from sentstream.dataset.formats.api import PARQUET, STREAMED, TITLES, Codec, Format, Layout
from sentstream.dataset.formats.compression import codec_of, unpacked
from sentstream.dataset.formats.foreign import Foreign, recognize
from sentstream.dataset.formats.names import layout_of_name
from sentstream.errors import InputFormatError
from sentstream.storage.api import StoredFile

HEAD_BYTES: Final = 1 << 16
_MAGIC: Final[dict[bytes, Format]] = {
    b"PAR1": "parquet",
    b"PARE": "parquet",
    b"ARROW1": "arrow",
    b"ORC": "orc",
    b"\xff\xff\xff\xff": "arrow-stream",
}
#: The formats with magic bytes.
BINARY: Final = frozenset(_MAGIC.values())
_BOM: Final = b"\xef\xbb\xbf"
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_DELIMITERS: Final = ",\t;|"


def layout_of(file: StoredFile, format: Format | None = None) -> Layout:
    """Detect a file's layout from its first bytes, and for text formats also from its name.

    Args:
        file: The file.
        format: The required format; None detects it.

    Raises:
        InputFormatError: It is empty, its format is not supported, or it is not in ``format``.
        InputError: It cannot be read.
    """
    named = layout_of_name(file.name)
    if not file.size:
        if (format or (named and named.format)) in (None, "parquet"):
            return PARQUET  # its reader reports the empty file
        raise InputFormatError(f"{file.name} is empty", hint="write it again")
    with file.open() as data:
        head = data.read(HEAD_BYTES)
    codec = codec_of(head)
    if codec is not None:
        head = _unpacked_head(file, codec)
    found = _magic(head)
    if found is None:
        found = format if format in ("parquet", "orc", "arrow", "arrow-stream") else None
        if found is not None and codec is None:
            _refuse(file, head, found)
    elif format is not None and format != found:
        raise InputFormatError(
            f"{file.name} is {TITLES[found]}, not {TITLES[format]}",
            hint=f"give --format {found}, or leave it out",
        )
    if found is not None:
        if codec is not None and found not in STREAMED:
            raise InputFormatError(
                f"{file.name} is {TITLES[found]}, compressed as a whole with {codec}",
                hint=f"decompress it; {TITLES[found]} is compressed internally and is read from its end",
            )
        return Layout(found, codec)
    return _text_layout(file, head, codec, format, named)


def begins_as(file: StoredFile) -> Format | None:
    """Return a file's format if its first bytes leave no doubt, else None.

    For JSON lines, the first line has to be an object.

    Raises:
        InputError: It cannot be read.
    """
    with file.open() as data:
        head = data.read(HEAD_BYTES)
    codec = codec_of(head)
    if codec is not None:
        try:
            head = _unpacked_head(file, codec)
        except InputFormatError:
            return None
    found = _magic(head)
    if found is not None:
        return found if codec is None or found in STREAMED else None
    line, end, _ = head.removeprefix(_BOM).lstrip(b" \t\r\n").partition(b"\n")
    if not line.startswith(b"{"):
        return None
    if not end and len(head) == HEAD_BYTES:  # the line is longer
        return "jsonl"
    with contextlib.suppress(ValueError, RecursionError):
        return "jsonl" if type(json.loads(line)) is dict else None
    return None


def _magic(head: bytes) -> Format | None:
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)


def _text_layout(
    file: StoredFile, head: bytes, codec: Codec | None, format: Format | None, named: Layout | None
) -> Layout:
    """Detect the layout of a text format."""
    if not head:
        raise InputFormatError(f"{file.name} is empty", hint="write it again")
    if head.startswith(_UTF16):
        raise InputFormatError(
            f"{file.name} is not UTF-8: it starts like UTF-16",
            hint="convert it: iconv -f UTF-16 -t UTF-8",
        )
    text = head.removeprefix(_BOM).lstrip(b" \t\r\n")
    wanted = format
    if wanted is None and named is not None and named.format in STREAMED - BINARY:
        foreign = recognize(file)
        if foreign is not None and not _is_read(foreign, codec):
            raise InputFormatError(
                f"{file.name} is {foreign.what}, not {TITLES[named.format]}", hint=foreign.hint
            )
        wanted = named.format
    if wanted is None:
        wanted = _guessed(file, text, codec, named)
        if wanted == "parquet":
            return PARQUET
    if wanted == "jsonl":
        if text.startswith(b"["):
            raise _array(file)
        return Layout("jsonl", codec)
    if wanted == "tsv":
        return Layout("tsv", codec, "\t")
    return Layout("csv", codec, delimiter_of(head))


def _guessed(file: StoredFile, text: bytes, codec: Codec | None, named: Layout | None) -> Format:
    """Guess the format of a file without magic bytes; Parquet if its reader will report the problem."""
    foreign = recognize(file)
    if named is not None and named.format in BINARY:
        title = TITLES[named.format]
        if foreign is None:
            if named.format == "parquet":
                return "parquet"
            raise InputFormatError(f"{file.name} is not {title}", hint="check the path")
        kind = "jsonl" if foreign.what.startswith("JSON") else "csv"
        readable = _is_read(foreign, codec)
        raise InputFormatError(
            f"{file.name} is {foreign.what}, not {title}",
            hint=f"if that is right, give --format {kind}" if readable else foreign.hint,
        )
    if text.startswith(b"{"):
        return "jsonl"
    if text.startswith(b"["):
        raise _array(file)
    if foreign is None:
        raise InputFormatError(
            f"{file.name} is not in a supported format", hint="check the path, or give --format"
        )
    if not _is_read(foreign, codec):
        raise InputFormatError(f"{file.name} is {foreign.what}", hint=foreign.hint)
    if foreign.what.startswith("text"):
        raise InputFormatError(
            f"{file.name} is text whose format cannot be detected",
            hint="give --format csv if its first line is the name of its only column",
        )
    return "csv"


def _is_read(foreign: Foreign, codec: Codec | None) -> bool:
    """Return whether it may be a supported text format, not compressed with an unsupported codec."""
    is_text = foreign.is_csv or foreign.what.startswith("JSON")
    return is_text and (codec is not None or "compressed with" not in foreign.what)


def delimiter_of(head: bytes) -> str:
    """Return the delimiter of the first line: the most frequent of comma, tab, semicolon and bar.

    >>> delimiter_of(b'id;"a, b";text\\n1;2;3'), delimiter_of(b"text")
    (';', ',')
    """
    outside = head.split(b'"')[::2]  # every other part is in quotes
    line = bytearray()
    for part in outside:
        before, end, _ = part.partition(b"\n")
        line += before
        if end:
            break
    return max(_DELIMITERS, key=lambda mark: line.count(mark.encode()))


def _unpacked_head(file: StoredFile, codec: Codec) -> bytes:
    with unpacked(file, codec) as data:
        return data.read(HEAD_BYTES)


def _array(file: StoredFile) -> InputFormatError:
    return InputFormatError(
        f"{file.name} is a JSON array, not JSON lines",
        hint="convert it to one object per line: jq -c '.[]'",
    )


def _refuse(file: StoredFile, head: bytes, expected: Format) -> None:
    """Raise an error that says what a file is instead of the requested format."""
    if expected == "arrow-stream":  # older streams begin with a length only
        with contextlib.suppress(pa.ArrowException, OSError):
            pa.ipc.open_stream(io.BytesIO(head))
            return
    foreign = recognize(file)
    phrase = f"is {foreign.what}, not" if foreign is not None else "is not"
    raise InputFormatError(f"{file.name} {phrase} {TITLES[expected]}", hint="leave --format out")
