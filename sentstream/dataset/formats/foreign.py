"""Recognize files that are not Parquet, with a hint for converting them."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa

from sentstream.storage.api import StoredFile

_HEAD = 4096  # bytes that are examined
_SPACE = b" \t\r\n"


@dataclass(frozen=True)
class Foreign:
    """Another format.

    Attributes:
        what: Its name, as in "it is …, not Parquet".
        hint: What to do about it.
        is_csv: Whether it is CSV, or may be once it is decompressed.
    """

    what: str
    hint: str
    is_csv: bool = False


#: Makes the hint from the file's path as given.
_Hint: TypeAlias = Callable[[str], str]


def recognize(file: StoredFile) -> Foreign | None:
    """Recognize a file by its first bytes; None if it is unknown.

    Raises:
        InputError: It cannot be read.
    """
    with file.open() as data:
        head = data.read(_HEAD)
    argument = file.name if file.path is None or file.name == str(file.path) else "FILE"
    for magic, kind, hint in _BINARY:
        if head.startswith(magic):
            return Foreign(kind, hint(argument))
    for magic, codec in _COMPRESSED.items():
        if head.startswith(magic):
            return _compressed(file, codec, argument)
    return _text(head, argument, "")


def _compressed(file: StoredFile, codec: str, argument: str) -> Foreign:
    description = f"compressed with {codec}"
    head = b""
    if codec in _OPENED:
        with (
            contextlib.suppress(OSError),
            file.open() as data,
            pa.input_stream(data, compression=_OPENED[codec]) as stream,
        ):
            head = stream.read(_HEAD)
    inside = _text(head, argument, _OPENED.get(codec, ""))
    if inside is not None:
        return Foreign(f"{inside.what}, {description}", inside.hint, inside.is_csv)
    path = Path(argument)
    target = str(path.with_suffix("")) if path.suffix.lower() in _ENDINGS else _target(argument)
    unpacked = f"{codec} -dc {shlex.quote(argument)} > {shlex.quote(target)}"
    return Foreign(description, f"decompress it: {unpacked}", is_csv=True)


def _text(head: bytes, argument: str, codec: str) -> Foreign | None:
    """Recognize text formats."""
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip(_SPACE)
    lower = head[:256].lower()
    if not head or b"\0" in head or sum(byte < 32 for byte in head.translate(None, _SPACE)) > len(head) // 50:
        return None
    if head.startswith(b"version https://git-lfs"):
        return Foreign("a Git LFS pointer", "run git lfs pull")
    if lower.startswith((b"<!doctype html", b"<html")):
        return Foreign("an HTML page", "is it a saved login or error page? Fetch the file itself")
    if lower.startswith(b"<"):
        return Foreign("XML", "is it a storage service's error message? Fetch the file itself")
    opened = (
        f'pyarrow.input_stream({_quoted(argument)}, compression="{codec}")' if codec else _quoted(argument)
    )
    if head.startswith(b"{"):
        return Foreign("JSON", _convert(argument, "json", f"json.read_json({opened})"))
    if head.startswith(b"["):
        opened = opened if codec else f"open({opened})"
        rows = f"pyarrow.Table.from_pylist(json.load({opened}))"
        return Foreign("JSON", _convert(argument, "", rows, more="json, "))
    line = head.splitlines()[0]
    delimiter = max(b",\t;|", key=lambda byte: line.count(bytes([byte])))
    if not line.count(bytes([delimiter])):
        return Foreign("text", "only Parquet is read: write the rows as Parquet", is_csv=True)
    parse_options = f"csv.ParseOptions(delimiter={_quoted(chr(delimiter))}, newlines_in_values=True)"
    description = "tab-separated text" if delimiter == ord("\t") else "CSV"
    return Foreign(
        description,
        _convert(argument, "csv", f"csv.read_csv({opened}, parse_options={parse_options})"),
        is_csv=True,
    )


def _convert(argument: str, module: str, table: str, *, more: str = "") -> str:
    """Return a command that converts a table to Parquet, using this Python and pyarrow."""
    code = (
        f"import {more}pyarrow; from pyarrow import {f'{module}, ' if module else ''}parquet; "
        f"parquet.write_table({table}, {_quoted(_target(argument))})"
    )
    return f"convert it: {shlex.join([sys.executable, '-c', code])}"


def _quoted(text: str) -> str:
    """Return a Python literal in double quotes, so that it fits in a shell's single quotes."""
    return json.dumps(text)


def _target(argument: str) -> str:
    """Return a name for a converted file: ``a.csv.gz`` -> ``a.parquet``."""
    path = Path(argument)
    name = path.name.partition(".")[0] or "converted"
    target = path.with_name(f"{name}.parquet")
    return str(target if target != path else path.with_name(f"{name}.converted.parquet"))


def _by(module: str, table: str) -> _Hint:
    return lambda argument: _convert(argument, module, table.format(_quoted(argument)))


def _polars(argument: str) -> str:
    code = f"pl.read_avro({_quoted(argument)}).write_parquet({_quoted(_target(argument))})"
    return f"convert it, e.g. with polars: {code}"


def _excel(argument: str) -> str:
    return "save a workbook as CSV and convert that; unpack an archive"


_BINARY: list[tuple[bytes, str, _Hint]] = [
    (b"ARROW1", "an Arrow IPC (Feather) file", _by("ipc", "ipc.open_file(pyarrow.OSFile({})).read_all()")),
    (
        b"\xff\xff\xff\xff",
        "an Arrow IPC stream",
        _by("ipc", "ipc.open_stream(pyarrow.OSFile({})).read_all()"),
    ),
    (b"ORC", "ORC", _by("orc", "orc.read_table({})")),
    (b"Obj\x01", "Avro", _polars),
    (b"PK\x03\x04", "a zip archive or an Excel workbook", _excel),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Office file", _excel),
]
#: Magic bytes, and the command that decompresses the format.
_COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\x00": "xz",
    b"\x04\x22\x4d\x18": "lz4",
}
_ENDINGS = (".gz", ".bz2", ".zst", ".xz", ".lz4")
#: pyarrow's names of the formats that it can open.
_OPENED = {"gzip": "gzip", "bzip2": "bz2", "zstd": "zstd", "lz4": "lz4"}
