"""What was given on the command line -> which file is read and which one is written."""

from __future__ import annotations

import contextlib
import errno
import glob
import io
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sentstream.errors import InputError, InputNotFoundError, OutputExistsError, OutputWriteError, UsageError
from sentstream.files.commit import check_writable

#: Standard input as INPUT, standard output as --output.
STANDARD = "-"
SCORED = ".scored"
_SUFFIXES = (".parquet", ".parq", ".pq")


@dataclass(frozen=True)
class Job:
    """One file to score.

    Attributes:
        source: The Parquet file.
        target: The file to write, with links resolved; None is standard output.
        name: What messages call the source.
    """

    source: Path
    target: Path | None
    name: str

    @property
    def shown_target(self) -> str:
        """What messages call the target."""
        return "standard output" if self.target is None else str(self.target)

    @property
    def is_stream(self) -> bool:
        """Whether the target gets its bytes at once: standard output, a pipe, a device."""
        return self.target is None or is_special(self.target)


@dataclass(frozen=True)
class Found:
    """An input and where it lies below what was given."""

    path: Path
    relative: Path
    default: Path | None


@contextlib.contextmanager
def find_jobs(inputs: Sequence[str], output: str | None, *, overwrite: bool) -> Iterator[list[Job]]:
    """Pair every input file with its output; nothing is written.

    Standard input is spooled to a temporary file for as long as the context lasts: the footer, with
    which reading begins, is at the end.

    Args:
        inputs: Parquet files, globs, directories; or ``-`` alone.
        output: A file, a directory, ``-``, or None for the places beside the inputs.
        overwrite: Whether outputs may be there already.

    Raises:
        InputNotFoundError: A path that is not there, a glob or directory without Parquet files.
        UsageError: Several inputs for one output, or output to a terminal.
        OutputError: Two inputs with one output, an output that is an input or is there already, or a
            place that is not writable.
    """
    if is_standard_input(inputs):
        with _explaining(output):
            target = _one_target(output or STANDARD, Path("stdin.parquet"))
            _check([Job(Path(), target, "standard input")], overwrite)
        with spooled() as path:
            yield [Job(path, target, "standard input")]
        return
    with _explaining(output):
        below = None if output is None else Path(output).resolve()
    found = find_inputs(inputs, below)
    with _explaining(output):
        targets = _targets(found, output)
        jobs = [Job(item.path, target, str(item.path)) for item, target in zip(found, targets, strict=True)]
        _check(jobs, overwrite)
    yield jobs


def is_standard_input(inputs: Sequence[str]) -> bool:
    """Whether ``-`` was given.

    Raises:
        UsageError: And something else.
    """
    if STANDARD in inputs and len(inputs) > 1:
        raise UsageError("standard input and other inputs", hint="- stands alone")
    return STANDARD in inputs


def find_inputs(inputs: Sequence[str], output: Path | None = None) -> list[Found]:
    """The files that paths, globs and directories stand for.

    Args:
        inputs: What was given.
        output: A directory that is left out where it lies in one of them.

    Raises:
        InputNotFoundError: A path that is not there, a glob or directory without Parquet files.
        InputError: A directory that cannot be read.
    """
    found: list[Found] = []
    for given in inputs:
        try:
            found += _find(given, output)
        except OSError as error:
            raise InputError(f"{given} cannot be read: {error.strerror or error}") from error
    return found


@contextlib.contextmanager
def _explaining(output: str | None) -> Iterator[None]:
    """A path that the system does not even look up, as an error that names it."""
    try:
        yield
    except OSError as error:
        where = "the output" if output is None else output
        raise OutputWriteError(f"{where} cannot be written: {error.strerror or error}") from error


def is_special(path: Path) -> bool:
    """Whether something is there that is neither a file nor a directory, such as a pipe."""
    return path.exists() and not path.is_file() and not path.is_dir()


def _find(given: str, output: Path | None) -> list[Found]:
    """The files that one argument stands for."""
    path = Path(given)
    if path.is_dir():
        return _walk(path, output)
    if path.exists():
        return [Found(path, Path(path.name), _beside(path))]
    if not glob.has_magic(given):
        raise InputNotFoundError(f"{given} is not there", hint="check the path")
    root = Path(*_before_magic(path))
    matches = [Path(match) for match in sorted(glob.glob(given, recursive=True))]
    files: list[Found] = []
    for match in matches:
        if match.is_dir():
            if "**" not in path.parts:  # which goes into directories by itself
                files += [
                    Found(item.path, match.relative_to(root) / item.relative, item.default)
                    for item in _walk(match, output)
                ]
        elif SCORED in given or not _is_scored(match):
            files.append(Found(match, match.relative_to(root), _beside(match)))
    if not files:
        raise InputNotFoundError(
            f"no file matches {given}", hint="check the pattern; quote it against the shell"
        )
    return files


def _before_magic(path: Path) -> list[str]:
    parts: list[str] = []
    for part in path.parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return parts


