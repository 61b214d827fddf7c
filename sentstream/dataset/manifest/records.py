"""The records of a manifest: JSON lines, each with a checksum of its own.

The first line of a file is the header: what the run is. Each other line is an entry: what became of one
piece, or of a whole file. The compacted manifest ends with a line that counts the entries, so that a cut is
seen.
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

FORMAT: Final = 1
_END: Final = "end"
#: Made once: ``json.dumps`` makes one for each call.
_JSON: Final = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))
_SUM = re.compile(rb',"crc32":"([0-9a-f]{8})"\}$')
State: TypeAlias = Literal["done", "part", "skipped"]


@dataclass(frozen=True)
class Header:
    """What a run is: another one may go on with it only if all of this is the same.

    Attributes:
        sentstream: The version that writes.
        model: Its name, version and digest.
        options: What else the bytes of an output depend on, by the names of the options.
        format: The version of the manifest.
    """

    sentstream: str
    model: dict[str, str]
    options: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Input:
    """A file as it was when it was scored.

    Attributes:
        name: What it was called.
        size: Bytes.
        tag: The time of its last change, or its ETag.
        tail: SHA-256 of its last 64 KiB: of Parquet, the footer.
    """

    name: str
    size: int
    tag: str
    tail: str


@dataclass(frozen=True, slots=True)
class Written:
    """An output that is whole, or a part of it.

    Attributes:
        name: Its name below the directory of the outputs.
        rows: Its rows.
        size: Its bytes.
        sha256: Of its bytes, in hexadecimal.
    """

    name: str
    rows: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of a file, or of consecutive row groups of a large one.

    Attributes:
        state: ``done``, a whole output; ``part``, some row groups of one; ``skipped``, an input that is not
            sound.
        output: The output's name below the directory of the outputs; where there are ``files``, what its name
            would be if it were one.
        input: What was read.
        first: The first row group.
        stop: The row group after the last one; 0 for all of a file.
        rows: Rows that were written.
        tally: What became of them: ``Tally.to_dict``.
        left_out: Rows that were read and are not what was asked for.
        size: Bytes that were written.
        sha256: Of what was written.
        reason: Why it was skipped.
        files: The outputs in folders that columns are in, any number of them; None of a single output.
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
        """All outputs, or what there is of them."""
        if self.state == "skipped":
            return ()
        if self.files is None:
            return (Written(self.output, self.rows, self.size, self.sha256),)
        return self.files


_ENTRY = tuple(one.name for one in fields(Entry))
_INPUT = tuple(one.name for one in fields(Input))
_WRITTEN = tuple(one.name for one in fields(Written))


def header_line(header: Header) -> bytes:
    """A header as a line."""
    return _line({"manifest": header.format, **{k: v for k, v in asdict(header).items() if k != "format"}})


def entry_line(entry: Entry) -> bytes:
    """An entry as a line; what has its default is left out."""
    named = ((name, getattr(entry, name)) for name in _ENTRY)
    found = {name: value for name, value in named if value or name in ("state", "output", "rows")}
    found["input"] = {name: getattr(entry.input, name) for name in _INPUT}
    if entry.files is not None:
        found["files"] = [{name: getattr(one, name) for name in _WRITTEN} for one in entry.files]
    return _line(found)


def end_line(count: int) -> bytes:
    """The last line of a compacted manifest."""
    return _line({_END: count})


def read_records(data: bytes, name: str, *, whole: bool) -> tuple[Header, list[Entry]]:
    """The header and the entries of a file: ``read_lines`` of its bytes."""
    header, entries = read_lines(io.BytesIO(data), name, whole=whole)
    return header, [entry for entry, _ in entries]


def read_lines(
    file: Iterable[bytes], name: str, *, whole: bool
) -> tuple[Header, Iterator[tuple[Entry, bytes]]]:
    """The header and the entries of a file, with the lines of these.

    Args:
        file: Its lines.
        name: The name used in messages.
        whole: Whether it is a compacted manifest, which has an end. A journal may be cut in its last line,
            by whatever ended the run: what that line was about is not proved.

    Raises:
        ManifestError: It is damaged, or was written by a newer sentstream; some damage is told with the last
            entry.
    """
    records = _records(file, name, whole)
    first, _ = next(records, ({}, b""))
    return _header(first, name), _entries(records, name, whole)


def entry_of(line: bytes) -> Entry:
    """The entry in a line that was read or written before."""
    return _entry(_record(line.removesuffix(b"\n")))


def output_of(line: bytes) -> str:
    """The output's name in such a line."""
    name: str = json.loads(line)["output"]
    return name


def _records(file: Iterable[bytes], name: str, whole: bool) -> Iterator[tuple[dict[str, Any], bytes]]:
    """The objects in the lines of a file, with these."""
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
    found = _SUM.search(line)
    text = line[: found.start()] + b"}" if found else b""
    if found is None or zlib.crc32(text) != int(found[1], 16):
        raise ValueError("a checksum that does not match")
    fields = json.loads(text)
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
