"""The records of a manifest: JSON lines, each with its own checksum.

The first line of a file is the header, which describes the run. Every other line is an entry, with the result
of a piece or of a whole file. The compacted manifest ends with a line that counts the entries, so that
truncation is detected.
"""

from __future__ import annotations

import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal, TypeAlias

from sentstream.errors import ManifestError
from sentstream.packed import pickled_by_fields

FORMAT: Final = 1
_END: Final = "end"
#: Shared, since ``json.dumps`` would create one per call.
_JSON: Final = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))
#: The checksum at the end of a line, which always has the same length.
_SUM = re.compile(rb',"crc32":"([0-9a-f]{8})"\}')
_SUM_BYTES: Final = len(',"crc32":"00000000"}')
State: TypeAlias = Literal["done", "part", "skipped"]


@dataclass(frozen=True)
class Header:
    """The settings of a run: another run may resume it only if all of them are the same.

    Attributes:
        sentstream: The version of sentstream.
        model: The model's name, version and digest.
        options: The other options that the bytes of an output depend on, by name.
        format: The version of the manifest.
    """

    sentstream: str
    model: dict[str, str]
    options: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT


@pickled_by_fields
@dataclass(frozen=True, slots=True)
class Input:
    """An input file, as it was when scored.

    Attributes:
        name: Its name.
        size: Size in bytes.
        tag: Its modification time, or its ETag.
        tail: SHA-256 of its last 64 KiB, where Parquet has the footer.
    """

    name: str
    size: int
    tag: str
    tail: str


@pickled_by_fields
@dataclass(frozen=True, slots=True)
class Written:
    """A complete output, or a part of it.

    Attributes:
        name: Its path relative to the output directory.
        rows: Number of rows.
        size: Size in bytes.
        sha256: SHA-256 of its bytes, in hexadecimal.
    """

    name: str
    rows: int
    size: int
    sha256: str


@pickled_by_fields
@dataclass(frozen=True, slots=True)
class Entry:
    """The result of a file, or of consecutive row groups of a large one.

    Attributes:
        state: ``done``, a complete output; ``part``, some of its row groups; ``skipped``, an invalid input.
        output: The output's path relative to the output directory; with ``files``, what it would be without
            partitioning.
        input: The input file.
        first: The first row group.
        stop: The row group after the last one; 0 for a whole file.
        rows: Number of rows written.
        tally: Counts of the rows: ``Tally.to_dict``.
        left_out: Number of rows excluded by ``where``.
        size: Number of bytes written.
        sha256: SHA-256 of the bytes written.
        reason: Why the input was skipped.
        files: The outputs in partition folders, any number; None for a single output.
    """

    state: State
    output: str
    input: Input
    first: int = 0
    stop: int = 0
    rows: int = 0
    tally: dict[str, Any] = field(default_factory=dict)
    left_out: int = 0
    size: int = 0
    sha256: str = ""
    reason: str = ""
    files: tuple[Written, ...] | None = None

    @property
    def written(self) -> tuple[Written, ...]:
        """All outputs, or their parts."""
        if self.state == "skipped":
            return ()
        if self.files is None:
            return (Written(self.output, self.rows, self.size, self.sha256),)
        return self.files


_ENTRY = tuple(one.name for one in fields(Entry))
_INPUT = tuple(one.name for one in fields(Input))
_WRITTEN = tuple(one.name for one in fields(Written))


def header_line(header: Header) -> bytes:
    """Return a header as a line."""
    return _line({"manifest": header.format, **{k: v for k, v in asdict(header).items() if k != "format"}})


def entry_line(entry: Entry) -> bytes:
    """Return an entry as a line; defaults are omitted."""
    named = ((name, getattr(entry, name)) for name in _ENTRY)
    fields = {name: value for name, value in named if value or name in ("state", "output", "rows")}
    fields["input"] = {name: getattr(entry.input, name) for name in _INPUT}
    if entry.files is not None:
        fields["files"] = [{name: getattr(one, name) for name in _WRITTEN} for one in entry.files]
    return _line(fields)


def end_line(count: int) -> bytes:
    """Return the last line of a compacted manifest."""
    return _line({_END: count})