def _walk(directory: Path, output: Path | None) -> list[Found]:
    """The Parquet files of a directory and of those in it; what is hidden, ``_…`` or scored is left out."""
    resolved = directory.resolve()
    default = resolved.with_name(resolved.name + SCORED) if resolved.name else None
    files: list[Found] = []
    for parent, names, entries in os.walk(directory, onerror=_refuse):
        names[:] = sorted(n for n in names if not _is_skipped(n) and (Path(parent) / n).resolve() != output)
        for name in sorted(entries):
            path = Path(parent) / name
            if path.suffix.lower() == ".parquet" and not _is_skipped(name) and not _is_scored(path):
                relative = path.relative_to(directory)
                files.append(Found(path, relative, default and default / relative))
    if not files:
        raise InputNotFoundError(f"no Parquet file in {directory}", hint="files must end in .parquet")
    return files


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error


def _is_skipped(name: str) -> bool:
    return name.startswith((".", "_"))


def _is_scored(path: Path) -> bool:
    return path.stem.endswith(SCORED)


def _beside(path: Path) -> Path:
    stem = path.stem if path.suffix.lower() in _SUFFIXES else path.name
    return path.with_name(f"{stem}{SCORED}.parquet")


def _targets(found: list[Found], output: str | None) -> list[Path | None]:
    if output is None:
        if any(item.default is None for item in found):
            raise UsageError("no default output for the root directory", hint="give --output")
        return [item.default and _resolve(item.default) for item in found]
    if len(found) == 1 and len(found[0].relative.parts) == 1:
        return [_one_target(output, found[0].relative)]
    if output == STANDARD or (Path(output).suffix.lower() in _SUFFIXES and not Path(output).is_dir()):
        raise UsageError(
            f"{len(found)} inputs for one output, {output}", hint="give a directory: --output scored/"
        )
    return [_resolve(Path(output) / item.relative) for item in found]


def _one_target(output: str, name: Path) -> Path | None:
    if output == STANDARD:
        return None
    path = Path(output)
    inside = path.is_dir() or output.endswith(("/", os.sep))
    return _resolve(path / name if inside else path)


def _resolve(path: Path) -> Path:
    """A link is written through, not replaced; what stands for a pipe or device has no other path."""
    return path.absolute() if is_special(path) else path.resolve()


def _check(jobs: list[Job], overwrite: bool) -> None:
    """What can be known of the outputs before anything is written."""
    sources = {_identity(job.source): job.name for job in jobs if job.name != "standard input"}
    taken: dict[Path, str] = {}
    for job in jobs:
        if job.target is None:
            _check_standard_output()
            continue
        if job.target in taken:
            raise OutputExistsError(
                f"{taken[job.target]} and {job.name} have the same output, {job.target}",
                hint="score them one after the other, or give --output DIRECTORY/",
            )
        taken[job.target] = job.name
        if is_special(job.target):
            continue
        if job.target.exists() and _identity(job.target) in sources:
            raise OutputExistsError(f"the output {job.target} is an input", hint="choose another --output")
        check_writable(job.target, overwrite=overwrite)


def _check_standard_output() -> None:
    """Whether Parquet can go there, as far as can be known without writing any."""
    if sys.stdout is not None and sys.stdout.isatty():
        raise UsageError("Parquet does not go to a terminal", hint="give --output FILE, or pipe it on")
    try:
        if sys.stdout is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        with contextlib.suppress(io.UnsupportedOperation):  # something that is no file stands in its place
            os.write(sys.stdout.fileno(), b"")
    except OSError as error:
        what = "is closed" if error.errno == errno.EBADF else f"cannot be written: {error.strerror or error}"
        raise OutputWriteError(f"standard output {what}", hint="give --output FILE") from error


def _identity(path: Path) -> tuple[int, int]:
    """What two names of one file share."""
    about = path.stat()
    return about.st_dev, about.st_ino


@contextlib.contextmanager
def spooled() -> Iterator[Path]:
    """Standard input as a file.

    Raises:
        UsageError: It is a terminal or closed.
        InputError: It cannot be read.
        OutputWriteError: There is no room for a copy.
    """
    if sys.stdin is None or sys.stdin.isatty():
        what = "closed" if sys.stdin is None else "a terminal"
        raise UsageError(f"standard input is {what}", hint="pipe a Parquet file in")
    source: BinaryIO = sys.stdin.buffer
    with tempfile.TemporaryDirectory(prefix=".sentstream-") as folder:
        path = Path(folder, "stdin.parquet")
        try:
            with path.open("wb") as file:
                while block := _read(source, 1 << 20):
                    file.write(block)
        except OSError as error:
            raise OutputWriteError(
                f"standard input cannot be copied to {folder}: {error.strerror or error}",
                hint="set TMPDIR to a place with room",
            ) from error
        yield path


def _read(source: BinaryIO, size: int) -> bytes:
    """Some bytes of standard input."""
    try:
        return source.read(size)
    except OSError as error:
        raise InputError(f"standard input cannot be read: {error.strerror or error}") from error
