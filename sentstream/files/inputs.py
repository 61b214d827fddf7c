"""Paths, globs and directories -> the Parquet files that they stand for, and what is left out of them."""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from sentstream.errors import InputError, InputNotFoundError, OutputWriteError

SCORED = ".scored"
SUFFIXES = (".parquet", ".parq", ".pq")
_MAGIC = b"PAR1", b"PARE"
#: With one slash, too: a ``Path`` keeps no more. A single letter is a drive of Windows.
_URI = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
#: What brings an object of a store here, as text before its URI and after it.
_FETCH = {
    "s3": ("aws s3 cp", " ."),
    "s3a": ("hadoop fs -get", ""),
    "gs": ("gcloud storage cp", " ."),
    "http": ("curl -fLO", ""),
    "https": ("curl -fLO", ""),
    "hdfs": ("hdfs dfs -get", ""),
}
_MOST = 5  # names that a line lists


@dataclass(frozen=True)
class Found:
    """An input.

    Attributes:
        path: The file.
        relative: Where it lies below what was given.
        default: Where its output goes if nobody says; None where there is no such place.
    """

    path: Path
    relative: Path
    default: Path | None


@dataclass
class Inputs:
    """What was found.

    Attributes:
        files: The Parquet files, in their order.
        left_out: Lines about what lies in the directories and is not read.
    """

    files: list[Found] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def find_inputs(inputs: Sequence[str], output: Path | None = None) -> Inputs:
    """The files that paths, globs and directories stand for.

    Of a directory and those in it, these are the files that end in .parquet, .parq or .pq, in any case, and
    those without an ending that begin as Parquet does (Hive names its files so). What is hidden, begins with
    an underscore as ``_SUCCESS`` does, or was scored is none of them.

    Args:
        inputs: What was given.
        output: A directory that is left out where it lies in one of them.

    Raises:
        InputNotFoundError: What is not there: a path, where a link leads, Parquet files in a directory or
            for a glob; a URI.
        InputError: A directory that cannot be read.
    """
    found = Inputs()
    for given in inputs:
        try:
            _find(given, output, found)
        except OSError as error:
            raise InputError(f"{given} cannot be read: {error.strerror or error}") from error
    return found


def missing(given: str | Path) -> InputNotFoundError:
    """The error about a path that is not there: a URI, a link that leads nowhere, or a wrong name."""
    if is_uri(str(given)):
        return InputNotFoundError(
            f"{given} is a URI, and only files of this machine are read", hint=_fetching(str(given))
        )
    if os.path.islink(given):
        return InputNotFoundError(
            f"{given} is a link to {os.readlink(given)}, which does not exist",
            hint="repair the link, or remove it",
        )
    return InputNotFoundError(f"{given} does not exist", hint="check the path")


def is_uri(given: str) -> bool:
    """Whether it is an address, such as ``s3://bucket/key``, and no path."""
    return _URI.match(given) is not None


def check_local(output: str | Path) -> None:
    """Refuse an output that is no path.

    Raises:
        OutputWriteError: It is a URI.
    """
    if is_uri(str(output)):
        raise OutputWriteError(
            f"{output} is a URI, and only files of this machine are written",
            hint="write here and copy it there",
        )


def _fetching(uri: str) -> str:
    scheme = uri.partition(":")[0].lower()
    if scheme == "file":
        return f"give the path: {url2pathname(urlsplit(uri).path)}"
    before, after = _FETCH.get(scheme, ("", ""))
    return f"fetch it first: {before} {shlex.quote(uri)}{after}" if before else "fetch it first"


def _find(given: str, output: Path | None, found: Inputs) -> None:
    """The files that one argument stands for."""
    path = Path(given)
    if path.is_dir():
        _walk(path, output, found)
        return
    if path.exists():
        found.files.append(Found(path, Path(path.name), _beside(path)))
        return
    if os.path.lexists(path) or is_uri(given) or not glob.has_magic(given):
        raise missing(given)
    root = Path(*_before_magic(path))
    count = len(found.files)
    for match in map(Path, sorted(glob.glob(given, recursive=True))):
        if match.is_dir():
            if "**" not in path.parts:  # which goes into directories by itself
                _walk(match, output, found, match.relative_to(root))
        elif SCORED in given or not _is_scored(match):
            if not match.exists():
                raise missing(match)
            found.files.append(Found(match, match.relative_to(root), _beside(match)))
    if len(found.files) == count:
        raise InputNotFoundError(
            f"no file matches {given}", hint="check the pattern; quote it against the shell"
        )


def _before_magic(path: Path) -> list[str]:
    parts: list[str] = []
    for part in path.parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return parts


def _walk(directory: Path, output: Path | None, found: Inputs, below: Path = Path()) -> None:
    """The Parquet files of a directory and of those in it."""
    resolved = directory.resolve()
    default = resolved.with_name(resolved.name + SCORED) if resolved.name else None
    count = len(found.files)
    others: list[str] = []
    for parent, names, entries in os.walk(directory, onerror=_refuse):
        names[:] = sorted(n for n in names if not _is_skipped(n) and (Path(parent) / n).resolve() != output)
        others += [f"{name}{os.sep}, a link" for name in names if os.path.islink(Path(parent) / name)]
        for name in sorted(entries):
            path = Path(parent) / name
            if _is_skipped(name) or _is_scored(path):
                continue
            if _is_parquet(path):
                relative = path.relative_to(directory)
                found.files.append(Found(path, below / relative, default and default / relative))
            else:
                others.append(str(path.relative_to(directory)))
    listed = ", ".join(others[:_MOST]) + (f" and {len(others) - _MOST:,} more" if len(others) > _MOST else "")
    if len(found.files) == count:
        raise InputNotFoundError(
            f"no Parquet file in {directory}" + (f", but {listed}" if others else ""),
            hint=f"there they end in {', '.join(SUFFIXES)}",
        )
    if others:
        found.left_out.append(f"{directory}: left out, for their names are not those of Parquet: {listed}")


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error


def _is_skipped(name: str) -> bool:
    return name.startswith((".", "_"))


def _is_scored(path: Path) -> bool:
    return path.stem.endswith(SCORED)


def _is_parquet(path: Path) -> bool:
    """Whether a file of a directory is to be read.

    Raises:
        InputNotFoundError: It is a link that leads nowhere.
    """
    if path.suffix.lower() in SUFFIXES:
        if not path.exists():
            raise missing(path)
        return True
    if path.suffix or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) in _MAGIC


def _beside(path: Path) -> Path:
    stem = path.stem if path.suffix.lower() in SUFFIXES else path.name
    return path.with_name(f"{stem}{SCORED}.parquet")
