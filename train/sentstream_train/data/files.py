"""Tables of texts from files: the official Sentiment140 CSV, any CSV or TSV with a header, Parquet."""

from __future__ import annotations

import contextlib
import difflib
import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import pyarrow as pa
import pyarrow.csv as pa_csv

from sentstream.errors import (
    ColumnNotFoundError,
    DataError,
    InputFormatError,
    InputNotFoundError,
    UsageError,
    one_line,
)
from sentstream.files.foreign import recognize
from sentstream.files.inputs import is_uri, missing
from sentstream.files.opening import is_utf8, open_parquet
from sentstream.text.columns import field_names, find_field

PathLike: TypeAlias = "str | Path"

#: The columns of the official file, which has no header (Go, Bhayani and Huang 2009, help page).
SENTIMENT140_COLUMNS = ("polarity", "id", "date", "query", "user", "text")
SENTIMENT140_LABELS = {"0": "negative", "2": "neutral", "4": "positive"}

_SENTIMENT140_ROW = re.compile(rb'"[024]","\d+","[^"\n]*","[^"\n]*","[^"\n]*","')
_SUFFIXES = (".parquet", ".csv", ".tsv", ".tab")
_COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}
_ROWS_AT_ONCE = 65_536
_BLOCK_BYTES = 4 << 20


def find_files(paths: PathLike | Iterable[PathLike]) -> list[Path]:
    """The files that paths, globs and directories name, each once, in the order given.

    Raises:
        InputNotFoundError: One of them names nothing.
    """
    found: dict[Path, Path] = {}
    for given in [paths] if isinstance(paths, (str, Path)) else paths:
        path = Path(given)
        if path.is_dir():
            hits = sorted(file for file in path.iterdir() if _is_data(file))
            if not hits:
                raise InputNotFoundError(f"{path} holds no {', '.join(_SUFFIXES[:3])} file")
        elif path.exists():
            hits = [path]
        else:
            found_by_glob = [] if is_uri(str(given)) else sorted(glob.glob(str(given), recursive=True))
            hits = [path for path in map(Path, found_by_glob) if not path.is_dir()]
            if not hits:
                raise missing(given)
        for hit in hits:
            if not hit.exists():
                raise missing(hit)
            found.setdefault(hit.resolve(), hit)
    if not found:
        raise InputNotFoundError("no data file was named")
    return list(found.values())


def recorded_name(path: Path) -> str:
    """A file's name for records, which are UTF-8 whatever the name is: without the directories."""
    return os.fsencode(path.name).decode("utf-8", "replace")


def _is_data(path: Path) -> bool:
    return not path.is_dir() and _unpacked_name(path).endswith(_SUFFIXES) and not path.name.startswith(".")


def _is_named_csv(path: Path) -> bool:
    return _unpacked_name(path).endswith(_SUFFIXES[1:])


def _unpacked_name(path: Path) -> str:
    name = path.name.lower()
    for suffix in _COMPRESSED:
        name = name.removesuffix(suffix)
    return name


@dataclass(frozen=True)
class TableReader:
    """An open file: batches of the columns ``text``, ``label`` and ``user``, the latter two if there."""

    batches: Iterator[pa.RecordBatch]
    labeled: bool
    names: dict[str, str] | None = None  # what the labels of the file are called


def open_table(
    path: Path, text: str | None, label: str | None, user: str | None, unlabeled_ok: bool
) -> TableReader:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
        if magic == b"PAR1":
            return _open_parquet(path, text, label, user, unlabeled_ok)
        with _unpacked(path) as stream:
            head = stream.read(4096)
    except OSError as error:
        raise InputFormatError(f"{path} cannot be read: {error.strerror or error}") from error
    if path.suffix.lower() == ".parquet":
        raise InputFormatError(f"{path} is not a Parquet file", hint="if it is CSV, name it so")
    foreign = None if _is_named_csv(path) else recognize(path)
    if foreign is not None and not foreign.is_csv:
        raise InputFormatError(f"{path} is {foreign.what}, not Parquet or CSV", hint=foreign.hint)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path} is UTF-16", hint="save it as UTF-8")
    if _SENTIMENT140_ROW.match(head):
        return _open_sentiment140(path, text, label, user)
    return _open_csv(path, text, label, user, unlabeled_ok)


def _unpacked(path: Path) -> BinaryIO:
    stream: BinaryIO
    if is_utf8(path):
        stream = pa.input_stream(str(path), compression="detect")
    else:
        stream = pa.input_stream(path.open("rb"), compression=_COMPRESSED.get(path.suffix.lower()))
    return stream


def _open_parquet(
    path: Path, text: str | None, label: str | None, user: str | None, unlabeled_ok: bool
) -> TableReader:
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open_parquet(path, str(path)))
        wanted = _choose(path, field_names(file.schema_arrow), text, label, user, unlabeled_ok)
        opened = stack.pop_all()

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            with opened:
                for batch in file.iter_batches(_ROWS_AT_ONCE, columns=list(wanted.values())):
                    columns = [find_field(batch.schema, name).texts(batch) for name in wanted.values()]
                    yield pa.RecordBatch.from_arrays(columns, names=list(wanted))
        except (pa.ArrowException, OSError) as error:
            raise InputFormatError(f"{path} is corrupt: {one_line(error, 160)}") from error

    return TableReader(batches(), "label" in wanted)