def read_records(data: bytes, name: str, *, whole: bool) -> tuple[Header, list[Entry]]:
    """Return the header and the entries in the bytes of a file, like ``read_lines``."""
    header, entries = read_lines(io.BytesIO(data), name, whole=whole)
    return header, [entry for entry, _ in entries]


def read_lines(
    file: Iterable[bytes], name: str, *, whole: bool
) -> tuple[Header, Iterator[tuple[Entry, bytes]]]:
    """Return the header of a file, and its entries with their lines.

    Args:
        file: The file's lines.
        name: The name used in messages.
        whole: Whether it is a compacted manifest, which has an end line. A journal may be truncated in its
            last line, if the run was killed; that line does not count.

    Raises:
        ManifestError: It is damaged, or was written by a newer sentstream; some damage is only raised at the
            last entry.
    """
    records = _records(file, name, whole)
    first, _ = next(records, ({}, b""))
    return _header(first, name), _entries(records, name, whole)


def entry_of(line: bytes) -> Entry:
    """Return the entry in a line that was read or written before; its checksum is not checked again."""
    fields = json.loads(line.decode())
    del fields["crc32"]
    return _entry(fields)


def output_of(line: bytes) -> str:
    """Return the output's name in such a line."""
    name: str = json.loads(line.decode())["output"]
    return name


def _records(file: Iterable[bytes], name: str, whole: bool) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yield the JSON objects in the lines of a file, with their lines."""
    lines = iter(file)
    for number, line in enumerate(lines, start=1):
        if not line.endswith(b"\n"):
            if whole:
                raise _damaged(name, number)
            return
        try:
            fields = _record(line[:-1])
        except ValueError as error:
            if not whole and not next(lines, b"").endswith(b"\n"):
                return
            raise _damaged(name, number) from error
        yield fields, line


def _entries(
    records: Iterator[tuple[dict[str, Any], bytes]], name: str, whole: bool
) -> Iterator[tuple[Entry, bytes]]:
    count = 0
    last = next(records, None)
    while last is not None:
        (fields, line), last = last, next(records, None)
        if whole and last is None and fields == {_END: count}:
            return
        try:
            entry = _entry(fields)
        except (TypeError, KeyError) as error:
            raise ManifestError(f"{name} is damaged: an entry lacks {error}", hint=_ANEW) from error
        yield entry, line
        count += 1
    if whole:
        raise ManifestError(f"{name} is damaged: its end is missing", hint=_ANEW)


_ANEW = "see what is there with sentstream verify; start over with --overwrite"


def _line(fields: dict[str, Any]) -> bytes:
    text = _JSON.encode(fields).encode()
    return text[:-1] + f',"crc32":"{zlib.crc32(text):08x}"}}\n'.encode()


def _record(line: bytes) -> dict[str, Any]:
    match = _SUM.fullmatch(line[-_SUM_BYTES:])
    text = line[:-_SUM_BYTES] + b"}"
    if match is None or zlib.crc32(text) != int(match[1], 16):
        raise ValueError("a checksum that does not match")
    fields = json.loads(text.decode())
    if not isinstance(fields, dict):
        raise ValueError("not an object")
    return fields


def _header(fields: dict[str, Any], name: str) -> Header:
    version = fields.pop("manifest", None)
    if not isinstance(version, int):
        raise ManifestError(f"{name} is damaged: it has no header", hint=_ANEW)
    if version > FORMAT:
        raise ManifestError(
            f"{name} has format {version}, but this sentstream reads up to {FORMAT}",
            hint=f"use sentstream {fields.get('sentstream', '')} or newer, which wrote it",
        )
    try:
        return Header(**fields, format=version)
    except TypeError as error:
        raise ManifestError(f"{name} is damaged: its header is invalid", hint=_ANEW) from error


def _entry(fields: dict[str, Any]) -> Entry:
    files = fields.get("files")
    written = None if files is None else tuple(Written(**one) for one in files)
    return Entry(**{**fields, "input": Input(**fields["input"]), "files": written})


def _damaged(name: str, number: int) -> ManifestError:
    return ManifestError(f"{name} is damaged: line {number:,} is corrupt", hint=_ANEW)