def _open_sentiment140(path: Path, text: str | None, label: str | None, user: str | None) -> TableReader:
    names = SENTIMENT140_COLUMNS
    label = "polarity" if label in {None, "label"} else label
    wanted = _choose(path, names, text, label, user, False)
    reading = pa_csv.ReadOptions(
        use_threads=False, block_size=_BLOCK_BYTES, column_names=list(names), encoding="latin-1"
    )
    mapped = SENTIMENT140_LABELS if label == "polarity" else None
    return TableReader(_csv_batches(path, reading, ",", wanted), True, mapped)


def _open_csv(
    path: Path, text: str | None, label: str | None, user: str | None, unlabeled_ok: bool
) -> TableReader:
    stem = path.with_suffix("") if path.suffix.lower() in _COMPRESSED else path
    delimiter = "\t" if stem.suffix.lower() in {".tsv", ".tab"} else ","
    reading = pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES)
    header = _header(path, delimiter)
    wanted = _choose(path, header, text, label, user, unlabeled_ok)
    for name in wanted.values():
        if header.count(name) > 1:
            raise DataError(f"{path} has {header.count(name)} columns named {name!r}")
    return TableReader(_csv_batches(path, reading, delimiter, wanted), "label" in wanted)


def _header(path: Path, delimiter: str) -> list[str]:
    with _unpacked(path) as stream:
        data = stream.read(1 << 16)
    # Only the first line counts here; whatever the rows hold is read, and judged, later.
    line = data.removeprefix(b"\xef\xbb\xbf").splitlines()[0] if data.strip() else b""
    if not line.strip():
        raise DataError(f"{path} is empty or starts with an empty line", hint="a header row comes first")
    table = pa_csv.read_csv(
        pa.BufferReader(line + b"\n" + line + b"\n"),
        parse_options=pa_csv.ParseOptions(delimiter=delimiter),
        read_options=pa_csv.ReadOptions(use_threads=False, autogenerate_column_names=True),
        convert_options=pa_csv.ConvertOptions(check_utf8=False),
    )
    return [str(column[0].as_py()) for column in table.columns]


def _csv_batches(
    path: Path, reading: pa_csv.ReadOptions, delimiter: str, wanted: dict[str, str]
) -> Iterator[pa.RecordBatch]:
    rejected: list[Any] = []

    def reject(row: Any) -> str:
        rejected.append(row)
        return "error"

    parsing = pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=reject)
    # Binary, because a text column with one bad byte would fail the whole file.
    converting = pa_csv.ConvertOptions(
        include_columns=list(wanted.values()), column_types=dict.fromkeys(wanted.values(), pa.binary())
    )
    try:
        with _unpacked(path) as stream:
            for batch in pa_csv.open_csv(stream, reading, parsing, converting):
                yield pa.RecordBatch.from_arrays(
                    [column.view(pa.string()) for column in batch.columns], names=list(wanted)
                )
    except (pa.ArrowException, OSError) as error:
        if rejected:
            row = rejected[0]
            where = f" row {row.number:,}" if row.number is not None else ""
            raise DataError(
                f"{path}{where}: {row.actual_columns} fields instead of {row.expected_columns}",
                hint="is a quote missing, or the delimiter another one?",
            ) from None
        raise DataError(
            f"{path} is not readable CSV: {one_line(error, 160)}", hint="is there a quote that never closes?"
        ) from error


def _choose(
    path: Path,
    names: Sequence[str],
    text: str | None,
    label: str | None,
    user: str | None,
    unlabeled_ok: bool,
) -> dict[str, str]:
    """Which of the file's columns to read: role -> name."""
    wanted = {"text": _present(path, names, text or "text", "--text-column")}
    if label is not None or "label" in names or not unlabeled_ok:
        wanted["label"] = _present(path, names, label or "label", "--label-column")
    if user is not None:
        wanted["user"] = _present(path, names, user, "--user-column")
    elif "user" in names and "user" not in wanted.values():
        wanted["user"] = "user"
    if len(set(wanted.values())) < len(wanted):
        raise UsageError(f"one column cannot be two of {', '.join(wanted)}: {', '.join(wanted.values())}")
    return wanted


def _present(path: Path, names: Sequence[str], name: str, option: str) -> str:
    if name in names:
        return name
    close = difflib.get_close_matches(name, names, 1, 0.5)
    nearest = f"; the nearest is {close[0]!r}" if close else ""
    raise ColumnNotFoundError(
        f"{path} has no column {name!r}{nearest} (it has {_some(names)})", hint=f"name it with {option}"
    )


def _some(names: Sequence[str], most: int = 12) -> str:
    listed = ", ".join(names[:most])
    return f"{listed}, …" if len(names) > most else listed
